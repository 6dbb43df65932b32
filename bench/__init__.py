"""Loads measured against what this machine can do at best; `make bench` runs it and writes docs/benchmarks.md."""

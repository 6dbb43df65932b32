"""Sluice: loads sources, builds and tests models of them with dbt, and publishes what readers are granted."""

__version__ = "0.2.0"

"""Sluice: loads sources, builds and tests models of them with dbt, and publishes what readers are granted."""

from importlib.metadata import version

__version__ = version("sluice")

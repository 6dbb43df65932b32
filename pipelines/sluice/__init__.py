"""From a declared source to a raw table: the small Python package around dlt and dbt."""

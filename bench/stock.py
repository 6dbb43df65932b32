"""The same work with dlt as its documentation has it: `python stock.py FUNCTION ARGUMENTS`, each in a fresh process.

Leaves `stock/raw.duckdb`, dataset `bench`, in the working directory.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", RUNTIME__LOG_LEVEL="CRITICAL")


def _run(source: Any, **options: Any) -> None:
    import dlt

    Path("stock").mkdir(exist_ok=True)
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.duckdb(str(Path("stock", "raw.duckdb").absolute())),
        dataset_name="bench",
        pipelines_dir=str(Path("stock", "pipelines").absolute()),
    )
    pipeline.run(source, **options)


def tables(url: str, names: list[str], keys: dict[str, list[str]] | None = None) -> None:
    """`sql_database` with its pyarrow backend; with `keys` incremental by `updated_at` and merged."""
    import dlt
    from dlt.sources.sql_database import sql_table

    url = url.replace("postgresql:", "postgresql+psycopg2:").replace("mysql:", "mysql+pymysql:")

    def resources() -> Any:
        for name in names:
            more: dict[str, Any] = {}
            if keys:
                more = {
                    "incremental": dlt.sources.incremental("updated_at"),
                    "primary_key": keys[name],
                    "write_disposition": "merge",
                }
            yield sql_table(credentials=url, table=name, backend="pyarrow", chunk_size=100_000, **more)

    _run(list(resources()))


def file(folder: str, glob: str, reader: str, options: dict[str, Any] | None = None) -> None:
    """`filesystem` with one of its readers."""
    import dlt.sources.filesystem as sources

    reading = getattr(sources, reader)(**(options or {}))
    items = sources.filesystem(bucket_url=folder, file_glob=glob) | reading
    _run(items.with_name("items"))


def pages(url: str) -> None:
    """`rest_api`."""
    from dlt.sources.rest_api import rest_api_source

    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "paginator": {"type": "page_number", "base_page": 1, "total_path": "total_pages"},
            },
            "resources": [
                {
                    "name": "records",
                    "primary_key": "id",
                    "endpoint": {"path": "records", "data_selector": "data"},
                }
            ],
        }
    )
    _run(source)


if __name__ == "__main__":
    arguments: dict[str, Any] = json.loads(sys.argv[2])
    globals()[sys.argv[1]](**arguments)

"""The same work with no framework: `python limits.py FUNCTION ARGUMENTS`, each in a fresh process.

A function gets its arguments as JSON and leaves `limit.duckdb` in the working directory. Nothing is imported that the
work does not need, so that a process start costs here what it has to.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import duckdb


def _open(extension: str | None = None) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect("limit.duckdb")
    con.execute("set TimeZone = 'UTC'; set temp_directory = 'limit.tmp'")
    if extension:
        con.execute(f"load {extension}_scanner")
    return con


def tables(url: str, dialect: str, names: list[str]) -> None:
    """Tables of a database, copied."""
    con = _open(dialect)
    con.execute(f"attach '{url}' as source (type {dialect}, read_only)")
    for name in names:
        con.execute(f"create table {name} as select * from source.{name}")


def statements(file: str, extension: str = "") -> None:
    """SQL of a file, a JSON list, one statement after the other, each result read whole."""
    con = duckdb.connect()
    if extension:
        con.execute(f"load {extension}_scanner")
    with open(file, encoding="utf-8") as sent:  # noqa: PTH123 - pathlib would be one more import
        for sql in json.load(sent):
            con.execute(sql).fetchall()


def newer(url: str, keys: dict[str, list[str]]) -> None:
    """What changed after the highest `updated_at`, merged by key; one transaction."""
    con = _open("postgres")
    con.execute(f"attach '{url}' as source (type postgres, read_only)")
    con.execute("begin")
    for name, key in keys.items():
        highest = con.execute(f"select max(updated_at)::text from {name}").fetchone()
        since = highest[0] if highest else None
        con.execute(
            f"create temp table changed as select * from source.{name} where updated_at > timestamptz '{since}'"
        )
        same = " and ".join(f"{name}.{column} = changed.{column}" for column in key)
        con.execute(f"delete from {name} using changed where {same}")
        con.execute(f"insert into {name} select * from changed")
        con.execute("drop table changed")
    con.execute("commit")


def file(relation: str) -> None:
    """A file as DuckDB reads it."""
    _open().execute(f"create table items as select * from {relation}")


def checked(path: str, text: str, types: dict[str, str]) -> None:
    """A file by the steps of a load: hashed and copied, its rows numbered, no value altered, on disk before the table.

    text: the copy, `copied`, with every column as text.
    """
    import hashlib
    import shutil

    with open(path, "rb") as data:  # noqa: PTH123 - pathlib would be one more import
        hashlib.file_digest(data, "sha256")
    shutil.copyfile(path, "copied")
    columns = ", ".join(_exact(name, kind) for name, kind in types.items())
    con = _open()
    con.execute(
        f"copy (select 'items' as _file, row_number() over () as _line, {columns}, now() as _loaded_at,"
        f" '1700000000.1' as _load_id from {text}) to 'rows.parquet'"
        " (format parquet, parquet_version v2, row_group_size 20480)"
    )
    con.execute("set preserve_insertion_order = false")  # else it takes half as long again
    con.execute("create table items as select * from 'rows.parquet'")


def _exact(name: str, kind: str) -> str:
    """A column with its type, where that keeps each text as it is; else the statement fails."""
    if kind == "varchar":
        return name
    same = {
        "bigint": f"cast(try_cast({name} as bigint) as varchar) = {name}",
        "timestamptz": f"{name} like '____-__-__ __:__:__+00' and try_cast({name} as timestamptz) is not null",
    }.get(kind, f"cast(try_cast({name} as {kind}) as double) = try_cast({name} as double)")
    return f"case when {name} is null or ({same}) then try_cast({name} as {kind}) else error('altered') end as {name}"


def pages(url: str, pages: int) -> None:
    """Pages of a web API by a plain loop, kept as lines of JSON, and read by DuckDB."""
    import orjson
    import requests

    session = requests.Session()
    with open("records.jsonl", "wb") as records:  # noqa: PTH123 - pathlib would be one more import
        for page in range(1, pages + 1):
            answer = session.get(f"{url}/records?page={page}", timeout=30)
            answer.raise_for_status()
            records.writelines(
                orjson.dumps(record) + b"\n" for record in orjson.loads(answer.content)["data"]
            )
    file("read_json('records.jsonl', format = 'newline_delimited')")


def messages(url: str, stream: str, count: int) -> None:
    """Messages fetched with nats-py, kept as lines of JSON, read by DuckDB, then acknowledged."""
    import asyncio

    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    async def work() -> None:
        client = await nats.connect(url)
        js = client.jetstream()
        config = ConsumerConfig(ack_policy=AckPolicy.ALL, max_ack_pending=-1, ack_wait=3600)
        subscription = await js.pull_subscribe("bench.*", durable="limit", stream=stream, config=config)
        left, last = count, None
        with open("messages.jsonl", "wb") as lines:  # noqa: PTH123 - nothing else runs here
            while left:
                batch = await subscription.fetch(min(left, 5000), timeout=30)
                lines.writelines(message.data + b"\n" for message in batch)
                left -= len(batch)
                last = batch[-1]
        file("read_json('messages.jsonl', format = 'newline_delimited')")
        if last:
            await last.ack_sync()
        await js.delete_consumer(stream, "limit")
        await client.close()

    asyncio.run(work())


if __name__ == "__main__":
    arguments: dict[str, Any] = json.loads(sys.argv[2])
    globals()[sys.argv[1]](**arguments)

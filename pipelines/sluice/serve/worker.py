"""The program a query runs in: it opens one published file for strangers, and sees nothing else of the machine.

It has no environment, and the server kills it when its query takes too long or too much memory: DuckDB can neither
interrupt `repeat('x', 1000000000)` nor count its memory. Statements are checked here as well, so that a long one
costs its sender's process, not the server. Requests are lines of JSON; the answer to each is

{"ok": true} once the statement is allowed, else {"refused": <reason>, "named": <words of the statement>}; then
{"ok": true} and an Arrow stream, then {"ok": true} or {"error": <kind>, "message": <DuckDB's, if it may be shown>}
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

from sluice.serve.statement_check import Refused, StatementCheck
from sluice.sql import literal
from sluice.system import limit_memory

BATCH_ROWS = 10_000
BATCH_BYTES = 1_000_000
"""About this much is sent at a time: so much a client that does not read can make the server hold."""
ROW_BYTES = 16_000_000
"""Of one row: the most that Flight SQL drivers receive by default."""
OF_THE_STATEMENT = (
    duckdb.ProgrammingError,
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.NotSupportedError,
    duckdb.PermissionException,
    duckdb.SequenceException,
    duckdb.DependencyException,
)
"""Errors that are the statement's own. Any other one is DuckDB's, the file's or the machine's, and ends the process."""
BEGINNINGS = ("Conversion", "Invalid Input", "Out of Range", "Mismatch Type", "Not implemented", "Constraint")
"""Of the same errors where they come out of an Arrow stream, which keeps no types: `Conversion Error: …`."""
OUT_OF_MEMORY = (duckdb.OutOfMemoryException, MemoryError)


class RowTooLargeError(duckdb.DataError):
    """A row that drivers could not receive."""


def main() -> None:
    """Answer requests until the server is gone; the first one names the file to open."""
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    answers = sys.stdout.buffer
    opened = json.loads(requests.get())
    try:
        con = _open(opened["file"], opened["key"], opened["memory_mb"])
    except duckdb.Error as error:
        _send(answers, _error(error))
        return
    # the server looks at memory from time to time: this bounds what is allocated between two looks
    limit_memory(2 * opened["memory_mb"] * 1_000_000)
    check = StatementCheck()
    _send(answers, {"ok": True})
    while True:
        request = json.loads(requests.get())
        try:
            statement = check.check(request["sql"], opened["tables"])
        except Refused as refused:
            _send(answers, {"refused": refused.reason, "named": refused.named})
            continue
        _send(answers, {"ok": True})
        _answer(con, statement, answers, with_rows=request["rows"])


def _listen(requests: SimpleQueue[bytes]) -> None:
    """Read requests; end at once, even in the middle of a query, when the server is gone."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _open(file: str, key: str | None, memory_mb: int) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(
        ":memory:",
        config={
            "temp_directory": "",
            "memory_limit": f"{memory_mb}MB",
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
        },
    )
    option = f", encryption_key {literal(key)}" if key else ""
    for statement in (
        f"attach {literal(file)} as published (read_only{option})",
        "use published",
        "set global TimeZone = 'UTC'",
        "set enable_external_access = false",
        "set lock_configuration = true",
    ):
        con.execute(statement)
    return con


def _answer(con: duckdb.DuckDBPyConnection, sql: str, answers: BinaryIO, *, with_rows: bool) -> None:
    cursor = con.cursor()
    try:
        cursor.execute("use published")
        # as a subquery, which makes the names of its columns unique
        found = cursor.execute(f"select * from (\n{sql}\n) limit 0").to_arrow_reader(1).schema
        schema = pa.schema([field.with_type(_plain(field.type)) for field in found])
        reader = cursor.execute(sql).to_arrow_reader(BATCH_ROWS) if with_rows else ()
    except Exception as error:  # whatever it is, the answer says so
        _send(answers, _error(error))
        cursor.close()
        return
    _send(answers, {"ok": True})
    ending: dict[str, Any] = {"ok": True}
    with pa.ipc.new_stream(answers, schema) as writer:
        try:
            for batch in reader:
                columns = [
                    column if column.type == kind else column.cast(kind)
                    for column, kind in zip(batch.columns, schema.types, strict=True)
                ]
                for piece in _pieces(pa.RecordBatch.from_arrays(columns, schema=schema)):
                    writer.write_batch(piece)
                    answers.flush()
        except Exception as error:  # as above
            ending = _error(error)
    _send(answers, ending)
    cursor.close()


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows of a batch, about BATCH_BYTES at a time."""
    if batch.nbytes <= BATCH_BYTES or (batch.num_rows == 1 and batch.nbytes <= ROW_BYTES):
        yield batch
    elif batch.num_rows == 1:
        raise RowTooLargeError(f"a row of the result is larger than {ROW_BYTES // 1_000_000} MB")
    else:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without the dictionaries DuckDB makes of ENUMs, which pyarrow's Flight server does not send."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)), kind.list_size)
    return kind


def _error(error: Exception) -> dict[str, Any]:
    """What the server learns of an error. Only the statement's own may be shown: others quote paths and addresses."""
    kind = type(error).__name__
    beginning = str(error).partition(" Error: ")[0] if isinstance(error, OSError) else ""
    if isinstance(error, OF_THE_STATEMENT) or beginning in BEGINNINGS:
        return {"error": kind, "message": str(error)}
    lacks_memory = isinstance(error, OUT_OF_MEMORY) or beginning == "Out of Memory"
    return {"error": "out of memory" if lacks_memory else kind}


def _send(answers: BinaryIO, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()

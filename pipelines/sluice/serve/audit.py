"""What happened in served sessions, in a bounded file of its own: loads and readers never wait for each other.

Events are collected in memory and written by one thread, several times a second. Equal ones of the same minute are one
row with a count, so that a flood of wrong tokens is a row per minute.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sluice.errors import DamagedError, RunStoreError, SluiceError
from sluice.runs.store import DAMAGE

WRITE_SECONDS = 0.25
MAX_ROWS_A_MINUTE = 600
"""For each reader; what is beyond is counted in one row."""
MAX_BYTES = 64_000_000
"""Of the file, about; the oldest rows make room."""
MAX_COLLECTED = 20_000
"""Events that wait while the file cannot be written; later ones are lost."""
DETAIL_LENGTH = 2_000
"""Characters of a statement's shape that are kept."""
BEYOND = "more events in this minute"
SCHEMA = """
create table if not exists served (
    served_id integer primary key,
    minute text not null,
    audience text not null,
    session text not null,
    event text not null,
    version text not null,
    who text not null,
    detail text not null,
    at text not null,
    last_at text not null,
    count integer not null,
    unique (minute, audience, session, event, version, who, detail)
);
"""
WRITE = """
insert into served (minute, audience, session, event, version, who, detail, at, last_at, count)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict do update set count = count + excluded.count, last_at = excluded.last_at
"""
Event = tuple[str, str, str, str, str, str, str]
"""minute, audience, session, event, version, who, detail"""


class Audit:
    """The audit of one server; other servers may write to the same file.

    Raises DamagedError for a file that cannot be read, and RunStoreError where none can be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._collected: dict[Event, tuple[str, str, int]] = {}
        """When each event happened first and last, and how often."""
        self._minute = ""
        self._rows: Counter[str] = Counter()
        self._is_closed = threading.Event()
        with self._open() as con:
            con.executescript(SCHEMA)
        self._writer = threading.Thread(target=self._write_often, daemon=True)
        self._writer.start()

    def note(
        self,
        audience: str,
        session: str | None,
        event: str,
        version: str | None,
        who: str,
        detail: str | None,
    ) -> None:
        """Record an event: start, connect, query, refused, …; `who` and `detail` hold nothing a reader made up."""
        now = datetime.now(UTC).isoformat()
        noted = (now[:16], audience, session or "", event, version or "", who, (detail or "")[:DETAIL_LENGTH])
        with self._lock:
            if noted[0] != self._minute:
                self._minute, self._rows = noted[0], Counter()
            if noted not in self._collected:
                self._rows[who] += 1
                if self._rows[who] > MAX_ROWS_A_MINUTE:
                    noted = (now[:16], audience, "", event, "", who, BEYOND)
            first, _, count = self._collected.get(noted, (now, now, 0))
            self._collected[noted] = (first, now, count + 1)

    def flush(self) -> None:
        """Write what was noted so far."""
        with self._writing:
            with self._lock:
                collected, self._collected = self._collected, {}
            if not collected:
                return
            try:
                self._write(collected)
            except SluiceError:
                with self._lock:  # the disk is full, perhaps: once more with the next ones
                    waiting = collected | self._collected
                    self._collected = dict(list(waiting.items())[:MAX_COLLECTED])
                raise

    def _write(self, collected: dict[Event, tuple[str, str, int]]) -> None:
        with self._open() as con:
            con.executemany(WRITE, [(*event, *noted) for event, noted in collected.items()])
            size = con.execute("pragma page_size").fetchone()[0]
            while self._pages(con) * size > MAX_BYTES:
                oldest = "(select min(served_id) + (max(served_id) - min(served_id)) / 10 from served)"
                con.execute(f"delete from served where served_id <= {oldest}")

    @staticmethod
    def _pages(con: sqlite3.Connection) -> int:
        """Pages that hold something; those of deleted rows are used again."""
        used, free = (
            con.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        return int(used - free)

    def close(self) -> None:
        self._is_closed.set()
        self._writer.join()

    def rows(self, audience: str) -> list[sqlite3.Row]:
        """What was noted of an audience's sessions, oldest first."""
        self.flush()
        with self._open() as con:
            return con.execute(
                "select * from served where audience = ? order by served_id", [audience]
            ).fetchall()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._file, timeout=60)) as con, con:
                con.row_factory = sqlite3.Row
                yield con
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in DAMAGE:
                way_back = "Move it away: serving begins a new one, and what readers did before is only in the old one"
                raise DamagedError(self._file, str(error), way_back) from None
            raise RunStoreError(
                f"{self._file}, the audit of serving, cannot be written: {error}. Is the disk full, or read-only?"
            ) from None

    def _write_often(self) -> None:
        """A full disk does not end the serving of readers, but the server's log (stderr) says so, once."""
        is_ending = is_known = False
        while not is_ending:
            is_ending = self._is_closed.wait(WRITE_SECONDS)
            try:
                self.flush()
                is_known = False
            except SluiceError as error:
                if not is_known:
                    sys.stderr.write(f"{error}\n")
                is_known = True

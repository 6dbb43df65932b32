"""The versions of the run store: what brings a file from one to the next, and which one this engine works with.

The version of the run store is the version of the whole warehouse: whatever else in SLUICE_HOME changes its form gets a
migration here, so that every command notices.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from sluice import __version__
from sluice.config.settings import UPGRADE_JOURNAL
from sluice.errors import VersionError

FIRST_SCHEMA = """
create table if not exists runs (
    run_id text primary key,
    command text not null,
    started_at text not null,
    ended_at text,
    status text not null,
    process integer
);
create table if not exists loads (
    run_id text not null,
    source text not null,
    table_name text not null,
    started_at text not null,
    ended_at text not null,
    status text not null,
    rows_read integer not null,
    rows_loaded integer not null,
    rows_deleted integer not null,
    rows_quarantined integer not null,
    retries integer not null default 0,
    bytes integer not null,
    cursor_from text,
    cursor_to text,
    package text,
    error text,
    new_columns text,
    lost_columns text,
    primary key (run_id, source, table_name)
);
create table if not exists publications (
    publication_id integer primary key,
    action text not null,
    audience text,
    version text,
    who text not null,
    started_at text not null,
    ended_at text,
    status text not null,
    detail text
);
create table if not exists builds (
    invocation_id text primary key,
    command text not null,
    started_at text not null,
    ended_at text not null
);
create table if not exists build_results (
    invocation_id text not null,
    node text not null,
    status text not null,
    failures integer,
    seconds real not null,
    row_count integer,
    message text,
    primary key (invocation_id, node)
);
create table if not exists build_failing_rows (
    invocation_id text not null,
    node text not null,
    columns text not null,
    rows text not null,
    primary key (invocation_id, node)
);
"""

MIGRATIONS = (
    FIRST_SCHEMA,
    "alter table loads add column message text",
    "alter table loads add column warnings text",
    """
    create table engines (
        since text not null,
        engine text not null,
        database text not null,
        upgrade text
    )
    """,
    """
    create table build_decisions (
        invocation_id text not null,
        node text not null,
        reason text not null,
        primary key (invocation_id, node)
    )
    """,
)
"""SQL that brings the file from one version (`pragma user_version`) to the next; add to the end, change nothing."""
ADDED_COLUMNS = (
    ("loads", "new_columns", "text"),
    ("loads", "lost_columns", "text"),
    ("loads", "retries", "integer not null default 0"),
    ("runs", "process", "integer"),
)
"""What files of version 0, from before versions were counted, may lack."""


def store_version(con: sqlite3.Connection) -> int:
    """The number of migrations a file has had."""
    return int(con.execute("pragma user_version").fetchone()[0])


def is_empty(con: sqlite3.Connection) -> bool:
    """Whether the file has just been made."""
    return con.execute("select 1 from sqlite_master limit 1").fetchone() is None


def written_by(con: sqlite3.Connection) -> str | None:
    """The version of the engine that made the file or upgraded it last; None in files from before that was recorded."""
    if not con.execute("select 1 from sqlite_master where name = 'engines'").fetchone():
        return None
    row = con.execute("select engine from engines order by rowid desc limit 1").fetchone()
    return row and str(row[0])


def refuse_interrupted(file: Path) -> None:
    """Raise VersionError if the upgrade of the warehouse with this run store was interrupted."""
    if file.with_name(UPGRADE_JOURNAL).exists():
        raise VersionError(
            f"An upgrade of {file.parent} was interrupted. Run `sluice upgrade`: it puts everything back as it was, or "
            "ends what was complete. Until then nothing is done"
        )


def refuse_other_version(con: sqlite3.Connection, file: Path) -> None:
    """Raise VersionError if a file is of another version than this engine's."""
    if is_empty(con):
        return
    refuse_newer(con, file)
    if store_version(con) < len(MIGRATIONS):
        by = written_by(con)
        raise VersionError(
            f"{file} was written by an earlier engine{f', Sluice {by}' if by else ''}; this is Sluice {__version__}. "
            "Run `sluice upgrade`: it shows what changes, and keeps a backup. Nothing was changed"
        )


def refuse_newer(con: sqlite3.Connection, file: Path) -> None:
    """Raise VersionError if a file has had migrations that this engine does not know."""
    if store_version(con) > len(MIGRATIONS):
        by = written_by(con)
        raise VersionError(
            f"{file} was written by a newer engine{f', Sluice {by}' if by else ''}; this is Sluice {__version__}. "
            "Install that version, or go back as docs/upgrade.md says. Nothing was changed"
        )


def migrate(con: sqlite3.Connection, upgrade: str | None = None) -> None:
    """Apply the migrations a file has not had, in the open transaction, and record this engine.

    upgrade: the name of the upgrade that does this; None for a new file.
    """
    version = store_version(con)
    for script in MIGRATIONS[version:]:
        for statement in script.split(";"):
            con.execute(statement)
    if version == 0:
        for table, name, kind in ADDED_COLUMNS:
            if name not in {row[1] for row in con.execute(f"pragma table_info({table})")}:
                con.execute(f"alter table {table} add column {name} {kind}")
    con.execute(f"pragma user_version = {len(MIGRATIONS)}")
    from importlib.metadata import version as installed

    if upgrade or not con.execute("select 1 from engines").fetchone():
        con.execute(
            "insert into engines values (?, ?, ?, ?)",
            [datetime.now(UTC).isoformat(), __version__, installed("duckdb"), upgrade],
        )

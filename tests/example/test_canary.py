"""The canary test over the whole company: a mark in every personal column of every source, and all that comes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sandbox import company
from sluice.config.sources import load_sources
from sluice.publish.versions import Versions

ROOT = Path(__file__).parents[2]
MARK = "canaryqx"
DIGITS = "771177117711"
"""The mark of phone numbers, of which only digits are left on the way."""
PLANTED = {
    "email": f"'{MARK}' || rowid || '@example.com'",
    "phone": f"'+4930{DIGITS}' || rowid",
    "tax_id": f"'DE{MARK.upper()}' || rowid",
}
JSON = {
    "session": f"""json_merge_patch(session, json_object('visitor_id', '{MARK}' || (session ->> 'visitor_id'),
        'id', '{MARK}' || (session ->> 'id')))""",
    "contact": f"""json_object('name', '{MARK} ' || rowid, 'email', '{MARK}' || rowid || '@example.com',
        'phone', '+4930{DIGITS}' || rowid)""",
    "address": f"json_object('street', '{MARK}', 'postal_code', '{MARK}', 'city', '{MARK}')",
}
KEPT = {"method", "amount"}
"""Payments: one of a handful of words, and a number; a mark would be no payment any more, and no mart has them."""


def _plant(raw: Path) -> int:
    planted = 0
    with duckdb.connect(str(raw)) as con:
        for source in load_sources(ROOT / "sources"):
            for table in source.tables:
                for column in table.columns:
                    if not column.data_class or column.name in KEPT:
                        continue
                    value = JSON.get(column.name) or PLANTED.get(column.data_class, f"'{MARK} ' || rowid")
                    con.execute(
                        f'update "{source.schema}"."{table.name}" set "{column.name}" = {value}'
                        f' where "{column.name}" is not null'
                    )
                    planted += 1
    return planted


def _holds_mark(content: bytes) -> bool:
    return MARK.encode() in content.lower() or DIGITS.encode() in content


def _cells_with_mark(file: Path) -> set[tuple[str, str]]:
    """Columns of a published file in which the mark is; DuckDB compresses text, so bytes alone prove nothing."""
    with duckdb.connect(str(file), read_only=True) as con:
        names = con.execute("select table_name, column_name from information_schema.columns").fetchall()
        return {
            (table, column)
            for table, column in names
            if con.execute(
                f'select count(*) from "{table}" where contains(lower("{column}"::varchar), $1)'
                f' or contains("{column}"::varchar, $2)',
                [MARK, DIGITS],
            ).fetchall()
            != [(0,)]
        }


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_marks_reach_only_those_who_are_cleared(tmp_path: Path) -> None:
    home = tmp_path / "home"
    logs, temporary = tmp_path / "logs", tmp_path / "temporary"
    temporary.mkdir()
    places = {
        "SLUICE_HOME": home,
        "DBT_TARGET_PATH": home / "target",
        "DBT_LOG_PATH": logs,
        "TMPDIR": temporary,
    }

    def sluice(*arguments: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("sluice")), *arguments],
            cwd=ROOT,
            env={**os.environ, **{k: str(v) for k, v in places.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed[-4000:]
        return printed

    company.up(home, scale=0.02)  # in this process, with which its servers end
    try:
        sluice("load")
    finally:
        sluice("sandbox", "down")
    assert _plant(home / "raw.duckdb") > 20
    printed = sluice("build", "--exclude-resource-type", "unit_test")
    printed += sluice("publish")
    printed += sluice("catalog")
    versions = Versions(home / "published")
    current = versions.path(versions.current or "")

    cleared = _cells_with_mark(current / "customer_care.duckdb")
    assert {column for _, column in cleared} >= {"customer_name", "email", "phone", "postal_code"}
    assert not {column for _, column in cleared} & {"vat_id", "visitor_id", "session_id"}
    assert _cells_with_mark(current / "analysts.duckdb") == set()
    assert _cells_with_mark(current / "dach_managers.duckdb") == set()
    assert not _holds_mark(printed.encode())
    holding = {
        str(file.relative_to(tmp_path))
        for folder in (home / "published", home / "target", logs, temporary)
        for file in folder.rglob("*")
        if file.is_file() and _holds_mark(file.read_bytes())
    }
    assert holding <= {str((current / "customer_care.duckdb").relative_to(tmp_path))}
    assert _holds_mark((home / "warehouse.duckdb").read_bytes()), "the marks were there to be found"

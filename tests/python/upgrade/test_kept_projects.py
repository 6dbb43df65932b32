"""Projects as earlier versions left them: upgraded as docs/upgrade.md shows, then loaded, built, published, reviewed."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sluice import __version__
from sluice.config.settings import Settings
from sluice.errors import VersionError
from sluice.publish.versions import Versions
from sluice.serve.server import Server
from sluice.upgrade.project_files import is_newer
from tests.blocks import ROOT, blocks
from tests.python.upgrade.library import FIXTURES, environment, next_day, sluice, unpack

pytestmark = pytest.mark.timeout(600)
KEPT = sorted(file.name.removesuffix(".tar.gz") for file in FIXTURES.glob("v*.tar.gz"))
COUNTS = (
    "select (select count(*) from runs), (select count(*) from loads), (select count(*) from publications)"
)
LOANS = "select count(*), sum(fee), sum(loan_id) from fct_loans"


@dataclass
class Kept:
    """An upgraded project, and what it held before."""

    root: Path
    runs: tuple[int, int, int]
    """Runs, loads and publications."""
    raw: dict[str, list[tuple[Any, ...]]]
    said: str


@pytest.fixture(scope="module", params=KEPT)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp(request.param)
    unpack(request.param, root)
    runs, raw = _runs(root), _raw(root)
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = ""
    for block in blocks(ROOT / "docs" / "upgrade.md"):
        done = subprocess.run(
            ["bash", "-euc", block.text],
            cwd=root,
            env={**environment(), "PATH": tools},
            capture_output=True,
            text=True,
        )
        said += done.stdout + done.stderr
        assert done.returncode == 0, said
    return Kept(root, runs, raw, said)


def _runs(root: Path) -> tuple[int, int, int]:
    with closing(sqlite3.connect(root / "warehouse" / "ledger.sqlite")) as con:
        counts: tuple[int, int, int] = con.execute(COUNTS).fetchone()
    return counts


def _raw(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the sources, by table."""
    with duckdb.connect(str(root / "warehouse" / "raw.duckdb"), read_only=True) as con:
        names = con.execute(
            "select schema_name || '.' || table_name from duckdb_tables()"
            " where schema_name in ('library', 'fees') and table_name not like '\\_dlt%' escape '\\'"
        ).fetchall()
        return {name: con.execute(f"from {name} order by all").fetchall() for (name,) in names}


def _marts(file: Path, schema: str) -> tuple[Any, ...] | None:
    with duckdb.connect(str(file), read_only=True) as con:
        con.execute(f"use {schema}")
        return con.execute(LOANS).fetchone()


@pytest.mark.full  # it upgrades, loads, builds and publishes: 30 s
def test_it_is_upgraded_without_losing_a_row(kept: Kept) -> None:
    assert "nothing to do" in kept.said
    assert _runs(kept.root) == kept.runs
    assert _raw(kept.root) == kept.raw
    next_day(kept.root)
    assert re.search(
        r"^library +3 +1 ", sluice(kept.root, "load"), re.M
    )  # two loans, and a book that is gone
    now = {name: len(rows) for name, rows in _raw(kept.root).items()}
    before = {name: len(rows) for name, rows in kept.raw.items()}
    assert now == {
        **before,
        "library.loans": before["library.loans"] + 2,
        "fees.fees": before["fees.fees"] + 1,
    }
    sluice(kept.root, "build")
    warehouse = kept.root / "warehouse"
    assert _marts(warehouse / "warehouse.duckdb", "marts") == (22, 7, 253)
    published = Versions(warehouse / "published")
    (earlier,) = published.names
    sluice(kept.root, "publish", "--accept-rows")
    assert len(published.names) == 2
    assert _marts(warehouse / "published" / "current" / "librarians.duckdb", "main") == (22, 7, 253)
    sluice(kept.root, "publish", "--rollback", earlier)
    assert _marts(warehouse / "published" / "current" / "librarians.duckdb", "main") == (20, 5.5, 210)


@pytest.mark.full
def test_a_change_of_it_is_reviewed(kept: Kept) -> None:
    for command in ("init -qb main", "add -A", "commit -qm kept"):
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", *command.split()],
            cwd=kept.root,
            check=True,
        )
    model = kept.root / "models" / "fct_loans.sql"
    model.write_text(model.read_text().replace("left join fees", "join fees"))
    said = sluice(kept.root, "review", "--base", "main")
    assert re.search(r"fct_loans.*(20|22).*→.*[123]\b", said), said


def test_each_earlier_release_has_its_project() -> None:
    """Made by tests/python/upgrade/library.py with the engine of that version, when it is released."""
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    wanted = [v for v in released if v != "0.1.0" and (v == "0.2.0" or is_newer(__version__, v))]
    missing = [v for v in wanted if f"v{v.replace('.', '_')}" not in KEPT]
    assert not missing, f"run `python tests/python/upgrade/library.py FOLDER` with the engine of {missing}"


def test_a_server_refuses_what_another_version_wrote(tmp_path: Path) -> None:
    unpack("v0_2_0", tmp_path)
    settings = Settings(root=tmp_path, home=tmp_path / "warehouse")
    with pytest.raises(VersionError, match=r"Run `sluice upgrade`"):
        Server(settings, "librarians")
    settings.ledger.unlink()
    file = settings.published_path("librarians", "duckdb").resolve()
    file.chmod(0o600)
    file.write_bytes(gzip.decompress((FIXTURES / "duckdb_2_0_0.duckdb.gz").read_bytes()))
    with pytest.raises(VersionError, match=r"made by DuckDB v2\.0\.0"):
        Server(settings, "librarians")

"""What short commands do not import, so that nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from sluice.cli import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
HEAVY = {"dlt", "dbt", "duckdb", "sqlglot", "pyarrow", "fsspec", "requests", "sqlalchemy"}
SOURCE = """version: 2
sources:
  - name: shop
    schema: shop
    database: raw
    config: {meta: {owner: a@b.example, load: {kind: database, connection: shop}}}
    tables:
      - name: orders
        config: {meta: {load: {primary_key: order_id}}}
        columns: [{name: order_id, data_type: bigint}, {name: amount, data_type: "decimal(18,2)"}]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dbt_project.yml").write_text("name: small\n")
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "shop.yml").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (["--help"], {"yaml", "pydantic", "sqlite3"}),
        (["--version"], {"yaml", "pydantic", "sqlite3"}),
        (["status"], set()),
        (["runs"], set()),
        (["check", "sources/shop.yml"], set()),
    ],
)
def test_a_short_command_imports_nothing_heavy(project: Path, command: list[str], more: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        cwd=project,
        env=os.environ | {"SLUICE_HOME": "warehouse"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    imported = set(done.stderr.split())
    assert {"typer", "sluice"} <= imported
    assert imported & (HEAVY | more) == set()

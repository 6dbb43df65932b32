"""docs/start.md, word for word: from the wheel to a warehouse with somebody's data; no file is edited by hand."""

from __future__ import annotations

import base64
import gzip
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from servers import Postgres
from tests.blocks import ROOT, blocks

BLOCKS = [block.text for block in blocks(ROOT / "docs" / "start.md") if block.language == "sh"]
SECONDS = 120
"""What the page may take of a processor's time, without the installation; a clock would measure what else runs."""
OFFLINE = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "https_proxy": "http://127.0.0.1:9"}

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


@dataclass
class Acme:
    """The project that the page makes, and what its commands printed."""

    root: Path
    environment: dict[str, str]
    said: str = ""
    seconds: float = 0
    """Of a processor, from the first look at the data to the commit."""

    def run(self, script: str, fails: int = 0, environment: Mapping[str, str] | None = None) -> str:
        """What a script prints in the project, where its environment is activated."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f". .venv/bin/activate\n{script}"],
            cwd=self.root,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert done.returncode == fails, f"{script}\nended with {done.returncode}:\n{said[-6000:]}"
        return said

    def published(self, sql: str) -> list[tuple[object, ...]]:
        """What analysts read."""
        file = self.root / "warehouse" / "dev" / "published" / "current" / "analysts.duckdb"
        with duckdb.connect(file, read_only=True) as con:
            return con.sql(sql).fetchall()


@pytest.fixture(scope="module")
def northwind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"), "northwind")
    try:
        server.start()
        server.sql((ROOT / "tests" / "install" / "northwind.sql").read_text(encoding="utf-8"))
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def acme(northwind: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Acme:
    """Every block of the page, in order, in one shell that has Python, git, make and uv."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("needs uv, which the page uses")
    folder = tmp_path_factory.mktemp("start")
    programs = folder / "bin"
    programs.mkdir()
    for name, program in {
        "uv": uv,
        "uvx": uv.with_name("uvx"),
        "python3": Path(sys.executable).resolve(),
    }.items():
        (programs / name).symlink_to(program)
    subprocess.run(
        [sys.executable, ROOT / ".ci" / "dist.py", folder / "dist"], check=True, capture_output=True
    )
    (folder / "returns").mkdir()
    for month in (8, 9):
        lines = [
            f"{month * 100 + i};{10248 + i * 7 + month};{i % 28 + 1:02}.{month:02}.2026;{i * 3},{i % 10}0"
            for i in range(40)
        ]
        text = "\n".join(["return_id;order_id;returned_on;amount", *lines, ""])
        (folder / "returns" / f"returns_2026-{month:02}.csv").write_text(text, encoding="utf-8")
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        **{
            f"GIT_{who}_{what}": "ann@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
        **{k: v for k, v in os.environ.items() if k.startswith(("UV_", "PIP_", "SSL_"))},  # the registry
    }
    script = "\n".join(block for block in BLOCKS if not block.startswith("make dist"))
    for shown, here in {
        "path/to/dist": str(folder / "dist"),
        "path/to/returns": str(folder / "returns"),
        "postgresql://reader:secret@localhost:5432/northwind": northwind.loader_url,
    }.items():
        assert shown in script
        script = script.replace(shown, here)
    install, _, rest = script.partition("sluice discover")
    subprocess.run(["bash", "-euo", "pipefail", "-c", install], cwd=folder, env=environment, check=True)
    project = Acme(folder / "acme", environment)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.said = project.run(f"sluice discover{rest}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return project


def test_the_page_takes_less_than_two_minutes_without_the_installation(acme: Acme) -> None:
    assert acme.seconds < SECONDS


def test_everything_is_loaded_built_tested_published_and_catalogued(acme: Acme) -> None:
    assert re.search(r"northwind +3,525 +0 +0 .* ok", acme.said)
    assert re.search(r"returns +80 +0 +0 .* ok", acme.said)
    assert "conventions are kept" in acme.said
    assert "ERROR=0" in acme.said
    tables = {name for (name,) in acme.published("select table_name from duckdb_tables()")}
    assert len(tables) > 1, "the example's mart, and the first of one's own"
    page = (acme.root / "target" / "catalog.html").read_text(encoding="utf-8")
    parts = re.findall(r">([A-Za-z0-9+/=]{100,})<", page)
    assert "stg_northwind__order_details" in "".join(
        gzip.decompress(base64.b64decode(p)).decode() for p in parts
    )


def test_no_password_is_in_git_and_nothing_that_a_run_makes(acme: Acme, northwind: Postgres) -> None:
    assert acme.run("git status --porcelain") == ""
    assert acme.run(f"git grep -I '{northwind.secrets['loader']}'", fails=1) == ""
    files = acme.run("git ls-files").split()
    assert not [f for f in files if f.startswith((".venv/", "warehouse/", "target/", "logs/")) or f == ".env"]


def test_a_second_run_adds_nothing(acme: Acme) -> None:
    said = acme.run("make run")
    assert re.search(r"northwind +0 +0 +0 .* ok", said)
    assert re.search(r"returns +0 +0 +0 .* ok", said)


def test_hooks_and_checks_need_no_network(acme: Acme) -> None:
    acme.run("pre-commit install && pre-commit run --all-files && make check", environment=OFFLINE)


def test_a_branch_is_reviewed(acme: Acme) -> None:
    model = acme.root / "models" / "marts" / "example" / "fct_example_orders.sql"
    model.write_text(
        model.read_text(encoding="utf-8").replace("from orders\n", "from orders\nwhere net_eur > 40\n")
    )
    said = acme.run("git switch -q -c large && make review && git restore . && git switch -q main")
    assert "where-added:fct_example_orders" in said
    assert re.search(r"`fct_example_orders` \| 4 → 2 \|", said)

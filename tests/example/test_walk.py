"""README.md and pages of docs/, followed by hand: every block, in order, in a clone with an environment of its own."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import sync_playwright

from tests.blocks import ROOT, Block, blocks

PAGES = ("README.md", *(f"docs/{name}.md" for name in ("catalog", "lineage", "publishing", "serving")))
"""In this order, as each page finds what those before it left behind."""
IN_A_BUCKET = "fsspec.filesystem"
"""The block that reads one: tests/python/publish/test_parquet.py."""
SQL = """
import duckdb, sys
con = duckdb.connect()
con.execute("attach 'warehouse/published/current/analysts.duckdb' as analysts (read_only); use analysts")
print(con.execute(sys.argv[1]).fetchall())
"""
KEY = "a key of customer care"
CERTIFICATE = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out chain.pem"

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


class Reader:
    """Somebody with a clone and a shell; Python and make are there, and nothing else."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        self.said: dict[str, str] = {}
        """What a block printed, by page and first line."""
        self._environment = {
            "PATH": f"{clone / '.venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(clone.parent),
            "PYTHON": sys.executable,
            "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
            "CONNECTIONS__PUBLISH_CUSTOMER_CARE__KEY": KEY,
            **{k: v for k, v in os.environ.items() if k.startswith(("UV_", "PIP_", "SSL_", "TMPDIR"))},
        }

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.clone,
            env=self._environment,
            capture_output=True,
            text=True,
            input="a key\n",
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{command[-1]}\nended with {done.returncode}:\n{said[-6000:]}"
        return said

    def follow(self, page: str) -> None:
        """Do what a page shows: write its files, and run its commands, its Python and its SQL."""
        for block in blocks(ROOT / page):
            if block.file and block.language in ("sql", "yaml") and page == "README.md":
                file = self.clone / block.file
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
            elif block.language in ("sh", "python", "sql") and IN_A_BUCKET not in block.text:
                self.said[f"{page} {block.text.splitlines()[0].split('#')[0].strip()}"] = self._do(block)

    def _do(self, block: Block) -> str:
        if "sluice serve" in block.text:
            return self._serve(block)
        if block.language == "sh":
            # the tests are what this is one of: here they are only found
            text = re.sub(r"^make test\b", 'make test ARGS="--collect-only -q"', block.text, flags=re.M)
            return self.run("bash", "-euo", "pipefail", "-c", text)
        if "grpc://" in block.text:
            return ""  # it was run while the server was up
        if block.language == "python":
            return self.run("python", "-c", block.text)
        return self.run("python", "-c", SQL, block.text.replace("…", KEY))

    def _serve(self, block: Block) -> str:
        """A token is issued; each server is started, and asked as the page's Python does."""
        said = ""
        for line in [line.split("#")[0].strip() for line in block.text.splitlines()]:
            if "--issue-token" in line:
                said += self.run("bash", "-c", line)
                token = said.split()[-1]
            elif "--certificate" in line:
                self.run("bash", "-c", CERTIFICATE)
                with self._started(line):
                    pass
            else:
                (asking,) = [b for b in blocks(ROOT / block.page) if b.language == "python"]
                with self._started(line):
                    said += self.run("python", "-c", asking.text.replace("…", token))
        return said

    @contextlib.contextmanager
    def _started(self, line: str) -> Iterator[None]:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=self.clone,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert server.stdout
            assert "serving analysts" in server.stdout.readline()
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """The repository as it is here, with what is not committed.

    PostgreSQL runs as a user of its own if this one is root, and pytest's folders are closed to other users.
    """
    folder = Path(tempfile.mkdtemp(prefix="sluice-walk-"))
    folder.chmod(0o755)
    clone = folder / "sluice"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    listed = ["git", "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    changed = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, changed.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    yield Reader(clone)
    subprocess.run([clone / ".venv" / "bin" / "sluice", "sandbox", "down"], cwd=clone, check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_followed(reader: Reader, page: str) -> None:
    """No block fails. Those after README.md need what it left behind."""
    if page != PAGES[0] and not (reader.clone / "warehouse" / "published").exists():
        reader.run("make", "run")
    before = len(reader.said)
    reader.follow(page)
    assert len(reader.said) > before
    if page == "README.md":
        _what_the_readme_promises(reader)
    if page == "docs/catalog.md":
        _what_the_catalog_offers_runs(reader)
        _what_the_catalog_finds(reader)


def _what_the_readme_promises(reader: Reader) -> None:
    run = reader.said["README.md make run"]
    assert re.search(r"models: \d+ built.*; tests: \d+ passed", run)
    answer = reader.said["README.md import duckdb"]
    months = re.findall(r"│ (\d{4}-\d\d-\d\d) │", answer)
    assert months == sorted(months, reverse=True)
    assert len(months) == 10
    assert "…" not in answer, "the answer is cut"
    assert "version " in reader.said["README.md sluice sandbox up"], "the new week is published"
    assert "PASS=" in reader.said["README.md sluice build --select stg_roastery__batches"]


def _what_the_catalog_offers_runs(reader: Reader) -> None:
    """Every sample query of a table, in the file of each audience of it, opened as the page says."""
    page = (reader.clone / "target" / "catalog.html").read_text(encoding="utf-8")
    packed = re.findall(r'id="data-(part-\d+)">([^<]*)<', page)
    tables = [t for _, text in packed for t in json.loads(gzip.decompress(base64.b64decode(text)))]
    ran = 0
    with contextlib.chdir(reader.clone):
        for table in tables:
            for _, opening in table.get("openings", []):
                with duckdb.connect() as con:
                    con.execute(opening.replace("…", KEY))
                    for _, sql in table["queries"]:
                        con.execute(sql).fetchall()
                        ran += 1
    assert ran > 30


def _what_the_catalog_finds(reader: Reader) -> None:
    """What people ask of the example's catalog, and what has to come first."""
    if (program := shutil.which("chromium")) is None:
        pytest.skip("needs Chromium: install Debian's `chromium`")
    wanted = {
        "revenue": ["fct_order_lines.amount_eur", "rpt_regional_sales_monthly.net_sales_eur"],
        "how much did we sell": ["fct_order_lines.amount_eur", "rpt_regional_sales_monthly.net_sales_eur"],
        "margin": ["rpt_regional_sales_monthly.net_sales_eur"],
        "profit": ["rpt_regional_sales_monthly.net_sales_eur"],
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"file://{reader.clone}/target/catalog.html")
        for question, first in wanted.items():
            page.get_by_label("Search tables").fill(question)
            page.locator(".hits a.name").first.wait_for()
            page.wait_for_timeout(200)
            assert page.locator(".hits a.name").all_text_contents()[: len(first)] == first
        browser.close()

"""A catalog of the small company, and a browser to open it with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from sluice.catalog import build_document, gather, render
from sluice.catalog.facts import CatalogFacts
from tests.python.catalog.small import Company

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Read it, do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DBT_TARGET_PATH", raising=False)
        made = Company(tmp_path_factory.mktemp("small")).live()
        made.publish()
        yield made


@pytest.fixture(scope="session")
def gathered(company: Company) -> CatalogFacts:
    return gather(company.settings)


@pytest.fixture(scope="session")
def page_text(gathered: CatalogFacts) -> str:
    return render(build_document(gathered))


@pytest.fixture(scope="session")
def page_file(page_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "catalog.html"
    file.write_text(page_text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A module's own: its event loop keeps `asyncio.run` from working as long as it lives."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium: install Debian's `chromium`")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures of the test run stay: target/screenshots, which git ignores."""
    folder = Path(__file__).parents[3] / "target" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

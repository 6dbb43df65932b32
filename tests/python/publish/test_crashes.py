"""SIGKILL at every step of a publication, a rollback and a key rotation: readers find one whole verified version.

A step is a call that leaves Python (a DuckDB statement, a file operation, …) from a line of the code that
publishes, or one of the keyring; a child process counts them and kills itself before the n-th. Nobody picks the points
by hand.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb
import keyring
import keyring.core
import pytest

import pipelines.publish
from pipelines.ledger import Ledger
from pipelines.publish import publish, rollback, rotate_key
from pipelines.publish.versions import Versions
from pipelines.settings import Settings

from .conftest import AUDIENCES, Company

WATCHED = (
    str(Path(pipelines.publish.__file__).parent),
    str(Path(pipelines.publish.__file__).parents[1] / "ledger.py"),
)
OPERATIONS: dict[str, Callable[[Settings], Any]] = {
    "publish": publish,
    "rollback": rollback,
    "rotate_key": lambda settings: rotate_key(settings, "support"),
    "rotate_key in the keyring": lambda settings: rotate_key(settings, "support"),
}


@pytest.fixture(autouse=True)
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A keyring in a file, put back with SLUICE_HOME."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "project" / "home" / "keyring"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    keyring.core.init_backend()
    yield
    monkeypatch.undo()
    keyring.core.init_backend()


def _child(settings: Settings, operation: str, fatal: int, counted: Any) -> None:
    """Do `operation`; die before step number `fatal`, and count the steps."""
    steps = 0
    last: tuple[int, int] | None = None

    def step(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal steps, last
        asks_keyring = event == "call" and frame.f_code.co_filename == keyring.core.__file__
        if not asks_keyring and (event != "c_call" or not frame.f_code.co_filename.startswith(WATCHED)):
            return
        if getattr(argument, "__module__", "") == "builtins" and argument.__name__ != "open":
            return  # len, sorted, …: nothing can be half done in between
        if isinstance(getattr(argument, "__self__", None), str | list | dict | set):
            return
        here = (id(frame), frame.f_lineno)
        if here == last:
            return
        last = here
        steps += 1
        counted.value = steps
        if steps == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(step)
    OPERATIONS[operation](settings)
    sys.setprofile(None)


def _run(settings: Settings, operation: str, fatal: int) -> tuple[int, int]:
    """Exit code of the child and the steps it made."""
    context = multiprocessing.get_context("fork")
    counted = context.Value("i", 0)
    child = context.Process(target=_child, args=(settings, operation, fatal, counted))
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode, counted.value


def _support_keys(company: Company) -> list[str]:
    """Keys support may have: none, the old one, the one a rotation was about to bring in."""
    folder = company.settings.home / "keys"
    entries = [keyring.get_password("sluice", name) for name in ("support", "support_next")]
    return ["", *(f.read_text() for f in sorted(folder.glob("support*"))), *filter(None, entries)]


def _whole(company: Company) -> str:
    """The version readers find; every table of every audience must be what its manifest says."""
    version = Versions(company.published).read_current()
    assert version is not None
    for audience, published in version.audiences.items():
        found = None
        for key in _support_keys(company) if audience == "support" else [""]:
            try:
                found = {
                    name: company.read(audience, f'select count(*), sum(hash(t))::text from "{name}" t', key)[
                        0
                    ]
                    for name in published.tables
                }
            except duckdb.Error:
                continue
            for name, table in published.tables.items():
                columns = ", ".join(table.columns)
                query = f'select count(*), sum(hash({columns})::hugeint)::text from "{name}"'
                assert company.read(audience, query, key) == [(table.rows, table.fingerprint)], (
                    audience,
                    name,
                )
            break
        assert found is not None, f"{audience} cannot be read"
    return version.version


def _prepared(company: Company) -> None:
    """Two versions, a key in use, and a change that is not published yet."""
    company.publish()
    rotate_key(company.settings, "support")
    company.sql("update marts.dim_products set title = 'second'")
    company.publish()
    company.sql(
        "update marts.dim_products set title = 'third'", "update marts.dim_customers set name = 'third'"
    )
    company.built()


def _walk(company: Company, operation: str, steps: Callable[[int], list[int]]) -> None:
    if "keyring" in operation:
        company.policy(AUDIENCES.replace("${publish_support.key}", "${keyring.support}"))
        keyring.set_password("sluice", "support", "the first key")
    _prepared(company)
    rotates = operation.startswith("rotate_key")
    home, saved = company.settings.home, company.settings.root / "saved"
    shutil.copytree(home, saved, symlinks=True)

    def restore() -> None:
        shutil.rmtree(home)
        shutil.copytree(saved, home, symlinks=True)

    before = _whole(company)
    code, total = _run(company.settings, operation, 0)
    assert code == 0
    after = _whole(company)
    assert (after != before) == (not rotates)
    assert total > 10
    seen = set()
    for fatal in steps(total):
        restore()
        code, _ = _run(company.settings, operation, fatal)
        assert code == -signal.SIGKILL, f"step {fatal} of {total} was not reached"
        found = _whole(company)
        seen.add("before" if found == before else "after")
        # what was begun can be done, and nothing of the first try stays behind
        if operation == "rollback" and found != before:
            continue
        OPERATIONS[operation](company.settings)
        assert rotates or _whole(company) != before
        assert not (company.published / "building").exists() or not any(
            (company.published / "building").iterdir()
        )
        statuses = [row["status"] for row in Ledger(company.settings.ledger).publications(100)]
        assert "running" not in statuses
    if not rotates:
        assert seen == {"before", "after"}, "the last step is after the switch"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_here_and_there(operation: str, company: Company) -> None:
    """A few points, evenly spread."""
    _walk(company, operation, lambda total: [*range(1, total, max(1, total // 5)), total])


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_every_step(operation: str, company: Company) -> None:
    _walk(company, operation, lambda total: [*range(1, total + 1)])

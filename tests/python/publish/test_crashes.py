"""SIGKILL at every step of a publication, a rollback and a key rotation: readers find one whole verified version.

A step is a call that changes something outside (a DuckDB statement, a file operation, a request to the bucket or the
keyring) from a line of the code that publishes; a child process counts them and kills itself before the n-th. Nobody picks
the points by hand.
"""

from __future__ import annotations

import itertools
import json
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
import fsspec
import keyring
import keyring.core
import pytest

import pipelines.publish.mirror
import pipelines.publish.versions
from pipelines.ledger import Ledger
from pipelines.publish import publish, rollback, rotate_key
from pipelines.publish.versions import Versions
from pipelines.publish.write import parquet_key
from pipelines.settings import Settings

from .conftest import AUDIENCES, Company

WATCHED = (
    str(Path(pipelines.publish.__file__).parent),
    str(Path(pipelines.publish.__file__).parents[1] / "ledger.py"),
)
CHANGING = {
    *("mkdir", "rename", "replace", "unlink", "symlink_to", "chmod", "write_text", "open", "rmtree"),
    *("put_file", "pipe_file", "mv", "rm_file", "wrapper"),  # the last is what fsspec makes of those of S3
    *("set_password", "delete_password"),
}
"""Functions of Python libraries that do so; what they call in turn is not ours."""
OPERATIONS: dict[str, Callable[[Settings], Any]] = {
    "publish": publish,
    "rollback": rollback,
    "rotate_key": lambda settings: rotate_key(settings, "support"),
    "rotate_key in the keyring": lambda settings: rotate_key(settings, "support"),
    "rotate_key of a folder": lambda settings: rotate_key(settings, "analysts"),
}
STRIDE = int(os.environ.get("SLUICE_CRASH_STRIDE") or 4)
"""Of a long walk one step in so many is taken, and each of the last ones; 1: all, which takes half an hour."""
OF_FILES = [name for name in OPERATIONS if "folder" not in name]


@pytest.fixture(autouse=True)
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A keyring in a file, put back with SLUICE_HOME."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "project" / "home" / "keyring"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    keyring.core.init_backend()
    yield
    monkeypatch.undo()
    keyring.core.init_backend()


def _child(settings: Settings, operation: str, fatal: int, counted: Any, watched: tuple[str, ...]) -> None:
    """Do `operation`; die before step number `fatal`, and count the steps."""
    steps = 0
    last: tuple[int, int] | None = None

    def step(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal steps, last
        is_library = event == "call" and frame.f_code.co_name in CHANGING and frame.f_back
        if is_library and frame.f_back:
            frame = frame.f_back
        elif event != "c_call":
            return
        if not frame.f_code.co_filename.startswith(watched):
            return
        if getattr(argument, "__module__", "") == "builtins" and argument.__name__ != "open":
            return  # len, sorted, …: nothing can be half done in between
        if isinstance(getattr(argument, "__self__", None), str | list | dict | set):
            return
        here = (id(frame), frame.f_lineno)
        if here == last and not is_library:
            return  # one more call of the same statement
        last = here
        steps += 1
        counted.value = steps
        if steps == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(step)
    OPERATIONS[operation](settings)
    sys.setprofile(None)


def _run(
    settings: Settings, operation: str, fatal: int, watched: tuple[str, ...] = WATCHED
) -> tuple[int, int]:
    """Exit code of the child and the steps it made; those in the files `watched` count."""
    context = multiprocessing.get_context("fork")
    counted = context.Value("i", 0)
    child = context.Process(target=_child, args=(settings, operation, fatal, counted, watched))
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


def _all_over(total: int) -> list[int]:
    """The steps of the full suite: each of a short walk and of the end of a long one, where versions are switched."""
    if total <= 60:
        return [*range(1, total + 1)]
    return [*range(1, total - 30, STRIDE), *range(total - 30, total + 1)]


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


@pytest.mark.parametrize("operation", OF_FILES)
def test_killed_here_and_there(operation: str, company: Company) -> None:
    """A few points, evenly spread."""
    _walk(company, operation, lambda total: [*range(1, total, max(1, total // 5)), total])


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", OF_FILES)
def test_killed_all_over(operation: str, company: Company) -> None:
    _walk(company, operation, _all_over)


PARQUET = """
audiences:
  - {name: analysts, description: They read with other engines., format: parquet}
  - {name: support, description: s}
  - {name: dach, description: d}
"""


class Lake:
    """An audience's copy in a bucket, read as docs/publishing.md says."""

    def __init__(self, company: Company, s3: dict[str, str], prefix: str) -> None:
        to = f'format: parquet, to: "s3://{s3["bucket"]}/{prefix}", connection: lake'
        company.policy(PARQUET.replace("format: parquet", to))
        self._company = company
        self._base = f"{s3['bucket']}/{prefix}"
        self._store = fsspec.filesystem(
            "s3",
            key=s3["access_key_id"],
            secret=s3["secret_access_key"],
            client_kwargs={"endpoint_url": s3["endpoint_url"]},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def whole(self) -> str:
        """The version readers find; each table must be, row for row, what a version's manifest says."""
        seen = json.loads(self._store.cat_file(f"{self._base}/current.json"))
        tables = Versions(self._company.published).read(seen["version"]).audiences["analysts"].tables
        assert seen["tables"].keys() == tables.keys()
        copy = self._company.settings.root / "downloaded"
        for name, table in tables.items():
            shutil.rmtree(copy, ignore_errors=True)
            for number, file in enumerate(seen["tables"][name]["files"]):
                copy.mkdir(exist_ok=True)
                (copy / f"{number}.parquet").write_bytes(self._store.cat_file(f"{self._base}/{file}"))
            columns = ", ".join(table.columns)
            found = duckdb.sql(
                f"select count(*), sum(hash({columns})::hugeint)::text from '{copy}/*.parquet'"
            )
            assert found.fetchall() == [(table.rows, table.fingerprint)], name
        return str(seen["version"])


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_bucket_is_whole_after_kills_all_over(
    company: Company, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("endpoint_url", "access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"CONNECTIONS__LAKE__{key.upper()}", s3[key])
    lake = Lake(company, s3, "killed")

    def changed(step: int) -> None:
        company.sql(
            f"update marts.dim_products set title = 'step {step}'",
            f"update marts.fct_orders set amount = {step}",
        )
        company.built()

    company.publish()
    watched = (pipelines.publish.mirror.__file__, pipelines.publish.versions.__file__)
    outcomes = set()
    for operation in ("publish", "rollback"):
        for fatal in itertools.count(1, STRIDE):
            changed(fatal)
            before = lake.whole()
            code, _ = _run(company.settings, operation, fatal, watched)
            if code == 0:
                break  # there are no more steps
            assert code == -signal.SIGKILL
            outcomes.add((operation, lake.whole() == before))
            changed(-fatal)
            assert company.publish().version == lake.whole()
        assert fatal > 20
    assert len(outcomes) == 4, "some kills came before the switch, some after"


def _walk_folder(company: Company, steps: Callable[[int], list[int]]) -> None:
    """Rotations of a folder of several files, each killed and then finished."""
    company.policy(PARQUET)
    company.publish()
    company.sql("update marts.dim_products set title = 'second'")
    company.publish()
    rotate_key(company.settings, "analysts")  # the first one, of files in the open, has fewer steps
    code, total = _run(company.settings, "rotate_key of a folder", 0)
    assert code == 0
    for fatal in steps(total):
        code, _ = _run(company.settings, "rotate_key of a folder", fatal)
        assert code == -signal.SIGKILL
        assert _opens_whole(company), f"killed before step {fatal} of {total}: no key opens all files"
        rotate_key(company.settings, "analysts")
        assert _opens_whole(company)
        for version in Versions(company.published).names:
            behind = list((company.published / "versions" / version).glob(".*"))
            assert len(behind) == 1, "the folder that the link leads to, and nothing of before"


def _opens_whole(company: Company) -> bool:
    """Whether one of the keys opens every file of the current version."""
    version = Versions(company.published).read_current()
    assert version is not None
    for file in (company.settings.home / "keys").glob("analysts*"):
        with duckdb.connect() as con:
            con.execute(f"pragma add_parquet_key('k', '{parquet_key(file.read_text())}')")
            try:
                for name, table in version.audiences["analysts"].tables.items():
                    files = company.published / "current" / "analysts" / name / "*.parquet"
                    found = con.execute(
                        f"select count(*) from read_parquet('{files}', encryption_config = {{footer_key: 'k'}})"
                    ).fetchall()
                    assert found == [(table.rows,)]
                return True
            except duckdb.Error:
                continue
    return False


def test_a_folder_has_one_key_after_a_kill(company: Company) -> None:
    _walk_folder(company, lambda total: [*range(1, total - 30, 20), *range(total - 30, total, 3)])


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_folder_has_one_key_after_kills_all_over(company: Company) -> None:
    _walk_folder(company, _all_over)

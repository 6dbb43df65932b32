"""SIGKILL at every step of a publication, a rollback and a key rotation: readers find one whole verified version.

A step is a call that changes something outside (a DuckDB statement, a file operation, a request to the bucket or the
keyring) from a line of the code that publishes. Nobody picks the points by hand. A few of them are walked with kills: a
child process counts the steps and kills itself before the n-th. All of them are walked by what a kill leaves: the child
waits before each step, and its files as they are at that moment are copied. Of a killed process nothing else stays, so
the copy is what readers and the next publication would find; steps that leave the same files are one case.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb
import fsspec
import keyring
import keyring.core
import pytest

import sluice.engine.locks
import sluice.publish.mirror
import sluice.publish.versions
import sluice.runs.store
import sluice.system
from sluice.config.settings import Settings
from sluice.publish import publish, rollback, rotate_key
from sluice.publish.published_files import parquet_key
from sluice.publish.versions import Versions
from sluice.runs.store import RunStore

from .conftest import AUDIENCES, Company

WATCHED = (
    str(Path(sluice.publish.__file__).parent),
    sluice.runs.store.__file__,
    sluice.engine.locks.__file__,
    sluice.system.__file__,
)
CHANGING = {
    *("mkdir", "rename", "replace", "unlink", "symlink_to", "chmod", "write_text", "open", "rmtree"),
    "acquire",  # makes the file of a lock
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


def _child(
    settings: Settings, operation: str, watched: tuple[str, ...], before_step: Callable[[int], None]
) -> None:
    """Do `operation`, and call `before_step` with the number of each step."""
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
        before_step(steps)

    sys.setprofile(step)
    OPERATIONS[operation](settings)
    sys.setprofile(None)


def _run(settings: Settings, operation: str, fatal: int) -> tuple[int, int]:
    """Exit code of a child that kills itself before step `fatal`, and the steps it made."""
    context = multiprocessing.get_context("fork")
    counted = context.Value("i", 0)

    def before_step(step: int) -> None:
        counted.value = step
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    child = context.Process(target=_child, args=(settings, operation, WATCHED, before_step))
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode, counted.value


def _waiting(settings: Settings, operation: str, watched: tuple[str, ...] = WATCHED) -> Iterator[int]:
    """The steps of a child, each while it waits before it; and 0 when it has ended well."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def before_step(step: int) -> None:
        there.send(step)
        there.recv()

    child = context.Process(target=_child, args=(settings, operation, watched, before_step))
    child.start()
    there.close()
    try:
        while True:
            try:
                yield here.recv()
            except EOFError:
                break
            here.send(None)
    finally:
        here.close()
        child.join(60)
    assert child.exitcode == 0
    yield 0


class Twins:
    """Copies of SLUICE_HOME as a kill would leave it; each different one is looked at once."""

    def __init__(self, company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
        self._company = company
        self._monkeypatch = monkeypatch
        self._seen: set[frozenset[tuple[Any, ...]]] = set()

    @contextmanager
    def copied(self, *more: Any) -> Iterator[Company | None]:
        """A company with a copy of what is there now; None where that, with `more`, was looked at before."""
        home = self._company.settings.home
        state = frozenset([*map(_looks, home.rglob("*")), more])
        if state in self._seen:
            yield None
            return
        self._seen.add(state)
        twin = copy.copy(self._company)
        twin.settings = dataclasses.replace(self._company.settings, home=home.with_name("twin"))
        shutil.copytree(home, twin.settings.home, symlinks=True)
        with self._monkeypatch.context() as patch:
            patch.setenv("XDG_DATA_HOME", str(twin.settings.home / "keyring"))
            yield twin
        shutil.rmtree(twin.settings.home)

    def __len__(self) -> int:
        return len(self._seen)


def _looks(path: Path) -> tuple[Any, ...]:
    found = path.lstat()
    link = path.readlink() if path.is_symlink() else None
    # a folder's time says no more than the names in it
    return (
        path,
        link,
        found.st_mode,
        *(() if path.is_dir() else (found.st_size, found.st_mtime_ns, found.st_ino)),
    )


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


def _begun(company: Company, operation: str) -> None:
    if "keyring" in operation:
        company.policy(AUDIENCES.replace("${publish_support.key}", "${keyring.support}"))
        keyring.set_password("sluice", "support", "the first key")
    _prepared(company)


def _goes_on(company: Company, operation: str, before: str) -> str:
    """Which version readers find after a kill; the operation can be done then, and nothing of the first try stays."""
    found = _whole(company)
    if operation == "rollback" and found != before:
        return "after"
    OPERATIONS[operation](company.settings)
    assert operation.startswith("rotate_key") or _whole(company) != before
    assert not (company.published / "building").exists() or not any(
        (company.published / "building").iterdir()
    )
    statuses = [row["status"] for row in RunStore(company.settings.ledger).publications(100)]
    assert "running" not in statuses
    return "before" if found == before else "after"


@pytest.mark.parametrize(
    "operation",
    [o if o == "publish" else pytest.param(o, marks=pytest.mark.full) for o in OF_FILES],
)
@pytest.mark.sample(1)
def test_killed_here_and_there(operation: str, company: Company) -> None:
    """A few points, evenly spread, with kills."""
    _begun(company, operation)
    home, saved = company.settings.home, company.settings.root / "saved"
    shutil.copytree(home, saved, symlinks=True)
    before = _whole(company)
    code, total = _run(company.settings, operation, 0)
    assert code == 0
    assert total > 10
    rotates = operation.startswith("rotate_key")
    assert (_whole(company) != before) == (not rotates)
    seen = set()
    for step in [*range(1, total, max(1, total // 3)), total]:
        for fatal in range(step, step - 4, -1):  # a run may take some steps fewer than the first one
            shutil.rmtree(home)
            shutil.copytree(saved, home, symlinks=True)
            code, reached = _run(company.settings, operation, fatal)
            if code == -signal.SIGKILL:
                break
        else:
            pytest.fail(
                f"step {step} of {total} was not reached, nor the three before: exit code {code}, {reached} steps"
            )
        seen.add(_goes_on(company, operation, before))
    assert rotates or seen == {"before", "after"}, "the last step is after the switch"


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", OF_FILES)
@pytest.mark.sample(1)
def test_killed_all_over(operation: str, company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.fill(30)
    _begun(company, operation)
    before = _whole(company)
    twins = Twins(company, monkeypatch)
    seen = []
    steps = 0
    for step in _waiting(company.settings, operation):
        steps = max(steps, step)
        with twins.copied() as twin:
            if twin:
                seen.append(_goes_on(twin, operation, before))
    print(f"{steps} steps leave {len(twins)} different states")  # noqa: T201
    assert steps > 10
    if not operation.startswith("rotate_key"):
        assert seen == sorted(seen, reverse=True), "before the switch, and then after it"
        assert set(seen) == {"before", "after"}


PARQUET = """
audiences:
  - {name: analysts, description: They read with other engines., format: parquet}
  - {name: support, description: s}
  - {name: dach, description: d}
"""


class Lake:
    """An audience's copy in a bucket, read as docs/publishing.md says."""

    def __init__(self, company: Company, s3: dict[str, str], prefix: str) -> None:
        self._company = company
        self._base = f"{s3['bucket']}/{prefix}"
        self._s3 = s3
        self.policy()
        self._store = fsspec.filesystem(
            "s3",
            key=s3["access_key_id"],
            secret=s3["secret_access_key"],
            client_kwargs={"endpoint_url": s3["endpoint_url"]},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def policy(self) -> None:
        """Let the company publish here."""
        to = f'format: parquet, to: "s3://{self._base}", connection: lake'
        self._company.policy(PARQUET.replace("format: parquet", to))

    def objects(self) -> dict[str, str]:
        """Digest by path."""
        found = self._store.find(self._base, detail=True)
        return {path.removeprefix(f"{self._base}/"): entry["ETag"] for path, entry in found.items()}

    def copied(self, company: Company, prefix: str) -> Lake:
        """A copy of what is there now, into which `company` publishes."""
        twin = Lake(company, self._s3, prefix)
        there = twin.objects()
        for path in there.keys() - self.objects().keys():
            self._store.rm_file(f"{twin._base}/{path}")
        for path, digest in self.objects().items():
            if there.get(path) != digest:
                self._store.pipe_file(f"{twin._base}/{path}", self._store.cat_file(f"{self._base}/{path}"))
        return twin

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
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", ["publish", "rollback"])
def test_a_bucket_is_whole_after_kills_all_over(
    operation: str, company: Company, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("endpoint_url", "access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"CONNECTIONS__LAKE__{key.upper()}", s3[key])
    company.fill(30)
    lake = Lake(company, s3, f"killed_{operation}")
    _prepared(company)
    before = lake.whole()
    watched = (sluice.publish.mirror.__file__, sluice.publish.versions.__file__, sluice.engine.locks.__file__)
    twins = Twins(company, monkeypatch)
    seen = []
    for _ in _waiting(company.settings, operation, watched):
        with twins.copied(*lake.objects().items()) as twin:
            if twin:
                twin_lake = lake.copied(twin, f"twin_{operation}")
                seen.append("before" if twin_lake.whole() == before else "after")
                assert twin.publish().version == twin_lake.whole()
                lake.policy()
    print(f"{len(twins)} different states")  # noqa: T201
    assert len(twins) > 5
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"before", "after"}


def _folder_begun(company: Company) -> None:
    """Two versions of a folder of several files, with a key: the first rotation, of files in the open, has fewer steps."""
    company.policy(PARQUET)
    company.publish()
    company.sql("update marts.dim_products set title = 'second'")
    company.publish()
    rotate_key(company.settings, "analysts")


def _folder_goes_on(company: Company) -> None:
    """A rotation that was killed leaves a folder that one key opens, and can be finished."""
    assert _opens_whole(company), "no key opens all files"
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


@pytest.mark.full
def test_a_folder_has_one_key_after_a_kill(company: Company) -> None:
    _folder_begun(company)
    code, total = _run(company.settings, "rotate_key of a folder", 0)
    assert code == 0
    for fatal in [*range(1, total - 30, 30), *range(total - 30, total, 5)]:
        code, _ = _run(company.settings, "rotate_key of a folder", fatal)
        assert code == -signal.SIGKILL
        _folder_goes_on(company)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_folder_has_one_key_after_kills_all_over(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.fill(30)
    _folder_begun(company)
    twins = Twins(company, monkeypatch)
    for _ in _waiting(company.settings, "rotate_key of a folder"):
        with twins.copied() as twin:
            if twin:
                _folder_goes_on(twin)
    print(f"{len(twins)} different states")  # noqa: T201
    assert len(twins) > 10

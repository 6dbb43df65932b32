"""`sluice upgrade`: what it shows, what it changes, and that a failed or killed one leaves everything as it was."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import duckdb
import pytest
from typer.testing import CliRunner, Result

from sluice import __version__
from sluice.cli import app
from sluice.config.settings import Settings
from sluice.errors import LockedError, SluiceError, UpgradeError, UsageError, VersionError
from sluice.runs import migrations
from sluice.runs.migrations import MIGRATIONS
from sluice.runs.store import RunStore
from sluice.upgrade import backup, operation, project_files
from sluice.upgrade.operation import finish_interrupted, upgrade
from sluice.upgrade.plan import plan_upgrade
from sluice.upgrade.project_files import FileChange
from tests.python.upgrade import library

OLD_PROFILE = (
    "small:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: warehouse/warehouse.duckdb\n"
    "      plugins:\n        - module: pipelines.dbt_waits # waits\r\n"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project of 0.1.0 with a warehouse whose run store has had one migration."""
    root = tmp_path / "a project's"
    root.mkdir()
    (root / "dbt_project.yml").write_text("name: small\nprofile: small\n")
    (root / "profiles.yml").write_bytes(OLD_PROFILE.encode())
    (root / "pyproject.toml").write_text('dependencies = ["sluice[project]==0.1.0", "other==0.1.0"]\n')
    (root / "requirements.lock").write_text("sluice==0.1.0 \\\n    --hash=sha256:ab\n")
    settings = Settings(root=root, home=root / "warehouse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", MIGRATIONS[:1])
        settings.home.mkdir()
        with closing(sqlite3.connect(settings.ledger)) as con, con:
            con.executescript(MIGRATIONS[0] + "; pragma user_version = 1")
            con.execute("insert into runs values ('r1', 'load', '2026-01-01', '2026-01-01', 'ok', 1)")
    with duckdb.connect(str(settings.raw)) as raw:
        raw.execute("create table t as select 1 as a")
    monkeypatch.chdir(root)
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    return settings


def sluice(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def state(settings: Settings) -> dict[str, Any]:
    """Every file of the project, and what the run store holds."""
    files = {
        file.relative_to(settings.root).as_posix(): file.read_bytes()
        for file in settings.root.rglob("*")
        if file.is_file() and not file.name.startswith(("ledger.sqlite", "lock"))
    }
    with closing(sqlite3.connect(settings.ledger)) as con:
        return {**files, "ledger": list(con.iterdump()), "version": migrations.store_version(con)}


def test_check_says_what_would_change_and_changes_nothing(project: Settings) -> None:
    before = state(project)
    said = sluice("upgrade", "--check")
    assert said.exit_code == 1
    assert "-        - module: pipelines.dbt_waits" in said.output
    assert "+        - module: sluice.dbt.plugin" in said.output
    assert f'+dependencies = ["sluice[project]=={__version__}", "other==0.1.0"]' in said.output
    assert f"{len(MIGRATIONS) - 1} migrations of the run store" in said.output
    assert "ledger.sqlite, raw.duckdb" in said.output
    assert sluice("upgrade").exit_code == 1  # nobody is there to be asked
    assert state(project) == before


def test_for_programs(project: Settings) -> None:
    """One object, whatever happens; it never asks."""
    before = state(project)
    shown = sluice("upgrade", "--json")
    plan = json.loads(shown.stdout)
    assert (shown.exit_code, plan["status"], plan["backup"]) == (1, "outdated", None)
    assert {file["file"] for file in plan["files"]} == {"profiles.yml", "pyproject.toml"}
    assert state(project) == before
    done = json.loads(sluice("upgrade", "--write", "--json").stdout)
    assert (done["status"], done["files"], done["migrations"]) == (
        "upgraded",
        plan["files"],
        plan["migrations"],
    )
    assert Path(done["backup"]).is_dir()
    again = sluice("upgrade", "--check", "--json")
    assert (again.exit_code, json.loads(again.stdout)["status"]) == (0, "current")


def test_an_upgrade_changes_files_and_run_store_and_keeps_copies(project: Settings) -> None:
    before = state(project)
    (project.root / "profiles.yml").chmod(0o640)
    done = sluice("upgrade", "--write")
    assert done.exit_code == 0, done.output
    assert (project.root / "profiles.yml").read_bytes() == OLD_PROFILE.replace(
        "pipelines.dbt_waits", "sluice.dbt.plugin"
    ).encode()
    assert (project.root / "profiles.yml").stat().st_mode & 0o777 == 0o640
    assert "requirements.lock pins sluice 0.1.0 with its hash" in done.output
    assert [run["run_id"] for run in RunStore(project.ledger).runs(9)] == ["r1"]
    (folder,) = project.backups.iterdir()
    assert (folder / "project" / "profiles.yml").read_bytes() == before["profiles.yml"]
    assert (folder / "warehouse" / "raw.duckdb").read_bytes() == before["warehouse/raw.duckdb"]
    again = sluice("upgrade", "--check")
    assert (again.exit_code, "nothing to do" in again.output) == (0, True)
    assert len(list(project.backups.iterdir())) == 1


def go_back(project: Settings) -> None:
    """Do what the backup's README.txt says, and delete it."""
    (folder,) = project.backups.iterdir()
    guide = (folder / "README.txt").read_text().splitlines()
    commands = "\n".join(line.strip() for line in guide if line.startswith("    "))
    subprocess.run(["bash", "-euc", commands], cwd=project.root, check=True)
    shutil.rmtree(project.backups)


def test_the_way_back_is_what_the_backup_says(project: Settings) -> None:
    before = state(project)
    sluice("upgrade", "--write")
    go_back(project)
    assert state(project) == before


@pytest.mark.parametrize("command", [["load"], ["status"], ["runs"], ["build"], ["publish"]])
def test_other_commands_say_what_to_run_and_change_nothing(
    project: Settings, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "sources").mkdir()
    (project.root / "sources" / "s.yml").write_text(
        "sources: [{name: s, database: raw, config: {meta: {load: {kind: files, url: d}}},"
        " tables: [{name: t, config: {meta: {load: {path: a.csv, format: csv}}}}]}]"
    )
    (project.root / "audiences.yml").write_text("audiences: [{name: a, description: A.}]")
    for module in ("load", "run", "publish"):  # the tests that follow would have it, too
        monkeypatch.setattr(import_module(f"sluice.cli.{module}"), "lower_priority", lambda: None)
    before = state(project)
    done = sluice(*command)
    assert isinstance(done.exception, VersionError), done.output
    assert "Run `sluice upgrade`" in str(done.exception)
    assert done.exception.exit == 1
    if command[0] in ("load", "build", "publish"):
        assert f"pyproject.toml asks for Sluice 0.1.0, this is {__version__}" in done.output
    after = state(project)
    assert {name: after[name] for name in before} == before


def test_a_newer_run_store_is_refused(project: Settings) -> None:
    with closing(sqlite3.connect(project.ledger)) as con, con:
        con.execute("create table engines (since, engine, database, upgrade)")
        con.execute("insert into engines values ('', '9.0.0', '', null)")
        con.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    for do in (lambda: plan_upgrade(project), lambda: RunStore(project.ledger)):
        with pytest.raises(VersionError, match=r"newer engine, Sluice 9\.0\.0"):
            do()


@pytest.mark.parametrize("name", ["raw.duckdb", "warehouse.duckdb", "published/versions/v1/analysts.duckdb"])
def test_a_database_of_a_newer_duckdb_is_refused(project: Settings, name: str) -> None:
    """The file was made by DuckDB 2.0.0."""
    file = project.home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.decompress((library.FIXTURES / "duckdb_2_0_0.duckdb.gz").read_bytes()))
    before = state(project)
    with pytest.raises(
        VersionError, match=r"made by DuckDB v2\.0\.0 with storage version 999, which is newer"
    ):
        plan_upgrade(project)
    assert state(project) == before


def steps(do: Callable[[], object], kill_at: int) -> int:
    """Run `do` in a process of its own that is killed before its n-th change of a file; its exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        is_write = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if is_write or event in (
            "os.rename",
            "os.remove",
            "os.mkdir",
            "os.rmdir",
            "shutil.copyfile",
            "os.chmod",
        ):
            seen += 1
            if seen == kill_at:
                os._exit(9)
        if event == "sqlite3.connect":
            seen += 1
            if seen == kill_at:
                os._exit(9)

    try:
        sys.addaudithook(count)
        do()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.full)])
def test_a_killed_upgrade_leaves_everything_as_it_was(project: Settings, tmp_path: Path, stride: int) -> None:
    """At every file that is opened for writing, renamed or removed; what a kill amid the exchange leaves is put back."""
    kept = tmp_path / "kept"
    shutil.copytree(project.root, kept)
    before = state(project)
    plan = plan_upgrade(project)
    interrupted = 0
    for step in range(1, 400, stride):
        code = steps(lambda: upgrade(project, plan), step)
        if code == 0:
            break
        assert code == 9
        if project.upgrade_journal.exists():
            interrupted += 1
            with pytest.raises(VersionError, match="was interrupted"):
                RunStore(project.ledger)
        finish_interrupted(project)
        assert not project.upgrade_journal.exists()
        after = state(project)
        if after["version"] == before["version"]:
            assert {n: c for n, c in after.items() if not n.startswith("warehouse/backups/")} == before, step
        else:  # it was killed between its last step and the removal of the journal
            assert plan_upgrade(project).is_empty
            shutil.rmtree(project.root)
            shutil.copytree(kept, project.root)
    assert step > 20
    assert interrupted > 5 / stride
    assert plan_upgrade(project).is_empty
    assert [folder.name[0] for folder in project.backups.iterdir()] == ["2"]


@pytest.mark.parametrize("broken", ["back_up", "_rehearse", "_replace", "migrate", "_write"])
def test_a_failed_upgrade_leaves_everything_as_it_was(
    project: Settings, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    before = state(project)
    plan = plan_upgrade(project)
    working, calls = getattr(operation, broken), []

    def fails(*arguments: Any) -> Any:
        calls.append(broken)
        if len(calls) == 2 or broken != "_replace":
            monkeypatch.setattr(operation, broken, working)
            raise OSError(28, "No space left on device")
        return working(*arguments)

    monkeypatch.setattr(operation, broken, fails)
    with pytest.raises(OSError, match="No space"):
        upgrade(project, plan)
    after = state(project)
    assert after == before
    assert not project.backups.exists() or not list(project.backups.iterdir())


def test_a_migration_that_fails_on_the_copy_stops_before_anything_is_exchanged(
    project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(project)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, "delete from runs"))
    with pytest.raises(UpgradeError, match="would change the rows of runs"):
        upgrade(project, plan_upgrade(project))
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, "alter table missing add column a"))
    with pytest.raises(UpgradeError, match="cannot be migrated: no such table"):
        upgrade(project, plan_upgrade(project))
    assert state(project) == before


def test_a_file_that_was_changed_after_the_interruption_is_left_and_named(project: Settings) -> None:
    replace = operation._replace
    process = os.fork()
    if not process:
        pytest.MonkeyPatch().setattr(operation, "_replace", lambda *args: (replace(*args), os._exit(9)))
        upgrade(project, plan_upgrade(project))
    os.waitpid(process, 0)
    assert sluice("upgrade", "--check").exit_code == 1
    (project.root / "profiles.yml").write_text("mine")
    with pytest.raises(UpgradeError, match=r"left as they are: .*profiles\.yml \(its earlier content is in"):
        finish_interrupted(project)
    assert (project.root / "profiles.yml").read_text() == "mine"


def test_a_copy_that_differs_stops_the_upgrade(project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(project)

    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:4096])

    monkeypatch.setattr(shutil, "copy2", half)
    with pytest.raises(UpgradeError, match="was written while it was copied"):
        upgrade(project, plan_upgrade(project))
    assert state(project) == before


def test_no_room_for_the_backup(project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(project)
    monkeypatch.setattr(backup, "SPARE_BYTES", 10**18)
    with pytest.raises(UpgradeError, match="Make room"):
        upgrade(project, plan_upgrade(project))
    assert state(project) == before


def test_a_project_that_changed_since_it_was_shown(project: Settings) -> None:
    plan = plan_upgrade(project)
    (project.root / "pyproject.toml").write_text('dependencies = ["sluice==0.1.1"]\n')
    with pytest.raises(UpgradeError, match="has changed since"):
        upgrade(project, plan)


def test_an_upgrade_waits_for_a_running_command(project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluice.engine.locks import locked

    monkeypatch.setenv("SLUICE_LOCK_SECONDS", "0")
    with locked(project.home, "sluice load", 0), pytest.raises(LockedError, match="sluice load"):
        upgrade(project, plan_upgrade(project))


def test_a_project_without_a_warehouse(project: Settings) -> None:
    shutil.rmtree(project.home)
    done = sluice("upgrade", "--write")
    assert done.exit_code == 0, done.output
    assert not project.ledger.exists()
    assert "sluice.dbt.plugin" in (project.root / "profiles.yml").read_text()
    assert sluice("upgrade", "--check").exit_code == 0


def test_a_link_stays_a_link(project: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.yml"
    (project.root / "profiles.yml").rename(elsewhere)
    (project.root / "profiles.yml").symlink_to(elsewhere)
    sluice("upgrade", "--write")
    assert (project.root / "profiles.yml").is_symlink()
    assert "sluice.dbt.plugin" in elsewhere.read_text()


def test_a_new_warehouse_needs_no_upgrade(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, home=tmp_path / "warehouse")
    RunStore(settings.ledger)
    assert plan_upgrade(settings).is_empty


def test_another_engine_of_the_same_form_is_recorded_without_copies_of_the_databases(
    project: Settings,
) -> None:
    sluice("upgrade", "--write")
    with closing(sqlite3.connect(project.ledger)) as con, con:
        con.execute("update engines set engine = '0.0.9'")
    plan = plan_upgrade(project)
    assert (plan.store and plan.store.engine, [file.name for file in plan.copies]) == (
        "0.0.9",
        ["ledger.sqlite"],
    )
    upgrade(project, plan)
    assert plan_upgrade(project).is_empty


def test_a_project_that_asks_for_a_newer_engine_is_left_alone(project: Settings) -> None:
    (project.root / "pyproject.toml").write_text('dependencies = ["sluice==99.10.0"]\n')
    before = state(project)
    with pytest.raises(VersionError, match=r"pyproject\.toml asks for Sluice 99\.10\.0, this is .*: install"):
        plan_upgrade(project)
    assert "install what the project asks for" in sluice("check").output
    assert {name: content for name, content in state(project).items() if name in before} == before


def test_a_file_that_is_no_text_is_left_alone(project: Settings) -> None:
    (project.root / "requirements-old.txt").write_bytes(b"\xff\xfesluice==0.1.0")
    assert "requirements-old.txt" not in {change.name for change in plan_upgrade(project).files}
    assert FileChange("a.whl", None, b"\xff\x00", "").diff() == "a.whl: 2 bytes\n"
    assert project_files.pins(project.root)["pyproject.toml"] == "0.1.0"


def test_a_project_that_carries_the_wheel_gets_the_new_one(project: Settings, tmp_path: Path) -> None:
    """As `sluice new` makes it, with a pin of the project's own."""

    def wheel(folder: Path, version: str, lock: str) -> Path:
        folder.mkdir(exist_ok=True)
        file = folder / f"sluice-{version}-py3-none-any.whl"
        with ZipFile(file, "w") as archive:
            archive.writestr("sluice/scaffold/requirements.lock", lock)
        return file

    old = wheel(project.root / "wheels", "0.0.1", "typer==1 \\\n    --hash=sha256:aa\ngone==1\n")
    new = wheel(tmp_path / "dist", __version__, "typer==2 \\\n    --hash=sha256:bb\n")
    (project.root / "pyproject.toml").write_text(
        'dependencies = ["sluice[project]==0.0.1"]\nsluice = { path = "wheels/sluice-0.0.1-py3-none-any.whl" }\n'
    )
    (project.root / "requirements.lock").write_text(
        f"./wheels/{old.name} \\\n    --hash=sha256:ff\ngone==1\nmine==3 \\\n    --hash=sha256:cc\n"
        "typer==1 \\\n    --hash=sha256:aa\n"
    )
    before = state(project)
    done = sluice("upgrade", "--write", "--wheels", str(tmp_path / "dist"))
    assert done.exit_code == 0, done.output
    assert "+typer==2" in done.output
    assert "--hash" not in done.output
    assert [file.name for file in (project.root / "wheels").iterdir()] == [new.name]
    assert (project.root / "wheels" / new.name).read_bytes() == new.read_bytes()
    assert (project.root / "requirements.lock").read_text() == (
        f"./wheels/{new.name} \\\n    --hash=sha256:{hashlib.sha256(new.read_bytes()).hexdigest()}\n"
        "typer==2 \\\n    --hash=sha256:bb\nmine==3 \\\n    --hash=sha256:cc\n"
    )
    assert (project.root / "pyproject.toml").read_text() == (
        f'dependencies = ["sluice[project]=={__version__}"]\nsluice = {{ path = "wheels/{new.name}" }}\n'
    )
    assert sluice("upgrade", "--check").exit_code == 0
    go_back(project)
    assert state(project) == before


def test_a_project_of_the_example_company_gets_all_wheels(project: Settings, tmp_path: Path) -> None:
    """The engine's, the servers' and the company's, whose lock counts; without one of them nothing is changed."""
    names = ("sluice", "sluice_servers", "sluice_sandbox")
    lock = {
        "sluice": "sluice/scaffold/requirements.lock",
        "sluice_sandbox": "company/project/requirements.lock",
    }

    def wheels(folder: Path, version: str, text: str) -> None:
        folder.mkdir()
        for name in names:
            with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
                archive.writestr("x/METADATA", version)
                if name in lock:
                    archive.writestr(lock[name], text if name == "sluice_sandbox" else "typer==0\n")

    def pinned(version: str) -> str:
        paths = "".join(
            f'{n.replace("_", "-")} = {{ path = "wheels/{n}-{version}-py3-none-any.whl" }}\n' for n in names
        )
        return f'["sluice[project]=={version}", "sluice-servers=={version}", "sluice-sandbox=={version}"]\n{paths}'

    wheels(project.root / "wheels", "0.0.1", "typer==1\nnats==1\n")
    wheels(tmp_path / "dist", __version__, "typer==2 \\\n    --hash=sha256:bb\nnats==2\n")
    (project.root / "pyproject.toml").write_text(pinned("0.0.1"))
    (project.root / "requirements.lock").write_text(
        "".join(f"./wheels/{n}-0.0.1-py3-none-any.whl \\\n    --hash=sha256:ff\n" for n in names)
        + "nats==1\nmine==3\ntyper==1\n"
    )
    before = state(project)
    servers = tmp_path / "dist" / f"sluice_servers-{__version__}-py3-none-any.whl"
    servers.rename(tmp_path / "away")
    refused = sluice("upgrade", "--write", "--wheels", str(tmp_path / "dist"))
    assert isinstance(refused.exception, UsageError)
    assert "has no sluice_servers-" in str(refused.exception)
    assert state(project) == before
    (tmp_path / "away").rename(servers)
    done = sluice("upgrade", "--write", "--wheels", str(tmp_path / "dist"))
    assert done.exit_code == 0, done.output
    there = sorted((project.root / "wheels").iterdir())
    assert {f.name: f.read_bytes() for f in there} == {
        f.name: f.read_bytes() for f in (tmp_path / "dist").iterdir()
    }
    digests = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in there}
    assert (project.root / "requirements.lock").read_text() == (
        "".join(
            f"./wheels/{n}-{__version__}-py3-none-any.whl \\\n"
            f"    --hash=sha256:{digests[f'{n}-{__version__}-py3-none-any.whl']}\n"
            for n in names
        )
        + "typer==2 \\\n    --hash=sha256:bb\nnats==2\nmine==3\n"
    )
    assert (project.root / "pyproject.toml").read_text() == pinned(__version__)
    assert sluice("upgrade", "--check").exit_code == 0
    go_back(project)
    assert state(project) == before


def test_a_wheel_that_cannot_be_read(project: Settings, tmp_path: Path) -> None:
    for folder, version in ((project.root / "wheels", "0.0.1"), (tmp_path / "dist", __version__)):
        folder.mkdir()
        (folder / f"sluice-{version}-py3-none-any.whl").write_bytes(b"cut off")
    (project.root / "requirements.lock").write_text("typer==1\n")
    with pytest.raises(SluiceError, match=r"sluice-0\.0\.1.* is not a wheel"):
        plan_upgrade(project, tmp_path / "dist")


def test_a_wheel_that_is_not_found_is_asked_for(project: Settings, tmp_path: Path) -> None:
    (project.root / "wheels").mkdir()
    (project.root / "wheels" / "sluice-0.0.1-py3-none-any.whl").write_bytes(b"")
    with pytest.raises(UsageError, match=r"has no sluice-.*\.whl"):
        plan_upgrade(project, tmp_path)


def test_schemas_of_an_editor_are_those_of_the_engine(project: Settings) -> None:
    schema = project.root / ".vscode" / "source.schema.json"
    schema.parent.mkdir()
    schema.write_text("{}")
    (change,) = [c for c in plan_upgrade(project).files if c.name == ".vscode/source.schema.json"]
    assert b"Sluice source file" in (change.new or b"")


def test_options_that_do_not_go_together(project: Settings) -> None:
    assert sluice("upgrade", "--check", "--write").exit_code == 2

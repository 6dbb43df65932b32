"""docs/environments.md as a reader follows it: production is built, dev reads it, and nothing of dev writes there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from sluice.cli import app
from sluice.config.profile import TARGET
from sluice.config.settings import load_settings
from sluice.errors import DeclarationError, UsageError
from sluice.extract.contract import LoadOptions
from sluice.workflow.build import build
from sluice.workflow.load import load
from sluice.workflow.sample import sample
from tests.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "environments.md"
pytestmark = pytest.mark.timeout(400)  # the first test builds the project
VARIABLES = ("SLUICE_HOME", TARGET, "DBT_TARGET_PATH", "ROASTERY_PROD")
DELIVERED = "delivery,batch\n1,B-1001\n2,B-1001\n3,B-1002\n"
DELIVERIES = {
    "name": "deliveries",
    "config": {"meta": {"load": {"path": "deliveries*.csv", "format": "csv"}}},
    "columns": [
        {"name": "delivery", "data_type": "bigint"},
        {
            "name": "batch",
            "data_type": "text",
            "data_tests": [
                {"relationships": {"arguments": {"to": "ref('stg_roastery__batches')", "field": "batch_id"}}}
            ],
        },
    ],
}
VIEW = 'select batch_id, green_kg from {{ ref("stg_roastery__batches") }}'


class Roastery:
    """The project of docs/install.md with the profile and model of docs/environments.md, and a view between."""

    def __init__(self, root: Path) -> None:
        self.root = root
        files = {b.file: b.text for p in ("install.md", PAGE.name) for b in blocks(PAGE.parent / p) if b.file}
        table = files["models/rpt_batches.sql"].replace("stg_roastery__batches", "int_batches_weighed")
        files |= {"models/int_batches_weighed.sql": VIEW, "models/rpt_batches.sql": table}
        source = yaml.safe_load(files["sources/roastery.yml"])
        source["sources"][0]["tables"].append(DELIVERIES)
        files |= {"sources/roastery.yml": yaml.safe_dump(source), "data/deliveries.csv": DELIVERED}
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

    def shell(self, script: str, code: int = 0) -> str:
        """What a script says, standard output and error."""
        environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.root,
            env=environment,
            text=True,
            check=False,
            capture_output=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def rows(self, file: str, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(str(self.root / file), read_only=True) as con:
            return con.execute(sql).fetchall()

    def contents(self, folder: str) -> dict[str, str]:
        """A digest of every file below a folder."""
        return {
            str(file): hashlib.sha256(file.read_bytes()).hexdigest() + str(file.stat().st_mtime_ns)
            for file in sorted((self.root / folder).rglob("*"))
            if file.is_file()
        }


@pytest.fixture(scope="module")
def roastery(tmp_path_factory: pytest.TempPathFactory) -> Roastery:
    """With production built, by the first script of the page."""
    project = Roastery(tmp_path_factory.mktemp("roastery"))
    scripts = [block.text for block in blocks(PAGE) if block.language == "sh"]
    project.shown = project.shell(scripts[0])  # type: ignore[attr-defined]
    project.deferring, project.sampling = scripts[1:]  # type: ignore[attr-defined]
    return project


@pytest.fixture(autouse=True)
def _in_the_project(roastery: Roastery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(roastery.root)
    for name in VARIABLES:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)


def test_env_shows_what_is_what(roastery: Roastery) -> None:
    shown = roastery.shown  # type: ignore[attr-defined]
    assert "active: dev (default of" in shown
    found = json.loads(CliRunner().invoke(app, ["env", "--json"]).stdout)
    assert [one["target"] for one in found["environments"]] == ["dev", "ci", "prod"]
    dev, _, prod = found["environments"]
    assert (dev["raw_bytes"], dev["warehouse_bytes"], dev["last_load"], dev["defers_to"]) == (
        None,
        None,
        None,
        "prod",
    )
    assert prod["raw_bytes"] > 0
    assert prod["last_load"]
    assert prod["last_build"]
    assert (prod["folder"], prod["pages"]) == (
        str(roastery.root / "warehouse/prod"),
        str(roastery.root / "target/env/prod"),
    )


@pytest.mark.full  # it builds twice: 20 s
@pytest.mark.timeout(600)
def test_what_is_not_built_is_read_from_production_and_nothing_is_written_there(roastery: Roastery) -> None:
    """Also through views of views, which name production's database."""
    before = roastery.contents("warehouse/prod") | roastery.contents("target/env/prod")
    roastery.shell(roastery.deferring)  # type: ignore[attr-defined]
    assert roastery.rows("warehouse/dev/dev.duckdb", "select batches from rpt_batches") == [(2,)]
    assert roastery.rows("warehouse/dev/dev.duckdb", "select table_name from duckdb_tables()") == [
        ("rpt_batches",)
    ]
    (roastery.root / "warehouse/dev/dev.duckdb").unlink()
    assert roastery.contents("warehouse/prod") | roastery.contents("target/env/prod") == before


def test_a_sample_of_production_is_whole_and_is_not_loaded(roastery: Roastery) -> None:
    """The test compares a source with a model, whose column another name in raw has."""
    before = roastery.contents("warehouse/prod") | roastery.contents("target/env/prod")
    roastery.shell(roastery.sampling)  # type: ignore[attr-defined]
    taken = sample(load_settings(), rows=1)
    assert taken.relationships == ["roastery.deliveries.batch → roastery.batches.batch"]
    assert taken.rows["roastery.batches"] == (1, 2)
    delivered = "select distinct d.batch = b.batch from roastery.deliveries d, roastery.batches b"
    assert roastery.rows("warehouse/dev/raw.duckdb", delivered) == [(True,)]
    assert sample(load_settings(), days=1).rows["roastery.batches"] == (2, 2)
    with pytest.raises(UsageError, match=r"nothing is loaded: .* is a sample"):
        load(load_settings(), [], LoadOptions())
    with duckdb.connect(str(roastery.root / "warehouse/dev/raw.duckdb")) as con:
        con.execute("drop table sluice.sample")
    with pytest.raises(UsageError, match="was loaded and is not overwritten"):
        sample(load_settings(), rows=1)
    (roastery.root / "warehouse/dev/raw.duckdb").unlink()
    assert roastery.contents("warehouse/prod") | roastery.contents("target/env/prod") == before


def test_a_target_writes_no_file_of_another_one(roastery: Roastery) -> None:
    before = roastery.contents("warehouse/prod") | roastery.contents("target/env/prod")
    profiles = roastery.root / "profiles.yml"
    text = profiles.read_text()
    reading = text.replace("warehouse/dev/raw.duckdb", "warehouse/prod/raw.duckdb")
    try:
        profiles.write_text(reading)
        with pytest.raises(UsageError, match=r"nothing is loaded on the target dev: what .* attaches as raw"):
            load(load_settings(), [], LoadOptions())
        profiles.write_text(reading.replace("read_only: true", "read_only: false", 1))
        with pytest.raises(DeclarationError, match="for writing: add `read_only: true`"):
            build(load_settings(), [])
        assert "for writing: add `read_only: true`" in roastery.shell("dbt debug --connection", 1)
        profiles.write_text(text.replace("warehouse/dev/dev.duckdb", "warehouse/prod/prod.duckdb"))
        with pytest.raises(DeclarationError, match="would build"):
            build(load_settings(), [])
        profiles.write_text(text)
        for command in ("status", "runs", "env", "serve --audience analysts --issue-token x"):
            CliRunner().invoke(app, command.split())
    finally:
        profiles.write_text(text)
    assert roastery.contents("warehouse/prod") | roastery.contents("target/env/prod") == before


def test_plain_dbt_does_not_mix_the_results_of_targets(roastery: Roastery) -> None:
    assert "set DBT_TARGET_PATH=target/env/prod" in roastery.shell("dbt debug --connection --target prod", 1)


def test_defer_says_why_it_cannot(roastery: Roastery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGET, "prod")
    with pytest.raises(UsageError, match="prod itself reads from no other target"):
        build(load_settings(), ["--defer"])
    monkeypatch.setenv(TARGET, "dev")
    state = roastery.root / "warehouse/prod/state"
    state.rename(aside := state.with_name("aside"))
    with pytest.raises(UsageError, match="`sluice build -t prod` writes it"):
        build(load_settings(), ["--defer"])
    aside.rename(state)

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
    project.starting, project.sampling = scripts[1:]  # type: ignore[attr-defined]
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


@pytest.mark.full  # it builds five times: 40 s
@pytest.mark.timeout(600)
def test_a_build_starts_from_production_and_writes_nothing_there(roastery: Roastery) -> None:
    """Also through views of views, which name production's database."""
    before = roastery.contents("warehouse/prod") | roastery.contents("target/env/prod")

    def here(what: str) -> list[str]:
        names = f"select {what}_name from duckdb_{what}s() where database_name = 'dev' and not internal order by 1"
        return [str(name) for (name,) in roastery.rows("warehouse/dev/dev.duckdb", names)]

    models = ["int_batches_weighed", "rpt_batches", "stg_roastery__batches"]
    said = roastery.shell(roastery.starting)  # type: ignore[attr-defined]
    assert "model.roastery.rpt_batches: the same as prod.main.rpt_batches, which is read in its place" in said
    assert (here("table"), here("view")) == ([], models)
    assert "Nothing was built" in roastery.shell("sluice build --explain")
    assert "120" in roastery.shell("sluice show rpt_batches")
    assert roastery.shell("dbt show --inline 'select * from main.rpt_batches'").count("120") == 1

    model = roastery.root / "models/rpt_batches.sql"
    text = model.read_text()
    model.write_text(text.replace("count(*)", "2 * count(*)"))
    try:
        said = roastery.shell("sluice build --explain")
        assert "built  model.roastery.rpt_batches: it is no longer as in production" in said
        assert said.count("built ") == 1
        assert (here("table"), here("view")) == (["rpt_batches"], [models[0], models[2]])
        assert roastery.rows("warehouse/dev/dev.duckdb", "select batches from rpt_batches") == [(4,)]
    finally:
        model.write_text(text)
    (roastery.root / "warehouse/dev/dev.duckdb").unlink()
    roastery.shell("sluice build --defer --force --select rpt_batches")
    assert (here("table"), here("view")) == (["rpt_batches"], []), (
        "what is not selected is not on this target"
    )
    assert roastery.rows("warehouse/dev/dev.duckdb", "select batches from rpt_batches") == [(2,)]
    (roastery.root / "warehouse/dev/dev.duckdb").unlink()
    assert roastery.contents("warehouse/prod") | roastery.contents("target/env/prod") == before


@pytest.mark.full  # it builds four times: 30 s
@pytest.mark.timeout(600)
def test_what_reads_production_follows_it(roastery: Roastery) -> None:
    """New rows of production, and a table of it that something else has changed, are not what was built."""
    roastery.shell("sluice build")
    data = next((roastery.root / "data").glob("*batches*"))
    text = data.read_text()
    prod = roastery.root / "warehouse/prod/prod.duckdb"
    try:
        data.write_text(text + text.splitlines()[-1].replace("B-1002", "B-1003") + "\n")
        roastery.shell("sluice load -t prod")
        said = roastery.shell("sluice build --explain")
        assert "built  model.roastery.rpt_batches: it is no longer as in production" in said
        assert roastery.rows("warehouse/dev/dev.duckdb", "select batches from rpt_batches") == [(3,)]
        roastery.shell("sluice build -t prod")
        with duckdb.connect(str(prod)) as con:
            con.execute("update rpt_batches set batches = 7")
        (roastery.root / "warehouse/dev/dev.duckdb").unlink()
        said = roastery.shell("sluice build --explain")
        assert "built  model.roastery.rpt_batches: " in said
        assert "left   model.roastery.int_batches_weighed: the same as prod.main" in said
        assert roastery.rows("warehouse/dev/dev.duckdb", "select batches from rpt_batches") == [(3,)]
    finally:
        data.write_text(text)
        (roastery.root / "warehouse/dev/dev.duckdb").unlink()
        roastery.shell("sluice load -t prod && sluice build -t prod")


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

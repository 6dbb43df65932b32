"""Discovery of AnyCompany's systems: the running servers, and what is inferred at scale 1, a row of docs/discover.md."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb
import pytest
import yaml

from sandbox import company as sandbox
from sluice.config.sources import read_sources
from sluice.discover.contract import DiscoveredSource
from sluice.discover.raw_sources import DATABASE, read_raw_sources
from sluice.engine.duckdb import attach
from tests.blocks import ROOT
from tests.example.test_end_to_end import Company
from tests.python.discover.evaluation import infer_all, measure
from tests.python.discover.test_evaluation import row_of, shown
from tests.python.project import Project

CPU_SECONDS = 45
"""Of two processors: about 25 seconds on a quiet machine, of which 30 are promised."""


def without_what_the_files_say(con: duckdb.DuckDBPyConnection) -> list[DiscoveredSource]:
    """The six systems as raw holds them: names, types and rows."""
    declared = [source for source in read_sources(ROOT / "sources")[0] if source.name != "sluice"]
    found = read_raw_sources(con, declared)
    for table in (table for source in found for table in source.tables):
        table.unique, table.has_primary_key, table.primary_key = [], False, None
        for column in table.columns:
            column.data_class = None
    return found


RECORDS = "/api/collections/{}/records"


@pytest.mark.full
@pytest.mark.timeout(600)
def test_six_real_systems(tmp_path: Path) -> None:
    """Five are discovered with nothing but their connections, and load; the sixth is code, which is said."""
    project = Project(tmp_path / "project")
    sandbox.up(project.settings.home, scale=0.01)
    try:
        for address, *options in (
            ["shop"],
            ["stores"],
            ["web"],
            ["s3://marketplace/settlements", "--connection", "marketplace", "--name", "marketplace"],
            ["wholesale", *(f"--tables={RECORDS.format(name)}" for name in ("accounts", "invoices"))],
        ):
            done = project.sluice("discover", address, *options)
            assert done.returncode == 0, done.stderr
        assert not project.load().errors
        company = Company(project.settings.home)
        for name in ("web", "marketplace", "wholesale"):
            assert "nothing to add" in company.sluice("discover", name)  # as AnyCompany declares them
        said = company.sluice("check", "--live")
        assert said.count("as its system is") == 5
        assert "reference was not looked at: it is code of this project" in said
    finally:
        Company(project.settings.home).sluice("sandbox", "down")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_six_systems_against_the_truth(tmp_path: Path) -> None:
    company = Company(tmp_path / "company")
    try:
        sandbox.up(company.home, scale=1)  # in this process, with which its servers end
        company.sluice("load")
    finally:
        company.sluice("sandbox", "down")
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        attach(con, company.home / "raw.duckdb", DATABASE, 10)
        sources = without_what_the_files_say(con)
        assert len(sources) == 6
        began = time.process_time()
        relationships = infer_all(con, sources)
        seconds = time.process_time() - began
    truth = yaml.safe_load((Path(__file__).parent / "discover.truth.yml").read_text(encoding="utf-8"))
    outcome = measure(sources, relationships, truth)
    assert row_of("AnyCompany") == shown(outcome), f"wrong: {outcome.wrong}\nmissed: {outcome.missed}"
    score = outcome.scores["relationships"]
    assert score.right >= 0.95 * score.proposed
    assert score.right >= 0.9 * score.true
    assert seconds < CPU_SECONDS

"""Lineage of AnyCompany's models: whatever changes when a source column is changed has to be predicted.

`-m full` perturbs the rows of every source; the rest is a sample of the same.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from sluice.dbt.compiling import compile_error, compile_projects
from tests.example.lineage_warehouse import ModelReport, Warehouse

ROOT = Path(__file__).parents[2]

# The share of predicted edges that a perturbation confirmed, as measured with DuckDB 1.5.5 and rounded down. It falls
# when lineage claims more than is so; a missing edge fails the test at once, whatever the share.
VALUE_FLOOR = 0.90

# Every source kind once (database, stream with documents, REST with lists, Python); all others in the full run.
QUICK_TABLES = ["shop__refunds", "web__page_views", "wholesale__invoices", "reference__exchange_rates"]


@pytest.fixture(scope="session")
def manifest_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project, compiled without a warehouse."""
    folder = tmp_path_factory.mktemp("compiled")
    compile_projects([(ROOT, folder)])
    assert not compile_error(folder), f"the project does not compile:\n{compile_error(folder)}"
    return folder / "manifest.json"


@pytest.fixture(scope="session")
def warehouse(manifest_file: Path) -> Warehouse:
    return Warehouse(json.loads(manifest_file.read_text(encoding="utf-8")), ROOT)


def check_models(report: ModelReport) -> str:
    assert not report.missed, "\n".join(report.missed[:10])
    values = len(report.values & report.confirmed) / len(report.values)
    others = report.predicted - report.values
    return (
        f"{report.runs} perturbations ({report.failed_runs} failed to run), 0 missed; confirmed: "
        f"{values:.1%} of {len(report.values)} value connections, "
        f"{len(others & report.confirmed) / len(others):.1%} of {len(others)} others"
    )


@pytest.mark.timeout(300)
def test_models_sampled(warehouse: Warehouse) -> None:
    tables = [table for table in QUICK_TABLES if table in warehouse.sources]
    check_models(warehouse.examine(limit=1, tables=tables, rng=random.Random(1)))


@pytest.mark.timeout(300)
def test_models_are_known_throughout(warehouse: Warehouse) -> None:
    assert warehouse.graph.unknowns == []


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_models_perturbed_everywhere(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    report = warehouse.examine(limit=8, tables=list(warehouse.sources), rng=random.Random(1))
    text = check_models(report)
    with capsys.disabled():
        sys.stdout.write(f"\nlineage of the models: {text}\n")
    assert len(report.values & report.confirmed) >= VALUE_FLOOR * len(report.values)

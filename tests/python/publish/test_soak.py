"""Readers while versions come and go, and what a publication costs."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.engine import load_extension
from pipelines.publish.versions import Versions

from .conftest import Company

READERS = 8


def _read(file: str, ready: Any, stop: Any, results: Any) -> None:
    """Open, look at both tables, close; until told to stop. Sends how often, the seconds of each, and what was wrong."""
    seconds, wrong = [], []
    ready.release()
    while not stop.is_set():
        started = time.monotonic()
        try:
            with duckdb.connect(file, read_only=True, config={"threads": 1}) as con:
                for _ in range(2):
                    steps = con.execute(
                        "select (select max(title) from dim_products), (select min(title) from dim_products),"
                        "(select 'step ' || max(amount)::int from fct_orders),"
                        "(select 'step ' || min(amount)::int from fct_orders)"
                    ).fetchone()
                    if steps is None or len(set(steps)) != 1:
                        wrong.append(f"not one version: {steps}")
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
        seconds.append(time.monotonic() - started)
        time.sleep(0.02)
    results.put((seconds, wrong))


def _readers(company: Company, while_reading: Any) -> tuple[list[float], list[str]]:
    context = multiprocessing.get_context("fork")
    ready, stop, results = context.Semaphore(0), context.Event(), context.Queue()
    readers = [
        context.Process(target=_read, args=(str(company.path("analysts")), ready, stop, results))
        for _ in range(READERS)
    ]
    for reader in readers:
        reader.start()
    for _ in readers:
        assert ready.acquire(timeout=60)
    try:
        while_reading()
    finally:
        stop.set()
    found = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(30)
    return [s for seconds, _ in found for s in seconds], [w for _, wrong in found for w in wrong]


def _soak(company: Company, seconds: float) -> tuple[float, float, int, int]:
    """Slowest reads without and with publications (99.9th percentile), reads, publications."""
    company.sql("update marts.dim_products set title = 'step 0'", "update marts.fct_orders set amount = 0")
    company.publish()
    quiet, wrong = _readers(company, lambda: time.sleep(min(seconds, 30)))
    assert not wrong
    published = 0

    def go_on() -> None:
        nonlocal published
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or published < 3:
            published += 1
            step = published % 1000
            company.sql(
                f"update marts.dim_products set title = 'step {step}'",
                f"update marts.fct_orders set amount = {step}",
            )
            company.publish()

    busy, wrong = _readers(company, go_on)
    assert not wrong, f"{len(wrong)} of {len(busy)} reads: {wrong[:3]}"
    return (
        statistics.quantiles(quiet, n=1000)[-1],
        statistics.quantiles(busy, n=1000)[-1],
        len(busy),
        published,
    )


def test_readers_never_wait_and_see_one_version(company: Company) -> None:
    _, _, reads, published = _soak(company, 3)
    assert reads > 20
    assert published >= 3


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_readers_for_five_minutes(company: Company, record_property: Any) -> None:
    """The slowest read may take at most twice as long as without publications.

    Compared with readers beside a process that works just as hard without publishing anything, as two cores are
    shared by all of them.
    """
    quiet, busy, reads, published = _soak(company, 300)
    record_property(
        "measured", f"{reads} reads, {published} publications, slowest {quiet:.3f} s, {busy:.3f} s"
    )
    print(f"{reads} reads, {published} publications, slowest without {quiet:.3f} s, with {busy:.3f} s")  # noqa: T201
    assert published > 50
    assert busy <= 2 * quiet


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_seven_million_rows_cost_half_more_than_a_copy(company: Company, tmp_path: Path) -> None:
    """TPC-H's order lines, masked in two columns, to three audiences; against `create table as` of the same rows."""
    with duckdb.connect(str(tmp_path / "tpch.duckdb")) as con:
        load_extension(con, "tpch")
        con.execute("call dbgen(sf = 1)")
    company.sql(
        f"attach '{tmp_path / 'tpch.duckdb'}' as tpch (read_only)",
        "create table marts.fct_lines as select * exclude (l_comment), 'c' || l_suppkey as contact_email from (from tpch.lineitem union all (from tpch.lineitem limit 1000000))",
    )
    with duckdb.connect(str(company.settings.warehouse), read_only=True) as con:
        types = con.execute("describe marts.fct_lines").fetchall()
        rows = con.execute("select count(*) from marts.fct_lines").fetchall()[0][0]
    assert rows > 7_000_000
    columns = {name: (kind, "email" if name == "contact_email" else None) for name, kind, *_ in types}
    for name in ("dim_customers", "fct_orders", "dim_products"):
        company.models[f"model.t.{name}"]["config"]["grants"] = {}
    company.tests.clear()
    company.model("fct_lines", columns, ["analysts", "support", "dach"])
    (company.settings.root / "audiences.yml").write_text(
        "audiences:\n"
        "  - {name: analysts, description: a, masks: {email: hash}}\n"
        "  - {name: support, description: s, clear: [email]}\n"
        "  - {name: dach, description: d}\n"
    )

    def copy() -> float:
        file = tmp_path / "copy.duckdb"
        file.unlink(missing_ok=True)
        with duckdb.connect() as con:
            con.execute(f"attach '{company.settings.warehouse}' as w (read_only)")
            started = time.monotonic()
            con.execute(f"attach '{file}' as copy")
            con.execute("create table copy.fct_lines as from w.marts.fct_lines")
            con.execute("detach copy")
            return time.monotonic() - started

    def published() -> float:
        company.sql("update marts.fct_lines set l_quantity = l_quantity + 1 where l_orderkey < 100")
        company.built()
        started = time.monotonic()
        company.publish()
        return (time.monotonic() - started) / 3

    ratios = [published() / copy() for _ in range(5)]
    print(f"ratios: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")  # noqa: T201
    assert statistics.median(ratios) <= 1.5
    version = Versions(company.published).read_current()
    assert version is not None
    assert all(a.tables["fct_lines"].rows == rows for a in version.audiences.values())

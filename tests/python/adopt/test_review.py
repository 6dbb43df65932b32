"""Reviews in projects that were not made for Sluice: what is found, and the numbers."""

from __future__ import annotations

import pytest

from sluice.config.settings import load_settings
from sluice.review import Level, Review, review
from tests.python.adopt.foreign import ORDERS, UNPAID, Foreign

pytestmark = pytest.mark.timeout(600)


def reviewed(project: Foreign) -> Review:
    return review(load_settings(project.root), "main")


def ids(found: Review) -> set[str]:
    return {f.id for f in [*found.findings, *found.lint] if f.level > Level.SAFE}


def test_an_inner_join_and_a_changed_sum(bakery: Foreign) -> None:
    bakery.edit("models/orders.sql", "left join payments", "inner join payments")
    bakery.edit("models/customers.sql", "sum(amount) as", "sum(amount * 2) as")
    found = reviewed(bakery)
    assert ids(found) == {
        "join-kind:orders",
        "column-changed:customers.totals.lifetime_value",
        "lint:sqlfluff",  # its templater is not installed here
    }
    assert not found.remarks
    tables = {t.name: t for t in found.data.tables}
    paid = ORDERS - ORDERS // UNPAID
    assert tables["orders"].rows == (ORDERS, paid)
    assert (tables["orders"].removed, tables["orders"].changed) == (ORDERS - paid, 0)
    sums = {c.name: c.total for c in tables["customers"].columns}
    cents = sum(100 + i + (50 if i % UNPAID == 1 else 0) for i in range(1, ORDERS + 1) if i % UNPAID)
    assert sums["lifetime_value"] == pytest.approx((cents / 100, cents / 50))
    assert sums["orders"] == (ORDERS, paid)
    assert [(r.name, r.kind, r.differs, r.owner) for r in found.reach if r.kind == "exposure"] == [
        ("weekly_letter", "exposure", True, "Greta Holm <greta@bakery.example>")
    ]
    [lint] = [f.text for f in found.lint if f.id == "lint:sqlfluff"]
    assert "templater dbt, which is not installed here" in lint


@pytest.mark.full
def test_a_macro_of_a_local_package_and_what_a_snapshot_feeds(bakery: Foreign) -> None:
    """The base has the package as it was, although git does not keep `dbt_packages`."""
    bakery.edit("packages/toolbox/macros/cents_to_euros.sql", "/ 100", "/ 10")
    bakery.edit("models/staging/stg_customers.sql", "email, town", "email, upper(town) as town")
    found = reviewed(bakery)
    tables = {t.name: t for t in found.data.tables}
    assert {name: t.error for name, t in tables.items() if t.error} == {}
    [amount] = [c for c in tables["stg_payments"].columns if c.name == "amount"]
    assert amount.changed == tables["stg_payments"].rows[0]
    assert [c.name for c in tables["town_history"].columns] == ["town"]
    assert tables["town_history"].rows == (60, 60)


@pytest.mark.full
def test_metrics_python_models_and_several_databases(rides: Foreign) -> None:
    rides.edit("transform/core/fct_trips.sql", "left join", "inner join")
    rides.edit("transform/finance/revenue_by_model.sql", "sum(price) as", "sum(price * 2) as")
    found = reviewed(rides)
    tables = {t.name: t for t in found.data.tables}
    assert {name: t.rows for name, t in tables.items()} == {
        "fct_trips": (300, 270),
        "revenue_by_model": (4, 3),
        "trips_by_day": (13, 13),
    }
    assert tables["trips_by_day"].changed == 13  # by the key that dbt merges its rows by
    assert {f.id for f in found.findings if f.level > Level.SAFE} == {
        "join-kind:fct_trips",
        "column-changed:revenue_by_model.revenue",
        "not-compared:trip_lengths",
    }
    asked = {(r.name, r.kind): (r.owner, r.differs) for r in found.reach}
    assert asked["revenue_per_trip", "metric"] == ("Ida Berg <ida@rides.example>", True)
    assert asked["monthly_board", "saved_query"] == ("nobody", True)
    assert asked["board_report", "exposure"] == ("Ida Berg <ida@rides.example>", True)
    assert asked["month_end", "exposure"] == ("Ole Dahl <ole@rides.example>", True)
    assert asked["long_trips", "model"][1] is None  # what a Python model makes is not known here


@pytest.mark.full
def test_a_column_that_a_metric_measures(rides: Foreign) -> None:
    """dbt does not see that the measure reads it: its expression is text."""
    rides.edit("transform/core/fct_trips.sql", "    trips.minutes,\n", "")
    rides.edit("transform/core/core.yml", "      - name: minutes\n", "      - name: unused\n")
    found = reviewed(rides)
    [lost] = [f for f in found.findings if f.id == "exposure-loses:fct_trips.minutes"]
    assert lost.level is Level.STOP
    assert "Hours ridden uses it" in lost.text

"""The reference data is what the packages carry, and stops where it is told to."""

import datetime as dt
from decimal import Decimal

from pipelines import reference
from sandbox import names


def test_exchange_rates_are_the_ecbs() -> None:
    rows = [row for page in reference.exchange_rates(until="2026-01-05") for row in [page]]
    rates = {(row["rate_date"], row["currency"]): row["units_per_eur"] for row in rows}
    assert rates[dt.date(2024, 9, 2), "AUD"] == Decimal("1.6322")
    assert max(day for day, _ in rates) == dt.date(2026, 1, 5)
    assert min(day for day, _ in rates) == dt.date(2024, 9, 2)
    assert (dt.date(2025, 1, 4), "USD") not in rates, "the ECB publishes nothing on Saturdays"
    assert max(day for day, currency in rates if currency == "BGN") == dt.date(2025, 12, 31)


def test_holidays_cover_every_country_of_the_company() -> None:
    rows = list(reference.public_holidays(2025, 2025))
    assert {row["country_code"] for row in rows} == {country.code for country in names.COUNTRIES}
    assert {row["holiday_date"].year for row in rows} == {2025}
    keys = [(row["holiday_date"], row["country_code"], row["name"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert {(row["country_code"], row["holiday_date"]) for row in rows} >= {
        ("DE", dt.date(2025, 10, 3)),
        ("US", dt.date(2025, 7, 4)),
    }


def test_countries_are_iso_3166() -> None:
    rows = list(reference.countries())
    assert len(rows) == 249
    assert {"country_code": "DE", "alpha_3": "DEU", "name": "Germany"} in rows

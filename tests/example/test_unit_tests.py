"""A unit test whose rows the table could not hold fails, instead of being rounded until it passes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    "dbt_project.yml": "name: tiny\nprofile: tiny\n",
    "profiles.yml": "tiny: {target: dev, outputs: {dev: {type: duckdb, path: tiny.duckdb}}}\n",
    "models/given.sql": """{{ config(materialized="table") }}
select 1 as id, 1.00::decimal(10,2) as amount, date '2024-01-01' as day, timestamp '2024-01-01' as moment, 'a' as word,
    true as flag, [1] as list, 1.5 as real_value, 1::bigint as big, interval 1 day as span
""",
    "models/stored.sql": """{{ config(materialized="table", contract={"enforced": true}) }}
select id, (amount / 3)::decimal(10,2) as third, amount, day, moment, flag, word from {{ ref("given") }}
""",
    "models/models.yml": """
models:
  - name: stored
    columns:
      - {name: id, data_type: integer}
      - {name: third, data_type: "decimal(10,2)"}
      - {name: amount, data_type: "decimal(10,2)"}
      - {name: day, data_type: date}
      - {name: moment, data_type: timestamp}
      - {name: flag, data_type: boolean}
      - {name: word, data_type: text}
""",
}
SQL = "select 1 as id, {} as third, 1.00 as amount, null as day, null as moment, null as flag, null as word"
RIGHT = {
    "rounded": ("[{amount: 1.00}]", "[{third: 0.33}]"),
    "rounded_as_text": ("[{amount: '1.00'}]", "[{third: '0.33'}]"),
    "rounded_sql": ("[{id: 1, amount: 1.00}]", SQL.format("0.33")),
    "more_zeros": ("[{id: 1.0, amount: 1.000}]", "[{ID: 1.0, third: 0.3300}]"),
    "a_power": ("[{amount: 1e2}]", "[{amount: 1.0e+2}]"),
    "keys_in_any_order": (
        "[{amount: 3.00, id: 1}, {id: 4, amount: 6.00}]",
        "[{id: 1, amount: 3.00, third: 1.00}, {amount: 6.00, third: 2.00, id: 4}]",
    ),
    "types": (
        "[{id: -2, amount: null, day: 2024-01-01, moment: 2024-01-01T10:00:00.123456, word: it's 1.505, flag: true}]",
        "[{id: -2, day: 2024-01-01, moment: '2024-01-01 10:00:00.123456', word: it's 1.505, flag: true}]",
    ),
    "more_types": (
        "[{list: [1, 2], real_value: 1.5, big: 9007199254740993, flag: 'false', day: 9999-12-31, span: 1 day}]",
        "[{id: null, day: '9999-12-31', moment: null, flag: false}]",
    ),
}
WRONG = {
    "not_rounded": (
        "[{amount: 1.00}]",
        "[{third: 0.3333}]",
        "third: decimal(10,2) cannot hold 0.3333 exactly",
    ),
    "not_rounded_text": (
        "[{amount: 1.00}]",
        "[{third: '0.3333'}]",
        "third: decimal(10,2) cannot hold 0.3333",
    ),
    "not_rounded_sql": ("[{id: 1, amount: 1.00}]", SQL.format("0.3333"), "0.3300"),
    "digits_of_an_input": (
        "[{amount: 1.0012}]",
        "[{amount: 1.00}]",
        "amount: decimal(10,2) cannot hold 1.0012",
    ),
    "half_an_integer": ("[{id: 2}]", "[{id: 1.5}]", "id: integer cannot hold 1.5 exactly"),
    "time_of_a_day": (
        "[{day: 2024-01-01}]",
        "[{day: '2024-01-01 10:00'}]",
        "day: date cannot hold 2024-01-01 10:00",
    ),
    "nanoseconds": (
        "[{moment: '2024-01-01 10:00:00.123456'}]",
        "[{moment: '2024-01-01 10:00:00.1234567'}]",
        "moment: timestamp cannot hold 2024-01-01 10:00:00.1234567 exactly",
    ),
    "values_of_two_keys_exchanged": (
        "[{id: 1, amount: 3.00}, {id: 4, amount: 6.00}]",
        "[{id: 1, amount: 3.00}, {amount: 4.00, id: 6}]",
        "differs from",
    ),
    "another_column": ("[{id: 1}]", "[{gone: 1}]", "Invalid column name: 'gone'"),
}


def _unit_test(name: str, given: str, expected: str) -> str:
    format_ = "sql" if expected.startswith("select") else "dict"
    rows = json.dumps(expected) if format_ == "sql" else expected
    return (
        f"  - name: {name}\n    model: stored\n    given: [{{input: ref('given'), rows: {given}}}]\n"
        f"    expect: {{format: {format_}, rows: {rows}}}\n"
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Status and message of each unit test, from plain dbt on a project with this one's macro."""
    root = tmp_path_factory.mktemp("tiny")
    cases = [(name, *case[:2]) for name, case in (RIGHT | WRONG).items()]
    files = FILES | {"models/tests.yml": "unit_tests:\n" + "".join(_unit_test(*case) for case in cases)}
    for folder in ("models", "macros"):
        (root / folder).mkdir()
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "macros" / "format_row.sql", root / "macros")
    for command in (["run"], ["test", "--select", "test_type:unit"]):
        dbt = [str(Path(sys.executable).with_name("dbt")), "--quiet", *command, "--profiles-dir", "."]
        subprocess.run(dbt, cwd=root, check=False, capture_output=True)
    found = json.loads((root / "target" / "run_results.json").read_text(encoding="utf-8"))["results"]
    return {r["unique_id"].split(".")[-1]: (r["status"], r["message"] or "") for r in found}


@pytest.mark.parametrize("name", RIGHT)
def test_rows_that_the_table_can_hold_pass(results: dict[str, tuple[str, str]], name: str) -> None:
    assert results[name] == ("pass", "")


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_it_cannot_hold_fail(results: dict[str, tuple[str, str]], name: str) -> None:
    status, message = results[name]
    assert status in ("fail", "error")
    assert WRONG[name][2] in message

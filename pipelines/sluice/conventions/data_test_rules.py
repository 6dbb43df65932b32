"""Conventions of tests of data, and of unit tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

from sluice.conventions.project import Finding, Project
from sluice.dbt.manifest import meta


def algebraic_test(project: Project) -> Iterator[Finding]:
    """Every mart has a test of its figures."""
    for mart in project.layer("marts"):
        if not project.tests[mart["unique_id"]] & {"expression_is_true", "singular"}:
            yield project.at(
                mart,
                f"{mart['name']} has no algebraic test. Keys and types hold for wrong numbers, too: add an "
                "expression_is_true, such as subtotal + tax = total, or a singular test that reconciles it.",
            )


def row_floor(project: Project) -> Iterator[Finding]:
    """Every mart, also one in Python, has a test that fails when it is empty, or says why it may be."""
    for mart in project.nodes("model"):
        if not mart["path"].startswith("marts/"):
            continue
        if "min_rows" not in project.tests[mart["unique_id"]] and not meta(mart).get("may_be_empty"):
            yield project.at(
                mart,
                f"{mart['name']} has no min_rows test. An empty table passes every test that looks for wrong rows: add "
                "min_rows (docs/style.md), or write into config.meta.may_be_empty why it may have no row.",
            )


def snapshot_history(project: Project) -> Iterator[Finding]:
    """Snapshots cannot write a history that overlaps, and have a test that says so."""
    for node in project.nodes("snapshot"):
        config = node["config"]
        deletes = config.get("hard_deletes") or (
            "invalidate" if config.get("invalidate_hard_deletes") else "ignore"
        )
        if config.get("strategy") == "check" and config.get("updated_at"):
            yield project.at(
                node,
                f"{node['name']} takes its times from {config['updated_at']}. A row that comes with an earlier time "
                "than before makes the history overlap: leave out updated_at, and dbt writes when it saw the change.",
            )
        if config.get("strategy") == "timestamp" and deletes != "ignore":
            yield project.at(
                node,
                f"{node['name']} has strategy: timestamp with hard_deletes: {deletes}. A row that is deleted and comes "
                "back with its old time makes the history overlap: use strategy: check without updated_at.",
            )
        if "valid_intervals" not in project.tests[node["unique_id"]]:
            yield project.at(
                node,
                f"{node['name']} has no valid_intervals test. A row that is valid twice at a time is counted twice by "
                "every join: add valid_intervals (docs/style.md).",
            )


def unit_test_names(project: Project) -> Iterator[Finding]:
    """Unit tests are named, described and written alike, beside their models."""
    for test in project.nodes("unit_test"):
        name, model, path = test["name"], test["model"], Path(test["original_file_path"])
        if not name.startswith(f"{model}__"):
            message = (
                f"{name} tests {model}. Call it {model}__<behaviour>, so that a failure says what broke."
            )
            yield project.at(test, message)
        if not test["description"]:
            yield project.at(test, f"{name} has no description: one sentence with the rule it shows.")
        if path.name != f"_{path.parent.name}__unit_tests.yml":
            message = f"{name}: unit tests stand beside their models, in _{path.parent.name}__unit_tests.yml."
            yield project.at(test, message)
        if any(fixture["format"] != "dict" for fixture in [*test["given"], test["expect"]]):
            yield project.at(
                test,
                f"{name} has a fixture that is not a list of rows. One notation reads fastest: one {{column: value}} "
                "per line.",
            )


def exact_fixtures(project: Project) -> Iterator[Finding]:
    """Unit tests expect numbers that their model's column can hold."""
    for test in project.nodes("unit_test"):
        model = project.manifest.entries["nodes"][test["depends_on"]["nodes"][0]]
        types = {name.lower(): column["data_type"] or "" for name, column in model["columns"].items()}
        rows = test["expect"]["rows"] if isinstance(test["expect"]["rows"], list) else []
        for name, value in (item for row in rows for item in row.items()):
            type_ = types.get(name.lower(), "")
            if _decimals(value) > _scale(type_):
                message = f"{test['name']} expects {name} {value}, which {type_} cannot hold. dbt rounds it: without"
                yield project.at(
                    test, f"{message} the macro format_row (docs/style.md) a wrong result passes."
                )


def _scale(data_type: str) -> int:
    """Decimals that a type keeps; very many unless it is an integer or a decimal."""
    if match := re.fullmatch(r"(?:decimal|numeric)\s*\(\s*\d+\s*,\s*(\d+)\s*\)", data_type.lower()):
        return int(match[1])
    return 0 if re.fullmatch(r"u?(tiny|small|big|huge)?int|integer", data_type.lower()) else sys.maxsize


def _decimals(value: object) -> int:
    """Decimals that a number has, without zeros at the end."""
    try:
        exponent = Decimal(str(value)).normalize().as_tuple().exponent
    except InvalidOperation:
        return 0
    return -exponent if isinstance(exponent, int) else 0


def fixture_rows(project: Project) -> Iterator[Finding]:
    """Rows of fixtures stand below each other."""
    for path in project.files("models/**/*__unit_tests.yml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if not line.startswith(("          -", "        - ")):
                continue
            row = [line]
            while row[-1].endswith(","):  # a row too long for one line
                row.append(lines[number - 1 + len(row)])
            if not re.fullmatch(r"\s+- (\{.*\}|input: .*)", " ".join(row)):
                yield Finding(
                    project.name(path),
                    number,
                    "a row of a fixture is {column: value, …}, on one line where it fits, so that the rows stand "
                    "below each other like a table.",
                )


def singular_tests(project: Project) -> Iterator[Finding]:
    """Singular tests are named as claims, and say what a returned row means."""
    for node in project.nodes("test"):
        path = project.root / node["original_file_path"]
        if node.get("test_metadata") or not path.is_file():
            continue
        if not re.match(r"\{#\s+A returned row (is|says) ", path.read_text(encoding="utf-8")):
            yield Finding(
                project.name(path),
                1,
                "has to open with `{# A returned row is …` or `… says …`: whoever is woken by the test reads that "
                "line first.",
            )
        if len(path.stem.split("_")) < 4:
            message = (
                "is not named as a claim. A failure then says what does not hold: call it e.g. a_equals_b."
            )
            yield Finding(project.name(path), 1, message)

"""Conventions of tests of data, and of unit tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sluice.conventions.project import Finding, Project


def algebraic_test(project: Project) -> Iterator[Finding]:
    """Every mart has a test of its figures."""
    tests = project.nodes("test")
    for mart in project.layer("marts"):
        kinds = {
            (test.get("test_metadata") or {}).get("name", "singular")
            for test in tests
            if mart["unique_id"] in test["depends_on"]["nodes"]
        }
        if not kinds & {"expression_is_true", "singular"}:
            yield project.at(
                mart,
                f"{mart['name']} has no algebraic test. Keys and types hold for wrong numbers, too: add an "
                "expression_is_true, such as subtotal + tax = total, or a singular test that reconciles it.",
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

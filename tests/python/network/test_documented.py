"""The tables of network faults in docs/loading.md are the cases of the tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.python.network.cases import (
    BROKEN_CONNECTIONS,
    BROKERS,
    BUCKETS,
    BUCKETS_SAMPLE,
    FAILS,
    PAGES,
    PASSES,
    SAMPLE,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "loading.md"


def starred(name: str) -> str:
    return name if name in SAMPLE else f"{name} *"


def web_rows() -> list[str]:
    """The lines about web APIs."""
    passes = [f"| {starred(name)} | complete | {case.requests} |" for name, case in PASSES.items()]
    fails = [
        f"| {starred(name)} | fails: {' … '.join(case.told)} | {case.requests} |"
        for name, case in FAILS.items()
    ]
    return passes + fails


def test_the_table_of_web_apis_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    there = re.findall(r"^\| .* \| (?:complete|fails: .*) \| \d+ \|$", text, re.MULTILINE)
    assert there == web_rows(), "write this table into docs/loading.md:\n" + "\n".join(web_rows())


def test_the_document_says_how_many_pages_there_are() -> None:
    assert f"a table of {PAGES} pages" in DOCUMENT.read_text(encoding="utf-8")


def test_every_case_of_the_sample_exists() -> None:
    assert set(PASSES) | set(FAILS) >= SAMPLE


def test_the_table_of_connections_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    expected = [f"| {what} | {outcome} |" for what, outcome in BROKEN_CONNECTIONS.values()]
    after = text.partition("| The connection | The load of the table |\n|---|---|\n")[2]
    assert after.partition("\n\n")[0].splitlines() == expected, "\n".join(expected)


def test_the_tables_of_brokers_and_buckets_are_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    brokers = [f"| {what} | {outcome} |" for what, outcome in BROKERS.values()]
    buckets = [
        f"| {what if what in BUCKETS_SAMPLE else f'{what} *'} | {outcome} |"
        for what, (_, _, outcome) in BUCKETS.items()
    ]
    for head, expected in {"The broker": brokers, "The request for a file": buckets}.items():
        after = text.partition(f"| {head} | The load of the table |\n|---|---|\n")[2]
        assert after.partition("\n\n")[0].splitlines() == expected, "\n".join(expected)

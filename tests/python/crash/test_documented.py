"""The table in docs/loading.md names every promise's test, and every test here stands in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.python.crash.test_kills import KINDS
from tests.python.load import test_deletions, test_drift
from tests.python.load.test_deletions import CANNOT
from tests.python.load.test_odd_values import ANSWERS, FILES, PARQUET, POSTGRES, SQLITE
from tests.python.load.test_quarantine import BAD_LINES
from tests.python.load.test_soft_delete import MARKS

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parents[1] / "docs" / "loading.md"
SHAPE = "A source that changes its shape loads without loss or is refused"
ODD = "What is odd arrives as it is, or is refused"
REFRESH = "A full refresh exchanges whole tables, or nothing"
DELETED = "Deleted rows are known"
PROMISES = {
    "crash/test_kills.py::test_killed_at_every_event": "Killed anywhere, nothing is lost or doubled",
    "crash/test_kills.py::test_a_refresh_killed_at_every_event": REFRESH,
    "crash/test_kills.py::test_killed_sample": "Killed anywhere, nothing is lost or doubled",
    "crash/test_kills.py::test_killed_while_a_normalised_package_is_deleted": "Killed anywhere, nothing is lost or doubled",
    "crash/test_kills.py::test_killed_before_dlt_has_written_its_state": "Killed anywhere, nothing is lost or doubled",
    "crash/test_generated.py::test_tables": "Generated sources, killed at random",
    "crash/test_generated.py::test_many_tables": "Generated sources, killed at random",
    "crash/test_generated.py::test_records": "Generated sources, killed at random",
    "crash/test_generated.py::test_many_records": "Generated sources, killed at random",
    "crash/test_pending.py::test_a_poison_package_is_set_aside": "A broken package does not block",
    "crash/test_pending.py::test_a_half_written_schema_sets_nothing_aside": "A broken package does not block",
    "crash/test_interrupts.py::test_ctrl_c_ends_within_two_seconds": "Ctrl-C ends at once",
    "crash/test_at_once.py::test_a_second_load_waits_and_names_the_first": "Two at once",
    "crash/test_at_once.py::test_a_second_load_goes_on_when_the_first_has_ended": "Two at once",
    "crash/test_at_once.py::test_a_plain_dbt_build_waits_for_a_load": "Two at once",
    "crash/test_at_once.py::test_a_reader_holds_a_load_up_and_is_named": "Two at once",
    "crash/test_at_once.py::test_a_reader_in_the_process_sees_a_whole_table_while_it_is_replaced": "Replace is atomic",
    "load/test_quarantine.py::test_bad_lines_of_files": "Bad rows are kept apart",
    "load/test_quarantine_kinds.py::test_bad_rows_of_every_kind": "Bad rows are kept apart",
    "load/test_quarantine_kinds.py::test_messages_of_kafka": "Bad rows are kept apart",
    "load/test_quarantine_kinds.py::test_bad_rows_of_every_kind_leave_when_they_come_well": "The quarantine is retried",
    "load/test_quarantine_kinds.py::test_kept_texts_are_taken_in_once_they_are_fixed": "The quarantine is retried",
    "load/test_quarantine_kinds.py::test_bad_rows_that_are_alike_all_come_back": "The quarantine is retried",
    "load/test_quarantine.py::test_a_tolerance_in_percent": "A tolerance decides",
    "load/test_quarantine.py::test_beyond_the_tolerance_raw_stays_as_it_was": "A tolerance decides",
    "load/test_quarantine.py::test_files_are_read_again_after_the_declaration_is_fixed": "The quarantine is retried",
    "load/test_quarantine.py::test_messages_of_a_stream": "Bad rows are kept apart",
    "load/test_quarantine.py::test_rows_of_a_database_leave_when_they_come_well": "The quarantine is retried",
    "load/test_quarantine.py::test_a_key_of_several_different_rows": "Bad rows are kept apart",
    "load/test_quarantine.py::test_a_new_column": "Drift follows the table's policy",
    "load/test_drift.py::test_drift_of_postgres": SHAPE,
    "load/test_drift.py::test_drift_of_mariadb": SHAPE,
    "load/test_drift.py::test_drift_of_sqlite": SHAPE,
    "load/test_drift.py::test_drift_of_files": SHAPE,
    "load/test_drift.py::test_drift_of_excel": SHAPE,
    "load/test_drift.py::test_drift_of_an_api": SHAPE,
    "load/test_drift.py::test_names_that_the_source_does_not_have": SHAPE,
    "load/test_odd_values.py::test_odd_files": ODD,
    "load/test_odd_values.py::test_odd_parquet": ODD,
    "load/test_odd_values.py::test_odd_sqlite": ODD,
    "load/test_odd_values.py::test_a_text_of_sqlite_that_is_declared_as_json": ODD,
    "load/test_odd_values.py::test_odd_postgres": ODD,
    "load/test_odd_values.py::test_cells_of_excel_without_a_value_are_bad_rows": ODD,
    "load/test_odd_values.py::test_zero_dates_of_mariadb_are_kept_apart": ODD,
    "load/test_odd_values.py::test_odd_answers": ODD,
    "load/test_odd_values.py::test_a_function_that_exits_ends_its_table_only": ODD,
    "load/test_full_refresh.py::test_postgres_is_as_a_first_load_has_it": REFRESH,
    "load/test_full_refresh.py::test_a_decimal_of_mariadb_that_is_too_wide": REFRESH,
    "load/test_full_refresh.py::test_other_kinds_are_as_a_first_load_has_them": REFRESH,
    "load/test_full_refresh.py::test_a_refresh_that_fails_changes_nothing": REFRESH,
    "load/test_full_refresh.py::test_what_only_raw_held_is_said": REFRESH,
    "load/test_full_refresh.py::test_new_columns_follow_the_policy": REFRESH,
    "load/test_full_refresh.py::test_a_refresh_that_nobody_asked_for_may_not_shrink": REFRESH,
    "load/test_full_refresh.py::test_a_column_that_left_may_come_back": REFRESH,
    "load/test_full_refresh.py::test_a_table_that_was_dropped_in_raw_is_created_again": REFRESH,
    "load/test_full_refresh.py::test_the_declaration_may_have_changed": REFRESH,
    "load/test_full_refresh.py::test_a_stream_is_read_whole_and_a_queue_is_not_emptied": REFRESH,
    "load/test_full_refresh.py::test_a_topic_is_read_whole": REFRESH,
    "load/test_soft_delete.py::test_a_mark_of_the_source": "Deleted rows are known",
    "load/test_soft_delete.py::test_a_mark_of_records_that_comes_later": "Deleted rows are known",
    "load/test_soft_delete.py::test_a_mark_that_is_none_is_refused": "Deleted rows are known",
    "load/test_deletions.py::test_rows_that_are_gone_are_marked": DELETED,
    "load/test_deletions.py::test_bad_rows_are_not_deleted": DELETED,
    "load/test_deletions.py::test_bad_records_are_not_deleted": DELETED,
    "load/test_deletions.py::test_a_key_that_another_file_has_is_not_gone": DELETED,
    "load/test_deletions.py::test_switched_on_later": DELETED,
    "load/test_deletions.py::test_where_it_cannot_work_the_check_says_so": DELETED,
    "load/test_deletions.py::test_children_of_a_parent_with_a_cursor": DELETED,
    "load/test_deletions.py::test_a_source_that_is_suddenly_empty_is_said": "A source that vanishes is said",
    "load/test_quarantine.py::test_the_command_shows_bad_rows_and_drift": "Drift is shown",
}
CASES = {
    "test_killed_at_every_event": [
        f"{kind}: {stage} load, once, twice in a row, and at any moment *"
        for kind in KINDS
        for stage in ("first", "changed")
    ],
    "test_a_refresh_killed_at_every_event": [f"{kind}, at any moment *" for kind in KINDS],
    "test_a_poison_package_is_set_aside": [
        f"{damage} *"
        for damage in (
            "malformed before normalising",
            "malformed while partly loaded",
            "its files are missing",
        )
    ],
    "test_tables": ["three tables of a database"],
    "test_many_tables": ["15 tables of a database *"],
    "test_records": ["three files of JSON records"],
    "test_many_records": ["15 files of JSON records *"],
    "test_ctrl_c_ends_within_two_seconds": [f"a long extraction of {kind} *" for kind in KINDS],
    "test_a_plain_dbt_build_waits_for_a_load": ["a plain dbt build during a load *"],
    "test_bad_lines_of_files": list(BAD_LINES),
    "test_bad_rows_of_every_kind": [f"rows of {kind}" for kind in ("excel", "parquet", "rest", "python")],
    "test_drift_of_postgres": [f"PostgreSQL: {case}" for case in test_drift.POSTGRES],
    "test_drift_of_mariadb": [f"MariaDB: {case}" for case in test_drift.MARIADB],
    "test_drift_of_sqlite": [f"SQLite: {case}" for case in test_drift.SQLITE],
    "test_drift_of_files": list(test_drift.FILES),
    "test_drift_of_excel": list(test_drift.SHEETS),
    "test_drift_of_an_api": list(test_drift.API),
    "test_odd_files": list(FILES),
    "test_odd_parquet": [f"Parquet: {case}" for case in PARQUET],
    "test_odd_sqlite": [f"SQLite: {case}" for case in SQLITE],
    "test_odd_postgres": [f"PostgreSQL: {case}" for case in POSTGRES],
    "test_odd_answers": [f"an API: {case}" for case in ANSWERS],
    "test_a_mark_of_the_source": [f"a soft-delete column: {mark}" for mark in MARKS],
    "test_rows_that_are_gone_are_marked": [
        kind + " *" * (kind in test_deletions.IN_FULL) for kind in test_deletions.KINDS
    ],
    "test_where_it_cannot_work_the_check_says_so": [
        f"refused where it cannot work: {case}" for case in CANNOT
    ],
    "test_a_source_that_is_suddenly_empty_is_said": [
        f"a source that is empty: {kind}" for kind in test_deletions.EMPTIED
    ],
    "test_a_new_column": ["a new column: evolve", "a new column: freeze", "a new column: quarantine"],
}
"""Cases of a test, where it has several; else its name says the case. A star: in the full suite."""


def rows() -> list[str]:
    """The lines of the table."""
    found = []
    for address, promise in PROMISES.items():
        name = address.split("::")[1]
        told = name.removeprefix("test_").replace("_", " ")
        found += [f"| {promise} | {case} | `{address}` |" for case in CASES.get(name, [told])]
    return found


def test_the_table_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    there = re.findall(r"^\| (?!promise).* \| .* \| `.*::.*` \|$", text, re.MULTILINE)
    expected = rows()
    assert there == expected, "write this table into docs/loading.md:\n" + "\n".join(expected)


def test_every_test_stands_in_the_table() -> None:
    found = set()
    for file in [
        *sorted((TESTS / "crash").glob("test_*.py")),
        *(TESTS / "load").glob("test_quarantine*.py"),
        TESTS / "load/test_deletions.py",
        TESTS / "load/test_drift.py",
        TESTS / "load/test_full_refresh.py",
        TESTS / "load/test_odd_values.py",
        TESTS / "load/test_soft_delete.py",
    ]:
        if file.name == Path(__file__).name:
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{file.relative_to(TESTS)}::{node.name}")
    assert found == set(PROMISES)

"""What `sluice catalog --check` looks for: marts without documentation, owner or tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.dbt.manifest import Manifest, Table, Test

MARTS = "marts"
KEY_TESTS = ("primary_key", "unique")


@dataclass(frozen=True)
class Problem:
    """A rule, the table that breaks it, and what to do. `gate`: `--check` fails on it."""

    table: str
    rule: str
    text: str
    gate: bool


def problems_of(
    manifest: Manifest,
    columns: Mapping[str, Sequence[tuple[str, str]]],
    tests: Mapping[str, Sequence[Test]],
    profiles: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> list[Problem]:
    """All findings; those about marts, which fail the check, come first."""
    found = []
    for table in manifest.tables.values():
        if not table.is_consumer:
            found += _of_table(table, columns.get(table.id, []), tests.get(table.id, []))
        suspects = [name for name, result in profiles.get(table.id, {}).items() if result.get("suspect")]
        if suspects:
            text = (
                f"{', '.join(suspects)} of {table.name} holds what looks like personal data but has no data class;"
                " its values are not shown. Set config.meta.data_class, or rename the column if it only looks personal."
            )
            found.append(Problem(table.id, "unclassed", text, table.layer == MARTS))
    return sorted(found, key=lambda p: not p.gate)


def _of_table(table: Table, columns: Sequence[tuple[str, str]], tests: Sequence[Test]) -> list[Problem]:
    gate = table.layer == MARTS
    where = table.name
    found = []
    if not table.description:
        found.append(
            Problem(table.id, "undocumented", f"{where} has no description: say what one row is.", gate)
        )
    bare = [
        name
        for name, _ in columns
        if not (table.columns.get(name.lower()) and table.columns[name.lower()].description)
        and not name.startswith("_")
    ]
    if bare:
        shown = ", ".join(bare[:5]) + (f" and {len(bare) - 5} more" if len(bare) > 5 else "")
        found.append(
            Problem(table.id, "undocumented", f"{where} has columns without a description: {shown}.", gate)
        )
    if not table.owner:
        text = f"{where} has no owner: set config.group, or config.meta.owner."
        found.append(Problem(table.id, "unowned", text, gate))
    own = [t for t in tests if t.table == table.id and t.kind != "unit"]
    if not own:
        found.append(Problem(table.id, "untested", f"{where} has no test at all.", gate))
    elif not any(t.type in KEY_TESTS for t in own):
        text = f"{where} has no test of its key: add primary_key or unique."
        found.append(Problem(table.id, "untested", text, gate))
    return found

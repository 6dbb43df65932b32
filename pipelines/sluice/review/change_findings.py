"""Findings about changed models, from their queries alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from sluice.dbt.manifest import Table
from sluice.lineage import ROWS
from sluice.review.downstream import consumers_below
from sluice.review.findings import Finding, Level, look, safe, stop
from sluice.review.model_changes import Change
from sluice.review.revision import Revision
from sluice.review.select_parts import FINAL


def change_findings(
    old: Revision, new: Revision, changed: Iterable[Change], equal: Collection[str] = ()
) -> list[Finding]:
    """All of them; `old` tells which metrics and exposures used what is gone.

    equal: ids of tables that were measured to hold what they held.
    """
    found: list[Finding] = []
    for change in changed:
        found += _rename_findings(old, change)
        if change.how == "added":
            found.append(safe("model-added", change.name, f"new model `{change.name}`", change.file))
        elif change.how == "removed":
            below = consumers_below(old, change.old or change.id, [ROWS, *change.dropped])
            level = Level.STOP if below else Level.LOOK
            text = f"`{change.name}` is gone" + (f"; {_whom_to_ask(below)}" if below else "")
            file = old.tables[change.old or change.id]["original_file_path"]
            found.append(Finding("model-removed", change.name, level, text, file))
        elif change.how == "seed":
            found.append(
                look("seed-changed", change.name, f"seed `{change.name}`: {change.why}", change.file)
            )
        elif change.how == "meaning":
            is_equal = change.is_measurable and change.id in equal
            found += _meaning_findings(old, change, change.proven or is_equal)
    return [*found, *_unknown_readers(new, list(changed), equal)]


def _unknown_readers(new: Revision, changed: list[Change], equal: Collection[str]) -> Iterator[Finding]:
    """Models that read a changed table with a star, where its columns are not all known."""
    known = {change.id for change in changed if change.rebuilds} | {*equal}
    reshaped = {c.id for c in changed if c.how == "meaning" and not _is_known(new, c.id)}
    for key, node in new.tables.items():
        parents = reshaped.intersection(node["depends_on"].get("nodes") or [])
        if (
            parents
            and key not in known
            and "*" in re.sub(r"count\(\s*\*", "", node.get("compiled_code") or "")
        ):
            names = ", ".join(f"`{new.tables[p]['name']}`" for p in sorted(parents))
            text = f"`{node['name']}` reads {names} with a star, and the columns there are not all known"
            yield look("meaning", node["name"], text)


def _is_known(new: Revision, key: str) -> bool:
    node = new.graph.nodes.get(key)
    return node is not None and bool(node.columns) and not node.is_open


def _rename_findings(old: Revision, change: Change) -> Iterator[Finding]:
    former = old.nodes("model").get(change.old or "")
    if former is None or change.how == "removed" or change.old == change.id:
        return
    public = former.get("access") == "public"
    text = f"`{former['name']}` is called `{change.name}` now" + ("; it is public" if public else "")
    yield Finding("model-renamed", change.name, Level.LOOK if public else Level.SAFE, text)


def _meaning_findings(old: Revision, change: Change, is_same: bool) -> list[Finding]:
    """is_same: the columns that were there before are proven or measured to hold what they held."""
    found = []
    for clause in change.clauses:
        subject = change.name + ("" if clause.scope == FINAL else f".{clause.scope}")
        if clause.column and not clause.affects_rows:
            subject += f".{clause.column}"
        is_shape = is_same and clause.kind in ("column-added", "columns-reordered")
        where = "" if clause.scope == FINAL else f" in `{clause.scope}`"
        text = f"`{change.name}`{where}: {clause.sentence}"
        if clause.kind == "columns-reordered" and not is_same:
            text += "; a query that reads by position, as a union does, takes one for the other"
        found.append(Finding(clause.kind, subject, Level.SAFE if is_shape else Level.LOOK, text, change.file))
    if not change.clauses:
        why = change.why + (", and what was there is the same" if is_same else "")
        found.append(
            Finding(
                "meaning",
                change.name,
                Level.SAFE if is_same and not change.dropped else Level.LOOK,
                f"`{change.name}`: {why}",
                change.file,
            )
        )
    for column in change.dropped:
        below = consumers_below(old, change.old or change.id, [column])
        if below:
            text = f"`{change.name}.{column}` is gone; {_whom_to_ask(below)}"
            found.append(stop("exposure-loses", f"{change.name}.{column}", text))
    return found


def _whom_to_ask(consumers: list[Table]) -> str:
    return "; ".join(f"{c.name} uses it, ask {c.contact}" for c in consumers)

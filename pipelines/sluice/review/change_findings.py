"""Findings about changed models, from their queries alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sluice.lineage import ROWS
from sluice.review.downstream import exposures_below
from sluice.review.findings import Finding, Level, look, safe, stop
from sluice.review.model_changes import Change
from sluice.review.revision import Revision, owner
from sluice.review.select_parts import FINAL


def change_findings(old: Revision, new: Revision, changed: Iterable[Change]) -> list[Finding]:
    """All of them; `old` tells which exposures used what is gone."""
    found: list[Finding] = []
    for change in changed:
        found += _rename_findings(old, change)
        if change.how == "added":
            found.append(safe("model-added", change.name, f"new model `{change.name}`"))
        elif change.how == "removed":
            below = exposures_below(old, change.old or change.id, [ROWS, *change.dropped])
            level = Level.STOP if below else Level.LOOK
            text = f"`{change.name}` is gone" + (f"; {_whom_to_ask(below)}" if below else "")
            found.append(Finding("model-removed", change.name, level, text))
        elif change.how == "seed":
            found.append(look("seed-changed", change.name, f"seed `{change.name}`: {change.why}"))
        elif change.how == "meaning":
            found += _meaning_findings(old, change)
    return found


def _rename_findings(old: Revision, change: Change) -> Iterator[Finding]:
    former = old.nodes("model").get(change.old or "")
    if former is None or change.how == "removed" or change.old == change.id:
        return
    public = former.get("access") == "public"
    text = f"`{former['name']}` is called `{change.name}` now" + ("; it is public" if public else "")
    yield Finding("model-renamed", change.name, Level.LOOK if public else Level.SAFE, text)


def _meaning_findings(old: Revision, change: Change) -> list[Finding]:
    found = []
    level_of = {"column-added": Level.SAFE, "columns-reordered": Level.SAFE, "order-changed": Level.LOOK}
    for clause in change.clauses:
        subject = change.name + ("" if clause.scope == FINAL else f".{clause.scope}")
        if clause.column and not clause.affects_rows:
            subject += f".{clause.column}"
        level = level_of.get(clause.kind, Level.LOOK)
        where = "" if clause.scope == FINAL else f" in `{clause.scope}`"
        found.append(Finding(clause.kind, subject, level, f"`{change.name}`{where}: {clause.sentence}"))
    if not change.clauses and (change.columns or change.rows):
        is_new = change.why.startswith("its columns") and not change.dropped
        level = Level.SAFE if is_new else Level.LOOK
        found.append(
            Finding("meaning", change.name, level, f"`{change.name}`: {change.why or 'its meaning changed'}")
        )
    for column in change.dropped:
        below = exposures_below(old, change.old or change.id, [column])
        if below:
            text = f"`{change.name}.{column}` is gone; {_whom_to_ask(below)}"
            found.append(stop("exposure-loses", f"{change.name}.{column}", text))
    return found


def _whom_to_ask(exposures: list[Any]) -> str:
    return "; ".join(f"{e.get('label') or e['name']} uses it, ask {owner(e)}" for e in exposures)

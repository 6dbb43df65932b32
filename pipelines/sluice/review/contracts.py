"""What models promise and exposures rely on: configuration, contracts, access, grants, owners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sluice.dbt.manifest import grants, meta
from sluice.review.column_types import is_wider, plain_type
from sluice.review.findings import Finding, Level, look, safe, stop
from sluice.review.revision import Revision
from sluice.review.wording import name_of, old_and_new, with_old_names

NOT_STORAGE = (
    "tags meta group docs persist_docs contract grants access static_analysis freshness packages on_error "
    "latest_version_pointer"
).split()
"""Configuration that does not change how or where a model is built, or that has findings of its own."""


def changed_storage(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Configuration of a node that changes how it is built, old and new."""
    keys = [k for k in {**before["config"], **after["config"]} if k not in NOT_STORAGE]
    both = {key: (before["config"].get(key), after["config"].get(key)) for key in keys}
    return {key: (o, n) for key, (o, n) in both.items() if (o or None) != (n or None)}


def _pairs(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[tuple[Any, Any]]:
    for key, node in new.tables.items():
        if (former := old.tables.get(renamed.get(key, key))) is not None:
            yield former, node


def contract_findings(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Findings about all models, and about exposures; `renamed` maps new ids to old ones."""
    for before, after in _pairs(old, new, renamed):
        name = after["name"]
        for key, (o, n) in changed_storage(before, after).items():
            if key == "alias" and before["name"] != name:
                continue
            yield look("config", f"{name}.{key}", f"`{name}`: {key} {old_and_new(o, n)}")
        relations = before.get("relation_name"), after.get("relation_name")
        if before["name"] == name and relations[0] != relations[1] and not changed_storage(before, after):
            yield look("config", f"{name}.relation", f"`{name}` is built as {old_and_new(*relations)}")
        published = [meta(side).get("publish") for side in (before, after)]
        if published[0] != published[1]:
            yield look("config", f"{name}.publish", f"`{name}`: meta.publish {old_and_new(*published)}")
        yield from _contract(before, after)
        yield from _access(before, after)
    yield from _exposures(old, new, renamed)


def _access(before: Any, after: Any) -> Iterator[Finding]:
    name = after["name"]
    o, n = before.get("access"), after.get("access")
    if o != n:
        level = Level.STOP if o == "public" else Level.LOOK
        yield Finding("access", name, level, f"`{name}`: access {old_and_new(o, n)}")
    o, n = before.get("group"), after.get("group")
    if o != n:
        yield look("owner", name, f"`{name}`: group {old_and_new(o, n)}")
    granted = [set(grants(side)) for side in (before, after)]
    added, removed = granted[1] - granted[0], granted[0] - granted[1]
    for audience in sorted(added):
        yield look("grant-added", f"{name}.{audience}", f"`{name}` is granted to **{audience}**")
    for audience in sorted(removed):
        yield look("grant-removed", f"{name}.{audience}", f"`{name}` is no longer granted to **{audience}**")


def _contract(before: Any, after: Any) -> Iterator[Finding]:
    name = after["name"]
    o, n = (bool((x["config"].get("contract") or {}).get("enforced")) for x in (before, after))
    if o and not n:
        yield stop("contract-removed", name, f"`{name}`: its contract is no longer enforced")
    if n and not o:
        yield safe("contract-added", name, f"`{name}`: has a contract now")
    if not o:
        return
    yield from _constraints(name, before, after)
    olds, news = before["columns"], after["columns"]
    for column, entry in olds.items():
        subject = f"{name}.{column}"
        if column not in news:
            yield stop("contract-column-removed", subject, f"`{subject}` left the contract")
            continue
        types = plain_type(entry.get("data_type")), plain_type(news[column].get("data_type"))
        if types[0] != types[1]:
            level = Level.LOOK if is_wider(*types) else Level.STOP
            kind = "widened" if level is Level.LOOK else "changed"
            text = f"`{subject}`: type {kind}, {types[0]} → {types[1]}"
            yield Finding(f"type-{kind}", subject, level, text)
        yield from _constraints(subject, entry, news[column])
    for column in news:
        if column not in olds:
            text = f"`{name}.{column}` joined the contract"
            yield safe("contract-column-added", f"{name}.{column}", text)


def _constraints(subject: str, before: Any, after: Any) -> Iterator[Finding]:
    """Constraints of a model or a column, with their expressions."""
    sides = [{_constraint(c): c["type"] for c in side.get("constraints") or []} for side in (before, after)]
    for lost in sorted(set(sides[0]) - set(sides[1])):
        yield look("constraint-removed", f"{subject}.{sides[0][lost]}", f"`{subject}`: no longer `{lost}`")
    for more in sorted(set(sides[1]) - set(sides[0])):
        yield safe("constraint-added", f"{subject}.{sides[1][more]}", f"`{subject}`: `{more}` from now on")


def _constraint(constraint: Any) -> str:
    parts = [constraint["type"], *(constraint.get("columns") or []), constraint.get("to")]
    parts += [*(constraint.get("to_columns") or []), constraint.get("expression")]
    return " ".join(str(p) for p in parts if p)


def _exposures(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    before, after = old.exposures, new.exposures
    for key, exposure in before.items():
        if key not in after:
            text = f"the exposure `{exposure['name']}` is gone; {old.consumers[key].contact} owned it"
            yield look("exposure-removed", exposure["name"], text)
    for key, exposure in after.items():
        name = exposure["name"]
        if key not in before:
            yield safe("exposure-added", name, f"new exposure `{name}`")
            continue
        owners = old.consumers[key].contact, new.consumers[key].contact
        if owners[0] != owners[1]:
            text = f"the exposure `{name}`: owner {old_and_new(*owners)}"
            yield look("exposure-owner", name, text)
        o, n = (_used(side, renamed) for side in (before[key], exposure))
        if o != n:
            text = f"the exposure `{name}` uses {old_and_new(', '.join(sorted(o)), ', '.join(sorted(n)))}"
            yield look("exposure-changed", name, text)


def _used(exposure: Any, renamed: Mapping[str, str]) -> set[str]:
    """Models, by their old names, and the columns of them, that an exposure says it uses."""
    models = {name_of(renamed.get(k, k)) for k in exposure["depends_on"]["nodes"]}
    names = {name_of(new): name_of(old) for new, old in renamed.items()}
    columns = (with_old_names(str(c), names) for c in meta(exposure).get("columns") or [])
    return models | set(columns)

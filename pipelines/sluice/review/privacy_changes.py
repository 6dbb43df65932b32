"""Data classes and audiences that changed, and personal data that an audience newly reads in clear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sluice.config.audiences import UNCLASSED, Audience, Policy, read_policy
from sluice.config.settings import AUDIENCES
from sluice.dbt.manifest import Manifest, grants, meta
from sluice.lineage import Ref
from sluice.privacy.propagation import declared_classes, personal_columns
from sluice.review.findings import Finding, Level, look, safe, stop
from sluice.review.revision import Revision
from sluice.review.wording import name_of, old_and_new


def classes(revision: Revision, trust_none: bool = True) -> dict[Ref, frozenset[str]]:
    """The data classes of each column: its own, else those of the columns its value comes from.

    `data_class: none` ends the chain, as it does when publishing; with trust_none false it does not.
    """
    own = declared_classes(Manifest(revision.manifest))
    if not trust_none:
        own = {ref: data_class for ref, data_class in own.items() if data_class != UNCLASSED}
    return {ref: why.classes for ref, why in personal_columns(revision.graph, own, ends=own).items()}


def _policy(revision: Revision) -> Policy | None:
    """audiences.yml of a side, None where there is none that can be read."""
    return read_policy(revision.root / AUDIENCES)[0]


def _declared(revision: Revision) -> dict[tuple[str, str], str | None]:
    """The declared class of each declared column, by its table's id and its name."""
    return {
        (key, name.lower()): meta(column).get("data_class")
        for key, node in {**revision.tables, **revision.sources}.items()
        for name, column in node["columns"].items()
    }


def privacy_findings(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Classes that changed, and personal data that an audience newly reads in clear."""
    before = _declared(old)
    for (key, column), now in sorted(_declared(new).items()):
        former = renamed.get(key, key), column
        subject, was = f"{name_of(key)}.{column}", before.get(former)
        if was and not now:
            yield stop("class-removed", subject, f"`{subject}` has lost its data class {was}")
        elif was and now != was:
            yield look("class-changed", subject, f"`{subject}`: data class {was} → {now}")
        elif now and not was and former in before:
            yield safe("class-added", subject, f"`{subject}` is of class {now} now")
    yield from policy_findings(old, new)
    for audience, table, column, data_class in sorted(_in_clear(new, renamed) - _in_clear(old, {})):
        text = f"**{audience}** newly read `{table}.{column}` (class {data_class}) in clear"
        yield stop("clear-text", f"{audience}.{table}.{column}", text)


def _in_clear(revision: Revision, renamed: Mapping[str, str]) -> set[tuple[str, str, str, str]]:
    """(audience, model, column, class) of what is published unmasked, models by their old names."""
    policy = _policy(revision)
    if policy is None:
        return set()
    found = set()
    carried = classes(revision)
    for key, node in revision.tables.items():
        for audience in policy.audiences:
            if audience.name not in grants(node):
                continue
            for name, column in node["columns"].items():
                own = meta(column).get("data_class")
                kinds = {own} if own else carried.get(Ref(key, name.lower()), set())
                # what the publisher sees is the column's own class: without one it masks nothing
                for data_class in kinds - {UNCLASSED}:
                    if own is None or audience.treatment(own) == "clear":
                        old_key = renamed.get(key, key)
                        found.add((audience.name, name_of(old_key), name.lower(), data_class))
    return found


def policy_findings(old: Revision, new: Revision) -> Iterator[Finding]:
    """What changed in audiences.yml; neither side has to compile for this."""
    before, after = _policy(old), _policy(new)
    if before is None or after is None:
        return
    olds = {a.name: a for a in before.audiences}
    for audience in after.audiences:
        if audience.name in olds:
            yield from _audience_findings(olds[audience.name], audience)
        else:
            yield look("audience-added", audience.name, f"new audience **{audience.name}**")
    for name in sorted(set(olds) - {a.name for a in after.audiences}):
        yield look("audience-removed", name, f"the audience **{name}** is gone")


def _audience_findings(before: Audience, after: Audience) -> Iterator[Finding]:
    name = after.name
    for data_class in sorted({*before.masks, *before.clear, *after.masks, *after.clear}):
        o, n = before.treatment(data_class), after.treatment(data_class)
        if o != n:
            level = Level.STOP if n == "clear" else Level.LOOK
            text = f"**{name}** get {data_class} {old_and_new(o, n)}"
            yield Finding("mask", f"{name}.{data_class}", level, text)
    if before.row_filter != after.row_filter:
        yield stop("row-filter", name, f"**{name}**: the filter of the rows they see changed")
    if before.key != after.key:
        yield look("key", name, f"**{name}**: encryption key {old_and_new(before.key, after.key)}")

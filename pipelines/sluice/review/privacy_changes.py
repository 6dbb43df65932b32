"""Data classes and audiences that changed, and personal data that an audience newly reads in clear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sluice.config.audiences import UNCLASSED, Audience, Policy, read_policy
from sluice.config.settings import AUDIENCES
from sluice.dbt.manifest import Manifest, grants, meta
from sluice.lineage import Ref, Unknown
from sluice.privacy.propagation import UNRESOLVED, declared_classes, personal_columns, unresolved_origin
from sluice.review.findings import Finding, Level, look, safe, stop
from sluice.review.revision import Revision
from sluice.review.wording import name_of, old_and_new

SHOWN_MODELS = 3
"""Names of models that one finding lists."""


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
    refused = {f.subject: f for f in _refused(old, new, renamed)}
    for (key, column), now in sorted(_declared(new).items()):
        former = renamed.get(key, key), column
        subject, was = f"{name_of(key)}.{column}", before.get(former)
        if was and not now:
            lost = f"`{subject}` has lost its data class {was}"
            follows = refused.pop(subject, None)
            yield stop("class-removed", subject, f"{lost}: {follows.text}" if follows else lost)
        elif was and now == UNCLASSED:
            text = f"`{subject}`: data class {was} → {now}: every audience it is granted to reads it in clear"
            yield stop("class-changed", subject, text)
        elif was and now != was:
            yield look("class-changed", subject, f"`{subject}`: data class {was} → {now}")
        elif now and not was and former in before:
            yield safe("class-added", subject, f"`{subject}` is of class {now} now")
    yield from policy_findings(old, new)
    yield from _unreferenced(old, new, renamed)
    yield from refused.values()
    for audience, table, column, data_class in sorted(_in_clear(new, renamed) - _in_clear(old, {})):
        text = f"**{audience}** newly read `{table}.{column}` (class {data_class}) in clear"
        yield stop("clear-text", f"{audience}.{table}.{column}", text)


def _unreferenced(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Tables that a model newly names without ref or source."""
    for key, node in new.graph.nodes.items():
        before = old.graph.nodes.get(renamed.get(key, key))
        for name in sorted(set(node.unreferenced) - set(before.unreferenced if before else ())):
            text = f"`{node.name}` reads `{name}` without `ref` or `source`: personal data may pass unseen"
            yield stop("table-without-ref", f"{node.name}.{name}", text)


def _refused(old: Revision, new: Revision, renamed: Mapping[str, str]) -> Iterator[Finding]:
    """Granted columns that may be personal and declare no class, as publishing will refuse them.

    One finding for each column whose class is known, and one for each reason for which lineage cannot follow others.
    """
    known = {(renamed.get(ref.node, ref.node), ref.column) for ref in _unclassed(old)}
    lost: dict[Unknown, list[Ref]] = {}
    for ref, kinds in sorted(_unclassed(new).items()):
        if (renamed.get(ref.node, ref.node), ref.column) in known:
            continue
        if isinstance(kinds, Unknown):
            lost.setdefault(kinds, []).append(ref)
        else:
            what = f"`{_shown(ref)}` may hold {', '.join(sorted(kinds)) or 'personal data'} and declares no data class"
            yield _missing(new, [ref], what, _shown(ref))
    for why, refs in lost.items():
        models = sorted({name_of(ref.node) for ref in refs})
        if len(refs) == 1:
            subject, what = _shown(refs[0]), f"`{_shown(refs[0])}` declares no data class, and its"
        else:
            subject = models[0] if len(models) == 1 else "several-models"
            where = f"`{subject}`" if len(models) == 1 else f"{len(models)} models"
            what = f"{len(refs)} columns of {where} declare no data class, and their"
        what += f" origin cannot be followed: {why.reason} (`{why.sql}`)"
        yield _missing(new, refs, what, subject)


def _missing(new: Revision, refs: Sequence[Ref], what: str, subject: str) -> Finding:
    nodes = {ref.node: new.tables[ref.node] for ref in refs}
    names = [f"`{node['name']}`" for node in nodes.values()]
    shown = ", ".join(names[:SHOWN_MODELS]) + (
        f" and {len(names) - SHOWN_MODELS} more" if len(names) > SHOWN_MODELS else ""
    )
    readers = ", ".join(sorted({name for node in nodes.values() for name in grants(node)}))
    text = f"{what}: publishing will refuse {shown}, granted to {readers}"
    files = {str(node.get("patch_path") or "").split("://")[-1] for node in nodes.values()}
    return stop("class-missing", subject, text, files.pop() if len(files) == 1 else "")


def _shown(ref: Ref) -> str:
    return f"{name_of(ref.node)}.{ref.column}"


def _unclassed(revision: Revision) -> dict[Ref, frozenset[str] | Unknown]:
    """Such columns with the classes they may hold, or why lineage cannot follow them."""
    declared = declared_classes(Manifest(revision.manifest))
    carried = personal_columns(revision.graph, declared, ends=declared)
    found: dict[Ref, frozenset[str] | Unknown] = {}
    for key, node in revision.tables.items():
        for name, column in node["columns"].items():
            ref = Ref(key, name.lower())
            if not grants(node) or meta(column).get("data_class"):
                continue
            why = carried.get(ref)
            if (why is None or why.maybe) and (lost := unresolved_origin(revision.graph, declared, ref)):
                found[ref] = lost[1]
            elif why:
                found[ref] = why.classes - {UNCLASSED, UNRESOLVED}
    return found


def _in_clear(revision: Revision, renamed: Mapping[str, str]) -> set[tuple[str, str, str, str]]:
    """(audience, model, column, class) of what is published unmasked, models by their old names."""
    policy = _policy(revision)
    if policy is None:
        return set()
    return {
        (audience.name, name_of(renamed.get(key, key)), name.lower(), own)
        for key, node in revision.tables.items()
        for audience in policy.audiences
        if audience.name in grants(node)
        for name, column in node["columns"].items()
        if (own := meta(column).get("data_class")) not in (None, UNCLASSED)
        and audience.treatment(own) == "clear"
    }


def policy_findings(old: Revision, new: Revision) -> Iterator[Finding]:
    """What changed in audiences.yml; neither side has to compile for this."""
    before, after = _policy(old), _policy(new)
    if before is None or after is None:
        files = [(r.root / AUDIENCES).is_file() for r in (old, new)]
        if any(files):
            lost = "is gone, or cannot be read" if after is None else "can be read from now on"
            yield Finding(
                "audience", AUDIENCES, Level.LOOK if after else Level.STOP, f"{AUDIENCES} {lost}", AUDIENCES
            )
        return
    for key, (o, n) in _differing(before.publishing, after.publishing, []).items():
        yield look("audience", f"publish.{key}", f"publish.{key} {old_and_new(o, n)}", AUDIENCES)
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
            yield Finding("mask", f"{name}.{data_class}", level, text, AUDIENCES)
    if before.row_filter != after.row_filter:
        filters = [str(f.model_dump()) if f else None for f in (before.row_filter, after.row_filter)]
        text = f"**{name}**: the filter of the rows they see {old_and_new(*filters)}"
        yield stop("row-filter", name, text, AUDIENCES)
    if before.key != after.key:
        text = f"**{name}**: encryption key {old_and_new(before.key, after.key)}"
        yield look("key", name, text, AUDIENCES)
    judged = ["name", "description", "clear", "masks", "row_filter", "key"]
    for key, (o, n) in _differing(before, after, judged).items():
        yield look("audience", f"{name}.{key}", f"**{name}**: {key} {old_and_new(o, n)}", AUDIENCES)


def _differing(before: Any, after: Any, judged: list[str]) -> dict[str, tuple[Any, Any]]:
    """Fields of two declarations that differ, old and new."""
    o, n = before.model_dump(), after.model_dump()
    return {key: (o[key], n[key]) for key in o if key not in judged and o[key] != n[key]}

"""Writes a review: Markdown for a pull request's comment, and one page of HTML that loads nothing.

Both are made from the same blocks, so that they always agree.
"""

from __future__ import annotations

import html as markup
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sluice.dbt.nodes import CONSUMERS
from sluice.review.findings import Finding, Level
from sluice.review.result import Review
from sluice.review.table_diff import ColumnDiff, TableDiff

MARKER = "<!-- sluice review -->"
"""First line of the comment; the workflow finds its comment by it and replaces it."""
SHOWN = 15
"""Reasons, tables and columns shown before the rest is folded away."""
SIGNS = {Level.SAFE: "✅", Level.LOOK: "👀", Level.STOP: "⛔"}


EFFECTS = (
    "rows-lost key-not-unique contract-broken build test-fails incremental-misses data-changed plan slower "
    "exposure-loses clear-text class-missing"
).split()
"""Kinds of findings that follow from others; the rest are causes."""


@dataclass(frozen=True)
class Block:
    """A piece of a report: a `heading`, a `text`, a `list`, a `table` (first row: headings), a `code`, or `folded`."""

    kind: str
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    inner: tuple[Block, ...] = ()


def markdown(review: Review) -> str:
    """The comment of a pull request."""
    return MARKER + "\n" + "\n\n".join(_markdown(block) for block in _blocks(review)) + "\n"


def html(review: Review) -> str:
    """One page that needs nothing else."""
    body = "\n".join(_html(block) for block in _blocks(review))
    title = f"Review against {markup.escape(review.base)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f'<body class="{review.verdict.word}"><main>\n{body}\n</main></body></html>\n'
    )


def _blocks(review: Review) -> Iterable[Block]:
    yield from _verdict(review)
    yield from _data(review)
    yield from _downstream(review)
    yield from _unharmful(review)
    yield from _accepted(review)
    yield from _lint(review)
    yield from _cost(review)
    yield Block("heading", "Do it again")
    yield Block("code", review.command)
    yield Block(
        "text",
        f"{review.seconds:.0f} s. To accept a finding, write `review: accept <id> because <reason>` into the pull "
        "request's description, or as a comment into a changed line.",
    )


def _verdict(review: Review) -> Iterable[Block]:
    level = review.verdict
    yield Block("heading1", f"{SIGNS[level]} {level.word}")
    open_ = [f for f in review.findings if f.accepted is None and f.level > Level.SAFE]
    said = [_size(review), "" if open_ else _why_safe(review)]
    if any(said):
        yield Block("text", " ".join(s for s in said if s))
    for remark in review.remarks:
        yield Block("text", f"**Note**: {remark}")
    causes = sorted(
        (f for f in open_ if f.kind not in EFFECTS), key=lambda f: (-f.level, f.file == "", f.file)
    )
    effects = [f for f in open_ if f.kind in EFFECTS]
    for heading, found in (("What changed", causes), ("What follows", effects)):
        if found:
            yield Block("heading", heading)
            yield _list(found[:SHOWN])
            if len(found) > SHOWN:
                yield Block("folded", f"{len(found) - SHOWN} more", inner=(_list(found[SHOWN:]),))


def _size(review: Review) -> str:
    """What was measured, the largest effect first; "" if no table was built that was there before."""
    data = review.data
    failing = sorted((r for r in data.tests if r.fails_newly), key=lambda r: -r.failing[1])
    different = sorted(data.different, key=lambda t: (not t.is_public, -t.row_share, -t.size))
    shown = [t for t in different if t.is_public][:2] or different[:2]
    tables, tests = [t.sentence for t in shown], [r.sentence for r in failing[:1]]
    said = [*tables, *tests] if shown and shown[0].row_share else [*tests, *tables]
    if more := len(different) - len(shown):
        said.append(f"{more} more table{'s differ' if more > 1 else ' differs'}")
    if not said and data.equal:
        rows = sum(t.rows[1] or 0 for t in data.compared)
        names = ", ".join(f"`{t.name}`" for t in data.compared[:3]) + " and others" * (len(data.compared) > 3)
        return f"No value differs in {rows:,} rows of {names}, which were built on both sides."
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}." if said else ""


def _why_safe(review: Review) -> str:
    if not review.files and not review.models:
        return "Nothing changed."
    models = f"{review.coverage[1].models} models" if review.coverage else "models"
    return (
        f"Nothing that was compared changes: the compiled queries and contracts of {models}, their tests, audiences, "
        "data classes and the declarations of sources."
        + (" No table had to be built." if not review.data.tables and not review.data.remark else "")
    )


def _list(findings: Iterable[Finding]) -> Block:
    return Block("list", rows=tuple((_line(f),) for f in findings))


def _line(finding: Finding) -> str:
    text = " / ".join(line.strip() for line in finding.text.splitlines() if line.strip())
    is_cause = finding.file and finding.kind not in EFFECTS and f"`{finding.file}`" not in text
    place = f"`{finding.file}`: " if is_cause else ""
    return f"**{finding.level.word}** {place}{text} (`{finding.id}`)"


def _data(review: Review) -> Iterable[Block]:
    tables = review.data.compared
    if not tables:
        return
    different = [t for t in tables if not t.is_equal]
    equal = [t.name for t in tables if t.is_equal] + review.data.untouched
    yield Block("heading", "Data")
    if different:
        headings = ("table", "rows before → after", "key", "added", "removed", "changed")
        yield Block("table", rows=(headings, *(_table_row(t) for t in different)))
    rows = [_column_row(t, c) for t in different for c in t.columns]
    if rows:
        headings = ("column", "values changed", "nulls", "distinct", "sum", "for example")
        yield Block("table", rows=(headings, *rows))
    if equal:
        names = ", ".join(f"`{n}`" for n in sorted(equal))
        yield Block("folded", f"The same as before: {len(equal)}", inner=(Block("text", names),))
    passed = sum(not r.fails_newly for r in review.data.tests)
    if passed:
        yield Block("text", f"Data tests of these tables that fail on no more rows than before: {passed}.")
    if review.data.tests_not_run:
        names = ", ".join(sorted(set(review.data.tests_not_run)))
        yield Block("text", f"**Not run**: {names}.")


def _table_row(table: TableDiff) -> tuple[str, ...]:
    before, after = ("-" if r is None else f"{r:,}" for r in table.rows)
    key = ", ".join(table.key) or "none tested"
    if table.without_key:
        key += f" (NULL in {table.without_key:,} row{'s' * (table.without_key > 1)})"
    counts = (f"{n:,}" for n in (table.added, table.removed, table.changed))
    return (f"`{table.name}`", f"{before} → {after}", key, *counts)


def _column_row(table: TableDiff, column: ColumnDiff) -> tuple[str, ...]:
    return (
        f"`{table.name}.{column.name}`",
        f"{column.changed:,}",
        _moved(*column.nulls),
        _moved(*column.distinct),
        _moved(*column.total) if column.total != (None, None) else "",
        "; ".join(_quoted(e) for e in column.examples),
    )


def _moved(before: Any, after: Any) -> str:
    texts = ["-" if v is None else f"{v:,.2f}" if isinstance(v, float) else f"{v:,}" for v in (before, after)]
    return texts[0] if before == after else " → ".join(texts)


def _downstream(review: Review) -> Iterable[Block]:
    # tables that were measured stand above
    changed = [r for r in review.reach if r.differs is None or (r.differs and r.kind in CONSUMERS)]
    same = [r for r in review.reach if r.differs is False]
    if changed:
        yield Block("heading", "Downstream")
        rows = []
        for reach in sorted(changed, key=lambda r: (r.kind not in CONSUMERS, r.kind, r.name)):
            what = "rows can change" if reach.rows else ""
            more = len(reach.columns) - SHOWN
            listed = ", ".join(f"`{c}`" for c in reach.columns[:SHOWN]) + (
                f" and {more} more" if more > 0 else ""
            )
            seen = "differs" if reach.differs else ""
            kind = reach.kind.replace("_", " ")
            kind = f"**{kind}**" if reach.kind in CONSUMERS else kind
            rows.append((f"`{reach.name}`", kind, what, listed, seen, reach.owner))
        headings = ("what", "kind", "rows", "columns", "in the data", "whom to ask")
        yield Block("table", rows=(headings, *rows))
    if same:
        names = ", ".join(f"`{r.name}`" for r in same)
        yield Block(
            "folded", f"Below the change, without a difference: {len(same)}", inner=(Block("text", names),)
        )


def _unharmful(review: Review) -> Iterable[Block]:
    """What changed and takes nothing away; files that were not looked at."""
    texts = {"text": "text only, not rebuilt", "renamed": "renamed, same meaning"}
    lines = [f"`{m.name}`: {texts[m.how]}" for m in review.models if m.how in texts and not m.clauses]
    lines += [_line(f) for f in review.findings if f.accepted is None and f.level is Level.SAFE]
    if lines:
        listed = Block("list", rows=tuple((line,) for line in lines))
        yield Block("folded", f"Changes that take nothing away: {len(lines)}", inner=(listed,))
    if review.coverage is not None and review.coverage[0] != review.coverage[1]:
        old, new = review.coverage
        yield Block(
            "text",
            f"Models with a tested key: {old.keyed} of {old.models} → {new.keyed} of {new.models}. "
            f"Columns with a test: {old.tested} of {old.columns} → {new.tested} of {new.columns}.",
        )
    if review.unjudged:
        names = ", ".join(f"`{name}`" for name in review.unjudged)
        yield Block("text", f"**Not looked at**, as it cannot change a result: {names}.")


def _lint(review: Review) -> Iterable[Block]:
    if found := [f for f in review.lint if f.accepted is None]:
        yield Block("heading", "Lint and conventions, on changed lines")
        yield Block("text", "Not part of the verdict.")
        yield Block("list", rows=tuple((f"{f.text} (`{f.id}`)",) for f in found))


def _cost(review: Review) -> Iterable[Block]:
    tables = review.data.compared
    if not tables:
        return
    before, after = review.data.seconds
    sizes = [f"{b / 1e6:,.1f} MB" for b in review.data.bytes]
    rows = []
    for table in sorted(tables, key=lambda t: -max(t.seconds))[:5]:
        size = " → ".join(f"{b / 1e6:,.2f} MB" for b in table.bytes)
        rows.append((f"`{table.name}`", f"{table.seconds[0]:.2f} s → {table.seconds[1]:.2f} s", size))
    slowest = Block("table", rows=(("table", "seconds", "size"), *rows))
    summary = f"Time and size of what was built: {before:.2f} s → {after:.2f} s, {sizes[0]} → {sizes[1]}"
    yield Block("folded", summary, inner=(slowest,))


def _accepted(review: Review) -> Iterable[Block]:
    found = [f for f in [*review.findings, *review.lint] if f.accepted is not None]
    if found:
        yield Block("heading", "Accepted")
        yield Block("list", rows=tuple((f"{_line(f)}: {f.accepted}",) for f in found))


def _quoted(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"


# -- Markdown and HTML -----------------------------------------------------------------------------------


def _markdown(block: Block) -> str:
    if block.kind == "heading1":
        return f"## Review: {block.text}"
    if block.kind == "heading":
        return f"### {block.text}"
    if block.kind == "list":
        return "\n".join(f"- {_plain(row[0])}" for row in block.rows)
    if block.kind == "code":
        return f"```\n{block.text}\n```"
    if block.kind == "table":
        head, *body = block.rows
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in row) + " |" for row in body]
        if len(body) <= SHOWN:
            return "\n".join(lines)
        return f"<details><summary>{len(body)} rows</summary>\n\n" + "\n".join(lines) + "\n\n</details>"
    if block.kind == "folded":
        inner = "\n\n".join(_markdown(b) for b in block.inner)
        return f"<details><summary>{markup.escape(block.text)}</summary>\n\n{inner}\n\n</details>"
    return _plain(block.text)


def _plain(text: str) -> str:
    """Text in which a tag of an example or a message is not a tag of the comment; code stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        p if p.startswith("`") else re.sub(r"<(?=[a-zA-Z/!])(?![^<>]*@)", "&lt;", p) for p in parts
    )


def _html(block: Block) -> str:
    if block.kind == "heading1":
        return f"<h1>{markup.escape(block.text.split()[-1])}</h1>"  # the sign needs a font not everybody has
    if block.kind == "heading":
        return f"<h2>{markup.escape(block.text)}</h2>"
    if block.kind == "list":
        return "<ul>" + "".join(f"<li>{_inline(row[0])}</li>" for row in block.rows) + "</ul>"
    if block.kind == "code":
        return f"<pre>{markup.escape(block.text)}</pre>"
    if block.kind == "table":
        head, *body = block.rows
        cells = "".join(f"<th>{markup.escape(cell)}</th>" for cell in head)
        rows = "".join(
            "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in body
        )
        return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>'
    if block.kind == "folded":
        inner = "\n".join(_html(b) for b in block.inner)
        return f"<details><summary>{markup.escape(block.text)}</summary>{inner}</details>"
    return f"<p>{_inline(block.text)}</p>"


def _inline(text: str) -> str:
    text = markup.escape(text)
    text = re.sub(r"\*\*(stop|look|safe)\*\*", r'<b class="tag \1">\1</b>', text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--paper:#fff;--line:#d7dde3;--soft:#f3f5f7;--safe:#1a7f4b;--look:#9a6700;
--stop:#c0312b}
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ed;--paper:#14191f;--line:#38424d;--soft:#1e252d;--safe:#4cc38a;
--look:#e0b042;--stop:#ff7b72}}
body{margin:0;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
main{max-width:1180px;margin:0 auto;padding:1.5rem}
h1{margin:0 0 1rem;padding:.6rem 1rem;border-left:.5rem solid;background:var(--soft);text-transform:capitalize}
.safe h1{border-color:var(--safe)}.look h1{border-color:var(--look)}.stop h1{border-color:var(--stop)}
h2{margin:2rem 0 .5rem;font-size:1.1rem;border-bottom:1px solid var(--line)}
ul{padding-left:1.2rem}li{margin:.25rem 0}
.tag{font-size:.75rem;text-transform:uppercase;letter-spacing:.05em;margin-right:.3em}
.tag.safe{color:var(--safe)}.tag.look{color:var(--look)}.tag.stop{color:var(--stop)}
.wide{overflow-x:auto;margin-bottom:1rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line)}
th{font-weight:600;background:var(--soft)}
code,pre{font:13px/1.45 ui-monospace,monospace;background:var(--soft);border-radius:3px}
code{padding:0 .25em}li code,p code{overflow-wrap:anywhere}details{margin:.75rem 0}summary{cursor:pointer}
pre{padding:.8rem;overflow-x:auto}
"""

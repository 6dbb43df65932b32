"""Writes a review: Markdown for a pull request's comment, and one page of HTML that loads nothing.

Both are made from the same blocks, so that they always agree.
"""

from __future__ import annotations

import html as markup
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.review.findings import Finding, Level
from sluice.review.result import Review
from sluice.review.select_parts import FINAL
from sluice.review.table_diff import ColumnDiff, TableDiff

MARKER = "<!-- sluice review -->"
"""First line of the comment; the workflow finds its comment by it and replaces it."""
SHOWN = 15
"""Reasons, tables and columns shown before the rest is folded away."""
SIGNS = {Level.SAFE: "✅", Level.LOOK: "👀", Level.STOP: "⛔"}


@dataclass(frozen=True)
class Block:
    """A piece of a report: a `heading`, a `text`, a `list`, a `table` (first row: headings), or a `code`."""

    kind: str
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


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
    yield from _models(review)
    yield from _data(review)
    yield from _downstream(review)
    yield from _group(review, "Contracts, access, personal data, freshness", PROMISES)
    yield from _tests(review)
    yield from _group(review, "Sources", ("source-",))
    yield from _cost(review)
    yield from _group(review, "Lint and conventions, on changed lines", ("lint", "convention"))
    yield from _accepted(review)
    yield Block("heading", "Do it again")
    yield Block("code", review.command)
    yield Block(
        "text",
        f"{review.seconds:.0f} s. To accept a finding, write `review: accept <id> because <reason>` into the pull "
        "request's description, or as a comment into a changed line.",
    )


PROMISES = (
    "config contract type- constraint access owner grant class clear-text mask row-filter audience key: freshness "
    "exposure-added exposure-removed exposure-owner exposure-changed"
).split()
"""How the ids of findings begin that are about promises."""


def _verdict(review: Review) -> Iterable[Block]:
    level = review.verdict
    yield Block("heading1", f"{SIGNS[level]} {level.word}")
    open_ = [f for f in review.findings if f.accepted is None and f.level > Level.SAFE]
    if open_:
        yield _list(open_[:SHOWN])
        if len(open_) > SHOWN:
            yield Block("text", f"and {len(open_) - SHOWN} more below")
    else:
        yield Block("text", _why_safe(review))
    for remark in review.remarks:
        yield Block("text", f"**Note**: {remark}")


def _why_safe(review: Review) -> str:
    if not review.files and not review.models:
        return "Nothing changed."
    rebuilt = [m for m in review.models if m.rebuilds]
    if not rebuilt:
        return "No model changed in meaning; no data, contract, test or source is weaker than before."
    if review.data.tables and all(t.is_equal or not (t.removed or t.changed) for t in review.data.tables):
        return "What changed in meaning leaves every value that was there as it was."
    return "Nothing that exists changes."


def _list(findings: Iterable[Finding]) -> Block:
    return Block("list", rows=tuple((_line(f),) for f in findings))


def _line(finding: Finding) -> str:
    text = " / ".join(line.strip() for line in finding.text.splitlines() if line.strip())
    return f"**{finding.level.word}** {text} (`{finding.id}`)"


def _models(review: Review) -> Iterable[Block]:
    if not review.models:
        return
    yield Block("heading", "Models")
    rows = []
    for model in sorted(review.models, key=lambda m: (not m.rebuilds, m.name)):
        what = {
            "text": "text only, not rebuilt",
            "renamed": "renamed, same meaning",
            "meaning": "**changed in meaning**",
            "config": f"configuration: {model.why}",
            "seed": f"seed: {model.why}",
            "unknown": "**its file changed**, with nothing to compare it with",
        }.get(model.how, model.how)
        if model.how == "meaning" and model.old != model.id:
            what = f"was `{(model.old or '').split('.')[-1]}`, {what}"
        clauses = "; ".join(
            c.sentence + ("" if c.scope == FINAL else f" (in `{c.scope}`)") for c in model.clauses
        )
        rows.append((f"`{model.name}`", what, clauses or (model.why if model.how == "meaning" else "")))
    yield Block("table", rows=(("model", "change", "clauses"), *rows))


def _data(review: Review) -> Iterable[Block]:
    tables = review.data.compared
    if not tables:
        return
    yield Block("heading", "Data")
    different = [t for t in tables if not t.is_equal]
    equal = [t.name for t in tables if t.is_equal] + review.data.untouched
    if different:
        headings = ("table", "rows before → after", "key", "added", "removed", "changed")
        yield Block("table", rows=(headings, *(_table_row(t) for t in different)))
    if equal:
        yield Block("text", "The same as before: " + ", ".join(f"`{n}`" for n in sorted(equal)) + ".")
    rows = [_column_row(t, c) for t in different for c in t.columns]
    if rows:
        headings = ("column", "values changed", "nulls", "distinct", "sum", "for example")
        yield Block("table", rows=(headings, *rows))


def _table_row(table: TableDiff) -> tuple[str, ...]:
    before, after = ("-" if r is None else f"{r:,}" for r in table.rows)
    key = ", ".join(table.key) or "none tested"
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
    if not review.reach:
        return
    yield Block("heading", "Downstream, by lineage")
    compared = {t.id: t for t in review.data.compared}
    rows = []
    for reach in sorted(review.reach, key=lambda r: (r.kind != "exposure", r.name)):
        what = "rows can change" if reach.rows else ""
        more = len(reach.columns) - SHOWN
        listed = ", ".join(f"`{c}`" for c in reach.columns[:SHOWN]) + (
            f" and {more} more" if more > 0 else ""
        )
        seen = ""
        if reach.id in compared or reach.name in review.data.untouched:
            table = compared.get(reach.id)
            seen = "no difference" if table is None or table.is_equal else "differs"
        kind = f"**{reach.kind}**" if reach.kind == "exposure" else reach.kind
        rows.append((f"`{reach.name}`", kind, what, listed, seen, reach.owner))
    yield Block("table", rows=(("what", "kind", "rows", "columns", "in the data", "whom to ask"), *rows))


def _tests(review: Review) -> Iterable[Block]:
    blocks = list(_group(review, "Tests", ("test-",)))
    yield from blocks
    if review.coverage is None or review.coverage[0] == review.coverage[1]:
        return
    if not blocks:
        yield Block("heading", "Tests")
    old, new = review.coverage
    yield Block(
        "text",
        f"Models with a tested key: {old.keyed} of {old.models} → {new.keyed} of {new.models}. "
        f"Columns with a test: {old.tested} of {old.columns} → {new.tested} of {new.columns}.",
    )


def _cost(review: Review) -> Iterable[Block]:
    tables = review.data.compared
    if not tables:
        return
    yield Block("heading", "Time and size of what was built")
    before, after = review.data.seconds
    sizes = [f"{b / 1e6:,.1f} MB" for b in review.data.bytes]
    yield Block("text", f"{before:.2f} s → {after:.2f} s, {sizes[0]} → {sizes[1]}. The slowest:")
    slowest = sorted(tables, key=lambda t: -max(t.seconds))[:5]
    rows = []
    for table in slowest:
        size = " → ".join(f"{b / 1e6:,.2f} MB" for b in table.bytes)
        rows.append((f"`{table.name}`", f"{table.seconds[0]:.2f} s → {table.seconds[1]:.2f} s", size))
    yield Block("table", rows=(("table", "seconds", "size"), *rows))
    if plans := [f for f in review.findings if f.kind in ("plan", "slower")]:
        yield _list(plans)


def _group(review: Review, heading: str, kinds: Sequence[str]) -> Iterable[Block]:
    found = [f for f in review.findings if f.id.startswith(tuple(kinds)) and f.accepted is None]
    if found:
        yield Block("heading", heading)
        yield _list(found)


def _accepted(review: Review) -> Iterable[Block]:
    found = [f for f in review.findings if f.accepted is not None]
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
    return _plain(block.text)


def _plain(text: str) -> str:
    """Text in which a tag of an example or a message is not a tag of the comment."""
    return re.sub(r"<(?=[a-zA-Z/!])(?![^`<>]*@)", "&lt;", text) if "<" in text else text


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
code{padding:0 .25em}pre{padding:.8rem;overflow-x:auto}
"""

"""Files that raw has rows of: what of them is written, and which lines they no longer have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluice.config.column_names import DELETED_AT, FILE, LINE, LOAD_ID, STAMPS
from sluice.extract.contract import Files
from sluice.load.changes import Change
from sluice.load.staging import Target, copy_to, read_parquet
from sluice.sql import listed, literal, quoted

MOST_LINES = 1000
"""Lines of a file that left and may be listed one by one; a file that lost more is written whole."""
KEPT_STAMPS = ", ".join(f"coalesce(h.{name}, n.{name}) as {name}" for name in STAMPS)


def only_changed_lines(target: Target, origin: Files, change: Change) -> Change:
    """Leave out rows that raw has on the same line of the same file; a row of raw on another line keeps its stamps.

    Equal rows on several lines are several rows.
    """
    con, read, raw = target.con, read_parquet(change.file), target.address
    brought = dict(con.execute(f"select {FILE}, max({LINE}) from {read} group by all").fetchall())
    names = listed([name for name in origin.names if name in brought])
    held = con.execute(
        f"select {FILE}, count(*) from {raw} where {FILE} in ({names}) group by all"
    ).fetchall()
    before = dict(held)
    continued = [name for name in brought if name not in origin.names]
    if not before and not continued:
        return change
    gone = _gone(target, before, brought, read)
    partial = listed(gone)
    delivered, same = _equality(target, read)
    changed = target.file("changed")
    same_line = f"n.{FILE} = h.{FILE} and n.{LINE} = h.{LINE} and {same}"
    rows = copy_to(
        con,
        f"select n.* from {read} n anti join (from {raw} where {FILE} in ({partial})) h on {same_line}",
        changed,
        len(target.columns),
    )
    again = listed(before)
    of_these = target.count(f"from {read_parquet(changed)} where {FILE} in ({again})")
    all_of_these = target.count(f"from {read} where {FILE} in ({again})")
    total = sum(before.values())
    left_over = (
        f"(from (from {raw} where {FILE} in ({again})) h"
        f" anti join (from {read} where {FILE} in ({partial})) n on {same_line})"
    )
    moved = 0
    if of_these and total > all_of_these - of_these:
        changed, moved = _with_stamps(target, changed, left_over, delivered, same)
    gone |= {name: {"after": None, "lines": []} for name in continued}
    fewer = total - all_of_these
    said = f"{fewer} row(s) of {target.table.qualified} are gone, as files that were sent again no longer have them"
    return replace(
        change, file=changed, rows=rows, gone=gone, moved=moved, message=said if fewer > 0 else None
    )


def _gone(
    target: Target, before: Mapping[str, int], brought: Mapping[str, int], read: str
) -> dict[str, dict[str, Any]]:
    """The lines that raw has and the files no longer have, of the files that have not lost too many in between."""
    found = target.con.execute(
        f"select h.{FILE}, bool_or(h.{LINE} > n.last), list(h.{LINE}) filter (h.{LINE} <= n.last)"
        f" from (from {target.address} where {FILE} in ({listed(before)})) h"
        f" join (select {FILE}, max({LINE}) as last from {read} group by all) n using ({FILE})"
        f" anti join {read} r on h.{FILE} = r.{FILE} and h.{LINE} = r.{LINE} group by all"
    ).fetchall()
    gone: dict[str, dict[str, Any]] = {name: {"after": None, "lines": []} for name in before}
    for name, is_shorter, lines in found:
        if len(lines or ()) > MOST_LINES:
            del gone[name]
        else:
            gone[name] = {"after": brought[name] if is_shorter else None, "lines": lines or []}
    return gone


def _equality(target: Target, read: str) -> tuple[list[str], str]:
    """The columns that make up a row, apart from its place, and a condition that they are equal in `n` and `h`."""
    described = [name for name, *_ in target.con.execute(f"describe from {read}").fetchall()]
    names = [n for n in described if n not in (*STAMPS, FILE, LINE)]
    marks = target.table.load.soft_delete  # the time in this column comes from the load
    same = []
    for name in names:
        column = quoted(name)
        if name not in target.columns:
            same.append(f"n.{column} is null")
        elif name == DELETED_AT and marks:
            same.append(f"(n.{column} is null) = (h.{column} is null)")
        else:
            same.append(f"n.{column} is not distinct from h.{column}")
    return [n for n in names if n in target.columns and not (n == DELETED_AT and marks)], " and ".join(
        same or ["true"]
    )


def _with_stamps(
    target: Target, changed: Path, left_over: str, delivered: Sequence[str], same: str
) -> tuple[Path, int]:
    """Give rows that only stand on another line the time and load of the row in raw; also how many these are.

    Of equal rows, as many as raw has.
    """
    content = f"hash({', '.join(map(quoted, delivered)) or '0'})"
    numbered = (
        f"select *, {content} as _content,"
        f" row_number() over (partition by {FILE}, {content} order by {LINE}) as _nth from"
    )
    stamped = target.file("stamped")
    copy_to(
        target.con,
        f"select n.* exclude (_content, _nth) replace ({KEPT_STAMPS})"
        f" from ({numbered} {read_parquet(changed)}) n left join ({numbered} {left_over}) h"
        f" on n.{FILE} = h.{FILE} and n._content = h._content and n._nth = h._nth and {same}",
        stamped,
        len(target.columns),
    )
    return stamped, target.count(f"from {read_parquet(stamped)} where {LOAD_ID} <> {literal(target.load_id)}")

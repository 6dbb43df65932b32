"""What raw already holds of the staged rows: unchanged rows are left out, rows gone at the source are marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sluice.config.column_names import DELETED_AT, STAMPS, is_chosen, normalized
from sluice.errors import LoadError
from sluice.extract.contract import Files, TypedRows
from sluice.load.staging import Target, copy_to, read_parquet
from sluice.sql import literal, quoted


def only_changes(target: Target, key: Sequence[str], file: Path) -> tuple[Path, int]:
    """Leave out rows that raw holds unchanged: at a cursor's boundary, in its look-back, or in a table without cursor.

    Returns the file with the others, and how many they are.
    """
    table, known, raw = target.table, target.columns, target.address
    read = read_parquet(file)
    described = [name for name, *_ in target.con.execute(f"describe select * from {read}").fetchall()]
    delivered = [name for name in described if name not in STAMPS]
    newer, older, among = _boundary(target, file)
    if key:
        same = [f"n.{quoted(k)} = r.{quoted(k)}" for k in key]
        same += [
            f"n.{quoted(c)} is not distinct from r.{quoted(c)}"
            for c in delivered
            if c in known
            and c not in key
            and is_chosen(table, c, c)
            and not (c == DELETED_AT and table.load.soft_delete)
        ]
        if table.load.soft_delete and DELETED_AT in known:  # the time comes from the load
            same.append(f"(n.{DELETED_AT} is null) = (r.{DELETED_AT} is null)")
        same += [f"n.{quoted(c)} is null" for c in delivered if c not in known]
        select = (
            f"select n.* from (from {read} where {older}) n"
            f" anti join (from {raw} where {among}) r on {' and '.join(same)}"
        )
    else:
        # without a key: of equal rows, as many as raw lacks
        names = ", ".join(map(quoted, delivered))
        held = ", ".join(quoted(c) if c in known else f"null as {quoted(c)}" for c in delivered)
        select = (
            f"select {', '.join(map(quoted, described))} from (select *, {target.stamps} from (select"
            f" {names} from {read} where {older} except all select {held} from {raw} where {among}))"
        )
    if newer:
        select += f" union all from {read} where {newer}"
    changes = target.file("changes")
    return changes, copy_to(target.con, select, changes)


def _boundary(target: Target, file: Path) -> tuple[str | None, str, str]:
    """Conditions: rows of the file raw cannot hold, the others, and the rows of raw these may be equal to.

    Rows with a higher cursor than any in raw are new, without reading raw, which may be large.
    """
    cursor = target.table.load.cursor
    kind = target.columns.get(normalized(cursor)) if cursor else None
    if cursor is None or kind is None:
        return None, "true", "true"
    cursor = quoted(normalized(cursor))
    # as DuckDB's own text: Python has no infinite dates
    select = f"select cast(max({cursor}) as varchar) from {target.address}"
    (highest,) = target.con.execute(select).fetchone() or (None,)
    if highest is None:
        return None, "true", "true"
    reached = f"cast({literal(highest)} as {kind})"
    older = f"({cursor} <= {reached} or {cursor} is null)"
    lowest, nulls = target.con.execute(
        f"select cast(min({cursor}) as varchar), count(*) filter ({cursor} is null)"
        f" from {read_parquet(file)} where {older}"
    ).fetchone() or (None, 0)
    among = [f"{cursor} >= cast({literal(lowest)} as {kind})"] if lowest is not None else []
    among += [f"{cursor} is null"] if nulls else []
    return f"{cursor} > {reached}", older, " or ".join(among) or "false"


def with_deleted(
    target: Target, alive_keys: str, key: Sequence[str], changes: Path, rows: int
) -> tuple[Path, int, int]:
    """Add raw's rows whose key the source no longer has, with `_deleted_at`.

    `rows`: how many there are in `changes`. Returns the file, its rows, and how many of them are deleted.
    """
    raw, con = target.address, target.con
    if DELETED_AT not in target.columns:
        return changes, rows, 0
    declared = ", ".join(f"{quoted(k)} as {quoted(normalized(k))}" for k in target.table.load.primary_key)
    alive = f"(select {declared} from ({alive_keys}))"
    on = " and ".join(f"r.{quoted(k)} = a.{quoted(k)}" for k in key)
    stamps = f"{target.stamps}, {target.now} as {DELETED_AT}"
    gone = (
        f"select * replace ({stamps}) from {raw} r anti join {alive} a on {on} where r.{DELETED_AT} is null"
    )
    deleted = target.count(f"from ({gone})")
    if not deleted:
        return changes, rows, 0
    alive_before = target.count(f"from {raw} where {DELETED_AT} is null")
    refuse_shrinking(target, alive_before - deleted, alive_before)
    both = target.file("both")
    on_new = " and ".join(f"g.{quoted(k)} = n.{quoted(k)}" for k in key)
    rows = copy_to(
        con,
        f"select * from {read_parquet(changes)} union all by name "
        f"select g.* from ({gone}) g anti join {read_parquet(changes)} n on {on_new}",
        both,
    )
    return both, rows, deleted


def emptied_files(target: Target, rows: TypedRows, file: Path, count: int) -> dict[str, list[str]]:
    """Files that no longer bring rows, so that raw's are to be deleted, by the column that names them.

    `count`: rows in `file`. Refuses files that would take too many rows with them.
    """
    if not target.columns or not isinstance(rows.origin, Files) or not rows.origin.names:
        return {}
    (column,) = rows.origin.columns
    found = target.con.execute(f"select distinct {column} from {read_parquet(file)}").fetchall()
    names = ", ".join(map(literal, rows.origin.names))
    before, replaced = target.con.execute(
        f"select count(*), count(*) filter ({column} in ({names})) from {target.address}"
    ).fetchone() or (0, 0)
    if replaced:
        refuse_shrinking(target, before - replaced + count, before)
    emptied = [name for name in rows.origin.names if (name,) not in set(found)]
    return {column: emptied} if emptied else {}


def holds_the_same(target: Target, file: Path) -> bool:
    """Whether raw already has exactly these rows, so that replacing them would change nothing."""
    described = target.con.execute(f"describe select * from {read_parquet(file)}").fetchall()
    names = [name for name, *_ in described if name not in STAMPS]
    if set(names) - set(target.columns):
        return False
    if target.table.load.soft_delete:
        names.remove(DELETED_AT)
    sums = f"select count(*), sum(hash({', '.join(map(quoted, names))})::hugeint)"
    fresh = target.con.execute(f"{sums} from {read_parquet(file)}").fetchone()
    return bool(fresh == target.con.execute(f"{sums} from {target.address}").fetchone())


def refuse_shrinking(target: Target, rows: int, before: int) -> None:
    """A source that is suddenly empty or half its size is usually broken."""
    table = target.table
    if rows < before * table.load.shrink_limit:
        raise LoadError(
            f"{table.qualified}: the source now has {rows} rows, raw has {before}; fewer than "
            f"{table.load.shrink_limit:.0%} of them would remain, so nothing was changed. If that is right, lower "
            f"shrink_limit in {table.file.name} (0 allows everything), or: sluice load {table.qualified} --full-refresh"
        )

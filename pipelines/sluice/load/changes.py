"""What raw already holds of the staged rows: unchanged rows are left out, rows gone at the source are marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sluice.config.column_names import DELETED_AT, LOAD_ID, LOADED_AT, STAMPS
from sluice.errors import LoadError
from sluice.extract.contract import Extracted, Files, TypedRows
from sluice.load.quarantine import ROW_KEY, key_text
from sluice.load.staging import QuarantineFile, Target, copy_to, read_parquet
from sluice.sql import listed, literal, one_row, quoted


@dataclass(frozen=True)
class Change:
    """Rows that change raw."""

    file: Path
    rows: int
    deleted: int = 0
    """How many of them were found deleted."""
    emptied: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files that no longer bring rows, so that raw's are to be deleted, by the column that names them."""
    gone: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The source's files of which only some rows are written, with the lines that they no longer have: all after
    `after`, and `lines`. Rows of other files take the place of all that raw has of these."""
    moved: int = 0
    """How many of the rows raw has already, on another line."""
    message: str | None = None
    """What is worth saying about rows that are gone."""

    @property
    def loses_lines(self) -> bool:
        """Whether raw has rows on lines that their files no longer have."""
        return any(left["after"] is not None or left["lines"] for left in self.gone.values())


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
            and table.is_chosen(c, c)
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
    return changes, copy_to(target.con, select, changes, len(known))


def _boundary(target: Target, file: Path) -> tuple[str | None, str, str]:
    """Conditions: rows of the file raw cannot hold, the others, and the rows of raw these may be equal to.

    Rows with a higher cursor than any in raw are new, without reading raw, which may be large.
    """
    table = target.table
    cursor = table.load.cursor
    kind = target.columns.get(table.raw_name(cursor)) if cursor else None
    if cursor is None or kind is None:
        return None, "true", "true"
    cursor = quoted(table.raw_name(cursor))
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


def living_keys(
    target: Target, extracted: Extracted, key: Sequence[str], file: Path, bad: QuarantineFile | None
) -> str | None:
    """A SELECT of the keys that the source still has, where rows of raw without one are to be marked as deleted.

    `file`: all good rows that were read. None where no key may be missed, because not all of them are known.
    """
    table = target.table
    if isinstance(extracted, TypedRows) and extracted.alive_keys:
        declared = ", ".join(f"{quoted(k)} as {quoted(table.raw_name(k))}" for k in table.load.primary_key)
        return f"select {declared} from ({extracted.alive_keys})"
    if not table.load.deletes or not extracted.is_whole or not _keys_are_known(target, bad):
        return None
    names = ", ".join(map(quoted, key))
    keys = f"select {names} from {read_parquet(file)}"
    if bad:
        spared = f"{key_text(map(quoted, key))} in (select {ROW_KEY} from {read_parquet(bad.file)})"
        keys += f" union all select {names} from {target.address} where {spared}"
    return keys


def _keys_are_known(target: Target, bad: QuarantineFile | None) -> bool:
    """Whether each bad row shows its key; if not, any row of raw may be the one that could not be read."""
    unknown = target.count(f"from {read_parquet(bad.file)} where {ROW_KEY} is null") if bad else 0
    if unknown:
        name = target.table.qualified
        target.context.warned(
            target.table.name,
            f"{name}: rows that are gone were not looked for, because {unknown} bad row(s) do not show their key",
        )
    return not unknown


def with_deleted(target: Target, alive: str, key: Sequence[str], change: Change) -> Change:
    """Add raw's rows whose key is not among `alive`, with `_deleted_at`."""
    raw, con = target.address, target.con
    on = " and ".join(f"r.{quoted(k)} = a.{quoted(k)}" for k in key)
    gone = f"select {_marked(target)} from {raw} r anti join ({alive}) a on {on} where {_is_alive(target)}"
    deleted = target.count(f"from ({gone})")
    if not deleted:
        return change
    alive_before = target.count(f"from {raw} r where {_is_alive(target)}")
    refuse_shrinking(target, alive_before - deleted, alive_before)
    both, changes = target.file("both"), change.file
    on_new = " and ".join(f"g.{quoted(k)} = n.{quoted(k)}" for k in key)
    rows = copy_to(
        con,
        f"select * from {read_parquet(changes)} union all by name "
        f"select g.* from ({gone}) g anti join {read_parquet(changes)} n on {on_new}",
        both,
        len(target.columns),
    )
    return replace(change, file=both, rows=rows, deleted=change.deleted + deleted)


def _is_alive(target: Target) -> str:
    """Whether a row `r` of raw is not marked as deleted; raw has the column from the first such row on."""
    return f"r.{DELETED_AT} is null" if DELETED_AT in target.columns else "true"


def _marked(target: Target, when: str = "true") -> str:
    """The columns of a row `r` of raw, with `_deleted_at` and the stamps of this load where `when` is true."""
    stamps = [(LOADED_AT, target.now), (LOAD_ID, literal(target.load_id)), (DELETED_AT, target.now)]
    held = [name for name, _ in stamps if name in target.columns]
    others = f"r.* exclude ({', '.join(held)})" if held else "r.*"
    kept = {name: f"r.{name}" if name in held else "null" for name, _ in stamps}
    return ", ".join(
        [
            others,
            *(f"case when {when} then {value} else {kept[name]} end as {name}" for name, value in stamps),
        ]
    )


def replaced_files(
    target: Target, rows: TypedRows, key: Sequence[str], change: Change, bad: QuarantineFile | None
) -> Change:
    """Add raw's rows of missing files, with `_deleted_at`, and where `deletes` is declared those that left a file.

    Refuses files that would take too many rows with them.
    """
    origin, table, con = rows.origin, target.table, target.con
    if not target.columns or not isinstance(origin, Files):
        return change
    (column,) = origin.columns
    names, missing = (f"r.{column} in ({listed(files)})" for files in (origin.names, origin.missing))
    alive = _is_alive(target)
    before, replaced = one_row(
        con, f"select count(*), count(*) filter ({names} or {missing}) from {target.address} r where {alive}"
    )
    merged, all_rows, deleted, kept = change.file, change.rows, 0, 0
    if origin.missing or table.load.deletes:
        gone = _gone_of_files(
            target, key, change.file, bad, names if table.load.deletes else "false", missing
        )
        deleted, kept = one_row(
            con,
            f"select count(*) filter (is_gone), count(*) filter (not is_gone and {DELETED_AT} is null) from ({gone})",
        )
        merged = target.file("both")
        all_rows = copy_to(
            con,
            f"from {read_parquet(change.file)} union all by name select * exclude (is_gone) from ({gone})",
            merged,
            len(target.columns),
        )
    if replaced:
        refuse_shrinking(target, before - replaced + change.rows + kept, before)
    found = con.execute(f"select distinct {column} from {read_parquet(merged)}").fetchall()
    emptied = [name for name in origin.names if (name,) not in set(found)]
    return Change(merged, all_rows, change.deleted + deleted, {column: emptied} if emptied else {})


def _gone_of_files(
    target: Target, key: Sequence[str], file: Path, bad: QuarantineFile | None, names: str, missing: str
) -> str:
    """A SELECT of raw's rows, of the files for which `names` or `missing` is true, that no file has any more.

    They keep their place, for a file replaces all of its rows; `is_gone`: the row is marked now.
    """
    may_mark = target.context.options.retry_quarantine is False and (
        names == "false" or _keys_are_known(target, bad)
    )
    spared = "false"
    if key and bad:
        spared = (
            f"{key_text(f'r.{quoted(k)}' for k in key)} in (select {ROW_KEY} from {read_parquet(bad.file)})"
        )
    left = "true" if may_mark else missing
    is_gone = f"{left} and not coalesce({spared}, false) and {_is_alive(target)}"
    same = " and ".join(f"r.{quoted(k)} = n.{quoted(k)}" for k in key)
    others = f" anti join {read_parquet(file)} n on {same}" if key else ""
    return (
        f"select {_marked(target, is_gone)}, {is_gone} as is_gone from {target.address} r{others}"
        f" where {names} or {missing}"
    )


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


def warn_of_emptiness(target: Target, extracted: Extracted, read: int) -> None:
    """Say that a source which was read whole has no row any more, while raw has some."""
    if read or not extracted.is_whole:
        return
    if held := target.count(f"from {target.address} r where {_is_alive(target)}"):
        name = target.table.qualified
        target.context.warned(
            target.table.name, f"{name}: the source has no row any more; raw has {held} from earlier loads"
        )


def refuse_shrinking(target: Target, rows: int, before: int) -> None:
    """A source that is suddenly empty or half its size is usually broken."""
    table = target.table
    if rows < before * table.load.shrink_limit:
        raise LoadError(
            f"{table.qualified}: the source now has {rows} rows, raw has {before}; fewer than "
            f"{table.load.shrink_limit:.0%} of them would remain, so nothing was changed. If that is right, lower "
            f"shrink_limit in {table.file.name} (0 allows everything), or: sluice load {table.qualified} --full-refresh"
        )

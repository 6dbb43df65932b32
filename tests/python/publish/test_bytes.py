"""Generated policies and data: no published byte holds a value its audience is not shown.

Each value is a word of its own. Files are searched as they are, with their compressed blocks opened, and through the
engine: types, statistics, dictionaries and values. A word that is shown has to be found by the same search.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.config.audiences import Audience, RowFilter, RowLimits
from sluice.dbt.manifest import Column
from sluice.errors import DeclarationError
from sluice.privacy.masks import KEY
from sluice.publish.granted_models import Model
from sluice.publish.published_files import fingerprint, write_duckdb, write_parquet, writing_connection
from sluice.publish.selection import Digests, selection, warehouse_columns
from sluice.publish.versions import PublishedTable
from sluice.sql import literal

ZSTD = b"\x28\xb5\x2f\xfd"
SHAPES = {
    "text": "{word}",
    "enum": "{word}::words",
    "list": "[{word}::words]",
    "map": "map{{{word}::words: {word}}}",
    "struct": "{{'part': {word}::words}}",
    "struct of a list": "{{'part': [{{'inner': {word}::words}}]}}",
    "union": "union_value(part := {word}::words)",
    "blob": "{word}::blob",
}
TREATMENTS = ("clear", "null", "hash", "none")


@dataclass(frozen=True)
class Plan:
    """What is published: per column its shape and treatment, the number of rows, and which an audience sees."""

    columns: list[tuple[str, str]]
    rows: int
    shown: int
    format: str
    uncompressed: bool

    def word(self, row: int, column: int) -> str:
        return f"Qw{row:03}z{column:02}Xy"

    @property
    def words(self) -> set[str]:
        return {self.word(r, c) for r in range(self.rows) for c in range(len(self.columns))}

    @property
    def visible(self) -> set[str]:
        clear = [c for c, (_, treatment) in enumerate(self.columns) if treatment in ("clear", "none")]
        return {self.word(r, c) for r in range(self.shown) for c in clear}


plans = st.builds(
    lambda columns, rows, shown, form, plain: Plan(columns, rows, min(rows, shown), form, plain),
    st.lists(st.tuples(st.sampled_from(list(SHAPES)), st.sampled_from(TREATMENTS)), min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, 40),
    st.sampled_from(["duckdb", "parquet"]),
    st.booleans(),
)


def publish_into(folder: Path, plan: Plan, *, contracted: bool = True) -> None:
    """Write the files of one audience, as a publication does."""
    with writing_connection() as con:
        con.execute(f"set variable {KEY} = 'a key'")
        if plan.uncompressed:
            con.execute("pragma force_compression = 'uncompressed'")
        con.execute("attach ':memory:' as warehouse")
        con.execute("create schema warehouse.marts")
        con.execute(f"create type words as enum ({', '.join(map(literal, sorted(plan.words)))})")
        rows = ", ".join(
            f"({row}, "
            + ", ".join(
                SHAPES[shape].format(word=literal(plan.word(row, i)))
                for i, (shape, _) in enumerate(plan.columns)
            )
            + ")"
            for row in range(plan.rows)
        )
        names = [f"c{i}" for i in range(len(plan.columns))]
        con.execute(f"create table warehouse.marts.t as from (values {rows}) v(id, {', '.join(names)})")
        model = _model(con, plan, contracted)
        classes = [f"class{i}" for i in range(len(plan.columns))]
        audience = Audience(
            name="readers",
            description="They read.",
            clear=[c for c, (_, t) in zip(classes, plan.columns, strict=True) if t == "clear"],
            masks={c: "hash" for c, (_, t) in zip(classes, plan.columns, strict=True) if t == "hash"},
            row_filter=RowFilter(condition=f"id < {plan.shown}"),
        )
        chosen = selection(audience, model, warehouse_columns(con, model), Digests(con))
        count, digest = fingerprint(con, chosen.sql, chosen.columns)
        table = PublishedTable(
            model="t",
            rows=count,
            fingerprint=digest,
            columns=chosen.columns,
            classed=chosen.classed,
            condition=chosen.condition,
            rows_in_warehouse=plan.rows,
        )
        (folder / "manifest.json").write_text(table.model_dump_json())
        if plan.format == "duckdb":
            write_duckdb(con, folder / "readers.duckdb", None, {"t": (chosen.sql, table)})
        else:
            write_parquet(con, folder / "t", None, "t", chosen.sql, table)


def _model(con: duckdb.DuckDBPyConnection, plan: Plan, contracted: bool) -> Model:
    types = dict(
        con.execute("select column_name, data_type from duckdb_columns() where table_name = 't'").fetchall()
    )
    columns = {"id": Column("id", "integer")}
    for i, (_, treatment) in enumerate(plan.columns):
        data_class = "none" if treatment == "none" else f"class{i}"
        columns[f"c{i}"] = Column(f"c{i}", types[f"c{i}"], data_class=data_class)
    return Model("t", "t", "warehouse", "marts", columns, frozenset({"readers"}), contracted, RowLimits(), ())


def everything(folder: Path) -> str:
    """All that can be read in the files, in every way: bytes in three encodings, compressed blocks, the engine."""
    found: list[bytes] = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = file.read_bytes()
        found += [data, *_blocks(data)]
        with duckdb.connect() as con:
            if file.suffix == ".duckdb":
                con.execute(f"attach {literal(file)} as f (read_only)")
                asked = [
                    "from f.t",
                    "select column_name, data_type, column_default, comment from duckdb_columns() where database_name = 'f'",
                    "select sql, comment from duckdb_tables() where database_name = 'f'",
                    "select * from duckdb_types() where database_name = 'f'",
                    "from pragma_storage_info('f.t')",
                    "summarize f.t",
                ]
            elif file.suffix == ".parquet":
                name = literal(file)
                functions = ("read_parquet", "parquet_schema", "parquet_metadata", "parquet_file_metadata")
                asked = [f"from {f}({name})" for f in (*functions, "parquet_kv_metadata")]
                found.append(repr(parquet.read_table(file).schema.metadata).encode())
            else:
                asked = []
            found += [repr(con.execute(sql).fetchall()).encode() for sql in asked]
    texts = [part.decode("latin-1") for part in found]
    return "\n".join([*texts, *(text.replace("\0", "") for text in texts)]).lower()


def _blocks(data: bytes) -> list[bytes]:
    """What blocks compressed with Zstandard hold: dictionaries and pages."""
    found = []
    for match in re.finditer(re.escape(ZSTD), data):
        try:
            found.append(zstandard.ZstdDecompressor().decompressobj().decompress(data[match.start() :]))
        except zstandard.ZstdError:
            continue
    return found


def check(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder:
        publish_into(Path(folder), plan)
        text = everything(Path(folder))
    present = {word for word in plan.words if word.lower() in text}
    assert present - plan.visible == set()
    assert plan.visible - present == set(), "the search does not find what is there"


@settings(max_examples=6, deadline=None)
@given(plans)
def test_files_hold_what_is_shown_and_nothing_else(plan: Plan) -> None:
    check(plan)


@pytest.mark.full
@pytest.mark.timeout(600)
@settings(max_examples=400, deadline=None)
@given(plans)
def test_many_files_hold_what_is_shown_and_nothing_else(plan: Plan) -> None:
    check(plan)


@pytest.mark.parametrize("form", ["duckdb", "parquet"])
@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.sample(20)
def test_each_type(shape: str, treatment: str, form: str) -> None:
    check(Plan([(shape, treatment)], rows=8, shown=2, format=form, uncompressed=True))


@pytest.mark.parametrize("kind", ["struct", "union"])
def test_names_of_fields_that_nobody_declared_are_refused(kind: str, tmp_path: Path) -> None:
    plan = Plan([(kind, "none")], rows=1, shown=1, format="duckdb", uncompressed=True)
    with pytest.raises(DeclarationError, match="whole type in data_type"):
        publish_into(tmp_path, plan, contracted=False)

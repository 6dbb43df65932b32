"""A mistake in a source file is reported with file, line, value and what is allowed; secrets are never repeated."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import yaml

from sluice.config.json_schema import json_schema
from sluice.config.sources import load_sources, read_sources
from sluice.errors import DeclarationError

DATABASE = """\
version: 2
sources:
  - name: shop
    database: raw
    schema: shop
    config:
      meta:
        load: {kind: database, connection: shop}
    tables:
      - name: orders
        config:
          meta:
            load:
              primary_key: order_id
              cursor: updated_at
        columns:
          - {name: order_id, data_type: bigint}
          - {name: updated_at, data_type: timestamp}
"""


def other(load: str, table: str, columns: str = "") -> str:
    return f"""\
sources:
  - name: s
    database: raw
    config: {{meta: {{load: {load}}}}}
    tables:
      - name: t
        config: {{meta: {{load: {table}}}}}
{columns}"""


FILES = "{kind: files, url: in}"
STREAM = "{kind: stream, connection: c, protocol: nats}"
BROKEN = {
    # name: (text, line, where, what is said)
    "unknown kind": (DATABASE.replace("kind: database", "kind: databse"), 8, "shop.config.meta.load.kind", "is 'databse'; allowed are database, files, rest, stream, python"),
    "kind missing": (DATABASE.replace("kind: database, ", ""), 8, "kind", "is empty; allowed are database"),
    "kind is a list": (DATABASE.replace("kind: database", "kind: [a]"), 8, "kind", "is a list; allowed are"),
    "load is text": (DATABASE.replace("{kind: database, connection: shop}", "database"), 8, "kind", "allowed are database"),
    "load missing": (DATABASE.replace("load: {kind: database, connection: shop}", "owner: x"), 3, "shop.config.meta.load", "is missing; kind is one of"),
    "connection missing": (DATABASE.replace(", connection: shop", ""), 8, "shop.config.meta.load.connection", "is missing"),
    "unknown source key": (DATABASE.replace("connection: shop}", "connection: shop, schema: x}"), 8, "shop.config.meta.load.schema", "is not a key here; allowed are connection, kind"),
    "unknown table key": (DATABASE.replace("cursor:", "cursr:"), 15, "shop.orders.config.meta.load.cursr", "is not a key here; allowed are columns, cursor, deletes, "),
    "unknown inner key": (DATABASE.replace("cursor: updated_at", "columns: {only: [order_id]}"), 15, "shop.orders.config.meta.load.columns.only", "allowed are exclude, include"),
    "other database": (DATABASE.replace("database: raw", "database: rw"), 4, "shop.database", "is 'rw': allowed is 'raw'"),
    "no database": (DATABASE.replace("    database: raw\n", ""), 3, "shop.database", "is missing; write database: raw"),
    "table name": (DATABASE.replace("- name: orders", "- name: Orders"), 10, "shop.Orders.name", "is 'Orders': write lower-case letters, digits and _"),
    "no table name": (DATABASE.replace("- name: orders", "- nme: orders"), 10, "shop.0.nme", "is not a key here. Did you mean name?"),
    "source name": (DATABASE.replace("- name: shop", "- name: my-shop"), 3, "my-shop.name", "is 'my-shop': write lower-case"),
    "schema name": (DATABASE.replace("schema: shop", "schema: Shop!"), 5, "shop.schema", "is 'Shop!': write lower-case"),
    "reserved name": (DATABASE.replace("- name: orders", "- name: nul"), 10, "shop.nul", "is a reserved name"),
    "key not a column": (DATABASE.replace("primary_key: order_id", "primary_key: id"), 14, "shop.orders.primary_key", "names 'id', which is not among the declared columns: order_id, updated_at"),
    "cursor not a column": (DATABASE.replace("cursor: updated_at", "cursor: at"), 15, "shop.orders.cursor", "names 'at', which is not among"),
    "key is a mapping": (DATABASE.replace("primary_key: order_id", "primary_key: {a: 1}"), 14, "shop.orders.config.meta.load.primary_key", "is a mapping: write a list"),
    "unknown type": (DATABASE.replace("bigint", "bigintt"), 17, "shop.orders.order_id.data_type", "is 'bigintt': is not an SQL type; write e.g. text, bigint"),
    "no type": (DATABASE.replace("bigint", '"int); drop table x"'), 17, "shop.orders.order_id.data_type", "is not an SQL type"),
    "column twice": (DATABASE.replace("- {name: updated_at", "- {name: order_id, data_type: int}\n          - {name: updated_at"), 18, "shop.orders.order_id", "is declared twice"),
    "table twice": (DATABASE + DATABASE[DATABASE.index("      - name: orders") :], 19, "shop.orders", "is declared twice in this source"),
    "source twice": (DATABASE + DATABASE[DATABASE.index("  - name: shop") :], 19, "shop", "the name 'shop' is already taken in"),
    "schema twice": (DATABASE + DATABASE[DATABASE.index("  - name: shop") :].replace("- name: shop", "- name: shop2"), 19, "shop2", "the schema 'shop' is already taken in"),
    "disposition": (DATABASE.replace("cursor: updated_at", "write_disposition: upsert"), 15, "shop.orders.config.meta.load.write_disposition", "is 'upsert': allowed is 'merge', 'replace' or 'append'"),
    "merge without key": (DATABASE.replace("primary_key: order_id", "write_disposition: merge"), 14, "shop.orders.config.meta.load", "write_disposition merge needs a primary_key"),
    "replace with cursor": (DATABASE.replace("cursor: updated_at", "cursor: updated_at\n              write_disposition: replace"), 15, "shop.orders.config.meta.load", "drop the cursor or the write_disposition"),
    "lookback in words": (DATABASE.replace("cursor: updated_at", "lookback: 2 days"), 15, "shop.orders.config.meta.load.lookback", "is '2 days': write a number and a unit: 30s, 15m, 6h or 2d"),
    "include and exclude": (DATABASE.replace("cursor: updated_at", "columns: {include: [a], exclude: [b]}"), 15, "shop.orders.config.meta.load.columns", "give include or exclude, not both"),
    "key not included": (DATABASE.replace("cursor: updated_at", "columns: {include: [updated_at]}"), 15, "shop.orders", "does not include 'order_id', its primary_key"),
    "key excluded": (DATABASE.replace("cursor: updated_at", "columns: {exclude: [order_id]}"), 15, "shop.orders", "excludes 'order_id', its primary_key"),
    "mark excluded": (DATABASE.replace("cursor: updated_at", "soft_delete: gone\n              columns: {exclude: [gone]}"), 16, "shop.orders", "excludes 'gone', its soft_delete"),
    "key names twice": (DATABASE.replace("primary_key: order_id", "primary_key: [order_id, order_id]"), 14, "shop.orders.primary_key", "names 'order_id' twice"),
    "deletes without key": (DATABASE.replace("primary_key: order_id", "deletes: compare_keys"), 14, "shop.orders.config.meta.load", "deletes: compare_keys needs a primary_key"),
    "unknown deletes": (DATABASE.replace("cursor: updated_at", "deletes: soft"), 15, "shop.orders.config.meta.load.deletes", "is 'soft': allowed is 'compare_keys'"),
    "password in url": (DATABASE.replace("connection: shop}", 'connection: "postgresql://u:canary@h/d"}'), 8, "shop.config.meta.load.connection", "holds a password; write ${shop.url}"),
    "tables empty": (DATABASE[: DATABASE.index("      - name: orders")], 9, "shop.tables", "is empty: write a list"),
    "tables missing": (DATABASE[: DATABASE.index("    tables:")], 3, "shop.tables", "is missing"),
    "columns as names": (DATABASE[: DATABASE.index("          - {name: order_id")] + "          - order_id\n", 17, "shop.orders.columns.0", "is 'order_id': write a mapping"),
    "sources a number": ("sources: 5\n", 1, "sources", "must be a list"),
    "source a number": ("sources: [5]\n", 1, "source 1", "must be a mapping"),
    "not YAML": (DATABASE.replace("primary_key: order_id", "primary_key: [order_id"), 14, "file", "is not YAML: column 28: the [ that opens here is not closed by ]"),
    "a tab": (DATABASE.replace("              primary_key", "\t primary_key"), 14, "file", "is not YAML: column 1: a tab; indent with spaces"),
    "key twice": (DATABASE.replace("cursor: updated_at", "primary_key: updated_at"), 15, "file", "the key 'primary_key' occurs twice, first in line 14"),
    "format missing": (other(FILES, "{path: a}"), 7, "s.t.config.meta.load.format", "is missing; allowed is 'csv', "),
    "unknown format": (other(FILES, "{path: a, format: xml}"), 7, "s.t.config.meta.load.format", "is 'xml': allowed is 'csv', 'jsonl'"),
    "unknown scheme": (other("{kind: files, url: 'ftp://x'}", "{path: a, format: csv}"), 4, "s.config.meta.load", "url is a folder, s3://bucket/prefix or sftp://host/path"),
    "pattern missing": (other(FILES, "{path: a, format: lines}"), 7, "s.t.config.meta.load", "pattern is missing: format lines needs"),
    "pattern without names": (other(FILES, "{path: a, format: lines, pattern: '(a)'}"), 7, "s.t.config.meta.load", "pattern has no named group"),
    "pattern broken": (other(FILES, "{path: a, format: lines, pattern: '(?P<a>'}"), 7, "s.t.config.meta.load", "pattern is not a regular expression"),
    "encoding": (other(FILES, "{path: a, format: csv, encoding: utf-9}"), 7, "s.t.config.meta.load", "encoding 'utf-9' is unknown"),
    "delimiter": (other(FILES, "{path: a, format: csv, delimiter: ''}"), 7, "s.t.config.meta.load", "delimiter is empty"),
    "sheet of csv": (other(FILES, "{path: a, format: csv, sheet: x}"), 7, "s.t.config.meta.load", "sheet means nothing for format csv; it is for excel"),
    "range": (other(FILES, "{path: a, format: excel, range: A}"), 7, "s.t.config.meta.load.range", "is 'A': write a range of cells: A3:F200"),
    "cursor of files": (other(FILES, "{path: a, format: csv, cursor: x}"), 7, "s.t.config.meta.load", "files have no cursor"),
    "no header": (other(FILES, "{path: a, format: csv, header: false}"), 6, "s.t", "has no header, so its columns must be declared"),
    "nats without stream": (other(STREAM, "{subject: x}"), 7, "s.t.stream", "is missing (nats)"),
    "nats with topic": (other(STREAM, "{stream: x, topic: y}"), 7, "s.t.topic", "means nothing for nats; write stream"),
    "start twice": (other(STREAM, "{stream: x, start: {time: a, sequence: 1}}"), 7, "s.t.config.meta.load.start", "give either time or sequence"),
    "not importable": (other("{kind: python}", "{resource: no.such.thing}"), 7, "s.t.resource", "there is no no/such.py in the project, and no installed package has the module 'no.such'"),
    "not callable": (other("{kind: python}", "{resource: tty.IFLAG}"), 7, "s.t.resource", "IFLAG in tty.py is a value"),
    "secret of a client": (other("{kind: rest, client: {base_url: 'http://x', auth: {type: bearer, token: canary}}}", "{endpoint: {path: x}}"), 4, "s.config.meta.load.client.auth.token", "holds a secret; write ${s.token}"),
    "secret in a header": (other("{kind: rest, client: {base_url: 'http://x', headers: {Authorization: Bearer canary}}}", "{endpoint: {path: x}}"), 4, "s.config.meta.load.client.headers.Authorization", "holds a secret"),
    "cursor of rest": (other("{kind: rest, client: {base_url: 'http://x'}}", "{endpoint: {path: x}, cursor: a}"), 7, "s.t.config.meta.load", "endpoint.incremental"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_is_reported(tmp_path: Path, name: str) -> None:
    text, line, where, message = BROKEN[name]
    file = tmp_path / "broken.yml"
    file.write_text(text)
    sources, problems = read_sources(tmp_path)
    reported = [str(p) for p in problems]
    assert any(t.startswith(f"{file}:{line}: ") and where in t and message in t for t in reported), reported
    assert "canary" not in "".join(reported)
    assert "already taken" in message or not sources


def test_a_sound_declaration(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "shop.yaml").write_text(
        DATABASE.replace("cursor:", "lookback: 2d\n              cursor:")
    )
    (tmp_path / "dbt.yml").write_text("models:\n  - name: x\n")
    (tmp_path / "foreign.yml").write_text("sources:\n  - {name: other, tables: [{name: a}]}\n")
    (tmp_path / "empty.yml").write_text("")
    sources, problems = read_sources(tmp_path)
    assert problems == []
    (source,) = sources
    (table,) = source.tables
    assert (source.name, source.kind, source.schema, table.qualified) == (
        "shop",
        "database",
        "shop",
        "shop.orders",
    )
    assert (table.load.primary_key, table.load.cursor, table.load.lookback) == (
        ["order_id"],
        "updated_at",
        dt.timedelta(days=2),
    )
    assert table.load.disposition() == "merge"
    assert table.data_types == {"order_id": "bigint", "updated_at": "timestamp"}
    assert (table.line, source.line) == (10, 3)


def test_selection(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(DATABASE + "      - name: items\n")
    assert [t.name for s in load_sources(tmp_path, ["shop.items"]) for t in s.tables] == ["items"]
    assert [len(s.declared) for s in load_sources(tmp_path, ["shop.items"])] == [2]
    with pytest.raises(DeclarationError, match=r"no source or table is called shop\.x; declared are: shop"):
        load_sources(tmp_path, ["shop.x"])


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = DATABASE.replace("load:\n", "load: &keys\n") + (
        "      - name: items\n        config: {meta: {load: {<<: *keys, cursor: changed_at}}}\n"
    )
    (tmp_path / "a.yml").write_text(text)
    (source,) = load_sources(tmp_path)
    assert (source.tables[1].load.primary_key, source.tables[1].load.cursor) == (["order_id"], "changed_at")


def test_the_schema_for_editors_accepts_what_check_accepts() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    assert not list(validator.iter_errors(yaml.safe_load(DATABASE)))
    mistake = yaml.safe_load(DATABASE.replace("cursor:", "cursr:"))
    assert list(validator.iter_errors(mistake))

"""Every key of every kind, written wrongly in every way: the message has file, line, key, what is allowed, no Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from dlt.sources.rest_api import typing as rest_typing

from sluice.config.audiences import (
    Audience,
    Publishing,
    RowFilter,
    RowLimits,
    read_policy,
    without_connection,
)
from sluice.config.blocks import Strict, plain_types
from sluice.config.declaration import KINDS, table_model
from sluice.config.glossary import Term, glossary_problems, read_glossary
from sluice.config.known_keys import FORMATS, PROTOCOLS, meaningful_keys
from sluice.config.mistakes import field_by_key
from sluice.config.sources import read_sources
from sluice.config.yaml_file import Problem
from sluice.errors import DeclarationError
from sluice.extract import declaration_problems
from sluice.extract.rest.declaration import AUTHS, NOT_IN_YAML, PAGINATORS

FORBIDDEN = re.compile(
    r"<class|datetime\.|constrained|ValidationError|Input should|pydantic|Traceback|function-|value_error"
    r"|\{'|\[\]|\bdict\b|\bstr\b|\bbool\b|\bint\b|\bfloat\b|None|True\b|False\b|Decimal|timedelta|valid string"
)
"""Words of Python and of its libraries."""
SOURCE = {
    "database": {"connection": "c"},
    "files": {"url": "in"},
    "rest": {"client": "{base_url: 'http://x'}"},
    "stream": {"connection": "c", "protocol": "nats"},
    "python": {},
}
TABLE = {
    "database": {},
    "files": {"path": "a.csv", "format": "csv"},
    "rest": {"endpoint": "{path: x}"},
    "stream": {"stream": "x"},
    "python": {"resource": "tempfile.mkdtemp"},
}
WRONG = {
    "a list": "[1, 2]",
    "a mapping": "{a: b}",
    "a date": "2026-01-01",
    "a time": "2026-01-01 10:00:00+02:00",
    "a fraction": "-5.5",
    "a truth value": "yes",
    "nothing": "null",
    "a text": "some text",
    "a bare type": "{type: decimal(9, 2)}",
}


def declaration(kind: str, source: dict[str, Any], table: dict[str, Any]) -> str:
    """A source file with one key per line."""
    above = "".join(f"          {key}: {value}\n" for key, value in source.items())
    below = "".join(f"              {key}: {value}\n" for key, value in table.items())
    keys = f"            load:\n{below}" if below else "            load: {}\n"
    return (
        "version: 2\nsources:\n  - name: s\n    database: raw\n    config:\n      meta:\n        load:\n"
        f"          kind: {kind}\n{above}    tables:\n      - name: t\n        config:\n          meta:\n{keys}"
    )


def places() -> Iterator[tuple[str, str, str, Any]]:
    """Kind, source or table, key, and the field of each key there is; a block's keys are `block.key`."""
    for kind, model in KINDS.items():
        blocks = {"source": model.__pydantic_generic_metadata__["args"][0], "table": table_model(kind)}
        for where, block in blocks.items():
            names = field_by_key(block)
            known = meaningful_keys({"kind": kind}, {}, names) if where == "table" else names
            for key in known:
                yield kind, where, key, names[key]
                for part in plain_types(names[key].annotation):
                    if isinstance(part, type) and issubclass(part, Strict):
                        for inner, field in field_by_key(part).items():
                            yield kind, where, f"{key}.{inner}", field


def with_key(kind: str, where: str, key: str, value: str) -> str:
    """The declaration of a kind with this key, where it means something."""
    source, table = dict(SOURCE[kind]), dict(TABLE[kind])
    outer, _, inner = key.partition(".")
    if kind == "files" and where == "table":
        table["format"] = FORMATS.get(outer, ["csv"])[0]
    if PROTOCOLS.get(outer) == "kafka":
        source["protocol"] = "kafka"
        table = {}
    block = source if where == "source" else table
    block[outer] = f"\n                {inner}: {value}" if inner else value
    if where == "source" and outer == "kind":
        return declaration(value, {k: v for k, v in source.items() if k != "kind"}, table)
    return declaration(kind, source, table)


def problems(folder: Path, text: str) -> list[Problem]:
    (folder / "s.yml").write_text(text)
    return read_sources(folder)[1]


def judge(found: list[Problem], text: str, key: str) -> str:
    """What is said, after a look at file, line, key and words."""
    said = "\n".join(map(str, found))
    last = key.rpartition(".")[2]
    lines = [n for n, line in enumerate(text.splitlines(), 1) if line.strip(" -").startswith(f"{last}:")]
    assert any(p.line in lines for p in found), (lines, said)
    assert any(last in f"{p.where} {p.message}" for p in found) or '"decimal(9, 2)"' in said, said
    assert not FORBIDDEN.search(said.replace(str(found[0].file), "")), said
    return said


def misspelt(word: str) -> str:
    """The word with two letters in the middle exchanged, or one that is missing."""
    n = len(word) // 2
    return (
        f"{word[: n - 1]}{word[n]}{word[n - 1]}{word[n + 1 :]}"
        if word[n - 1] != word[n]
        else word[:n] + word[n + 1 :]
    )


def literals(annotation: Any) -> list[str]:
    return [
        str(v)
        for part in plain_types(annotation)
        if get_origin(part).__class__
        for v in get_args(part)
        if isinstance(v, str)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_values_of_every_key(tmp_path: Path, kind: str) -> None:
    for _, where, key, field in (place for place in places() if place[0] == kind):
        refused = []
        for what, value in WRONG.items():
            if key == "kind" and what == "nothing":
                continue
            text = with_key(kind, where, key, value)
            if found := problems(tmp_path, text):
                said = judge(found, text, key)
                refused.append(what)
                if what == "a bare type":
                    assert '"decimal(9, 2)"' in said
        assert {"a list", "a mapping"} & set(refused) or dict in {
            get_origin(p) for p in plain_types(field.annotation)
        }, key
        assert "a bare type" in refused, key
        plain = plain_types(field.annotation)
        if bool in plain or int in plain or float in plain:
            assert {"a date", "a list"} <= set(refused), (key, refused)
            assert bool in plain or "a truth value" in refused, key
        if plain == {str}:
            assert {"a date", "a time", "a fraction", "a truth value", "nothing"} <= set(refused), (
                key,
                refused,
            )


@pytest.mark.parametrize("kind", KINDS)
def test_misspelt_keys_and_values(tmp_path: Path, kind: str) -> None:
    for _, where, key, field in (place for place in places() if place[0] == kind):
        outer, _, inner = key.partition(".")
        wrong = misspelt(inner or outer)
        text = with_key(kind, where, key, "x").replace(f" {inner or outer}: ", f" {wrong}: ")
        said = judge(problems(tmp_path, text), text, wrong)
        assert f"{wrong}: is not a key here" in said, said
        assert f"Did you mean {inner or outer}" in said, said
        for value in literals(field.annotation):
            if len(value) > 2:
                text = with_key(kind, where, key, misspelt(value))
                said = judge(problems(tmp_path, text), text, key)
                assert f"Did you mean {value}" in said, said


def test_only_keys_of_the_kind_are_allowed(tmp_path: Path) -> None:
    def allowed(kind: str, source: dict[str, Any], table: dict[str, Any]) -> set[str]:
        (problem,) = problems(tmp_path, declaration(kind, source, {**table, "qqq": 1}))
        assert "Did you mean" not in problem.message
        return set(problem.message.partition("allowed are ")[2].split(", "))

    csv, excel = ({"path": "a", "format": f} for f in ("csv", "excel"))
    of_csv, of_excel = allowed("files", SOURCE["files"], csv), allowed("files", SOURCE["files"], excel)
    assert {"delimiter", "nulls"} <= of_csv
    assert not {"sheet", "records", "pattern", "cursor", "lookback", "endpoint", "topic"} & of_csv
    assert {"sheet", "nulls"} <= of_excel
    assert "delimiter" not in of_excel
    nats = allowed("stream", {"connection": "c", "protocol": "nats"}, {"stream": "x"})
    kafka = allowed("stream", {"connection": "c", "protocol": "kafka"}, {"topic": "x"})
    assert {"stream", "subject"} <= nats
    assert not {"topic", "cursor"} & nats
    assert "topic" in kafka
    assert not {"stream", "subject"} & kafka
    assert "cursor" not in allowed("rest", SOURCE["rest"], TABLE["rest"])
    assert {"cursor", "lookback", "deletes"} <= allowed("database", SOURCE["database"], {})


OUTSIDE = {
    "meta of a source": ("      meta:\n        load:\n          kind", "      mta:\n        load:\n          kind", "mta", "meta"),
    "config of a source": ("    config:\n      meta:\n        load:\n          kind", "    confg:\n      meta:\n        load:\n          kind", "confg", "config"),
    "load of a source": ("        load:\n          kind", "        laod:\n          kind", "laod", "load"),
    "kind": ("          kind:", "          knd:", "knd", "kind"),
    "meta of a table": ("          meta:\n", "          mta:\n", "mta", "meta"),
    "config of a table": ("        config:\n          meta", "        conifg:\n          meta", "conifg", "config"),
    "load of a table": ("            load:", "            lod:", "lod", "load"),
    "tables": ("    tables:", "    tabels:", "tabels", "tables"),
    "name of a source": ("  - name: s\n", "  - nme: s\n", "nme", "name"),
    "name of a table": ("      - name: t\n", "      - nmae: t\n", "nmae", "name"),
    "database": ("    database: raw", "    databse: raw", "databse", "database"),
    "schema": ("    database: raw", "    database: raw\n    shcema: x", "shcema", "schema"),
    "sources": ("sources:\n", "soruces:\n", "soruces", "sources"),
    "columns": ("      - name: t\n", "      - name: t\n        colums: [{name: a}]\n", "colums", "columns"),
    "data_type": ("      - name: t\n", "      - name: t\n        columns:\n          - name: a\n            datatype: int\n", "datatype", "data_type"),
    "data_class": ("      - name: t\n", "      - name: t\n        columns:\n          - name: a\n            config:\n              meta:\n                data_clas: email\n", "data_clas", "data_class"),
}  # fmt: skip
"""Misspelt keys in dbt's blocks, where any key is allowed."""


CONFIG = "    config:\n      meta:\n        load:\n"
CONFIG_OF_TABLE = "        config:\n          meta:\n            load:\n"
TABLE_NAME = "      - name: t\n"
COLUMN = TABLE_NAME + "        columns:\n          - name: a\n"
ELSEWHERE = {
    "load": (CONFIG, "    load:\n", "load", "config.meta"),
    "load in config": (CONFIG, "    config:\n        load:\n", "load", "meta"),
    "load in dbt's meta": (CONFIG, "    meta:\n        load:\n", "meta", "config"),
    "load of a table": (CONFIG_OF_TABLE, "        load:\n", "load", "config.meta"),
    "load in a table's meta": (CONFIG_OF_TABLE, "        meta:\n            load:\n", "meta", "config"),
    "class": (TABLE_NAME, COLUMN + "            data_class: email\n", "data_class", "config.meta"),
    "class in config": (TABLE_NAME, COLUMN + "            config:\n              data_class: email\n", "data_class", "meta"),
    "class in dbt's meta": (TABLE_NAME, COLUMN + "            meta:\n              data_class: email\n", "meta", "config"),
}  # fmt: skip
"""Keys of ours in other blocks, where dbt passes over them: not loaded, not personal."""


@pytest.mark.parametrize("name", ELSEWHERE)
def test_keys_of_ours_in_another_block(tmp_path: Path, name: str) -> None:
    right, wrong, written, place = ELSEWHERE[name]
    text = declaration("files", SOURCE["files"], TABLE["files"])
    assert right in text
    text = text.replace(right, wrong, 1)
    said = judge(problems(tmp_path, text), text, written)
    assert said.endswith(f"is not a key here. It belongs into {place}")
    assert "is missing" not in said


def test_names_that_other_tools_have(tmp_path: Path) -> None:
    text = declaration("files", SOURCE["files"], TABLE["files"])
    for wrong, written, meant in (
        (text + "              sep: ';'\n", "sep", "delimiter"),
        (text + "              pk: a\n", "pk", "primary_key"),
        (text.replace(TABLE_NAME, COLUMN + "            type: int\n"), "type", "data_type"),
        (text.replace("path:", "PATH:"), "PATH", "path"),
    ):
        said = judge(problems(tmp_path, wrong), wrong, written)
        assert said.endswith(f"Did you mean {meant}?")
        assert "is missing" not in said


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["database", "files"])
def test_misspelt_keys_of_dbts_blocks(tmp_path: Path, name: str, kind: str) -> None:
    right, wrong, written, meant = OUTSIDE[name]
    text = declaration(kind, SOURCE[kind], TABLE[kind])
    assert right in text
    text = text.replace(right, wrong, 1)
    said = judge(problems(tmp_path, text), text, written)
    assert f"Did you mean {meant}?" in said
    assert "is missing" not in said


def test_keys_of_dbt_and_of_people_are_left_alone(tmp_path: Path) -> None:
    text = declaration("database", SOURCE["database"], {}).replace(
        "      - name: t\n",
        "      - name: t\n        description: d\n        identifier: T\n        loaded_at_field: x\n        tags: [a]\n"
        "        data_tests: [unique]\n        meta: {owners: [a], loaded: yes, type: x}\n        quoting: {}\n"
        "        columns: [{name: a, tests: [], meta: {classes: x}, quote: true}]\n",
    )
    assert problems(tmp_path, text) == []


ALIASES = "a0: &a0 1\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
"""Ten values of ten values: 240 characters that make a hundred million values."""

SYNTAX = {
    # name: (text, line, what is said)
    "a tab": ("a:\n\tb: 1\n", 2, "a tab; indent with spaces"),
    "a tab further on": ("a:\n  b: 1\n\tc: 2\n", 3, "a tab; indent with spaces"),
    "a quote to the end": ('a: 1\nb: "x\nc: 1\nd: 2\n', 2, 'column 4: the quote " that opens here is not closed'),
    "a quote to the next": ('a: 1\nb: "x\nc: "y"\nd: 2\n', 2, 'the quote " that opens here closes in line 3 only'),
    "a single quote to the next": ("b: 'x\nc: 'y'\nd: 2\n", 1, "the quote ' that opens here closes in line 2 only"),
    "a list": ("a: 1\nb: [x, y\nc: 1\n", 2, "column 4: the [ that opens here is not closed by ]"),
    "a list to the end": ("a: 1\nb: [x, [y]", 2, "column 4: the [ that opens here is not closed by ]"),
    "a mapping": ("b: {x: 1\nc: 1\n", 1, "column 4: the { that opens here is not closed by }"),
    "the wrong bracket": ("a: {x: 1, y: [1, 2}\nb: 1\n", 1, "column 14: the [ that opens here is not closed by ]"),
    "indentation": ("a:\n  b: 1\n c: 2\n", 3, "column 2: the indentation does not fit the lines above"),
    "indentation of a value": ("a: 1\n  b: 2\n", 2, "the keys of one block begin in one column"),
    "a colon": ("a: b: c\n", 1, "a text with ': ' inside needs quotes"),
    "a glob": ("path: *.csv\n", 1, "a text that begins with '*' needs quotes"),
    "a percent sign": ("a: %x\n", 1, "a text that begins with '%' needs quotes"),
    "a reference": ("a: @x\n", 1, "a text that begins with '@' needs quotes"),
    "Jinja": ("a: {{ var('x') }}\n", 1, "a text that begins with { or [ needs quotes"),
    "a second document": ("a: 1\n---\nb: 2\n", 2, "a second document begins here (---)"),
    "an anchor that is not there": ("a: *base\n", 1, "an alias of an anchor (&) that is not in this file"),
    "an anchor in itself": ("a: &x\n  b: *x\n", 1, "an anchor that contains itself"),
    "a merge of a number": ("a:\n  <<: 5\n", 2, "<< takes a mapping"),
    "a tag": ("a: !secret x\n", 1, "a tag that is not known"),
    "a date": ("a: 2026-02-30\n", 1, "2026-02-30 is not a date or time; as a text it needs quotes"),
    "a control character": ("a: 1\nb: \x07\n", 2, "has the control character U+0007"),
    "a backslash": ('a: "\\d+"\n', 1, "in double quotes a backslash begins a code"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' occurs twice, first in line 1"),
    "a key without a value": ("a: 1\nb\nc: 2\n", 2, "a key without ': ' and a value"),
    "text after a quote": ("a: 'it's'\n", 1, "text after the closing quote '"),
    "a type without quotes": ("a: [{data_type: decimal(9, 2)}]\n", 1, 'the comma ends the text \'decimal(9\'; put it in quotes: data_type: "decimal(9, 2)"'),
    "a condition without quotes": ("a: {filter: id in (1, 2, 3)}\n", 1, "put it in quotes: filter: "),
    "an anchor twice": ("a: &x 1\nb: &x 2\n", 2, "an anchor (&) of this name is in the file already"),
    "a missing space": ("a: {kind:files, url: in}\n", 1, "a space is missing after the colon: kind: files"),
    "a merge conflict": ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", 2, "a merge conflict that git marked"),
    "a space of a web page": ("a:\u00a0b\nc: 1\n", 1, "the character U+00A0"),
    "a space of a web page before a key": ("a:\n  b: 1\n  \u00a0c: 1\n", 3, "the key 'c' has an invisible character beside it"),
    "a wide colon": ("a\uff1a b\nc: 1\n", 1, "the character U+FF1A"),
    "too many brackets": ("a: " + "[" * 3000 + "]" * 3000, 1, "is nested too deeply"),
    "aliases of aliases": (ALIASES, 1, "its aliases (*) make more than 100,000 values of it; write fewer"),
    "only a list": ("- a\n- b\n", 1, "is a list; a file in this folder is a mapping"),
    "only a text": ("sources\n", 1, "is 'sources'; a file in this folder is a mapping"),
    "no sources": ("sources:\n", 1, "is empty; must be a list of sources"),
}  # fmt: skip


@pytest.mark.parametrize("name", SYNTAX)
def test_what_is_not_yaml(tmp_path: Path, name: str) -> None:
    text, line, message = SYNTAX[name]
    found = problems(tmp_path, text)
    assert [p.line for p in found] == [line], found
    assert message in found[0].message
    assert not FORBIDDEN.search(found[0].message)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    text = declaration("files", SOURCE["files"], TABLE["files"])
    file = tmp_path / "s.yml"
    file.write_bytes(text.encode("utf-8-sig"))
    assert len(read_sources(tmp_path)[0]) == 1
    for data, line, said in (
        (
            text.replace("a.csv", "ä.csv").encode("latin-1"),
            15,
            "is not UTF-8 (column 21 has the byte 0xe4); save it as UTF-8",
        ),
        (text.encode("utf-16"), 1, "is not UTF-8 (it is UTF-16); save it as UTF-8"),
    ):
        file.write_bytes(data)
        (problem,) = read_sources(tmp_path)[1]
        assert (problem.line, problem.message) == (line, said)
    file.write_bytes(b"")
    assert read_sources(tmp_path) == ([], [])
    file.unlink()
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "gone.yml").symlink_to(tmp_path / "nowhere")
    assert [p.message for p in read_sources(tmp_path)[1]] == ["cannot be read: No such file or directory"]


BASE = "base_url: 'http://x'"


def of_rest(folder: Path, client: str, endpoint: str) -> str:
    """What is said of a web API, by the models and by what knows dlt's keys."""
    text = declaration("rest", {"client": client}, {"endpoint": endpoint})
    (folder / "s.yml").write_text(text)
    sources, found = read_sources(folder)
    found += [problem for source in sources for problem in declaration_problems(source)]
    for problem in found:
        line = text.splitlines()[problem.line - 1].strip()
        assert line.startswith(("client:", "endpoint:", "kind:", "load:")), problem
        assert not FORBIDDEN.search(f"{problem.where}: {problem.message}"), problem
    return "\n".join(problem.message for problem in found)


def test_wrong_values_of_dlts_keys(tmp_path: Path) -> None:
    """The keys of a web API are dlt's: whatever stands there, nothing of dlt or Python is in the message."""
    values = [value for value in WRONG.values() if "decimal" not in value]
    auths = {name: spec for name, (spec, _) in AUTHS.items()}
    for block, types in (("paginator", PAGINATORS), ("auth", auths)):
        for kind, spec in types.items():
            of_rest(tmp_path, f"{{{BASE}, {block}: {kind}}}", "{path: x}")
            said = of_rest(tmp_path, f"{{{BASE}, {block}: {{type: {misspelt(kind)}}}}}", "{path: x}")
            assert f"Did you mean {kind}" in said
            for key in get_type_hints(spec).keys() - NOT_IN_YAML:
                for value in values:
                    of_rest(tmp_path, f"{{{BASE}, {block}: {{type: {kind}, {key}: {value}}}}}", "{path: x}")
    params = ["{p: {type: x}}", "{p: {type: resolve}}", "{p: {type: incremental, cursor_path: x, lag: x}}"]
    values += [
        "[{status_code: x}]",
        "{cursor_path: [1]}",
        "{cursor_path: x, initial_value: {a: b}}",
        "{type: [x]}",
    ]
    for key in get_type_hints(rest_typing.Endpoint).keys() - NOT_IN_YAML - {"path"}:
        for value in (*values, *params):
            of_rest(tmp_path, f"{{{BASE}}}", f"{{path: x, {key}: {value}}}")
    for key in get_type_hints(rest_typing.ClientConfig).keys() - NOT_IN_YAML - {"base_url"}:
        for value in values:
            of_rest(tmp_path, f"{{{BASE}, {key}: {value}}}", "{path: x}")
    for endpoint, reason in {
        "{path: 'x/{id}'}": "the path 'x/{id}' needs id: declare it under params",
        "{path: x, params: {a: '{resources.t.id}'}}": "t need each other's records in a circle",
        "{path: 'x/{resources.tt.id}'}": "the table 'tt' is not declared in this source. Did you mean t?",
    }.items():
        assert reason in of_rest(tmp_path, f"{{{BASE}}}", endpoint)


POLICY: dict[str, tuple[str, type[Strict]]] = {
    "publish": ("publish:\n  KEY: VALUE\naudiences: []\n", Publishing),
    "rows": ("publish:\n  rows:\n    KEY: VALUE\naudiences: []\n", RowLimits),
    "audiences": ("audiences:\n  -\n    name: a\n    description: d\n    KEY: VALUE\n", Audience),
    "row_filter": (
        "audiences:\n  -\n    name: a\n    description: d\n    row_filter:\n      condition: c\n      KEY: VALUE\n",
        RowFilter,
    ),
}


@pytest.mark.parametrize("block", POLICY)
def test_wrong_values_of_audiences(tmp_path: Path, block: str) -> None:
    pattern, model = POLICY[block]
    file = tmp_path / "audiences.yml"

    def said(key: str, value: str, instead_of: str = "") -> str:
        kept = [
            line for line in pattern.splitlines() if not line.strip().startswith(f"{instead_of or key}: ")
        ]
        text = "\n".join(kept).replace("KEY", key).replace("VALUE", value)
        file.write_text(text)
        return judge(found, text, key) if (found := read_policy(file)[1]) else ""

    for key, field in field_by_key(model).items():
        refused = [what for what, value in WRONG.items() if said(key, value)]
        assert "a date" in refused, (key, refused)
        mistakes = misspelt(key)
        assert f"{mistakes}: is not a key here" in said(mistakes, "x", key)
        assert f"Did you mean {key}" in said(mistakes, "x", key)
        for value in literals(field.annotation):
            if len(value) > 2:
                assert f"Did you mean {value}" in said(key, misspelt(value))
    file.write_text("audiences:\n  - name: a\n    description: d\n    format: parquet\n    to: s3://b/x\n")
    policy = read_policy(file)[0]
    assert policy is not None
    (problem,) = without_connection(policy)
    assert (problem.line, problem.where) == (5, "audiences.a.to")
    assert "is 's3://b/x' without a connection" in problem.message
    file.write_text("- a\n")
    assert [p.message for p in read_policy(file)[1]] == ["is a list: write a mapping, key: value"]


def test_wrong_values_of_the_glossary(tmp_path: Path) -> None:
    file = tmp_path / "glossary.yml"
    for key in field_by_key(Term):
        for name, value in [*((key, value) for value in WRONG.values()), (misspelt(key), "x")]:
            known = {k: v for k, v in {"term": "t", "meaning": "m"}.items() if k != key}
            text = "terms:\n  -\n" + "".join(f"    {k}: {v}\n" for k, v in {**known, name: value}.items())
            file.write_text(text)
            found = glossary_problems(file)[1]
            if found or name != key:
                said = judge(found, text, name)
                assert name == key or f"Did you mean {key}" in said
    file.write_text("terms: [\n")
    with pytest.raises(
        DeclarationError, match=r"glossary\.yml:1: file: is not YAML: column 8: the \[ that opens"
    ):
        read_glossary(file)


def test_paths_and_servers_that_only_this_machine_knows(tmp_path: Path) -> None:
    """They are mistakes for `check`; a load goes on with them."""
    for source, table, said in (
        ({"url": "/data/in"}, {}, "9: s.config.meta.load.url: is '/data/in', a path that not every machine has: write a folder below the project, or ${s.folder}"),
        ({"url": "~/in"}, {}, "9: s.config.meta.load.url: is '~/in', a path that not every machine has"),
        ({"url": "file:/data"}, {}, "9: s.config.meta.load.url: is 'file:/data', a path"),
        ({"url": "'C:\\data'"}, {}, "a path that not every machine has"),
        ({"url": "s3://b/x"}, {}, "9: s.config.meta.load.url: is 's3://b/x' without a connection: add connection: s, and give it access_key_id"),
        ({"url": "sftp://h/x"}, {}, "without a connection: add connection: s, and give it username"),
        ({"url": "in"}, {"path": "/data/*.csv"}, "15: s.t.path: is '/data/*.csv': write it relative to the source's url, 'in'"),
        ({"url": "in"}, {"path": "s3://b/*.csv"}, "15: s.t.path: is 's3://b/*.csv': write it relative"),
        ({"url": "s3://b/x", "connection": "c"}, {}, ""),
        ({"url": "${s.folder}"}, {}, ""),
        ({"url": "../in"}, {}, ""),
    ):  # fmt: skip
        text = declaration("files", source, {**TABLE["files"], **table})
        (tmp_path / "s.yml").write_text(text)
        (found,), wrong = read_sources(tmp_path)
        assert wrong == []
        assert said in "\n".join(map(str, declaration_problems(found)))
        assert bool(said) == bool(declaration_problems(found))


def test_types_keys_and_values_that_are_nearly_right(tmp_path: Path) -> None:
    """What is near is named, alone where it is much nearer than others; quotes are asked for where they help."""
    columns = {
        "numerc": "Did you mean numeric?",
        "bigintt": "Did you mean bigint?",
        "timestmap": "Did you mean timestamp?",
        "varchar(10": "a parenthesis is not closed",
        "decimal(9 2)": "decimal does not take what is in the parentheses, write e.g. decimal(18,2)",
    }
    text = declaration("database", SOURCE["database"], {"primary_key": "idd"})
    text += "        columns:\n          - name: id\n"
    text += "".join(f"          - {{name: c{n}, data_type: {t}}}\n" for n, t in enumerate(columns))
    found = problems(tmp_path, text)
    for message in (*columns.values(), "names 'idd', which is not among the declared columns: id, c0, c1"):
        assert any(message in p.message for p in found), (message, found)
    assert any(p.message.endswith("Did you mean id?") for p in found)
    for key, value, said in (
        ("delimeter", ";", "Did you mean delimiter?"),
        ("skip_lines", '"3"', "is '3': write a whole number of at least 0, without quotes"),
        ("header", '"yes"', "is 'yes': write true or false, without quotes"),
        ("tolerance", "5.5", "write a number of rows, or a percentage of them: 10, 0.5%"),
    ):
        (problem,) = problems(tmp_path, declaration("files", SOURCE["files"], {**TABLE["files"], key: value}))
        assert problem.message.endswith(said)

"""Conventions of docs/style.md that dbt-bouncer has no check for. A message says the rule, why it is one, the fix."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from tests.project.conftest import ROOT, Node

SQL = sorted([*ROOT.glob("models/**/*.sql"), *ROOT.glob("tests/data/**/*.sql")])
PROPERTIES = sorted([*ROOT.glob("models/**/*.yml"), *ROOT.glob("sources/*.yml"), *ROOT.glob("seeds/*.yml")])


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _in(models: list[Node], *layers: str) -> list[Node]:
    return [node for node in models if node["path"].startswith(tuple(f"{layer}/" for layer in layers))]


def _models_yaml() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(ROOT.glob("models/**/*__models.yml")):
        for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
            yield path, model


def test_staging_models_name_and_type_and_do_nothing_else(models: list[Node]) -> None:
    for node in _in(models, "staging"):
        tree = sqlglot.parse_one(node["compiled_code"], dialect="duckdb")
        names = [cte.alias for cte in tree.find_all(exp.CTE)]
        assert names == ["source", "renamed"], (
            f"{node['path']} has the CTEs {names}. A staging model has `source` and `renamed`, nothing more: "
            "what a source means is decided in intermediate models, where it is tested. Move the rest there."
        )
        assert len(node["sources"]) == 1, f"{node['path']}: a staging model reads exactly one source table."
        assert not node["refs"], (
            f"{node['path']}: a staging model calls source(), never ref(). Join further down."
        )


def test_models_begin_with_their_grain(models: list[Node]) -> None:
    for node in _in(models, "intermediate", "marts", "utilities"):
        first = node["raw_code"].splitlines()[0]
        assert re.fullmatch(r"\{# one row per .+ #\}", first), (
            f"{node['path']} begins with {first!r}. The first line says the grain, since every join depends on it: "
            "{# one row per … #}"
        )


def test_models_import_before_they_work(models: list[Node]) -> None:
    for node in models:
        read = re.findall(r"{{ (?:ref|source)\(", node["raw_code"])
        imported = re.findall(r"as \(\s*select \* from {{ (?:ref|source)\([^)]+\) }}\s*\)", node["raw_code"])
        assert len(read) == len(imported), (
            f"{node['path']} reads {len(read)} models and imports {len(imported)}. Import CTEs at the top, "
            '`orders as (select * from {{ ref("…") }})`, show at once what a model reads.'
        )


@pytest.mark.parametrize("path", PROPERTIES, ids=_name)
def test_a_columns_first_sentence_fits_a_catalog_table(path: Path, manifest: dict[str, Any]) -> None:
    described = {**manifest["nodes"], **manifest["sources"]}.values()
    for node in described:
        if not str(node.get("patch_path") or node["original_file_path"]).endswith(_name(path)):
            continue
        for column in node["columns"].values():
            first = re.split(r"(?<=[.])\s", column["description"].strip())[0]
            assert first.endswith("."), (
                f"{node['name']}.{column['name']}: {first!r} is no sentence: end it with a full stop."
            )
            assert len(first) < 60, (
                f"{node['name']}.{column['name']}: {first!r} has {len(first)} characters. Catalog tables show "
                "60: say the essence in a short first sentence and the rest in a second one."
            )


def test_models_describe_exactly_their_columns(models: list[Node]) -> None:
    for node in models:
        tree = qualify(
            sqlglot.parse_one(node["compiled_code"], dialect="duckdb"), validate_qualify_columns=False
        )
        assert isinstance(tree, exp.Query)
        selected, described = set(tree.named_selects), set(node["columns"])
        if "*" in selected:  # a union of imports: its columns are those of the models it reads
            continue
        assert selected == described, (
            f"{node['path']}: without a text {sorted(selected - described)}, described but not there "
            f"{sorted(described - selected)}. "
            f"A catalog that differs from the table misleads: edit {node['patch_path']}."
        )


def test_texts_that_three_models_share_are_written_once() -> None:
    users = defaultdict(list)
    for _, model in _models_yaml():
        for column in model["columns"]:
            if "doc(" not in column["description"]:
                users[column["name"], column["description"]].append(model["name"])
    for (column, text), names in users.items():
        assert len(names) < 3, (
            f"{column}: {text!r} is written in {', '.join(names)}. Three copies drift apart: put it into a docs block "
            f"in models/_docs/columns.md and write '{{{{ doc(\"{column}\") }}}}'."
        )


def test_models_say_grain_and_key() -> None:
    for path, model in _models_yaml():
        parts = re.findall(r"\*\*(.+?)\*\*:", model["description"])
        assert parts == [p for p in ("Assumptions", "Nuance", "Primary key") if p in parts], (
            f"{_name(path)}: {model['name']} has the parts {parts}. A reader looks for them in one order: grain, "
            "Assumptions, Nuance, Primary key."
        )
        key = re.findall(r"`(\w+)`", model["description"].split("**Primary key**:")[-1])
        tested = [
            test["primary_key"]["arguments"]["columns"]
            for test in model.get("data_tests", [])
            if "primary_key" in test
        ]
        tested += [
            [column["name"]] for column in model["columns"] if "primary_key" in column.get("data_tests", [])
        ]
        assert key in tested, f"{_name(path)}: {model['name']} names the key {key}, but tested are {tested}."


def test_every_mart_has_an_algebraic_test(models: list[Node], manifest: dict[str, Any]) -> None:
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    for mart in _in(models, "marts"):
        kinds = {
            (test.get("test_metadata") or {}).get("name", "singular")
            for test in tests
            if mart["unique_id"] in test["depends_on"]["nodes"]
        }
        assert kinds & {"expression_is_true", "singular"}, (
            f"{mart['path']} has no algebraic test. Keys and types hold for wrong numbers, too: add an "
            "expression_is_true, such as subtotal + tax = total, or a reconciliation in tests/data/."
        )


def test_unit_tests_are_named_after_what_they_show(manifest: dict[str, Any]) -> None:
    for test in manifest["unit_tests"].values():
        path, model = Path(test["original_file_path"]), test["model"]
        assert test["name"].startswith(f"{model}__"), (
            f"{path}: {test['name']} tests {model}. Call it {model}__<behaviour>, so that a failure says what broke."
        )
        assert test["description"], (
            f"{path}: {test['name']} has no description: one sentence with the rule it shows."
        )
        assert path.name == f"_{path.parent.name}__unit_tests.yml", (
            f"{path}: unit tests stand beside their models."
        )
        fixtures = [*test["given"], test["expect"]]
        assert all(fixture["format"] == "dict" for fixture in fixtures), (
            f"{path}: {test['name']} has a fixture that is not a list of rows. One notation reads fastest: "
            "one {column: value} a line."
        )


def test_rows_of_fixtures_stand_below_each_other() -> None:
    for path in sorted(ROOT.glob("models/**/*__unit_tests.yml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if not line.startswith(("          -", "        - ")):
                continue
            row = [line]
            while row[-1].endswith(","):  # a row too long for one line
                row.append(lines[number - 1 + len(row)])
            assert re.fullmatch(r"\s+- (\{.*\}|input: .*)", " ".join(row)), (
                f"{_name(path)}:{number}: a row of a fixture is {{column: value, …}}, on one line where it fits, "
                "so that the rows stand below each other like a table."
            )


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/data/**/*.sql")), ids=_name)
def test_singular_tests_say_what_a_returned_row_means(path: Path) -> None:
    opening = re.match(r"\{#\s+A returned row (is|says) ", path.read_text(encoding="utf-8"))
    assert opening, (
        f"{_name(path)} has to open with `{{# A returned row is …` or `… says …`: whoever is woken by the test reads "
        "that line first."
    )
    assert len(path.stem.split("_")) >= 4, (
        f"{_name(path)}: a singular test is named as a claim, such as a_equals_b."
    )


@pytest.mark.parametrize("path", PROPERTIES, ids=_name)
def test_properties_are_called_after_their_folder(path: Path) -> None:
    if path.is_relative_to(ROOT / "models") and path.parent != ROOT / "models":
        folder = path.parent.name
        allowed = [f"_{folder}__models.yml", f"_{folder}__unit_tests.yml"]
        assert path.name in allowed, (
            f"{_name(path)}: is called one of {', '.join(allowed)}, so that a search finds it."
        )


@pytest.mark.parametrize("path", SQL, ids=_name)
def test_constants_carry_no_ids_of_records(path: Path) -> None:
    ids = re.findall(r"\b\w+_id\s*(?:=|<>|in)\s*\(?\s*['\d]", path.read_text(encoding="utf-8"))
    assert not ids, (
        f"{_name(path)} compares with the id of a record: {ids}. Nobody knows later why. Put it into a seed with a "
        "`reason` column and join that."
    )


def test_seeds_say_why(manifest: dict[str, Any]) -> None:
    for node in manifest["nodes"].values():
        if node["resource_type"] == "seed":
            assert "reason" in node["columns"], (
                f"{node['path']}: a list that a person keeps has a `reason` column, or nobody dares to change it."
            )


def test_source_columns_are_typed_and_described(sources: list[Node]) -> None:
    for node in sources:
        for column in node["columns"].values():
            assert column["data_type"], (
                f"{node['name']}.{column['name']} has no data_type: the loader would guess it."
            )
            assert column["description"], f"{node['name']}.{column['name']} has no description."


def test_exposures_are_complete(manifest: dict[str, Any]) -> None:
    for exposure in manifest["exposures"].values():
        for key in ("label", "url", "maturity", "description"):
            assert exposure[key], (
                f"exposure {exposure['name']} has no {key}: catalogs leave it out or fail on it."
            )


def test_selectors_are_described() -> None:
    for selector in yaml.safe_load((ROOT / "selectors.yml").read_text(encoding="utf-8"))["selectors"]:
        assert selector.get("description"), (
            f"selectors.yml: {selector['name']} says not what it selects and for whom."
        )


def test_what_is_disabled_has_a_reason(manifest: dict[str, Any]) -> None:
    for nodes in manifest["disabled"].values():
        for node in nodes:
            assert node["config"].get("meta", {}).get("reason"), (
                f"{node['original_file_path']}: {node['name']} is disabled. Write the reason into config.meta.reason, "
                "or delete it: what is muted for no reason stays muted."
            )


def test_a_macro_stands_alone_in_a_file_of_its_name() -> None:
    for path in sorted([*ROOT.glob("macros/**/*.sql"), *ROOT.glob("tests/generic/*.sql")]):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"{%-?\s*(?:macro|test)\s+(\w+)", text) == [path.stem], (
            f"{_name(path)}: one macro a file."
        )
        assert "{#" in text, f"{_name(path)}: a macro says what goes in and what comes out, with an example."

"""Every convention is broken by one project, and kept by another; neither knows a company."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.config.settings import Settings
from sluice.config.yaml_file import Problem
from sluice.conventions.bouncer import bouncer_failures
from sluice.conventions.check import RULES, check_conventions, rule_names
from sluice.conventions.switched_off import switched_off_problems
from sluice.errors import SluiceError

PROJECT = """
name: tiny
profile: a_profile_nobody_has
model-paths: [models, sources]
macro-paths: [macros, tests/generic]
test-paths: [tests/data]
models:
  tiny:
    staging: {+materialized: view}
    marts: {+materialized: table, +access: public, +contract: {enforced: true}, +grants: {select: [readers]}}
"""
PRIMARY_KEY = """{# Rows whose key is null or not unique; `columns` is a list of names. #}
{% test primary_key(model, columns) %}
select {{ columns | join(", ") }} from {{ model }} group by all having count(*) > 1
{% endtest %}
"""
GOOD = {
    "dbt_project.yml": PROJECT,
    "sources/crm.yml": """
sources:
  - name: crm
    description: The system that knows contacts.
    database: raw
    schema: crm
    config:
      loaded_at_field: _loaded_at
      freshness: {warn_after: {count: 1, period: day}}
      meta: {owner: someone, load: {kind: database, connection: crm}}
    tables:
      - name: contacts
        description: One row per contact.
        config: {meta: {load: {primary_key: contact_id}}}
        columns:
          - name: contact_id
            description: Number of the contact.
            data_type: bigint
            data_tests: [not_null]
""",
    "models/staging/crm/stg_crm__contacts.sql": """
with
    source as (select * from {{ source("crm", "contacts") }}),
    renamed as (select contact_id from source)
select * from renamed
""",
    "models/staging/crm/_crm__models.yml": """
models:
  - name: stg_crm__contacts
    description: "One row per contact. **Primary key**: `contact_id`"
    columns:
      - {name: contact_id, description: Number of the contact., data_tests: [unique, not_null]}
""",
    "models/marts/crm/dim_contacts.sql": """{# one row per contact #}
with contacts as (select * from {{ ref("stg_crm__contacts") }})
select contact_id from contacts
""",
    "models/marts/crm/_crm__models.yml": """
models:
  - name: dim_contacts
    description: "One row per contact, as the company knows it. **Primary key**: `contact_id`"
    data_tests:
      - min_rows
      - primary_key: {arguments: {columns: [contact_id]}}
    columns:
      - {name: contact_id, description: Number of the contact., data_type: bigint}
""",
    "tests/generic/_generic.yml": """
macros:
  - name: test_primary_key
    description: Fails for rows whose key is null or not unique.
    arguments:
      - {name: model, type: relation, description: The model.}
      - {name: columns, type: list, description: Names of the columns.}
  - name: test_min_rows
    description: Fails for an empty table.
    arguments: [{name: model, type: relation, description: The model.}]
""",
    "tests/generic/min_rows.sql": """{# One row if there is none. #}
{% test min_rows(model) %} select count(*) as n from {{ model }} having count(*) = 0 {% endtest %}
""",
    "tests/generic/primary_key.sql": PRIMARY_KEY,
    "tests/data/crm/contacts_have_positive_numbers.sql": """{# A returned row is a contact with a number below 1. #}
select contact_id from {{ ref("dim_contacts") }} where contact_id < 1
""",
}
BAD = GOOD | {
    "dbt_project.yml": PROJECT.replace("enforced: true", "enforced: false"),
    "audiences.yml": """
audiences:
  - {name: nobody, description: They are granted nothing.}
""",
    "docs/glossary.yml": """
terms:
  - {term: contact, meaning: A person., columns: [dim_persons]}
  - {term: lead, meaning: A contact that is new., synonyms: [Contact]}
""",
    "selectors.yml": "selectors:\n  - {name: all, definition: {method: path, value: models}}\n",
    "macros/two.sql": "{% macro two() %}2{% endmacro %}\n{% macro three() %}3{% endmacro %}\n",
    "tests/generic/three.sql": "{# One is explained. #}\n{% test a(model) %}{% endtest %}{% test b(model) %}{% endtest %}\n",
    "seeds/codes.csv": "code\n007\n",
    "snapshots/history.yml": """
snapshots:
  - name: by_time
    relation: ref('dim_contacts')
    config: {unique_key: contact_id, strategy: timestamp, updated_at: one, hard_deletes: new_record}
  - name: by_values
    relation: ref('dim_contacts')
    config: {unique_key: contact_id, strategy: check, check_cols: all, updated_at: one}
""",
    "seeds/_seeds.yml": "seeds: [{name: codes, columns: [{name: code, description: The code.}]}]\n",
    "sources/crm.yml": GOOD["sources/crm.yml"].replace("            data_type: bigint\n", ""),
    "models/staging/crm/stg_crm__contacts.sql": "select contact_id from {{ source('crm', 'contacts') }}\n",
    "models/staging/crm/_crm__models.yml": GOOD["models/staging/crm/_crm__models.yml"].replace(
        "Number of the contact.", "A number that nobody has ever understood and that is not a sentence"
    ),
    "models/marts/crm/dim_contacts.sql": """
select contact_id, list_sum([1]) as ones, 1 as one from {{ ref("stg_crm__contacts") }} where contact_id = 5
and contact_id in (select contact_id from raw.crm.contacts)
""",
    "models/marts/crm/_crm__models.yml": """
models:
  - name: dim_contacts
    description: "**Primary key**: `one` **Nuance**: none."
    columns:
      - {name: contact_id, description: It is the same.}
      - {name: gone, description: It is gone.}
  - {name: dim_a, description: x, columns: [{name: contact_id, description: It is the same.}]}
  - name: dim_b
    description: x
    columns: [{name: contact_id, description: It is the same., data_type: "decimal(10,2)"}]
  - {name: dim_c, config: {enabled: false}}
unit_tests:
  - name: adds_up
    model: dim_a
    given:
      - {input: ref('dim_contacts'), format: csv, rows: "contact_id"}
    expect:
      rows:
        - contact_id: 1
exposures:
  - {name: board, type: dashboard, owner: {name: Ann}, depends_on: [ref('dim_contacts')]}
""",
    "models/marts/crm/dim_plain.sql": "select contact_id as plain from {{ ref('dim_contacts') }}",
    "models/marts/crm/dim_python.py": "def model(dbt, session):\n    return dbt.ref('dim_contacts')\n",
    "models/marts/crm/more.yml": "",
    "models/staging/crm/stg_crm__odd.sql": "from {{ source('crm', 'contacts') }} select ((contact_id",
    "models/marts/crm/_marts__unit_tests.yml": """
unit_tests:
  - name: dim_b__keeps
    description: It keeps rows.
    model: dim_b
    given:
      - input: ref('dim_contacts')
        rows:
          - contact_id: 1
    expect:
      rows:
        - {contact_id: 0.50}
        - {contact_id: 0.3333}
""",
    "models/marts/crm/dim_a.sql": "select contact_id from {{ ref('dim_contacts') }}",
    "models/marts/crm/dim_b.sql": "select contact_id from {{ ref('dim_contacts') }}",
    "models/marts/crm/dim_c.sql": "select contact_id from {{ ref('dim_contacts') }}",
    "tests/data/crm/wrong.sql": "select * from {{ ref('dim_contacts') }} where false",
}


def write(root: Path, files: dict[str, str]) -> Settings:
    """Write a project; its settings."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"), encoding="utf-8")
    return Settings(root=root, home=root / "warehouse")


def found(problems: list[Problem], root: Path) -> list[tuple[str, int, str, str]]:
    """File, line, rule and message of each problem."""
    return [(p.file.relative_to(root).as_posix(), p.line, p.where, p.message) for p in problems]


def test_every_rule_finds_what_breaks_it(tmp_path: Path) -> None:
    settings = write(tmp_path, BAD)
    _, problems = check_conventions(settings)
    rules = {rule.__name__.replace("_", "-") for rule in RULES}
    broken = found(problems, tmp_path)
    assert rules <= {rule for _, _, rule, _ in broken}, "each of them has something to find here"
    marts = "models/marts/crm"
    expected = [
        ("models/staging/crm/stg_crm__odd.sql", 1, "readable-sql", "sqlglot cannot read"),
        ("models/staging/crm/stg_crm__contacts.sql", 1, "staging-model", "has the CTEs []"),
        (f"{marts}/dim_contacts.sql", 1, "grain-line", "{# one row per … #}"),
        (f"{marts}/dim_plain.sql", 1, "described-columns", "without a description ['plain']"),
        (f"{marts}/dim_python.py", 1, "model-description-populated", "`dim_python` does not have"),
        (f"{marts}/_crm__models.yml", 8, "grain-and-key", "dim_b names no key"),
        (f"{marts}/dim_contacts.sql", 1, "import-ctes", "reads 1 models and imports 0"),
        (f"{marts}/dim_contacts.sql", 1, "portable-sql", "list_sum(), which Spark does not have"),
        (f"{marts}/dim_contacts.sql", 1, "record-ids", "'contact_id = 5'"),
        (f"{marts}/_crm__models.yml", 2, "described-columns", "described but not there ['gone']"),
        (f"{marts}/_crm__models.yml", 2, "grain-and-key", "has the parts ['Primary key', 'Nuance']"),
        (f"{marts}/_crm__models.yml", 2, "grain-and-key", "but tested are []"),
        (f"{marts}/_crm__models.yml", 7, "algebraic-test", "dim_a has no algebraic test"),
        (f"{marts}/_crm__models.yml", 5, "shared-texts", "is written in dim_a, dim_b, dim_contacts"),
        ("models/staging/crm/_crm__models.yml", 5, "first-sentence", "Catalog tables show 60"),
        ("models/staging/crm/_crm__models.yml", 5, "first-sentence", "end it with a full stop"),
        (f"{marts}/more.yml", 1, "property-files", "_crm__models.yml or _crm__unit_tests.yml"),
        ("sources/crm.yml", 15, "source-columns", "crm.contacts.contact_id has no data_type"),
        ("seeds/_seeds.yml", 1, "seed-reasons", "codes has no `reason` column"),
        ("seeds/codes.csv", 2, "seed-types", "column code has no type, and dbt guesses integer: a value like 009"),
        ("snapshots/history.yml", 2, "snapshot-history", "timestamp with hard_deletes: new_record"),
        ("snapshots/history.yml", 2, "snapshot-history", "by_time has no valid_intervals test"),
        ("snapshots/history.yml", 5, "snapshot-history", "by_values takes its times from one"),
        (f"{marts}/_crm__models.yml", 7, "row-floor", "dim_a has no min_rows test"),
        (f"{marts}/_crm__models.yml", 21, "complete-exposures", "exposure board has no url"),
        ("selectors.yml", 2, "described-selectors", "all has no description"),
        (f"{marts}/dim_c.sql", 1, "disabled-for-a-reason", "dim_c is disabled"),
        ("macros/two.sql", 1, "one-macro-per-file", "defines ['two', 'three']"),
        ("macros/two.sql", 1, "one-macro-per-file", "has no {# … #}"),
        ("tests/generic/three.sql", 1, "one-macro-per-file", "has fewer {# … #} than macros"),
        (f"{marts}/_crm__models.yml", 13, "unit-test-names", "Call it dim_a__<behaviour>"),
        (f"{marts}/_crm__models.yml", 13, "unit-test-names", "adds_up has no description"),
        (f"{marts}/_crm__models.yml", 13, "unit-test-names", "a fixture that is not a list of rows"),
        (f"{marts}/_marts__unit_tests.yml", 2, "unit-test-names", "in _crm__unit_tests.yml"),
        (f"{marts}/_marts__unit_tests.yml", 2, "exact-fixtures", "expects contact_id 0.3333, which decimal(10,2)"),
        (f"{marts}/_marts__unit_tests.yml", 8, "fixture-rows", "is {column: value, …}"),
        ("tests/data/crm/wrong.sql", 1, "singular-tests", "has to open with"),
        ("tests/data/crm/wrong.sql", 1, "singular-tests", "not named as a claim"),
        ("audiences.yml", 1, "audiences", "dim_a is granted to 'readers', which audiences.yml does not declare"),
        ("audiences.yml", 2, "audiences", "nobody is granted no model"),
        (f"{marts}/_crm__models.yml", 2, "audiences", "dim_contacts is granted without a contract"),
        ("docs/glossary.yml", 2, "glossary", "contact names dim_persons, which does not exist"),
        ("docs/glossary.yml", 3, "glossary", "'Contact' also stands for contact"),
        (f"{marts}/dim_contacts.sql", 1, "model-has-contracts-enforced", "fails here and not in a report"),
    ]  # fmt: skip
    missing = [e for e in expected if not any(b[:3] == e[:3] and e[3] in b[3] for b in broken)]
    assert not missing, "\n".join(map(str, broken))


@pytest.mark.full
def test_what_may_be_empty_says_so_and_what_keeps_history_shows_it(tmp_path: Path) -> None:
    models = GOOD["models/marts/crm/_crm__models.yml"]
    kept = """
    config: {unique_key: contact_id, strategy: check, check_cols: all, hard_deletes: invalidate}
    data_tests: [{valid_intervals: {arguments: {key: [contact_id]}}}]
"""
    added = {
        "models/marts/crm/_crm__models.yml": models.replace("      - min_rows\n", "").replace(
            "    columns:",
            "    config: {meta: {may_be_empty: Contacts come with the first campaign.}}\n    columns:",
        ),
        "snapshots/history.yml": f"snapshots:\n  - name: kept\n    relation: ref('dim_contacts'){kept}",
        "macros/_macros.yml": """
macros:
  - name: test_valid_intervals
    description: Fails for rows whose validity overlaps.
    arguments:
      - {name: model, type: relation, description: The snapshot.}
      - {name: key, type: list, description: Names of the columns.}
""",
        "macros/valid_intervals.sql": """{# Rows that are valid together with another; `key` is a list of names. #}
{% test valid_intervals(model, key) %} select {{ key | join(", ") }} from {{ model }} where false {% endtest %}
""",
        "seeds/codes.csv": "code;reason\n007;spy\n",
        "seeds/_seeds.yml": """
seeds:
  - name: codes
    description: One row per code.
    config: {delimiter: ;, column_types: {code: text}}
    data_tests: [min_rows]
    columns:
      - {name: code, description: The code., data_type: text}
      - {name: reason, description: Why., data_type: text}
""",
    }
    _, problems = check_conventions(write(tmp_path, GOOD | added))
    assert found(problems, tmp_path) == []


def test_a_project_without_models_has_nothing_to_keep(tmp_path: Path) -> None:
    files = {name: text for name, text in GOOD.items() if name.startswith(("dbt_project", "sources"))}
    assert check_conventions(write(tmp_path, files)) == (0, [])
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param(
            "models/marts/crm/dim_contacts.sql",
            "select {{ ref('gone') }}",
            "depends on a node named 'gone'",
            marks=pytest.mark.full,
        ),
        (
            "models/staging/crm/_crm__models.yml",
            GOOD["models/staging/crm/_crm__models.yml"].replace(
                "not_null]", "not_null, {accepted_values: {values: [1]}}]"
            ),
            "MissingArgumentsPropertyInGenericTestDeprecation",
        ),
    ],
    ids=["unknown model", "deprecated syntax"],
)
def test_what_does_not_compile_is_reported_each_time(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    settings = write(tmp_path, GOOD | {name: text})
    for _ in range(2):  # a parse that is taken over must not hide it
        with pytest.raises(SluiceError, match="the project does not compile") as refused:
            check_conventions(settings)
        assert message in str(refused.value)


def test_a_project_that_keeps_them_passes_and_may_have_checks_of_its_own(tmp_path: Path) -> None:
    settings = write(tmp_path, GOOD)
    models, problems = check_conventions(settings)
    assert found(problems, tmp_path) == []
    assert models == 2
    assert not (tmp_path / "warehouse").exists(), "compiling opened a warehouse"
    assert not list(tmp_path.rglob("*.duckdb"))
    target = settings.target / "check"
    own = "manifest_checks: [{name: check_model_names, model_name_pattern: ^x_}]\n"
    names = {"dim_contacts", "stg_crm__contacts"}
    for text in (own, f"extends: sluice\n{own}"):
        (tmp_path / "dbt-bouncer.yml").write_text(text)
        failures = bouncer_failures(tmp_path, target)
        assert {f.unique_id.split(".")[-1] for f in failures} == names
        assert {f.check for f in failures} == {"model_names"}
    assert bouncer_failures(tmp_path, target, before=target) == [], "what the base has, too, is left out"
    (tmp_path / "dbt-bouncer.yml").write_text("manifest_checks: [{name: check_nothing_of_the_kind}]\n")
    with pytest.raises(SluiceError, match="dbt-bouncer failed"):
        bouncer_failures(tmp_path, target)


SWITCHED_OFF = """
switched_off:
  row-floor: Contacts come with the first campaign.
  algebraic-test: Nothing here can be added up.
  model-names: Our models are called as they always were.
"""


def test_rules_are_switched_off_for_a_reason(tmp_path: Path) -> None:
    files = {
        "models/marts/crm/_crm__models.yml": GOOD["models/marts/crm/_crm__models.yml"]
        .replace("      - min_rows\n", "")
        .replace("dim_contacts", "contacts"),
        "models/marts/crm/contacts.sql": GOOD["models/marts/crm/dim_contacts.sql"],
        "conventions.yml": SWITCHED_OFF,
    }
    kept = {k: v for k, v in GOOD.items() if "dim_contacts" not in v + k}
    settings = write(tmp_path, kept | files)
    _, problems = check_conventions(settings)
    assert found(problems, tmp_path) == []
    (tmp_path / "conventions.yml").unlink()
    _, problems = check_conventions(settings)
    assert {p.where for p in problems} == {"row-floor", "algebraic-test", "model-names"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("switched_off:\n  row-floor:\n", 2, "10 letters or more"),
        ("switched_off:\n  row-floor: because\n", 2, "10 letters or more"),
        (
            "switched_off:\n\n  row-flor: It does not suit us at all.\n",
            3,
            "is not a rule. Did you mean row-floor?",
        ),
        ("switched_off:\n  model-name: It does not suit us at all.\n", 2, "Did you mean model-names?"),
        ("switched_off: [row-floor]\n", 1, "switched_off"),
        ("off: {row-floor: It does not suit us.}\n", 1, "off"),
        ("switched_off: {\n", 1, "is not closed"),
    ],
)
def test_a_mistake_in_what_is_switched_off_is_named(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    (tmp_path / "conventions.yml").write_text(text)
    off, (problem,) = switched_off_problems(tmp_path, rule_names(tmp_path))
    assert problem.line == line
    assert message in f"{problem.where}: {problem.message}"
    assert off == {} or problem.where in off


@pytest.mark.parametrize(
    "text", ["extends: sluice\n", "manifest_checks: {}\n", "manifest_checks: [a]\n", "a: [\n"]
)
def test_a_mistake_in_the_checks_of_the_project_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "dbt-bouncer.yml").write_text(text)
    with pytest.raises(SluiceError, match=r"dbt-bouncer\.yml:\d: ") as refused:
        rule_names(tmp_path)
    assert refused.value.exit == 3

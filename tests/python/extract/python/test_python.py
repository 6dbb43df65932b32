"""The python kind: what a resource yields arrives with its types, its state with its rows."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sluice.errors import LoadError
from sluice.extract import python
from tests.python.extract.rig import Result, run

MODULE = iter(range(10_000))


def load(folder: Path, code: str, columns: Any = None, **options: Any) -> Result:
    """Load `resource` of a module with this code as the table `things`."""
    arguments = options.pop("arguments", {})
    module = options.pop("module", None) or f"made_{next(MODULE)}"
    (folder / f"{module}.py").write_text("import dlt, datetime as dt\nfrom decimal import Decimal\n" + code)
    load = {"resource": f"{module}.resource", "arguments": arguments, **options.pop("load", {})}
    declaration = {
        "sources": [
            {
                "name": "own",
                "database": "raw",
                "schema": "own",
                "config": {"meta": {"load": {"kind": "python"}}},
                "tables": [{"name": "things", "config": {"meta": {"load": load}}, "columns": columns or []}],
            }
        ]
    }
    import sys

    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return run(python.extract, declaration, folder, **options)


def things(result: Result) -> list[Any]:
    """The one column `v`, in order of `n`."""
    if result.errors:
        raise result.errors["things"]
    return [row.get("v") for row in sorted(result.rows["things"], key=lambda row: row["n"])]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ("[True, None]", "BOOLEAN", [True, None]),
        ("[1, 2**62]", "BIGINT", [1, 2**62]),
        ("[1, 2**70]", "DECIMAL(38,0)", [Decimal(1), Decimal(2**70)]),
        ("[0.1, 2]", "DOUBLE", [0.1, 2.0]),
        ("[Decimal('1.10'), 3]", "DECIMAL(38,2)", [Decimal("1.10"), Decimal(3)]),
        (
            "[Decimal('0.123456789012345678'), Decimal('12345678901234567890')]",
            "DECIMAL(38,18)",
            [Decimal("0.123456789012345678"), Decimal(12345678901234567890)],
        ),
        ("['a', 'ä']", "VARCHAR", ["a", "ä"]),
        ("[b'\\xff', None]", "BLOB", [b"\xff", None]),
        ("[dt.date(2026, 9, 30)]", "DATE", [dt.date(2026, 9, 30)]),
        ("[dt.datetime(2026, 9, 30, 1, 2, 3, 4)]", "TIMESTAMP", [dt.datetime(2026, 9, 30, 1, 2, 3, 4)]),  # noqa: DTZ001
        ("[dt.time(1, 2, 3)]", "TIME", [dt.time(1, 2, 3)]),
        ("[dt.timedelta(days=1, microseconds=1)]", "INTERVAL", [dt.timedelta(days=1, microseconds=1)]),
        ("[{'a': [1, 2.5]}, [1], None]", "JSON", ['{"a":[1,2.5]}', "[1]", None]),
        ("[{'a': Decimal('1.20000000000000000000001')}]", "JSON", ['{"a":1.20000000000000000000001}']),
    ],
)
@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "a batch each"])
def test_a_value_keeps_its_type(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    values: str,
    kind: str,
    expected: list[Any],
    batched: bool,
) -> None:
    if not batched:
        monkeypatch.setattr("sluice.extract.python.typed_rows.BATCH_ROWS", 1)
    code = f"def resource():\n    for n, v in enumerate({values}):\n        yield {{'n': n, 'v': v}}\n"
    result = load(tmp_path, code)
    assert things(result) == expected
    assert result.types["things"]["v"] == kind
    assert result.read == {"things": len(expected)}


def test_a_time_with_a_zone_stays_the_same_instant(tmp_path: Path) -> None:
    code = (
        "def resource():\n"
        "    east = dt.timezone(dt.timedelta(hours=5, minutes=30))\n"
        "    yield [{'n': 1, 'v': dt.datetime(2026, 9, 30, 12, tzinfo=east)},"
        " {'n': 2, 'v': dt.datetime(2026, 9, 30, 12, tzinfo=dt.timezone.utc)}]\n"
    )
    result = load(tmp_path, code)
    assert result.types["things"]["v"] == "TIMESTAMP WITH TIME ZONE"
    assert [v.astimezone(dt.UTC).isoformat() for v in things(result)] == [
        "2026-09-30T06:30:00+00:00",
        "2026-09-30T12:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ("[1, 'a']", ["int", "str"]),
        ("[True, 1]", ["bool", "int"]),
        ("[0.5, Decimal('0.5')]", ["Decimal", "float"]),
        ("[2**60 + 1, 0.5]", ["float", "int"]),
        ("[dt.date(2026, 1, 1), dt.datetime(2026, 1, 1)]", ["date", "datetime without zone"]),
        (
            "[dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)]",
            ["with zone", "without zone"],
        ),
        ("['a', {'b': 1}]", ["dict or list", "str"]),
    ],
)
def test_mixed_types_stop_the_table_and_are_named(tmp_path: Path, values: str, names: list[str]) -> None:
    result = load(
        tmp_path, f"def resource():\n    yield [{{'n': n, 'v': v}} for n, v in enumerate({values})]\n"
    )
    assert isinstance(result.errors["things"], LoadError)
    for name in ["own.things: column v", *names]:
        assert name in str(result.errors["things"])


@pytest.mark.parametrize("values", ["[1, 'a']", "[1, True]", "[2**60 + 1, 0.5]", "['a', [1]]"])
def test_mixed_types_stop_the_table_also_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: str
) -> None:
    monkeypatch.setattr("sluice.extract.python.typed_rows.BATCH_ROWS", 1)
    result = load(
        tmp_path, f"def resource():\n    yield [{{'n': n, 'v': v}} for n, v in enumerate({values})]\n"
    )
    assert "column v: has values of" in str(result.errors["things"])


def test_int_and_decimal_share_a_wide_decimal_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.extract.python.typed_rows.BATCH_ROWS", 1)
    code = (
        "def resource():\n"
        "    for n, v in enumerate([7, Decimal('1.5'), None, 2**65, Decimal('0.00125')]):\n"
        "        yield {'n': n, 'v': v}\n"
    )
    result = load(tmp_path, code)
    assert things(result) == [Decimal(7), Decimal("1.5"), None, Decimal(2**65), Decimal("0.00125")]
    assert result.types["things"]["v"] == "DECIMAL(38,5)"


def test_arrow_tables_batches_and_dicts_together(tmp_path: Path) -> None:
    code = (
        "import pyarrow as pa\n"
        "def resource():\n"
        "    yield pa.table({'n': pa.array([1], pa.int32()), 'v': pa.array(['a']).dictionary_encode()})\n"
        "    yield pa.record_batch({'n': pa.array([2], pa.int64()), 'v': pa.array(['b'], pa.large_string())})\n"
        "    yield {'n': 3, 'v': 'c', 'w': 1.5}\n"
        "    yield pa.table({'n': [4], 'v': pa.nulls(1)})\n"
    )
    result = load(tmp_path, code)
    assert things(result) == ["a", "b", "c", None]
    assert result.types["things"] == {"n": "BIGINT", "v": "VARCHAR", "w": "DOUBLE"}
    assert result.read == {"things": 4}


def test_nested_arrow_columns_stay_typed_and_become_json_where_they_differ(tmp_path: Path) -> None:
    same = "def resource():\n    import pyarrow as pa\n    yield pa.table({'n': [1], 'v': [{'a': 1}]})\n"
    assert things(load(tmp_path, same)) == [{"a": 1}]
    differing = (
        same + "    yield pa.table({'n': [2], 'v': [{'a': 1, 'b': 'x'}]})\n    yield {'n': 3, 'v': [1]}\n"
    )
    result = load(tmp_path, differing)
    assert things(result) == ['{"a":1}', '{"a":1,"b":"x"}', "[1]"]
    assert result.types["things"]["v"] == "JSON"


def test_a_decimal_wider_than_the_engine_is_refused(tmp_path: Path) -> None:
    result = load(tmp_path, "def resource():\n    yield {'n': 1, 'v': Decimal('1e38')}\n")
    assert "column v: needs 39 digits" in str(result.errors["things"])


def test_the_cursor_of_a_dlt_resource_goes_on_and_keeps_changed_rows(tmp_path: Path) -> None:
    code = """
ROWS = [{'n': 1, 'v': 'a', 'at': 1}, {'n': 2, 'v': 'b', 'at': 2}]

@dlt.resource(primary_key="n")
def resource(at=dlt.sources.incremental("at", initial_value=0)):
    yield [row for row in ROWS if row['at'] >= at.start_value]
"""
    key = {"load": {"primary_key": "n"}}
    assert things(load(tmp_path, code, module="cursor", **key)) == ["a", "b"]
    import cursor  # type: ignore[import-not-found]

    # changed within the cursor's last value, and new
    cursor.ROWS[1:] = [{"n": 2, "v": "B", "at": 2}, {"n": 3, "v": "c", "at": 3}]
    result = load(tmp_path, code, module="cursor", **key)
    assert things(result) == ["B", "c"]
    assert result.extracted["things"].state["incremental"]["at"]["last_value"] == 3


def test_state_is_handed_over_with_the_rows_and_not_before(tmp_path: Path) -> None:
    code = """
def resource():
    state = dlt.current.resource_state()
    state['runs'] = state.get('runs', 0) + 1
    yield {'n': state['runs'], 'v': 'x'}
    if state['runs'] == 2:
        raise ValueError('the network is down')
"""
    first = load(tmp_path, code)
    assert first.extracted["things"].state == {"runs": 1}
    second = load(tmp_path, code)
    assert "raised ValueError: the network is down (made_" in str(second.errors["things"])
    assert load(tmp_path, code).errors  # still the second run: its state was never kept


def test_what_reads_only_what_is_new_does_not_replace(tmp_path: Path) -> None:
    code = "def resource(at=dlt.sources.incremental('n', initial_value=0)):\n    yield {'n': 1, 'v': 'x'}\n"
    assert "without a primary_key that would replace all rows" in str(load(tmp_path, code).errors["things"])
    assert things(load(tmp_path, code, load={"primary_key": "n"})) == ["x"]


@pytest.mark.parametrize(
    "code",
    [
        "@dlt.resource\ndef resource():\n    yield {'n': 1, 'v': 'x'}\n",
        "@dlt.resource(name='other')\ndef resource(arg='x'):\n    yield {'n': 1, 'v': arg}\n",
        "def resource():\n    return dlt.resource([{'n': 1, 'v': 'x'}], name='other')\n",
        "def resource():\n    return [{'n': 1, 'v': 'x'}]\n",
        "def resource():\n    yield [[{'n': 1, 'v': 'x'}]]\n",
        "async def resource():\n    yield {'n': 1, 'v': 'x'}\n",
        "@dlt.source\ndef resource():\n    return dlt.resource([{'n': 1, 'v': 'x'}], name='things')\n",
        "def resource(at=dlt.sources.incremental('n')):\n    yield {'n': 1, 'v': 'x'}\n",
        "import pyarrow as pa\ndef resource():\n    return pa.table({'n': [1], 'v': ['x']})\n",
    ],
)
def test_every_form_of_resource(tmp_path: Path, code: str) -> None:
    assert things(load(tmp_path, code, load={"write_disposition": "append"})) == ["x"]


def test_arguments_come_from_the_declaration_and_the_connections(tmp_path: Path) -> None:
    code = "def resource(key, many):\n    yield from ({'n': n, 'v': key} for n in range(many))\n"
    arguments = {"key": "${service.api_key}", "many": 2}
    result = load(tmp_path, code, arguments=arguments, values={"service": {"api_key": "s3cret-value"}})
    assert things(result) == ["s3cret-value"] * 2


def test_an_error_hides_secrets_and_names_the_line(tmp_path: Path) -> None:
    code = "def resource(key):\n    raise RuntimeError(f'refused {key}')\n    yield\n"
    arguments = {"key": "${service.api_key}"}
    result = load(tmp_path, code, arguments=arguments, values={"service": {"api_key": "s3cret-value"}})
    text = str(result.errors["things"])
    assert "raised RuntimeError: refused ***" in text
    assert ".py:4)" in text


def test_nothing_yielded_is_an_empty_table_where_columns_are_known(tmp_path: Path) -> None:
    code = "def resource():\n    yield from []\n"
    result = load(tmp_path, code, columns=[{"name": "n", "data_type": "bigint"}])
    assert result.rows == {"things": []}
    assert result.types["things"] == {"n": "BIGINT"}
    assert load(tmp_path, code).extracted == {}


def test_a_column_without_values_has_its_declared_type_or_is_left_out(tmp_path: Path) -> None:
    code = "def resource():\n    yield {'n': 1, 'v': None, 'w': None}\n"
    result = load(tmp_path, code, columns=[{"name": "v", "data_type": "date"}])
    assert result.types["things"] == {"n": "BIGINT", "v": "DATE"}


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    assert "returned str; it has to yield" in str(
        load(tmp_path, "def resource():\n    return 'text'\n").errors["things"]
    )
    assert "yields builtins.int" in str(load(tmp_path, "def resource():\n    yield 5\n").errors["things"])
    assert "column v: builtins.complex" in str(
        load(tmp_path, "def resource():\n    yield {'n': 1, 'v': 1j}\n").errors["things"]
    )
    assert "column v: Decimal('NaN')" in str(
        load(tmp_path, "def resource():\n    yield {'n': 1, 'v': [Decimal('NaN')]}\n").errors["things"]
    )


def test_rows_meant_for_another_table_are_refused(tmp_path: Path) -> None:
    code = "def resource():\n    yield dlt.mark.with_table_name({'n': 1}, 'other')\n"
    assert "yields rows for the table other" in str(load(tmp_path, code).errors["things"])


def test_many_rows_are_landed_in_bounded_batches(tmp_path: Path) -> None:
    code = "def resource():\n    for n in range(50_000):\n        yield {'n': n, 'v': n % 7}\n"
    result = load(tmp_path, code)
    assert len(things(result)) == 50_000
    assert sum(things(result)) == sum(n % 7 for n in range(50_000))

"""What is said of a seed's values before `dbt seed` is what it then does to them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sluice.dbt.seeds import guesses

CHANGED = {
    "zeros": ["007", "12"], "plus": ["+4930123", "+43"], "zero": ["0", "00"], "minus_zero": ["-0", "1"],
    "power": ["1e5", "12"], "grouped": ["1_000", "2"], "point": ["1.000", "2.000"], "blank": [" 5", "6"],
    "money": ["1.50", "2.00"], "version": ["1.10", "1.9"], "digits": ["0.12345678901234567890", "1"],
    "day": ["2024-1-5", "2024-01-06"], "zone": ["2024-01-31T10:00:00Z", "2024-01-31T11:00:00+02:00"],
    "word": ["True", "FALSE"],
}  # fmt: skip
LOST = {"tenth": ["0.1", "0.2"], "words": ["true", "false"]}
"""The text is the same afterwards, and still it may be another thing than what was meant."""
KEPT = {
    "text": ["a", "NULL"], "answer": ["yes", "no"], "country": ["NO", "DE"], "missing": ["NA", "1"],
    "address": ["10.0.0.1", "1.1.1.1"], "month": ["2024-01", "2024-02"], "number": ["5", "-6"],
    "date": ["2024-01-31", "2024-02-01"], "gap": ["5", ""], "time": ["10:00", "11:30"], "hex": ["0x1F", "1"],
    "moment": ["2024-01-31 10:00:00", "2024-01-31 11:00:00"], "iso": ["2024-01-31T10:00:00"] * 2,
    "german": ["31.01.2024", "01.02.2024"], "bits": ["1", "0"], "mixed": ["true", "0"],
}  # fmt: skip
REFUSED = ["9007199254740993", "1,000", "$5", "5%", "inf", "NaN"]
PROFILE = "tiny: {target: dev, outputs: {dev: {type: duckdb, path: tiny.duckdb}}}\n"


def _write(file: Path, columns: dict[str, list[str]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return file


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed with the columns that can be loaded, and one for each value that cannot, as dbt has loaded them."""
    root = tmp_path_factory.mktemp("seeds")
    (root / "dbt_project.yml").write_text("name: tiny\nprofile: tiny\n")
    (root / "profiles.yml").write_text(PROFILE)
    (root / "seeds").mkdir()
    _write(root / "seeds" / "loaded.csv", CHANGED | LOST | KEPT)
    for i, value in enumerate(REFUSED):
        _write(root / "seeds" / f"refused_{i}.csv", {"v": [value, "1"]})
    dbt = [str(Path(sys.executable).with_name("dbt")), "--quiet", "seed", "--profiles-dir", "."]
    subprocess.run(dbt, cwd=root, check=False, capture_output=True)
    return root


def test_columns_that_dbt_changes_are_found(project: Path) -> None:
    found = {g.column: g for g in guesses(project / "seeds" / "loaded.csv", {}, ",")}
    assert set(found) == set(CHANGED | LOST)
    with duckdb.connect(str(project / "tiny.duckdb"), read_only=True) as con:
        for column, written in (CHANGED | LOST | KEPT).items():
            loaded = [r[0] for r in con.execute(f"select {column}::varchar from loaded").fetchall()]
            if column in found:
                row = found[column].line - 2
                assert (found[column].written, found[column].read) == (written[row], loaded[row]), column
            same = [(v or "").replace(" ", "T") for v in loaded] == [v.replace(" ", "T") for v in written]
            assert same is (column not in CHANGED), column


def test_values_that_dbt_refuses_are_found(project: Path) -> None:
    with duckdb.connect(str(project / "tiny.duckdb"), read_only=True) as con:
        tables = {r[0] for r in con.execute("select table_name from duckdb_tables()").fetchall()}
    assert tables == {"loaded"}
    for i, value in enumerate(REFUSED):
        (found,) = guesses(project / "seeds" / f"refused_{i}.csv", {}, ",")
        assert (found.line, found.written, found.read) == (2, value, None)


def test_declared_columns_are_left_alone(tmp_path: Path) -> None:
    file = _write(tmp_path / "codes.csv", {"zip": ["01067"], "text\nof two lines": ["1"], "flag": ["true"]})
    types = {"zip": "text", "text\nof two lines": "integer"}
    assert [(g.column, g.line) for g in guesses(file, types, ",")] == [("flag", 3)]
    assert list(guesses(file, types | {"flag": "boolean"}, ",")) == []


def test_declared_types_round_nothing(tmp_path: Path) -> None:
    columns = {
        "share": ["0.50", "0.333"],
        "count": ["007", "1.5"],
        "code": ["1", "x"],
        "fine": ["1.50", "+2"],
    }
    types = {"share": "decimal(5,2)", "count": "integer", "code": "bigint", "fine": "numeric(5, 1)"}
    found = guesses(_write(tmp_path / "shares.csv", columns), types, ",")
    assert [g[:5] for g in found] == [
        ("share", "decimal(5,2)", 3, "0.333", "0.33"),
        ("count", "integer", 3, "1.5", "2"),
        ("code", "bigint", 3, "x", None),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2,3\n", b"a\n\xff\n"], ids=["empty", "ragged", "not UTF-8"]
)
def test_a_file_that_dbt_cannot_read_is_said(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "odd.csv"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        list(guesses(file, {}, ","))

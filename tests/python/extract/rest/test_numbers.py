"""Numbers arrive as the API wrote them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from sluice.extract import exact_json, rest
from tests.python.extract.rest.api import (
    Answer,
    Api,
    declaration,
)
from tests.python.extract.rig import run


@pytest.mark.parametrize(
    "number",
    [
        "0.1", "1.5e3", "12345678901234567890", "123456789012345678901234567890", "-9223372036854775809",
        "0.12345678901234567890123", "1234567890.12345678901", "1e400", "-1.5E-400", "0.30000000000000004",
        "9007199254740993", "100000000000000000000.01",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_number_is_never_altered(api: Api, tmp_path: Path, number: str, kind: str) -> None:
    body = f'[{{"id": 1, "v": {number}, "w": {{"deep": [{number}, "{number}"]}}}}]'.encode()
    api.answer = lambda _: Answer(body, headers={"Content-Type": kind})
    result = run(rest.extract, declaration(api.url, {"things": {"path": "things"}}), tmp_path)
    text = result.rows["things"][0]["_record"]
    parsed = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert parsed["v"] == Decimal(number)
    assert parsed["w"]["deep"] == [Decimal(number), number]


def test_ordinary_pages_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("slow"))
    for text in [
        '[{"a": 0.30000000000000004, "b": "12345678901234567890123", "c": 1e5, "d": 1234567890123456789}]',
        '[{"id": "3e0e0e1e-00e1-4e00-8000-000000000000", "at": "2026-09-30T12:34:56.123456789Z"}]',
    ]:
        assert exact_json.loads(text.encode()) == orjson.loads(text)

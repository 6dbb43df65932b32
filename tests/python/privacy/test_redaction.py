"""Messages quote no values, and what looks personal is noticed."""

from __future__ import annotations

import pytest

from sluice.privacy.redaction import looks_personal, scrub


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Got 3 results, configured to fail if != 0", "Got 3 results, configured to fail if != 0"),
        ("Could not convert string 'anna' to INT32", "Could not convert string [value] to INT32"),
        ('column "amount" of shop.orders', 'column "amount" of shop.orders'),
        ("duplicate key anna@home.example", "duplicate key [address]"),
        ("row with 0049 171 555 01 99 failed", "row with [number] failed"),
        (
            "Runtime Error in test x\n  Conversion Error: 'Anna'\n  LINE 3: select 'Anna'",
            "Runtime Error in test x: Conversion Error: [value]",
        ),
        (None, ""),
    ],
)
def test_messages_quote_no_values(text: str | None, shown: str) -> None:
    assert scrub(text, {"amount", "shop", "orders"}) == shown


def test_what_looks_personal() -> None:
    assert looks_personal(["x", "ask anna@home.example"])
    assert looks_personal(["+49 171 5550199"])
    assert not looks_personal(["4006381333931", "2026-01-01", "DACH", 5, None])

"""Orders of a made-up shop. A source that no declaration covers is a function here that yields rows."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any


def orders() -> Iterator[dict[str, Any]]:
    """One row per order."""
    for order_id, day, country, net, tax in (
        (1001, date(2026, 9, 28), "AT", Decimal("100.00"), Decimal("20.00")),
        (1002, date(2026, 9, 28), "DE", Decimal("50.00"), Decimal("9.50")),
        (1003, date(2026, 9, 29), "DE", Decimal("19.90"), Decimal("3.78")),
        (1004, date(2026, 9, 30), "AT", Decimal("7.50"), Decimal("1.50")),
    ):
        yield {
            "order_id": order_id,
            "ordered_on": day,
            "country": country,
            "net_amount": net,
            "tax_amount": tax,
            "gross_amount": net + tax,
        }

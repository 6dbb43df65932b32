"""How raw spells the columns of a source."""

from __future__ import annotations

import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import given
from hypothesis import strategies as st

from sluice.config.column_names import earlier_name, normalized


@pytest.mark.parametrize(
    ("header", "name"),
    {
        "Amount (EUR)": "amount_eur",
        "Price ($)": "price_dollar",
        "Price (€)": "price_eur",
        "#": "number",
        "Order #": "order_number",
        "Margin": "margin",
        "Margin %": "margin_percent",
        "P&L": "p_and_l",
        "(net) Amount": "net_amount",
        "Total*": "total",
        "@timestamp": "at_timestamp",
        "__index_level_0__": "_index_level_0",
        "_id": "_id",
        "userId": "user_id",
        "2024": "_2024",
        "Größe": "grosse",
        "São Paulo (R$)": "sao_paulo_r_dollar",
        "имя": "imia",
        "Κόστος": "kostos",
        "✓": "u2713",
        " ": "u0020",
    }.items(),
)
def test_a_name_is_what_a_person_would_write(header: str, name: str) -> None:
    assert normalized(header) == name


@given(st.text(min_size=1))
def test_a_name_stays_as_it_is_on_its_way_through_dlt(header: str) -> None:
    name = normalized(header)
    assert name == normalized(name) == NamingConvention().normalize_identifier(name)


@given(st.text(st.characters(max_codepoint=127), min_size=1).filter(str.strip))
def test_earlier_names_are_spelled_as_dlt_did(header: str) -> None:
    assert earlier_name(header) == NamingConvention().normalize_identifier(header)

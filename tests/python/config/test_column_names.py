"""How raw spells the columns of a source."""

from __future__ import annotations

from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import given
from hypothesis import strategies as st

from sluice.config.column_names import normalized


@given(st.text(st.characters(max_codepoint=127), min_size=1).filter(str.strip))
def test_names_are_spelled_as_dlt_does(name: str) -> None:
    assert normalized(name) == NamingConvention().normalize_identifier(name)

"""What is left before dbt begins: only what is certain to be compiled to the SQL it had."""

from __future__ import annotations

import pytest

from sluice.build.nodes import _is_unsteady


@pytest.mark.parametrize(
    ("text", "is_unsteady"),
    [
        ("select * from {{ ref('orders') }} where day > '{{ var('since') }}'", False),
        ("select adapter, model, graph from {{ source('shop', 'orders') }}", False),
        ("{% macro cents(column) %} ({{ column }} / 100) {% endmacro %}", False),
        ("{% test positive(model, column_name) %} select * from {{ model }} {% endtest %}", False),
        ("{{ adapter.dispatch('cents')(column) }}", False),
        ("{# {{ model.name }} #} select 1", False),
        ("select '{{ model.name }}'", True),
        ("select '{{ env_var('SINCE') }}'", False),
        ("select '{{ env_var(name) }}'", True),
        ("{% for node in graph.nodes.values() %} select 1 {% endfor %}", True),
        ("{% set columns = adapter.get_columns_in_relation(ref('orders')) %}", True),
        ("{% if flags.FULL_REFRESH %} select 1 {% endif %}", True),
        ("{% set rows = run_query('select 1') %}", True),
        ("{% if load_relation(this) %} select 1 {% endif %}", True),
        ("select '{{ modules.datetime.datetime.now() }}'", True),
    ],
)
def test_templates_that_may_give_other_sql_are_compiled(text: str, is_unsteady: bool) -> None:
    assert _is_unsteady(text) is is_unsteady

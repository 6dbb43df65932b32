{% macro duckdb__apply_grants(relation, grant_config, should_revoke=True) -%}
{#- DuckDB has no grants, so dbt-duckdb warns about each one; here `sluice publish` applies them. -#}
{%- endmacro %}

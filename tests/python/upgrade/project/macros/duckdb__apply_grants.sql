{% macro duckdb__apply_grants(relation, grant_config, should_revoke=True) -%}
{#- DuckDB knows no grants, so dbt-duckdb warns about each; here `sluice publish` is what grants. -#}
{%- endmacro %}

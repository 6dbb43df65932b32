{% macro generate_schema_name(custom_schema_name, node) -%}
    {#- dbt would prefix the target's schema ("main_marts"); here each warehouse is a file of its own. -#}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}

{% macro duckdb__apply_grants(relation, grant_config, should_revoke=True) -%}
{#- DuckDB has no grants, so dbt-duckdb warns about each one; here `sluice publish` applies them. -#}
{%- endmacro %}

{% macro format_row(row, column_name_to_data_types) -%}
    {#-
        The values of a unit test's row as SQL, by column; one that its column cannot hold exactly is an error.

        dbt's own casts them only: 0.3333 for a `decimal(10,2)` would be 0.33, and a wrong test would pass. So it would
        with keys in another order than in the first expected row, since dbt joins these rows by position.
    -#}
    {%- set formatted = dbt.format_row(row, column_name_to_data_types) -%}
    {%- set number = "[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[-+]?[0-9]+)?$" -%}
    {%- for name, value in row.items() if value is not none -%}
        {%- set type = column_name_to_data_types[name | lower] | lower -%}
        {%- set cast = formatted[name | lower] -%}
        {%- set written = value | string | lower -%}
        {%- set is_exact = none -%}
        {%- if modules.re.match("decimal|u?[a-z]*int", type) -%}
            {%- set is_exact = cast ~ " = " ~ written if modules.re.match(number, written) -%}
        {%- elif type in ("date", "timestamp") -%}
            {%- set ns = "try_cast({} as timestamp_ns) = try_cast('{}' as timestamp_ns)" -%}
            {%- set is_exact = "coalesce(" ~ ns.format(cast, written) ~ ", true)" -%}
        {%- endif -%}
        {%- if is_exact -%}
            {%- set message = (
                name ~ ": " ~ type ~ " cannot hold " ~ written ~ " exactly"
            ) -%}
            {%- set sql = "case when {} then {} else error('{}') end" -%}
            {%- do formatted.update(
                {name | lower: sql.format(is_exact, cast, message)}
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set in_order = {} -%}
    {%- for name in column_name_to_data_types if name in formatted -%}
        {%- do in_order.update({name: formatted[name]}) -%}
    {%- endfor -%}
    {{ return(in_order) }}
{%- endmacro %}

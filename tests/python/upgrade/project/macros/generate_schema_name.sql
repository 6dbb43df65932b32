{% macro generate_schema_name(custom_schema_name, node) -%}
    {#- dbt would prefix the target's schema ("main_marts"); here there is one warehouse per file. -#}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}

{#- Production has the schemas as they are named; everybody else has them behind the name of the target. -#}
{% macro generate_schema_name(custom_schema_name, node) %}
{%- if custom_schema_name is none -%}{{ target.schema }}
{%- elif target.name == "prod" -%}{{ custom_schema_name }}
{%- else -%}{{ target.schema }}_{{ custom_schema_name }}{%- endif -%}
{% endmacro %}

{#- The columns of a table that exists, without some. -#}
{% macro columns_of(relation, except=[]) %}
{%- set found = adapter.get_columns_in_relation(relation) -%}
{%- if not found -%}*{%- else -%}
{%- for column in found if column.name not in except -%}{{ column.name }}{{ ", " if not loop.last }}{%- endfor -%}
{%- endif -%}
{% endmacro %}

{% macro correction_number(file) -%}
    {#- 2 for settlement_2026-01-31_corr2.csv, 0 for an original; `file` is SQL of type text. -#}
    coalesce(
        try_cast(regexp_extract({{ file }}, '_corr([0-9]+)[.][a-z]+$', 1) as integer), 0
    )
{%- endmacro %}

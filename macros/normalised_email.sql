{% macro normalised_email(email) -%}
    {#- ' Anna.Meyer@Example.com ' -> 'anna.meyer@example.com'; null if empty; `email` is SQL of type text. -#}
    nullif(lower(trim({{ email }})), '')
{%- endmacro %}

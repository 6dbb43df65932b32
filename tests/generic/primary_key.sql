{% test primary_key(model, column_name=none, columns=none) %}
    {#-
        Rows whose key is null or not unique.

        As a test of a column, the column is the key; as a test of a model, `columns` (a list of names) is.
    -#}
    {%- if (columns is none) == (column_name is none) -%}
        {{
            exceptions.raise_compiler_error(
                "primary_key: give `columns` on a model, or put the test on one column; got columns="
                ~ columns
                ~ " and column_name="
                ~ column_name
            )
        }}
    {%- endif -%}
    {%- if columns is not none and (
        columns is string or columns is not sequence or not columns
    ) -%}
        {{
            exceptions.raise_compiler_error(
                "primary_key: `columns` must be a list of column names, got "
                ~ columns
            )
        }}
    {%- endif -%}
    {%- set key = columns or [column_name] %}
    select {{ key | join(", ") }}, count(*) as row_count
    from {{ model }}
    group by {{ key | join(", ") }}
    having count(*) > 1 {%- for column in key %} or {{ column }} is null {%- endfor %}
{% endtest %}

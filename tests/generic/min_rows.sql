{% test min_rows(model, rows=1) %}
    {#-
        One row with the number of rows, if there are fewer than `rows` (a whole number, 1 if left out).

        An empty table passes every test that looks for wrong rows.
    -#}
    {%- if rows is not integer or rows is boolean or rows < 1 -%}
        {{
            exceptions.raise_compiler_error(
                "min_rows: `rows` must be a whole number of at least 1, got " ~ rows
            )
        }}
    {%- endif %}
    select count(*) as row_count
    from {{ model }}
    having count(*) < {{ rows }}
{% endtest %}

{% test expression_is_true(model, expression) %}
    {#-
        Rows for which a condition is false or null.

        `expression` is a SQL condition over the model's columns, for example "subtotal + tax = total".
    -#}
    {%- if expression is not string or not expression | trim -%}
        {{
            exceptions.raise_compiler_error(
                "expression_is_true: `expression` must be a SQL condition, got "
                ~ expression
            )
        }}
    {%- endif %}
    select *
    from {{ model }}
    where not coalesce({{ expression }}, false)
{% endtest %}

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

{% test valid_intervals(
    model, key, valid_from="dbt_valid_from", valid_to="dbt_valid_to"
) %}
    {#-
        Rows whose validity begins never, ends before it begins, or lasts into that of the next row of their key.

        `key` is a list of column names. A row is valid from `valid_from` until just before `valid_to`, if that is
        null without end; the defaults are the columns of dbt's snapshots.
    -#}
    {%- if key is string or key is not sequence or not key -%}
        {{
            exceptions.raise_compiler_error(
                "valid_intervals: `key` must be a list of column names, got " ~ key
            )
        }}
    {%- endif %}
    with
        intervals as (
            select {{ key | join(", ") }}, {{ valid_from }}, {{ valid_to }}
            from {{ model }}
            where coalesce({{ valid_from }} <> {{ valid_to }}, true)
        ),

        followed as (
            select
                *,
                lead({{ valid_from }}) over (
                    partition by {{ key | join(", ") }} order by {{ valid_from }}
                ) as next_valid_from
            from intervals
        )
    select *
    from followed
    where
        {{ valid_from }} is null
        or {{ valid_to }} < {{ valid_from }}
        or next_valid_from < {{ valid_to }}
        or (next_valid_from is not null and {{ valid_to }} is null)
{% endtest %}

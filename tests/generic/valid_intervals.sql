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

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

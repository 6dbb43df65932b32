{% macro normalised_vat_id(vat_id, country_code) -%}
    {#-
        'de 123.456.789' and '123456789' of country DE -> 'DE123456789'; null if empty.

        `vat_id` and `country_code` are SQL of type text.
    -#}
    {%- set id = "regexp_replace(upper(" ~ vat_id ~ "), '[^A-Z0-9]', '', 'g')" -%}
    case
        when {{ id }} = ''
        then null
        when {{ id }} like {{ country_code }} || '%'
        then {{ id }}
        else {{ country_code }} || {{ id }}
    end
{%- endmacro %}

{% macro normalised_phone(phone, calling_code, trunk_prefix) -%}
    {#-
        '+49 (0)170 123-4567', '0049 170 1234567', '0170/1234567' -> '491701234567'; null if empty.

        `phone`, `calling_code` ('49') and `trunk_prefix` ('0', or '' where a country has none) are SQL of type text;
        the last two are those of the country the number is dialled in.
    -#}
    {%- set digits = (
        "regexp_replace(replace("
        ~ phone
        ~ ", '(0)', ''), '[^0-9]', '', 'g')"
    ) -%}
    case
        when {{ digits }} = ''
        then null
        when trim({{ phone }}) like '+%'
        then {{ digits }}
        when {{ digits }} like '00%'
        then substring({{ digits }}, 3)
        when {{ trunk_prefix }} <> '' and {{ digits }} like {{ trunk_prefix }} || '%'
        then
            {{ calling_code }}
            || substring({{ digits }}, length({{ trunk_prefix }}) + 1)
        else {{ calling_code }} || {{ digits }}
    end
{%- endmacro %}

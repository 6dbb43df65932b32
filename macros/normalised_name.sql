{% macro normalised_name(name) -%}
    {#-
        'Müller & Söhne G.m.b.H.' and 'MUELLER SOEHNE' -> 'muller sohne'; null if empty.

        Systems write an umlaut as ä, ae or a, so all three become a (and o, u, å alike). A legal form is
        dropped only at the end. `name` is SQL of type text.
    -#}
    {%- set unaccented -%}
        translate(
            lower({{ name }}),
            'àáâãäåăąçćčďđèéêëęěìíîïłľñńňòóôõöøőřśšşșťțţùúûüůűýÿźżž',
            'aaaaaaaacccddeeeeeeiiiillnnnooooooorsssstttuuuuuuyyzzz'
        )
    {%- endset -%}
    {%- set words -%}
        trim(regexp_replace(regexp_replace({{ unaccented }}, '[./'']', '', 'g'), '[^a-zßæœ0-9]+', ' ', 'g'))
    {%- endset -%}
    {%- set legal_forms = "gmbh co kg|gmbh|ag|kg|ohg|sarl|sa rl|sas|sa|srl|bv|nv|ltd|limited|plc|llp|dac|ab|aps|as" -%}
    {%- set more_legal_forms = "asa|oy|oyj|sp z oo|sro|eood|ood|sl|spa|lda|inc|llc|kk|pty ltd|pty limited" -%}
    {%- set bare -%}
        regexp_replace({{ words }}, ' ({{ legal_forms }}|{{ more_legal_forms }})$', '')
    {%- endset -%}
    {%- set one_vowel -%}
        regexp_replace(regexp_replace(regexp_replace({{ bare }}, 'ae|aa|æ', 'a', 'g'), 'oe|œ', 'o', 'g'), 'ue', 'u', 'g')
    {%- endset -%}
    nullif(replace({{ one_vowel }}, 'ß', 'ss'), '')
{%- endmacro %}

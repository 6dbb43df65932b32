"""Which values look like personal data: patterns and checksums in SQL, counted over a sample of distinct values."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from sluice.discover.fields import Field

SAMPLE = 300
"""Distinct values of a field that are looked at, spread over all of them."""
MACROS = r"""
create or replace temp macro digits_of(v) as regexp_replace(v, '\D', '', 'g');
create or replace temp macro is_luhn(v) as list_sum(list_transform(
    string_split(reverse(v), ''), lambda d, i: case when i % 2 = 1 then d::int
    else d::int * 2 - case when d::int > 4 then 9 else 0 end end)) % 10 = 0;
create or replace temp macro is_card(v) as
    regexp_full_match(v, '[3-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5}')
    and case when length(digits_of(v)) between 13 and 19 then is_luhn(digits_of(v)) else false end;
create or replace temp macro plain_iban(v) as upper(regexp_replace(v, '[\s-]', '', 'g'));
create or replace temp macro rest_of_iban(v) as list_reduce(
    list_transform(string_split(v[5:] || v[1:4], ''),
        lambda c: case when c between '0' and '9' then c::int else unicode(c) - 55 end),
    lambda a, d: case when d > 9 then (a * 100 + d) % 97 else (a * 10 + d) % 97 end, 0);
create or replace temp macro is_iban(v) as
    case when regexp_full_match(plain_iban(v), '[A-Z]{2}\d{2}[A-Z0-9]{11,30}')
    then rest_of_iban(plain_iban(v)) = 1 else false end;
create or replace temp macro is_german_vat(d) as (11 - list_reduce(
    list_transform(string_split(d[1:8], ''), lambda c: c::int),
    lambda p, c: 2 * (case when (p + c) % 10 = 0 then 10 else (p + c) % 10 end) % 11, 10)) % 10 = d[9]::int;
create or replace temp macro is_vat(v) as case
    when regexp_full_match(v, 'DE\d{9}') then is_german_vat(v[3:])
    when regexp_full_match(v, 'BE[01]\d{9}') then 97 - v[3:10]::int % 97 = v[11:12]::int
    when regexp_full_match(v, 'IT\d{11}') then is_luhn(v[3:])
    else regexp_full_match(v, 'ATU\d{8}|BG\d{9,10}|CY\d{8}[A-Z]|CZ\d{8,10}|DK\d{8}|EE\d{9}|EL\d{9}'
        || '|ES[A-Z0-9]\d{7}[A-Z0-9]|FI\d{8}|FR[A-Z0-9]{2}\d{9}|GB(\d{9}|\d{12})|HR\d{11}|HU\d{8}'
        || '|IE\d[A-Z0-9]\d{5}[A-Z]{1,2}|LT(\d{9}|\d{12})|LU\d{8}|LV\d{11}|MT\d{8}|NL\d{9}B\d{2}|PL\d{10}'
        || '|PT\d{9}|RO\d{2,10}|SE\d{12}|SI\d{8}|SK\d{10}|CHE\d{9}(MWST|TVA|IVA)?') end;
"""
"""Checksums: Luhn for cards and Italian VAT ids, mod 97 for IBANs and Belgian VAT ids, mod 11, 10 for German ones."""

CHECKS = {
    "email": r"regexp_full_match(v, '[^@\s,;<>]+@[^@\s,;<>]+\.[A-Za-z]{2,24}')",
    "phone": r"regexp_full_match(v, '[+(]?[\d\s()./\x{2013}-]{6,24}(\s*(x|ext\.?)\s*\d{1,5})?')"
    " and length(digits_of(v)) between 6 and 17",
    "international_phone": r"regexp_full_match(v, '(\+|00)[1-9][\d\s()./\x{2013}-]{6,20}')"
    " and length(digits_of(v)) between 8 and 17",
    "iban": "is_iban(v)",
    "card": "is_card(v)",
    "vat": r"is_vat(upper(regexp_replace(v, '[\s.-]', '', 'g')))",
    "number": r"regexp_full_match(v, '[A-Za-z]{0,4}[\s-]?[\dA-Za-z./ -]{5,20}') and length(digits_of(v)) >= 5",
    "network": r"regexp_full_match(v, '((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)(/\d+)?')"
    " or (length(v) > 6 and regexp_full_match(v, '[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}'))",
    "hardware": "regexp_full_match(v, '([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}')",
    "credential": r"regexp_matches(v, '^(\$2[aby]\$|\$argon2|pbkdf2|\{SSHA\}|eyJ[\w-]+\.eyJ|gh[pousr]_|sk_live_"
    "|xox[bp]-|AKIA[0-9A-Z]{12})')",
    "letters": r"regexp_full_match(v, '[\pL][\pL\s''\x{2019}.,&()-]*') and regexp_matches(v, '\pL{2}')",
    "person": r"regexp_full_match(v, '\p{Lu}[\pL''\x{2019}.-]+"
    r"(,? (van |de |von |der |da |di |bin |al )*\p{Lu}[\pL''\x{2019}.-]*){1,3}')",
    "street": r"regexp_matches(v, '\pL{3}') and regexp_matches(v, '\d')",
    "postal": r"length(v) <= 11 and regexp_full_match(v, '[A-Za-z]{0,3}[\s-]?\d[A-Za-z0-9]*([\s-][A-Za-z0-9]{2,4})?"
    r"|[A-Za-z]{1,2}\d[\dA-Za-z]?\s?\d[A-Za-z]{2}|[A-Za-z]\d{2} ?[A-Za-z0-9]{4}')",
    "any": "true",
}
"""Conditions on a value `v` that is not empty, by name."""


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Define the checksums on the connection."""
    con.execute(MACROS)


def shares(
    con: duckdb.DuckDBPyConnection, fields: Sequence[Field]
) -> dict[Field, tuple[int, dict[str, float]]]:
    """How many distinct values of each field were looked at, and the share of them that passes each check.

    All fields at once, as DuckDB takes longer to plan the checks than to run them.
    """
    con.execute("create or replace temp table checked_values(number integer, v varchar)")
    for number, field in enumerate(fields):
        sample = f"select v::varchar as v from ({field.select}) group by v order by hash(v) limit {SAMPLE}"
        con.execute(f"insert into checked_values select {number}, v from ({sample})")
    counts = ", ".join(f"count(*) filter ({condition})" for condition in CHECKS.values())
    rows = con.execute(f"select number, count(*), {counts} from checked_values group by number").fetchall()
    found = {number: (seen, passed) for number, seen, *passed in rows}
    return {
        field: (seen, {name: count / seen for name, count in zip(CHECKS, passed, strict=True)})
        for number, field in enumerate(fields)
        for seen, passed in [found.get(number, (0, []))]
        if seen
    }

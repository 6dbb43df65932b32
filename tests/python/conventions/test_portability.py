"""What is not portable is found, with what to write instead; what is portable passes."""

import pytest

from sluice.conventions.portability import not_portable


@pytest.mark.parametrize(
    ("sql", "what", "instead"),
    [
        ("select strip_accents(a) from t", "strip_accents()", "translate()"),
        ("select list_sum(a) from t", "list_sum()", "staging"),
        ("select quantile_cont(a, 0.95) from t", "quantile_cont()", "within group"),
        ("select string_agg(a, ',') from t", "listagg()", "report"),
        ("select * from t asof join u on t.a >= u.a", "asof join", "lead()"),
        (
            "with recursive t as (select 1 as a union all select a + 1 from t where a < 9) from t",
            "Recursive",
            "macro",
        ),
        ("select regexp_replace(a, 'x', '') from t", "first match", "'g'"),
        ("select dayofweek(a) from t", "Sunday", "a calendar in utilities"),
        ("select extract(isodow from a) from t", "extract(isodow", "a calendar in utilities"),
        ("select date_diff('month', a, b) from t", "complete", "days"),
        ("select a ->> '$.b' from t", "JSON", "staging"),
        ("select a at time zone 'UTC' from t", "at time zone", "staging"),
    ],
)
def test_the_check_finds_what_is_not_portable(sql: str, what: str, instead: str) -> None:
    findings = list(not_portable(f"\n\n{sql}"))
    assert findings, f"passed: {sql}"
    assert what in findings[0].what
    assert instead in findings[0].instead


def test_a_finding_names_its_line() -> None:
    (finding,) = not_portable("select\n    a,\n    strip_accents(b) as b\nfrom t")
    assert finding.line == 3
    assert str(finding).startswith("line 3 of the compiled SQL: strip_accents()")


@pytest.mark.parametrize(
    "sql",
    [
        "select percentile_cont(0.95) within group (order by a) from t",
        "select regexp_replace(a, '[^0-9]', '', 'g'), regexp_replace(a, '^ANY-', '') from t",
        "select min_by(a, b) filter (where a is not null) from t",
        "select date_diff('day', a, b), cast(a as varchar) || b, extract(month from a) from t",
        "select cast(date_trunc('month', a) + interval 1 month as date) from t",
        "select lead(a) over (partition by b order by c), dense_rank() over (order by a desc) from t",
    ],
)
def test_the_check_lets_pass_what_is_portable(sql: str) -> None:
    assert list(not_portable(sql)) == []

"""What in a model's DuckDB SQL has no equal in Spark SQL.

sqlglot transpiles and refuses what it knows to be unsupported. It lets pass functions it does not know, and some
constructs that parse in Spark and mean something else there; both are looked for here.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlglot import exp
from sqlglot.dialects.spark import Spark
from sqlglot.errors import ErrorLevel, UnsupportedError

from sluice.lineage.parser_gaps import parse_one

# Functions of Spark 3.5 that models may use. One that Spark has and that is missing here may be added; see
# https://spark.apache.org/docs/3.5.0/api/sql/ for the list.
SPARK_FUNCTIONS = frozenset(
    """
    abs add_months any_value array_join ascii avg bit_length bool_and bool_or btrim cardinality ceil char_length
    coalesce collect_list collect_set concat concat_ws contains corr cos count count_if cume_dist current_date
    date_add date_diff date_format date_from_unix_date date_sub date_trunc datediff day dense_rank endswith every exp
    explode first first_value floor format_number greatest hash hour if ifnull initcap instr isnan isnull lag last
    last_day last_value lead least left length ln locate log lower lpad ltrim make_date max max_by md5 mean median min
    min_by minute mod month months_between nth_value ntile nullif nvl percent_rank percentile percentile_cont
    percentile_disc pmod position power quarter rank regexp_extract regexp_like regexp_replace repeat replace reverse
    right round row_number rpad rtrim second sequence sign sort_array split split_part sqrt startswith stddev
    stddev_pop stddev_samp substr substring sum to_date to_timestamp translate trim trunc try_cast try_divide upper
    var_pop var_samp variance weekday width_bucket year
    """.split()
)

# What to write instead of the functions one reaches for in DuckDB.
INSTEAD = {
    "strip_accents": "translate(), in a macro",
    "quantile_cont": "percentile_cont(q) within group (order by x)",
    "percentile_approx": "percentile_cont(q) within group (order by x)",
    "approx_quantile": "percentile_cont(q) within group (order by x)",
    "listagg": "one row per value, or the aggregation in the report",
    "levenshtein": "a rule a reader can follow, each in its own CTE",
    "extract": "a column of a calendar in utilities/, where engine-specific SQL may stand",
}
ELSEWHERE = "portable SQL, or engine-specific SQL in staging, utilities or a macro"

# Parts of a date that both engines number alike.
DATE_PARTS = {"YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"}


class NotPortable(NamedTuple):
    """One place that would not run, or not mean the same, on Spark."""

    line: int
    """Line of the compiled SQL."""
    what: str
    instead: str

    def __str__(self) -> str:
        return f"line {self.line} of the compiled SQL: {self.what}. Write instead: {self.instead}."


class StandardSpark(Spark):
    """Spark as of 3.3, which has the standard's exact percentiles; sqlglot would write an approximation."""

    class Generator(Spark.Generator):
        TRANSFORMS = {  # noqa: RUF012 - that is how sqlglot's generators are extended
            **Spark.Generator.TRANSFORMS,
            exp.WithinGroup: lambda self, node: (
                f"{self.sql(node, 'this')} WITHIN GROUP ({self.sql(node, 'expression').strip()})"
            ),
        }


def _means_something_else(node: exp.Expression) -> tuple[str, str] | None:
    """(what, instead) of a construct that Spark reads and understands otherwise, or that it lacks."""
    checks: dict[type[exp.Expression], Callable[[], tuple[str, str] | None]] = {
        exp.Join: lambda: (
            ("an asof join", "a join on a range, with lead() for its end")
            if str(node.args.get("method", "")).upper() in ("ASOF", "POSITIONAL")
            else None
        ),
        exp.RegexpReplace: lambda: (
            None
            if "g" in str(node.args.get("modifiers") or "") or _anchored(node.args["expression"])
            else (
                "regexp_replace() of the first match; Spark replaces all",
                "the option 'g', or a pattern with ^ or $",
            )
        ),
        exp.Extract: lambda: (
            None
            if node.name.upper() in DATE_PARTS
            else (
                f"extract({node.name.lower()} …), which Spark lacks or counts differently",
                INSTEAD["extract"],
            )
        ),
        exp.DateDiff: lambda: (
            None
            if str(node.args.get("unit") or "DAY").upper() == "DAY"
            else ("date_diff() in other units than days; Spark counts complete ones", "a difference of days")
        ),
        exp.DayOfWeek: lambda: ("dayofweek(); Sunday is 0 here and 1 in Spark", INSTEAD["extract"]),
        exp.AtTimeZone: lambda: ("at time zone", "a UTC timestamp from staging"),
        exp.JSONExtract: lambda: ("JSON", "columns that staging unpacked"),
        exp.JSONExtractScalar: lambda: ("JSON", "columns that staging unpacked"),
        exp.PercentileCont: lambda: (
            None
            if isinstance(node.parent, exp.WithinGroup)
            else ("quantile_cont()", INSTEAD["quantile_cont"])
        ),
    }
    check = checks.get(type(node))
    return check() if check else None


def _anchored(pattern: exp.Expression) -> bool:
    return isinstance(pattern, exp.Literal) and (pattern.name.startswith("^") or pattern.name.endswith("$"))


def _unknown_function(node: exp.Expression) -> tuple[str, str] | None:
    """(what, instead) of a function that Spark does not have under the name it gets."""
    if not isinstance(node, exp.Func):
        return None
    written = re.match(r"(\w+)\(", node.sql(dialect=StandardSpark))
    name = written[1].lower() if written else ""
    if not name or name in SPARK_FUNCTIONS or name in ("cast", "try_cast", "extract", "percentile_cont"):
        return None
    source_name = node.name.lower() if isinstance(node, exp.Anonymous) else name
    return f"{source_name}(), which Spark does not have", INSTEAD.get(source_name, ELSEWHERE)


def not_portable(sql: str) -> Iterator[NotPortable]:
    """Everything in `sql` (DuckDB's dialect, compiled) that would not run or not mean the same on Spark."""
    tree = parse_one(sql)
    try:
        tree.sql(dialect=StandardSpark, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        yield NotPortable(1, f"not supported by Spark: {error}", ELSEWHERE)
    for node in tree.walk():
        if found := _means_something_else(node) or _unknown_function(node):
            yield NotPortable(_line(node), *found)


def _line(node: exp.Expression) -> int:
    """First line known of a node: not every kind of node remembers its own."""
    return next((int(part.meta["line"]) for part in node.walk() if "line" in part.meta), 1)

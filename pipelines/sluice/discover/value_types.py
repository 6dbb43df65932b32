"""Finds the types of text columns from all of their values, by the casts of the loader.

A type is proposed only if every value keeps all of its digits in it. Where values allow two readings, such as
02/03/2026, the column stays text and the finding has a question.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import duckdb

from sluice.engine import engine
from sluice.sql import listed, literal, one_row, quoted

NULL_TEXTS = ("NA", "N/A", "n/a", "#N/A", "NULL", "null", r"\N", "-", "--", "None", "nan", "NaN", "?", ".")
"""Texts by which people and programs write that there is no value."""
LIKELY_CODES = ("NA", "-", "--", "None", "?", ".", "nan", "NaN")
"""Those that may be a value of a text column: NA is Namibia."""
DAYS = (
    *(
        "%d.%m.%Y",
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d-%m-%Y",
        "%m-%d-%Y",
        "%Y/%m/%d",
        "%Y.%m.%d",
        "%d-%b-%Y",
        "%d/%b/%Y",
    ),
    *("%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%y"),
)
CLOCKS = (
    " %H:%M:%S",
    " %H:%M",
    "T%H:%M:%S",
    " %I:%M:%S %p",
    " %I:%M %p",
    ":%H:%M:%S %z",
    " %H:%M:%S %z",
    " %H:%M:%S.%f",
    " %H:%M:%S,%f",
)
COMPACT_DAY = "%Y%m%d"
OPPOSITES = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y", "%d/%m/%y": "%m/%d/%y"}
"""Formats of dates that many texts fit both of."""
NOT_AMOUNTS = re.compile(
    r"(zip|postal|post|plz)(_?code)?s?$|phone|telephone|fax|mobile|iban|_ean$|^ean$|gtin", re.IGNORECASE
)
"""Names of columns whose digits are no numbers: sooner or later one begins with a zero."""
DAY_NAMES = re.compile(r"(^|_|[a-z])(date|day|datum|tag|dt|on|at|jour|fecha)(_|$)", re.IGNORECASE)
MOMENT = re.compile(r"\d\D{1,11}\d")
"""What every date and time has: two numbers with a sign or a month between them."""
SHORT_YEAR = re.compile(r"\b\d\d\D\w{2,3}\D\d\d\b")
"""A date with a year of two digits; 1.2.3 is a version."""
LOOK_VALUES = 500
"""Values of a column that every format is tried on; those that fit are tried on all values."""
BIGINT_DIGITS = 18
WIDEST_DIGITS = 38
MONEY_SCALE = 4
"""Columns whose values have all the same number of decimals, up to this one, are decimals; others are doubles."""


@dataclass(frozen=True)
class ValueType:
    """What a column's values are."""

    data_type: str
    reason: str = ""
    form: str | None = None
    """How texts write the date or time, as `strptime` names it; None: ISO, or no date."""
    decimal_mark: str | None = None
    """The mark that the values prove; None: they have none."""
    nulls: tuple[str, ...] = ()
    """Texts that stand for null, without which the values would not have the type."""
    has_groups: bool = False
    """Whether a dot has three digits behind it in all values: it may group thousands, or be the decimal mark."""
    question: str | None = None


@dataclass
class TextColumns:
    """Text columns of a relation, and the types their values have."""

    con: duckdb.DuckDBPyConnection
    relation: str
    """A FROM item."""

    def types(
        self, names: Iterable[str], *, has_formats: bool = True, has_numbers: bool = True
    ) -> dict[str, ValueType]:
        """The type by column.

        `has_formats`: whether a declaration can name formats other than ISO. `has_numbers`: whether texts may be
        numbers and booleans; in JSON, a text that looks like a number was meant as text.
        """
        self._has_formats, self._has_numbers = has_formats, has_numbers
        found = {name: self._type_of(name) for name in names}
        if has_numbers:
            found = self._with_one_mark(found)
        return self._with_days_of_siblings(found)

    def _type_of(self, name: str) -> ValueType:
        column = quoted(name)
        values = [
            value
            for (value,) in self.con.execute(
                f"select distinct {column} from (select {column} from {self.relation} where {column} <> ''"
                f" using sample reservoir({LOOK_VALUES * 10} rows) repeatable (1)) order by 1 limit {LOOK_VALUES}"
            ).fetchall()
        ]
        nulls = tuple(text for text in NULL_TEXTS if text in self._present_nulls(name))
        seen = [value for value in values if value not in nulls]
        if not seen:
            return ValueType("text", "it has no value" if not values else "")
        kind = self._from_values(name, seen, nulls)
        if not self._has_numbers and kind.data_type != "text" and self._has_empty_texts(name):
            question = f"{name}: has empty texts beside values of the type {kind.data_type}; staging can make them null"
            return ValueType("text", "not all values are of one type", question=question)
        return replace(kind, nulls=nulls if kind.data_type != "text" else ())

    def _has_empty_texts(self, name: str) -> bool:
        """Whether records have an empty text, which a load takes for null only in CSV."""
        found = self.con.execute(f"select 1 from {self.relation} where {quoted(name)} = '' limit 1")
        return found.fetchone() is not None

    def _present_nulls(self, name: str) -> set[str]:
        if not self._has_numbers:
            return set()
        column = quoted(name)
        rows = self.con.execute(
            f"select distinct {column} from {self.relation} where {column} in ({listed(NULL_TEXTS)})"
        ).fetchall()
        return {value for (value,) in rows}

    def _from_values(self, name: str, seen: Sequence[str], nulls: Collection[str]) -> ValueType:
        if self._has_numbers and (number := self._number(name, seen, nulls)):
            return number
        if not self._has_numbers and all(re.fullmatch(r"-?\d+\.\d{2}", value) for value in seen):
            return self._decimal(name, nulls, ".") or ValueType("text")
        if self._has_numbers and {value.strip().lower() for value in seen} <= {"true", "false"}:
            return self._checked(name, "boolean", nulls) or ValueType("text")
        return self._moment(name, seen, nulls) or ValueType("text")

    # -- numbers ---------------------------------------------------------------------------------------

    def _number(self, name: str, seen: Sequence[str], nulls: Collection[str]) -> ValueType | None:
        if not all(re.fullmatch(r" *[+-]?[\d.,]+([eE][+-]?\d+)? *", value) for value in seen):
            return None
        if self._count(name, nulls, r"[+-]?0[0-9]+"):
            if day := self._compact_day(name, nulls):
                return day
            return ValueType("text", "values begin with zeros, which a number would lose")
        if self._all_match(name, nulls, r" *[+-]?[0-9]+ *"):
            if NOT_AMOUNTS.search(name):
                return ValueType("text", "digits that are no amount, by the name of the column")
            return self._compact_day(name, nulls) or self._whole_number(name, nulls)
        dots = self._all_match(name, nulls, r" *[+-]?[0-9]*[.]?[0-9]+([eE][+-]?[0-9]+)? *")
        commas = self._all_match(name, nulls, r" *[+-]?([0-9]+|[0-9]{1,3}([.][0-9]{3})+)?(,[0-9]+)? *")
        if dots and commas:
            if self._count(name, nulls, r" *[+-]?0[.].*"):
                return self._decimal(name, nulls, ".") or ValueType("double", decimal_mark=".")
            return ValueType("text", "the dot may be either of two signs", has_groups=True)
        if dots:
            return self._decimal(name, nulls, ".") or self._checked(name, "double", nulls, decimal_mark=".")
        if commas:
            if not self._count(name, nulls, r" *[+-]?.*,([0-9]{1,2}|[0-9]{4,}) *|.*[.].*"):
                question = (
                    f"{name}: is the comma before three digits the decimal mark, or does it group thousands?"
                )
                return ValueType("text", "the comma may be either of two signs", question=question)
            return self._decimal(name, nulls, ",") or self._checked(name, "double", nulls, decimal_mark=",")
        if self._all_match(name, nulls, r" *[+-]?[0-9]{1,3}(,[0-9]{3})*([.][0-9]+)? *"):
            question = f"{name}: has commas between thousands; a staging model can take them out"
            return ValueType(
                "text", "thousands are grouped by commas, which a load does not read", question=question
            )
        return None

    def _whole_number(self, name: str, nulls: Collection[str]) -> ValueType:
        column = quoted(name)
        shortest, longest = one_row(
            self.con,
            f"select min(len), max(len) from (select length(ltrim(trim({column}), '+-')) as len"
            f" from {self.relation} where {self._is_value(name, nulls)})",
        )
        if longest <= BIGINT_DIGITS:
            return ValueType("bigint", "whole numbers")
        if longest > WIDEST_DIGITS or shortest == longest:
            return ValueType("text", f"numbers of {longest} digits, which are names rather than amounts")
        return ValueType("decimal(38,0)", f"whole numbers of up to {longest} digits")

    def _decimal(self, name: str, nulls: Collection[str], mark: str) -> ValueType | None:
        """A decimal if all values that have decimals have the same number of them, or at most two; else a double."""
        column, sign = quoted(name), literal(mark)
        text = f"trim({column})"
        least, most, whole = one_row(
            self.con,
            f"select min(nullif(places, 0)), max(places), max(whole) from (select"
            f" case when contains({text}, {sign}) then length({text}) - strpos({text}, {sign}) else 0 end as places,"
            f" length(regexp_replace(split_part({text}, {sign}, 1), '[^0-9]', '', 'g')) as whole"
            f" from {self.relation} where {self._is_value(name, nulls)})",
        )
        if most > MONEY_SCALE or (least != most and most > 2):
            return None
        precision = BIGINT_DIGITS if whole + most <= BIGINT_DIGITS else WIDEST_DIGITS
        reason = f"numbers of up to {most} decimal{'s' if most != 1 else ''}"
        return self._checked(name, f"decimal({precision},{most})", nulls, reason=reason, decimal_mark=mark)

    def _with_one_mark(self, found: dict[str, ValueType]) -> dict[str, ValueType]:
        """A table has one decimal mark: the columns that need the other one stay text, with a question."""
        marks = {kind.decimal_mark for kind in found.values() if kind.decimal_mark}
        for name, kind in found.items():
            if not kind.has_groups:
                continue
            if marks == {","}:
                found[name] = replace(kind, data_type="bigint", reason="whole numbers; dots group thousands")
            elif marks == {"."}:
                found[name] = self._decimal(name, kind.nulls, ".") or ValueType("double", decimal_mark=".")
            else:
                question = f"{name}: does the dot group thousands (1.234 is 1234), or is it the decimal mark?"
                found[name] = replace(kind, question=question)
        if marks == {",", "."}:
            for name, kind in found.items():
                if kind.decimal_mark == ",":
                    question = (
                        f"{name}: has a decimal comma, other columns a decimal point; staging can convert it"
                    )
                    found[name] = ValueType(
                        "text", "its decimal mark is another one than the table's", question=question
                    )
        return found

    # -- dates and times -------------------------------------------------------------------------------

    def _compact_day(self, name: str, nulls: Collection[str]) -> ValueType | None:
        """Eight digits that are all days of this or the last century, in a column that is called like a day."""
        if (
            not self._has_formats
            or not DAY_NAMES.search(name)
            or not self._all_match(name, nulls, r"(19|20)[0-9]{6}")
        ):
            return None
        return self._checked(name, "date", nulls, form=COMPACT_DAY, reason="eight digits that are all days")

    def _moment(self, name: str, seen: Sequence[str], nulls: Collection[str]) -> ValueType | None:
        if not all(MOMENT.search(value) for value in seen):
            return None
        for kind in ("date", "time"):
            if iso := self._checked(name, kind, nulls, reason="ISO form"):
                return iso
        zones = self._count(name, nulls, r".*:[0-9]{2}(:[0-9.]+)? ?([+-][0-9:]{2,5}|[Zz]|UTC) *")
        for kind in ("timestamp with time zone",) if zones else ("timestamp",):
            if iso := self._checked(name, kind, nulls, reason="ISO form"):
                return iso
        fitting = self._fitting_forms(name, seen, nulls) if self._has_formats else []
        if not fitting:
            return None
        if len(fitting) > 1:
            (one, form), (_, other) = fitting[:2]
            question = (
                f"{name}: do its values begin with the day ({form}) or with the month ({other})? All fit both; "
                f"declare data_type: {one} and the format"
            )
            return ValueType("text", "day and month may be either way round", form=form, question=question)
        kind, form = fitting[0]
        return ValueType(kind, f"all values have the form {form}", form=form)

    def _fitting_forms(self, name: str, seen: Sequence[str], nulls: Collection[str]) -> list[tuple[str, str]]:
        """Types and formats that all values fit; several only where day and month may be either way round."""
        tried = [("date", day) for day in DAYS]
        tried += [("timestamp", day + clock) for day, clock in product(DAYS, CLOCKS)]
        tried += [("timestamp", f"{day}{clock}") for day in ("%Y-%m-%d",) for clock in CLOCKS]
        fits = ", ".join(f"bool_and(try_strptime(v, {literal(form)}) is not null)" for _, form in tried)
        fitting = one_row(
            self.con, f"select {fits} from (select unnest([{listed(seen[:LOOK_VALUES])}]) as v)"
        )
        likely = [
            ("timestamp with time zone" if "%z" in form else kind, form)
            for (kind, form), fit in zip(tried, fitting, strict=True)
            if fit and ("%y" not in form or any(map(SHORT_YEAR.search, seen)))
        ]
        checked = [(kind, form) for kind, form in likely if self._checked(name, kind, nulls, form=form)]
        for _, form in checked:
            day = next((day for day in OPPOSITES if form.startswith(day)), None)
            if day and any(f.startswith(OPPOSITES[day]) for _, f in checked):
                return [pair for pair in checked if pair[1].startswith((day, OPPOSITES[day]))]
        return checked[:1]

    def _with_days_of_siblings(self, found: dict[str, ValueType]) -> dict[str, ValueType]:
        """Columns that may be read either way are read as another column of the table must be."""
        certain = {kind.form: name for name, kind in found.items() if kind.form and not kind.question}
        for name, kind in found.items():
            if not (kind.question and kind.form):
                continue
            day = next(day for day in OPPOSITES if kind.form.startswith(day))
            ways = [way for way in (day, OPPOSITES[day]) if any(f.startswith(way) for f in certain)]
            if len(ways) == 1:
                sibling = next(name for form, name in certain.items() if form.startswith(ways[0]))
                form = ways[0] + kind.form[len(day) :]
                data_type = "date" if form == ways[0] else "timestamp"
                reason = (
                    f"its values fit day first and month first; {sibling}, whose values do not, has {ways[0]}"
                )
                found[name] = ValueType(data_type, reason, form=form, nulls=kind.nulls)
        return found

    # -- looking at all values -------------------------------------------------------------------------

    def _is_value(self, name: str, nulls: Collection[str]) -> str:
        """SQL: whether the column has a value, other than a text for null."""
        return f"{quoted(name)} is not null and {quoted(name)} not in ({listed(['', *nulls])})"

    def _count(self, name: str, nulls: Collection[str], pattern: str) -> int:
        """Values that match a pattern as a whole."""
        (count,) = one_row(
            self.con,
            f"select count(*) from {self.relation} where {self._is_value(name, nulls)}"
            f" and regexp_full_match({quoted(name)}, {literal(pattern)})",
        )
        return int(count)

    def _all_match(self, name: str, nulls: Collection[str], pattern: str) -> bool:
        (others,) = one_row(
            self.con,
            f"select count(*) from (select 1 from {self.relation} where {self._is_value(name, nulls)}"
            f" and not regexp_full_match({quoted(name)}, {literal(pattern)}) limit 1)",
        )
        return not others

    def _checked(
        self,
        name: str,
        data_type: str,
        nulls: Collection[str],
        *,
        reason: str = "",
        form: str | None = None,
        decimal_mark: str | None = None,
    ) -> ValueType | None:
        """The type, if the loader casts every value to it without a loss."""
        way = engine().cast(
            quoted(name), "VARCHAR", engine().declared_type(data_type).name, decimal_mark or ".", form
        )
        (lost,) = one_row(
            self.con,
            f"select count(*) from (select 1 from {self.relation} where {self._is_value(name, nulls)}"
            f" and not coalesce({way.keeps or 'true'}, false) limit 1)",
        )
        return None if lost else ValueType(data_type, reason, form=form, decimal_mark=decimal_mark)


def table_nulls(
    found: Mapping[str, ValueType], con: duckdb.DuckDBPyConnection, relation: str
) -> tuple[list[str], list[str]]:
    """The texts that stand for null in the whole table, and the columns that must stay text instead.

    A text is null for all columns or for none, so one that may be a value of a text column is not taken.
    """
    wanted = [text for text in NULL_TEXTS if any(text in kind.nulls for kind in found.values())]
    texts = [name for name, kind in found.items() if kind.data_type == "text"]
    refused = [
        text
        for text in wanted
        if text in LIKELY_CODES and any(_is_a_code(con, relation, n, text) for n in texts)
    ]
    stay = [name for name, kind in found.items() if set(kind.nulls) & set(refused)]
    return [text for text in wanted if text not in refused], stay


def _is_a_code(con: duckdb.DuckDBPyConnection, relation: str, name: str, text: str) -> bool:
    """Whether a text is as long as all values of a column, so that it is probably one of them."""
    column = quoted(name)
    has, others = one_row(
        con,
        f"select count(*) filter ({column} = {literal(text)}), count(distinct length({column})) filter"
        f" ({column} <> {literal(text)} and length({column}) <> {len(text)}) from {relation}",
    )
    return bool(has) and not others

"""Blocks and values that declarations are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sluice.config.column_names import normalized


@dataclass(frozen=True)
class Expected:
    """Stands in the annotation of a field whose type does not say in words what to write."""

    words: str


DURATION = re.compile(r"^(\d+)\s*(s|m|h|d)$")


def plain_types(annotation: Any) -> set[Any]:
    """The types that a value may have itself, apart from what is inside of it: the members of a union."""
    if get_origin(annotation) is Annotated:
        return plain_types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for member in get_args(annotation) for kind in plain_types(member)}
    return {annotation}


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _duration(value: Any) -> Any:
    if isinstance(value, str) and (match := DURATION.match(value.strip())):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
        return timedelta(**{unit: int(match[1])})
    if isinstance(value, timedelta):
        return value
    raise ValueError("write a number and a unit: 30s, 15m, 6h or 2d")


Tolerance = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(100|[0-9]{1,2})([.][0-9]+)?\s*%$")],
    Expected("a number of rows, or a percentage of them: 10, 0.5%"),
]
Names = Annotated[
    list[str],
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    Expected("a list of columns, or the name of one"),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=Annotated[str, Field(pattern=DURATION.pattern)]),
]


class Strict(BaseModel):
    """A block of Sluice's own: a key that is not declared here is a mistake."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Take no text or truth value for a number, and no number or text for a truth value."""
        wanted = plain_types(cls.model_fields[str(info.field_name)].annotation) & {str, bool, int, float}
        if (
            type(value) in (str, bool, int)
            and wanted
            and type(value) not in wanted | ({int} if float in wanted else set())
        ):
            raise PydanticCustomError("other_type", "is of another type")
        return value


class Open(BaseModel):
    """A block of dbt's: only the keys we read are named here."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class Columns(Strict):
    """Which columns of the source's table are loaded, all by default, and what they are called in raw."""

    include: list[str] | None = None
    """Only these columns."""
    exclude: list[str] | None = None
    """All columns but these."""
    rename: dict[str, str] = {}
    """Names in raw by the source's names, for those that snake_case does not make clear or distinct."""

    @model_validator(mode="after")
    def _consistent(self) -> Columns:
        if self.include is not None and self.exclude is not None:
            raise ValueError("give include or exclude, not both")
        for source, name in self.rename.items():
            if not name.strip("_") or name[0] == "_" or normalized(name) != name:
                raise ValueError(
                    f"rename: {source}: {name!r} is not a name in snake_case, such as amount_eur"
                )
        return self

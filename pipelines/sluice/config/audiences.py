"""Who may read what: `audiences.yml`, checked with file and line before anything is published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from sluice.config.blocks import Expected, Strict
from sluice.config.connections import REFERENCE
from sluice.config.mistakes import LITERAL_SECRET, explain
from sluice.config.yaml_file import IDENTIFIER, Lines, Problem, read_yaml
from sluice.errors import DeclarationError, did_you_mean

Mask = Literal["hash", "partial", "generalise", "null"]
Treatment = Literal["clear", "hash", "partial", "generalise", "null"]
UNCLASSED = "none"
"""The data class of a column that is not personal, whatever it is made from."""


def _null(value: Any) -> Any:
    return "null" if value is None else value  # YAML reads a bare null as no value


def _reference(value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and REFERENCE.fullmatch(value)):
        raise PydanticCustomError(
            LITERAL_SECRET, "a key is never written here; name it as ${connection.key} and set it elsewhere"
        )
    return value


AnyMask = Annotated[Mask, BeforeValidator(_null)]
Reference = Annotated[str | None, BeforeValidator(_reference)]
Name = Annotated[str, Field(pattern=IDENTIFIER.pattern)]


class RowLimits(Strict):
    """How far the row count of a table may move between two versions."""

    max_loss_percent: float = Field(default=20, ge=0, le=100)
    """More rows gone than this stop the publication."""
    max_gain_percent: float = Field(default=200, ge=0)
    """More rows new than this stop the publication."""


class Publishing(Strict):
    """What holds for every publication."""

    on_failure: Literal["stop", "hold_model"] = "stop"
    """stop: a broken rule stops the publication. hold_model: the affected models, and those below, stay as before."""
    keep: int = Field(default=5, ge=2)
    """Versions that stay for open readers and for a rollback."""
    rows: RowLimits = RowLimits()
    """Limits of every table; a model sets its own in config.meta.publish.rows."""
    masking_key: Reference = None
    """Key of the hash mask; without one, a key of this machine is made and kept in SLUICE_HOME/keys."""


class RowFilter(Strict):
    """Which rows an audience sees, as SQL over the columns of a table before masking."""

    condition: str
    """The condition for every table that is not named below."""
    models: dict[Name, str] = Field(default_factory=dict)
    """Conditions for single models."""
    unfiltered: list[Name] = Field(default_factory=list)
    """Models without a row filter, such as calendars."""


class Audience(Strict):
    """Readers with the same rights; they get one file."""

    name: Name
    """What `grants: {select: [...]}` of a model names."""
    description: str
    """Who they are and what they read it for."""
    clear: list[str] = Field(default_factory=list)
    """Data classes they see unmasked."""
    masks: dict[str, AnyMask] = Field(default_factory=dict)
    """Masks of other data classes; a class without a mask becomes null."""
    row_filter: RowFilter | None = None
    """Which rows they see; all, without one."""
    format: Literal["duckdb", "parquet"] = "duckdb"
    """One DuckDB file, or one folder of Parquet files per table."""
    to: Annotated[
        str | None,
        Field(pattern=r"^(s3://[^/]+/.+|/.+|[^/:]+/.+)$"),
        Expected("a folder with a / in its path, or s3://bucket/prefix"),
    ] = None
    """parquet: a folder or s3://bucket/prefix that gets a copy of each version."""
    connection: str | None = None
    """Name of the connection that holds endpoint and keys of the bucket."""
    group: str | None = None
    """Group of this machine whose members may read the files, too; without one, only their owner may."""
    key: Reference = None
    """Encryption key by reference, e.g. ${publish_analysts.key}; without a value the file is not encrypted."""

    @model_validator(mode="after")
    def _consistent(self) -> Audience:
        if both := sorted(set(self.clear) & set(self.masks)):
            raise ValueError(f"{', '.join(both)}: either clear or masked, not both")
        if self.to and self.format != "parquet":
            raise ValueError("`to` is for format: parquet; a DuckDB file is read from SLUICE_HOME/published")
        return self

    def treatment(self, data_class: str) -> Treatment:
        """How these readers see a column of `data_class`."""
        if data_class in self.clear or data_class == UNCLASSED:
            return "clear"
        return self.masks.get(data_class, "null")


class AudiencesFile(Strict):
    """The content of audiences.yml."""

    publish: Publishing = Publishing()
    audiences: list[Audience]


@dataclass(frozen=True)
class Policy:
    """All of `audiences.yml`."""

    file: Path
    publishing: Publishing
    audiences: tuple[Audience, ...]

    def audience(self, name: str) -> Audience:
        """The audience called `name`; raises DeclarationError that lists the audiences there are."""
        for audience in self.audiences:
            if audience.name == name:
                return audience
        names = [audience.name for audience in self.audiences]
        raise DeclarationError(
            f"there is no audience {name!r}; there are {', '.join(names)}.{did_you_mean(name, names)}"
        )


def read_policy(file: Path) -> tuple[Policy | None, list[Problem]]:
    """The policy, or every mistake found; (None, []) without such a file."""
    if not file.is_file():
        return None, []
    lines = read_yaml(file)
    if isinstance(lines, Problem):
        return None, [lines]
    try:
        parsed = AudiencesFile.model_validate(lines.value)
    except ValidationError as error:
        return None, sorted(explain(error, AudiencesFile, file, lines), key=lambda p: p.line)
    names = [a.name for a in parsed.audiences]
    twice = [i for i, name in enumerate(names) if names.index(name) != i]
    if twice:
        found = [Problem(file, lines.line(["audiences", i]), names[i], "is declared twice") for i in twice]
        return None, found
    places = [a.to.rstrip("/") if a.to else None for a in parsed.audiences]
    shared = [i for i, place in enumerate(places) if place and places.index(place) != i]
    if shared:
        found = [
            Problem(
                file,
                lines.line(["audiences", i, "to"]),
                f"{names[i]}.to",
                f"is {places[i]}, where {names[places.index(places[i])]} is published already; each needs its own",
            )
            for i in shared
        ]
        return None, found
    return Policy(file, parsed.publish, tuple(parsed.audiences)), []


def without_connection(policy: Policy) -> list[Problem]:
    """Buckets that copies go to and nothing declares the keys of: a publication finds them on some machines at best."""
    lines = read_yaml(policy.file)
    assert isinstance(lines, Lines)
    return [
        Problem(
            policy.file,
            lines.line(["audiences", i, "to"]),
            f"audiences.{audience.name}.to",
            f"is {audience.to!r} without a connection: add connection, the name of one with access_key_id and "
            "secret_access_key",
        )
        for i, audience in enumerate(policy.audiences)
        if audience.to and audience.to.startswith("s3://") and not audience.connection
    ]


def load_policy(file: Path) -> Policy:
    """The policy; raises DeclarationError with every mistake, or without such a file."""
    policy, problems = read_policy(file)
    if problems:
        raise DeclarationError("\n".join(map(str, problems)))
    if policy is None:
        raise DeclarationError(f"{file} does not exist: it says who may read what; see docs/publishing.md")
    return policy

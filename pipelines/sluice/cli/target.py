"""`--target`, which every command that reads or writes a warehouse has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from sluice.config.settings import choose_target

Target = Annotated[
    str | None,
    typer.Option("--target", "-t", help="The target of profiles.yml to work on; see docs/environments.md."),
]


def on_target(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with an option `--target`, which holds for the whole process."""

    @functools.wraps(command)
    def wrapped(*args: Any, target: str | None = None, **options: Any) -> Any:
        if target is not None:
            choose_target(target)
        return command(*args, **options)

    parameters = inspect.signature(command, eval_str=True).parameters.values()
    added = inspect.Parameter("target", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Target)
    wrapped.__signature__ = inspect.Signature([*parameters, added])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {**get_type_hints(command, include_extras=True), "target": Target}
    return wrapped

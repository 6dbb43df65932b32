"""dbt's `--defer` between the environments of a project: models that are not built here are read from production.

The environment's warehouse is attached read-only under the name it has in the views it holds, so that they find their
tables, and its raw takes the place of the own one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sluice.config.environments import PRODUCTION, Environment
from sluice.config.profile import PROFILES
from sluice.config.settings import Settings
from sluice.errors import UsageError

PLUGIN = "sluice.dbt.plugin"
MANIFEST = "manifest.json"
DEFER = "--defer"
STATES = ("--defer-state", "--state")
OWN_CHOICE = ("--no-defer", "--favor-state")
"""Arguments of somebody who decides what is read from elsewhere."""


def keep_state(settings: Settings) -> None:
    """Keep the manifest of the last build beside the warehouse, where other targets find it."""
    if settings.environment and (built := settings.target / MANIFEST).is_file():
        state = settings.environment.state
        state.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built, state / ".manifest.new")
        (state / ".manifest.new").replace(state / MANIFEST)


def with_state(settings: Settings, arguments: Sequence[str]) -> list[str]:
    """dbt's arguments, where `--defer` without a state gets production's.

    A target that has no raw of its own, or attaches production's, need not say `--defer`. Raises UsageError if there
    is nothing to defer to, or the profile does not fit.
    """
    given, source = {argument.split("=")[0] for argument in arguments}, settings.production
    if given.intersection(STATES):
        return list(arguments)
    if DEFER not in given:
        has_raw = settings.raw.is_file() and not (source and source.owns(settings.raw))
        if given.intersection(OWN_CHOICE) or has_raw or refusal(settings):
            return list(arguments)
        arguments = [*arguments, DEFER]
    elif why := refusal(settings):
        raise UsageError(f"{DEFER}: {why}")
    assert source
    return [*arguments, "--state", str(source.state)]


def refusal(settings: Settings) -> str:
    """Why dbt cannot read what is not built here from production, and what to do; empty if it can."""
    own, source = settings.environment, settings.production
    if own and own.name == PRODUCTION:
        return f"{PRODUCTION} itself reads from no other target; `--state FOLDER` names another project's manifest"
    if own is None or source is None:
        return (
            f"it reads from the target {PRODUCTION}, and {PROFILES} has none; `--state FOLDER` names the manifest of "
            "another project"
        )
    if source.problem or source.warehouse is None or not source.warehouse.is_file():
        return source.problem or f"{source.warehouse or source.name} does not exist"
    if not (source.state / MANIFEST).is_file():
        return f"{source.state / MANIFEST} does not exist; `sluice build -t {source.name}` writes it"
    if not own.profile.has_plugin(PLUGIN):
        return (
            f"the target {own.name} in {PROFILES} has no plugin {PLUGIN}, which attaches {source.name}'s files: add "
            f"`plugins: [{{module: {PLUGIN}}}]`"
        )
    if own.profile.database == source.profile.database:
        return (
            f"the warehouses of {own.name} and {source.name} have the same name in SQL, {own.profile.database}, "
            f"because their files do: call one {own.name}.duckdb in the `path` of {PROFILES}"
        )
    return ""


def deferred_to(settings: Settings, state: Path | None) -> Environment | None:
    """The environment whose manifest is dbt's state; None for another project's."""
    folder = state and (settings.root / state).resolve()
    return next((other for other in settings.others if other.state == folder), None)

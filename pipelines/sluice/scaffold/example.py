"""The example company, if it is installed: its distribution brings a project, which `sluice new --example` writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import NamedTuple

from sluice.errors import UsageError
from sluice.scaffold.wheels import ENGINE


class Example(NamedTuple):
    """What its project installs, the company last, and the folder of the company's wheel that has the project."""

    distributions: Sequence[str]
    folder: str


def example_company() -> Example:
    """The distribution with an entry point of the group `sluice.sandbox`, and those it requires.

    Raises UsageError if there is none.
    """
    for point in entry_points(group="sluice.sandbox"):
        if point.dist is not None:
            required = [re.split(r"[\[<>=!~; ]", name)[0] for name in point.dist.requires or []]
            return Example([ENGINE, *required, point.dist.name], f"{point.module.split('.')[0]}/project/")
    raise UsageError(
        "--example brings the example company, which is not installed here: install the wheels sluice_servers and "
        "sluice_sandbox, which `make dist` in Sluice's repository writes beside the engine's"
    )

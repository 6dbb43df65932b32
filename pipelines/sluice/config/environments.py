"""The environments of a project: the targets of its dbt profile, each with a folder of its own.

A project whose profile has one target has no environments; where it writes says `SLUICE_HOME`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.config.profile import PROFILES, Attached, Profile, is_file_path
from sluice.errors import DeclarationError, UsageError, did_you_mean

PRODUCTION = "prod"
"""The target whose warehouse others may read with `--defer`, and whose folder no other target writes."""
RAW = "raw"
"""The name under which a target attaches the database that loads write."""


@dataclass(frozen=True)
class Environment:
    """One target of the profile, on this machine."""

    profile: Profile
    home: Path
    """What commands on this target write is below this folder."""
    is_default: bool
    """Whether dbt works on it where no target is named; its pages are in `target/`."""
    warehouse: Path | None = None
    """The file that dbt builds; None if it is no file, or unknown."""
    attached: tuple[tuple[Attached, Path], ...] = ()
    """Files that are attached beside it."""
    problem: str = ""
    """Why its paths are not known here, such as a variable that is not set."""

    @property
    def name(self) -> str:
        return self.profile.target

    @property
    def raw(self) -> Path:
        """The file that is attached as `raw`; in the environment's own folder unless the profile says otherwise."""
        return next((file for each, file in self.attached if each.name == RAW), self.home / f"{RAW}.duckdb")

    @property
    def state(self) -> Path:
        """The manifest of its last build, for `--defer`."""
        return self.home / "state"

    def owns(self, file: Path) -> bool:
        """Whether a file is this environment's: its warehouse, or in its folder."""
        return file == self.warehouse or file.is_relative_to(self.home)


def environments(base: Path, default: str, targets: Mapping[str, Profile]) -> dict[str, Environment]:
    """The environments by name; empty for a profile with fewer than two targets.

    The folder of a target is that of its warehouse's file, if it is a folder of its own: not the project's, and
    without the file of another target. Else it is `base/<target>`.
    """
    if len(targets) < 2:
        return {}
    read = {name: _files(profile) for name, profile in targets.items()}
    found = {}
    for name, (file, attached, problem) in read.items():
        others = [other for key, (other, _, _) in read.items() if key != name and other]
        is_own = (
            file is not None
            and not targets[name].root.is_relative_to(file.parent)
            and not any(other.is_relative_to(file.parent) for other in others)
        )
        home = file.parent if file and is_own else base / name
        found[name] = Environment(targets[name], home, name == default, file, attached, problem)
    return found


def refuse_unknown_target(name: str, targets: Mapping[str, Profile]) -> None:
    """Raise UsageError for a target that the profile does not have."""
    if not targets:
        raise UsageError(f"there is no target {name!r}: no {PROFILES} names any for this project")
    if name not in targets:
        file = next(iter(targets.values())).file
        raise UsageError(
            f"there is no target {name!r} in {file}: there are {', '.join(targets)}.{did_you_mean(name, targets)}"
        )


def refuse_shared_folders(environment: Environment, others: Sequence[Environment]) -> None:
    """Raise DeclarationError if the folder of an environment lies in that of another one, or around it."""
    for other in others:
        if environment.home.is_relative_to(other.home) or other.home.is_relative_to(environment.home):
            raise DeclarationError(
                f"the targets {environment.name} and {other.name} would write in the same folder, {environment.home} "
                f"and {other.home}: give each one its own in the `path` of {PROFILES}"
            )


def refuse_foreign_files(environment: Environment, others: Sequence[Environment]) -> None:
    """Raise DeclarationError if what dbt does on a target could write a file of another one."""
    for other in others:
        built = environment.warehouse
        is_production = (
            other.name == PRODUCTION and built == other.warehouse
        )  # others may share a file on purpose
        if built and (is_production or built.is_relative_to(other.home)):
            raise DeclarationError(
                f"the target {environment.name} would build {built}, which is {other.name}'s: give it "
                f"a file of its own in the `path` of {PROFILES}"
            )
        for each, file in environment.attached:
            if other.owns(file) and not each.is_read_only:
                raise DeclarationError(
                    f"the target {environment.name} attaches {file}, which is {other.name}'s, for writing: add "
                    f"`read_only: true` to it in {PROFILES}"
                )


def _files(profile: Profile) -> tuple[Path | None, tuple[tuple[Attached, Path], ...], str]:
    """The file of the warehouse and those that are attached, or why they are not known."""
    if profile.written.get("type") != "duckdb":
        return None, (), f"it is of type {profile.written.get('type')!r}; Sluice works with dbt-duckdb"
    try:
        attached = [(each, _file(profile, each.path)) for each in profile.attached]
        warehouse = _file(profile, profile.path)
    except DeclarationError as error:
        return None, (), str(error)
    return warehouse, tuple((each, file) for each, file in attached if file), ""


def _file(profile: Profile, path: str) -> Path | None:
    return (profile.root / Path(path).expanduser()).resolve() if is_file_path(path) else None

"""Whether a build would find nothing to do, told without starting dbt."""

from __future__ import annotations

from sluice.build.project_files import project_digest
from sluice.config.environments import RAW
from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.dbt.build_state import BuildState, read_state
from sluice.engine.raw_versions import RawVersions


def unchanged(settings: Settings) -> BuildState | None:
    """What the last build left, if project, raw and warehouse are still as then and all had passed; else None."""
    state = read_state(settings.home)
    if not state.project or not state.is_of(settings.warehouse):
        return None
    if not (settings.home / run_results.KEPT).is_file():
        return None
    raw = RawVersions(settings.databases[RAW])
    versions = {key: raw.version(schema, name) for key, (schema, name) in state.sources.items()}
    for node in state.nodes.values():
        if node.differs and not node.is_recent:
            return None
        for parent, output in node.inputs.items():
            if parent in versions and versions[parent] != output:
                return None
    return state if project_digest(settings, state.files)[0] == state.project else None

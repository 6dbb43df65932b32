"""Reads all the catalog shows: dbt's manifest, the run store, the warehouse, lineage, the glossary and the versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from sluice.catalog.changes import changes_since_published, current_version
from sluice.catalog.facts import CatalogFacts
from sluice.catalog.profile_cache import cached_profiles
from sluice.catalog.published_content import published_content
from sluice.catalog.row_counts import cached_row_counts
from sluice.config.audiences import read_policy
from sluice.config.glossary import read_glossary
from sluice.config.settings import GLOSSARY, Settings
from sluice.dbt.build_state import known_content
from sluice.dbt.manifest import Manifest, read_manifest
from sluice.dbt.runner import compiled_manifest
from sluice.engine.warehouse import newest, open_warehouse
from sluice.lineage.warehouse_graph import warehouse_graph
from sluice.runs.history import History


def gather(
    settings: Settings, *, with_profiles: bool = True, on_step: Callable[[str], None] = lambda step: None
) -> CatalogFacts:
    """Everything known of the project of `settings`; `on_step` is called with what is done next.

    Raises SluiceError without a manifest, and LockedError while another process writes to the warehouse.
    """
    policy, _ = read_policy(settings.audiences)  # `sluice publish` reports whether it is correct
    with _opened(settings, on_step) as (manifest, connection):
        on_step("lineage")
        graph = warehouse_graph(settings, connection, manifest)
        facts = CatalogFacts(
            manifest,
            graph,
            History(settings.ledger),
            read_glossary(settings.root / GLOSSARY),
            audiences=policy.audiences if policy else (),
            version=current_version(settings),
            published=_shown(settings.published, settings.root),
        )
        if connection is not None:
            content = known_content(settings)
            facts.row_counts = cached_row_counts(settings, connection, manifest.tables.values(), content)
            facts.newest = {
                t.id: newest(connection, t.relation, t.loaded_at_field)
                for t in manifest.tables.values()
                if t.loaded_at_field and t.source not in facts.history.loads
            }
            if with_profiles:
                facts.profiles = cached_profiles(settings, connection, facts, content, on_step)
    facts.changes = changes_since_published(settings, facts)
    if with_profiles:
        facts.content = published_content(settings, facts)
    return facts


@contextmanager
def _opened(
    settings: Settings, on_step: Callable[[str], None]
) -> Iterator[tuple[Manifest, duckdb.DuckDBPyConnection | None]]:
    """The compiled manifest, and a connection to the databases, which are opened while the manifest is read."""
    on_step("compiled models")
    with ExitStack() as stack, ThreadPoolExecutor(1) as aside:
        opening = aside.submit(stack.enter_context, open_warehouse(settings, settings.lock_seconds))
        manifest = read_manifest(settings.target)
        uncompiled = manifest.uncompiled
        connection = opening.result()
        if uncompiled:
            stack.close()  # dbt needs them for itself
            manifest = compiled_manifest(settings)
            connection = stack.enter_context(open_warehouse(settings, settings.lock_seconds))
        yield manifest, connection


def _shown(folder: Path, root: Path) -> str:
    return (folder.relative_to(root) if folder.is_relative_to(root) else folder).as_posix()

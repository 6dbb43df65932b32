"""Write, audit, publish: one verified, immutable copy per audience, switched for all of them at once.

Readers never open the warehouse. A version is audited, built beside the one in use, read back, and becomes current by
one rename; whoever has an older file open keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluice.config.settings import Settings
from sluice.errors import DeclarationError, PublishError

if TYPE_CHECKING:  # a rollback has to be quick and needs neither DuckDB nor the SQL parser
    from sluice.publish.publication import Published as Published
    from sluice.publish.publication import Rotated


def publish(
    settings: Settings,
    *,
    run_id: str | None = None,
    accept_rows: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> Published:
    """Publish the granted models of the warehouse; `run_id` is the run they come from (default: the last).

    on_step: is called with what is done next. Raises DeclarationError for a wrong policy and PublishError when the
    audit finds a reason not to; readers then keep the version they have.
    """
    from sluice.publish.publication import Publication

    with _refused(settings):
        publication = Publication(settings)
        with publication.versions.locked(settings.lock_seconds), publication.recorded("publish") as row:
            published = publication.run(run_id or publication.run_store.last_run(), accept_rows, on_step)
            row.update(version=published.version, detail="; ".join(published.held) or None)
            return published


@contextmanager
def _refused(settings: Settings) -> Iterator[None]:
    """Say of a wrong declaration that nothing was published because of it."""
    from sluice.publish.operation import refusal
    from sluice.publish.versions import Versions

    try:
        yield
    except DeclarationError as error:
        raise DeclarationError(refusal(str(error), Versions(settings.published).current)) from None


def rollback(settings: Settings, version: str | None = None) -> str:
    """Give readers `version` again (default: the one before the current); returns its name.

    Raises PublishError when there is no such version, or when it shows what today's policy forbids, and DamagedError
    when its files are not as they were published.
    """
    from sluice.publish.operation import Operation
    from sluice.publish.policy_changes import forbidden_now

    operation = Operation(settings)
    versions = operation.versions
    with versions.locked(settings.lock_seconds), operation.recorded("rollback") as row:
        current = versions.current
        if current is None:
            raise PublishError("nothing is published yet")
        wanted = version or versions.before(current)
        row.update(version=wanted)
        if wanted not in versions.names:
            raise PublishError(f"there is no version {wanted}; there are {', '.join(versions.names)}")
        old = versions.read(wanted)
        newest = versions.read(
            versions.names[-1]
        )  # the current one may be older than a grant or a data class
        if reasons := list(forbidden_now(old, operation.policy, newest)):
            raise PublishError(f"{wanted} shows more than is allowed now: {'; '.join(reasons)}")
        versions.refuse_damage(old, old.audiences)
        versions.switch(wanted)
        for mirror in operation.mirrors:
            mirror.switch(wanted)
    return wanted


def rotate_key(settings: Settings, name: str) -> Rotated:
    """Encrypt every kept version of an audience with its next key; returns which, and what is left to do.

    The content stays as it is. If it was interrupted, call it again: files that the next key opens are skipped.
    """
    from sluice.publish.publication import Publication

    publication = Publication(settings)
    audience = publication.policy.audience(name)
    with publication.versions.locked(settings.lock_seconds), publication.recorded("rotate_key", name) as row:
        rotated = publication.rotate(audience)
        row.update(version=publication.versions.current)
    return rotated

"""What publishing, rolling back and rotating a key have in common: what they work on, and a row in the run store."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from sluice.config.audiences import load_policy
from sluice.config.connections import Connections
from sluice.config.settings import Settings, keep_private
from sluice.errors import PublishError, RunStoreError
from sluice.publish.keys import Keys
from sluice.publish.mirror import Mirror
from sluice.publish.versions import Versions
from sluice.runs.store import RunStore


class Operation:
    """One publication, rollback or key rotation; raises DeclarationError when the policy is wrong."""

    def __init__(self, settings: Settings) -> None:
        keep_private(settings)
        self.settings = settings
        self.policy = load_policy(settings.audiences)
        self.connections = Connections(settings.root, settings.connections)
        self.keys = Keys(settings.home / "keys", self.connections)
        self.run_store = RunStore(settings.ledger)
        self.versions = Versions(settings.published)

    @cached_property
    def mirrors(self) -> list[Mirror]:
        """The copies of audiences with `to`; in a project with environments only production writes them."""
        if self.settings.is_rehearsal:
            return []
        found = (a for a in self.policy.audiences if a.to)
        return [Mirror(a, self.versions, self.settings.root, self.connections) for a in found]

    @contextmanager
    def recorded(self, action: str, audience: str | None = None) -> Iterator[dict[str, str | None]]:
        """Record the operation, from its beginning to its end, with the message of an error, but without secrets."""
        row: dict[str, str | None] = {"version": None, "detail": None}
        self.run_store.close_publications(self.versions.current)
        number = self.run_store.begin_publication(action, audience, getpass.getuser())
        try:
            yield row
        except BaseException as error:
            self.versions.discard()
            is_unexpected, message = _message(error)
            text = self.connections.redact(message or type(error).__name__)
            refused = isinstance(error, PublishError)
            with suppress(RunStoreError):  # the next operation closes the row
                self.run_store.end_publication(
                    number, "refused" if refused else "failed", row["version"], text
                )
            if is_unexpected:
                raise PublishError(f"{action} failed, readers have {self._current}: {text}") from None
            raise
        try:
            self.run_store.end_publication(number, "done", row["version"], row["detail"])
        except RunStoreError as error:
            raise RunStoreError(f"{action} succeeded and readers have {self._current}, but {error}") from None

    @property
    def _current(self) -> str:
        current = self.versions.current
        return f"version {current}" if current else "nothing yet"


def refusal(reasons: str, current: str | None) -> str:
    """A message for who expects a new version; reasons: a line for each, or several with the further ones indented."""
    serving = f"; readers keep version {current}" if current else ""
    return f"nothing was published{serving}:\n  " + reasons.replace("\n", "\n  ")


def _message(error: BaseException) -> tuple[bool, str]:
    """Whether an error comes from DuckDB or the operating system, and its message without values of tables."""
    if isinstance(error, OSError):
        return True, str(error)
    import duckdb

    from sluice.publish.published_files import without_values

    return (True, without_values(error)) if isinstance(error, duckdb.Error) else (False, str(error))

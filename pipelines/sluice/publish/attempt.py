"""One attempt to publish, roll back or rotate a key: what it works on, and its row in the ledger."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from sluice.config.audiences import load_policy
from sluice.config.connections import Connections
from sluice.config.settings import Settings
from sluice.errors import PublishError, RunStoreError
from sluice.publish.keys import Keys
from sluice.publish.mirror import Mirror
from sluice.publish.versions import Versions
from sluice.runs.store import RunStore


class Attempt:
    """The parts all of them need; reads the policy, and raises DeclarationError when it is wrong."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.policy = load_policy(settings.root / "audiences.yml")
        self.connections = Connections(settings.root, settings.connections)
        self.keys = Keys(settings.home / "keys", self.connections)
        self.ledger = RunStore(settings.ledger)
        self.versions = Versions(settings.home / "published")

    @cached_property
    def mirrors(self) -> list[Mirror]:
        """The copies elsewhere."""
        found = (a for a in self.policy.audiences if a.to)
        return [Mirror(a, self.versions, self.settings.root, self.connections) for a in found]

    @contextmanager
    def recorded(self, action: str, audience: str | None = None) -> Iterator[dict[str, str | None]]:
        """A row in the ledger from beginning to end; errors keep their words, but no secrets."""
        row: dict[str, str | None] = {"version": None, "detail": None}
        self.ledger.close_publications(self.versions.current)
        number = self.ledger.begin_publication(action, audience, getpass.getuser())
        try:
            yield row
        except BaseException as error:
            self.versions.discard()
            is_unexpected, words = _words(error)
            text = self.connections.redact(words or type(error).__name__)
            refused = isinstance(error, PublishError)
            with suppress(RunStoreError):  # the next one closes the row
                self.ledger.end_publication(number, "refused" if refused else "failed", row["version"], text)
            if is_unexpected:
                raise PublishError(f"{action} failed, readers have {self._current}: {text}") from None
            raise
        try:
            self.ledger.end_publication(number, "done", row["version"], row["detail"])
        except RunStoreError as error:
            raise RunStoreError(f"{action} is done, and readers have {self._current}, but {error}") from None

    @property
    def _current(self) -> str:
        current = self.versions.current
        return f"version {current}" if current else "nothing yet"


def _words(error: BaseException) -> tuple[bool, str]:
    """Whether an error is the engine's or the system's, and what may be said of it."""
    if isinstance(error, OSError):
        return True, str(error)
    import duckdb

    from sluice.publish.write import without_values

    return (True, without_values(error)) if isinstance(error, duckdb.Error) else (False, str(error))

"""Tokens of remote readers: shown once, kept as hashes, compared in constant time, invalid once revoked."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from sluice.errors import DamagedError, SluiceError, UsageError
from sluice.system import write_private

KNOWN = TypeAdapter(dict[str, dict[str, dict[str, str]]])
"""By audience and name: the token's hash (`sha256`), and when it was issued."""


class Tokens:
    """The tokens of all audiences, in one file that only its owner reads."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def issue(self, audience: str, name: str) -> str:
        """A new token for `name`, which replaces an older one; seen only now. Raises UsageError for no name."""
        if not name.strip():
            raise UsageError("name the reader: sluice serve --audience AUDIENCE --issue-token NAME")
        token = secrets.token_urlsafe(32)
        issued = {"sha256": _digest(token), "issued_at": datetime.now(UTC).isoformat(timespec="seconds")}
        with self._changed() as known:
            known.setdefault(audience, {})[name] = issued
        return token

    def revoke(self, audience: str, name: str) -> None:
        """Remove a token; running servers refuse it from the next call on."""
        with self._changed() as known:
            if known.get(audience, {}).pop(name, None) is None:
                raise SluiceError(
                    f"{audience} has no token {name!r}; there are {', '.join(self.names(audience)) or 'none'}"
                )

    def names(self, audience: str) -> list[str]:
        return sorted(self._read().get(audience, {}))

    def owner(self, audience: str, token: str) -> str | None:
        """Whose token this is. Every hash is compared, so the time taken reveals nothing.

        A token is 256 random bits: even a plain SHA-256 of it cannot be guessed.
        """
        digest = _digest(token)
        found = None
        for name, issued in self._read().get(audience, {}).items():
            if hmac.compare_digest(digest, issued["sha256"]):
                found = name
        return found

    def _read(self) -> dict[str, dict[str, dict[str, str]]]:
        if not self._file.is_file():
            return {}
        try:
            return KNOWN.validate_json(self._file.read_bytes())
        except ValidationError:
            raise DamagedError(
                self._file,
                "it does not hold tokens",
                "Restore it from a backup; without one, move it away and issue a new token to each reader",
            ) from None

    @contextmanager
    def _changed(self) -> Iterator[dict[str, dict[str, dict[str, str]]]]:
        """The tokens, written when the block ends; one process at a time, so that no change is lost."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self._file.with_suffix(".lock")):
            known = self._read()
            yield known
            write_private(self._file, json.dumps(known, indent=2))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

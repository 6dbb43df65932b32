"""Keys of published files and of the hash mask: handed in by reference, or made on this machine. Never published."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from pipelines.audiences import Audience, Policy
from pipelines.connections import Connections
from pipelines.declaration import REFERENCE
from pipelines.errors import ConnectionError


class Keys:
    """Looks where Connections looks (environment, .dlt/secrets.toml, connections.toml), then in SLUICE_HOME/keys."""

    def __init__(self, folder: Path, connections: Connections) -> None:
        self._folder = folder
        self._connections = connections

    def find(self, audience: Audience) -> str | None:
        """The key an audience's file is written with; None: it is not encrypted."""
        return self._given(audience.key) or self._kept(audience.name)

    def is_given(self, audience: Audience) -> bool:
        """Whether the key comes from outside; if not, it is this machine's own."""
        return self._given(audience.key) is not None

    def masking(self, policy: Policy) -> str:
        """The hash mask's key as 64 hex digits; made on first use where none is given."""
        key = self._given(policy.publishing.masking_key) or self._kept("masking")
        if key is None:
            key = self.make()
            self.keep("masking", key)
        return hashlib.sha256(f"sluice masking {key}".encode()).hexdigest()

    def following(self, audience: Audience) -> str:
        """The key to rotate to: `<key>_next` where the reference leads, else a new one for this machine."""
        if audience.key and self.is_given(audience):
            name = audience.key.removesuffix("}") + "_next}"
            if key := self._given(name):
                return key
            raise ConnectionError(
                f"the key of {audience.name} is handed in as {audience.key}: hand the new one in as {name}, rotate, "
                "then let it take the old one's place"
            )
        return self._kept(f"{audience.name}.next") or self.make()

    def make(self) -> str:
        """A new key of 256 bits."""
        key = secrets.token_hex(32)
        self._connections.conceal(key)
        return key

    def keep(self, name: str, key: str) -> None:
        """Write a key to this machine, readable by its owner only; there is no moment with half a key."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._folder / f".{name}.{os.getpid()}"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / name)

    def forget(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def _kept(self, name: str) -> str | None:
        file = self._folder / name
        if not file.is_file():
            return None
        key = file.read_text(encoding="utf-8").strip()
        self._connections.conceal(key)
        return key

    def _given(self, reference: str | None) -> str | None:
        match = REFERENCE.fullmatch(reference or "")
        key = self._connections.get(match[1], match[2]) if match else None
        if key:
            self._connections.conceal(key)
        return key or None

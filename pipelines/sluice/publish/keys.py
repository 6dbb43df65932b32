"""Keys of published files and of the hash mask: given by reference, or generated on this machine. Never published."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

from sluice.config.audiences import Audience, Policy
from sluice.config.connections import REFERENCE, Connections
from sluice.errors import ConnectionError, DamagedError, PublishError
from sluice.publish import keyring
from sluice.system import write_private

NEXT = "_next"
"""Added to the name of a key, it names the key to rotate to."""


class Keys:
    """Looks where Connections looks (environment, .dlt/secrets.toml, connections.toml), then in SLUICE_HOME/keys.

    `${keyring.<entry>}` is an entry of the operating system's keyring, unless one of those places has a value for it.
    A missing entry is an error: without a key the file would not be encrypted.
    """

    def __init__(self, folder: Path, connections: Connections) -> None:
        self._folder = folder
        self._connections = connections

    def find(self, audience: Audience) -> str | None:
        """The key an audience's file is written with; None: it is not encrypted.

        Raises ConnectionError when it should be in the keyring and is not, or cannot be the key of a file.
        """
        return _of_files(audience, self._required(audience.key) or self._kept(audience.name))

    def masking(self, policy: Policy, published: Path | None) -> str:
        """The hash mask's key as 64 hex digits; generated on first use where none is given.

        `published` is the folder of a version with hashed values. Raises PublishError when their key is gone: with a
        new key every hash would change, silently.
        """
        key = self._required(policy.publishing.masking_key) or self._kept("masking")
        if key is None and published:
            raise PublishError(
                f"not published: the hash mask's key was in {self._folder / 'masking'} and is gone; with a new key, "
                "values would get other hashes than those readers have and join by. Put the file back, or give the key "
                f"as masking_key in audiences.yml. (If it is lost for good: remove {published}, tell the readers, and "
                "publish.)"
            )
        if key is None:
            key = self._make()
            write_private(self._folder / "masking", key)
        return hashlib.sha256(f"sluice masking {key}".encode()).hexdigest()

    def begin_rotation(self, audience: Audience) -> tuple[str | None, str]:
        """The current key of the files, and the one to rotate to, which is stored before it is used.

        The new one is `<key>_next` if the key is given by reference or is in the keyring. Otherwise, or if the keyring
        has none, it is generated. After an interruption it is the same one.
        """
        old = self._given(audience.key) or self._kept(audience.name)
        if entry := self._entry(audience.key):
            new = self._secret(keyring.get(entry + NEXT)) or self._make()
            keyring.put(entry + NEXT, new)
        elif self._given(audience.key):
            new = self._handed_in_next(audience, old)
        else:
            new = self._kept(f"{audience.name}.next") or self._make()
            write_private(self._folder / f"{audience.name}.next", new)
        return old, _of_files(audience, new) or new

    def end_rotation(self, audience: Audience, new: str) -> None:
        """Replace the old key by the new one, unless the key is given by reference."""
        if entry := self._entry(audience.key):
            keyring.put(entry, new)
            keyring.remove(entry + NEXT)
            self._forget(audience.name)  # a key of this machine, older than the keyring's
        elif not self._given(audience.key):
            write_private(self._folder / audience.name, new)
            self._forget(f"{audience.name}.next")

    def left_to_do(self, audience: Audience) -> str:
        """What the person who rotated has to do now."""
        if entry := self._entry(audience.key):
            return f"It is now the keyring's entry {entry!r}; readers need it: `keyring get {keyring.SERVICE} {entry}`"
        if self._given(audience.key):
            return (
                f"Replace the old key by it now: {self._exchange(audience)}. Until then nothing is published; readers "
                "already need the new one"
            )
        return (
            f"It is kept only in {self._folder / audience.name}: without it nobody can read these files. Readers need "
            "it from now on"
        )

    def missing(self, audience: Audience, opens: Callable[[str], bool], published: Path) -> str:
        """Why the current key does not open what is published, and what to do; `opens` tries a key."""
        if (following := self._given(_next(audience.key))) and opens(following):
            return f"after a rotation it has the next key, which must replace the old one: {self._exchange(audience)}"
        kept = self._folder / audience.name
        if match := REFERENCE.fullmatch(audience.key or ""):
            place = self._connections.place(match[1], match[2])
            if self._entry(audience.key):
                place = f"the keyring's entry {match[2]!r}"
            if self.find(audience) is None:
                what = f"{audience.key} has no value here: set {place} (or put {kept} back, if the key was there)"
            else:
                what = (
                    f"the current key ({place}) does not open it: set the right one; to change the key, use "
                    f"`sluice publish --rotate-key {audience.name}`"
                )
        elif kept.is_file():
            what = f"the key in {kept} does not open it: put the right one there"
        else:
            what = f"{kept} is gone, and audiences.yml names no other key: put the file back, or name one under `key`"
        return (
            f"{what}. (If it is lost for good, nobody can read the kept versions again: set another key, remove "
            f"{published}, and publish.)"
        )

    def _exchange(self, audience: Audience) -> str:
        old, new = (REFERENCE.fullmatch(name or "") for name in (audience.key, _next(audience.key)))
        assert old
        assert new
        places = [self._connections.place(match[1], match[2]) for match in (old, new)]
        return f"set {places[0]} to the value of {places[1]}, and remove the latter"

    def _handed_in_next(self, audience: Audience, old: str | None) -> str:
        match = REFERENCE.fullmatch(_next(audience.key) or "")
        assert match
        place = self._connections.place(match[1], match[2])
        key = self._given(match[0])
        if key is None:
            raise ConnectionError(
                f"the key of {audience.name} is given as {audience.key}, so the next one is given as well: set {place} "
                "and repeat the command"
            )
        if key == old:
            raise ConnectionError(
                f"the next key of {audience.name} ({place}) equals the current one: set another one"
            )
        return key

    def _make(self) -> str:
        """A new key of 256 bits."""
        key = secrets.token_hex(32)
        self._connections.conceal(key)
        return key

    def _forget(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def _kept(self, name: str) -> str | None:
        file = self._folder / name
        if not file.is_file():
            return None
        try:
            key = file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            key = ""
        if not key.isprintable() or not key:  # an empty one would hash as if there were no secret
            raise DamagedError(file, "it holds no key", "Restore it from a backup, or put the key into it")
        return self._secret(key)

    def _required(self, reference: str | None) -> str | None:
        key = self._given(reference)
        if key is None and (entry := self._entry(reference)):
            raise ConnectionError(
                f"{reference}: the keyring ({keyring.name()}) has no entry {entry!r}; "
                f"`keyring set {keyring.SERVICE} {entry}` sets it, and `sluice publish --rotate-key AUDIENCE` makes a "
                "new key for an audience"
            )
        return key

    def _given(self, reference: str | None) -> str | None:
        if entry := self._entry(reference):
            return self._secret(keyring.get(entry))
        match = REFERENCE.fullmatch(reference or "")
        return self._secret(self._connections.get(match[1], match[2])) if match else None

    def _entry(self, reference: str | None) -> str | None:
        """The keyring entry a reference names; None for a reference to something else."""
        match = REFERENCE.fullmatch(reference or "")
        if match is None or match[1] != keyring.CONNECTION or self._connections.get(match[1], match[2]):
            return None
        return match[2]

    def _secret(self, key: str | None) -> str | None:
        if key:
            self._connections.conceal(key)
        return key or None


def _of_files(audience: Audience, key: str | None) -> str | None:
    """The key, if files can be encrypted with it; DuckDB takes it for the text of a BLOB. Raises ConnectionError."""
    if key and not (key.isascii() and key.isprintable() and "\\" not in key):
        raise ConnectionError(
            f"a key of {audience.name} ({audience.key or 'in keys/'}) cannot encrypt files: use letters, digits and "
            "signs of ASCII, without \\"
        )
    return key


def _next(reference: str | None) -> str | None:
    """The reference to the key to rotate to."""
    return reference.removesuffix("}") + NEXT + "}" if reference else None

"""Connections and secrets by name: found in the environment, in dlt's secrets files or on this machine only.

Every value that is handed out is remembered, so that no message, log or report can repeat it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from sluice.errors import ConnectionError, did_you_mean

REFERENCE = re.compile(r"\$\{([a-zA-Z_][a-zA-Z0-9_]*)\.([a-zA-Z_][a-zA-Z0-9_]*)\}")
"""How a declaration names a value of a connection: `${connection.key}`."""
SECRET_KEYS = re.compile(r"(password|passwd|secret|token|api_key|access_key)$", re.IGNORECASE)
"""Keys whose value is a secret in every kind; a literal there is refused."""
URL_PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@$]+(?=@)")
"""User and password in a URL."""
INSIDE = re.compile(
    r"(?:(?:password|passwd|pwd|secret|token|api_?key|access_?key)=|\b(?:bearer|basic|token)\s+)([^\s&;\"']+)",
    re.IGNORECASE,
)
"""Secrets inside a longer value: a query, a connection string, a header."""


class Connections:
    """Looks up `connections.<name>.<key>`; values are text.

    Order: environment variable `CONNECTIONS__<NAME>__<KEY>`, `.dlt/secrets.toml` of the project and then of
    the user (`[connections.<name>]`), and last `SLUICE_HOME/connections.toml`, which the sandbox writes. `given` are
    values by connection and key that are not set anywhere yet, and go before all others.
    """

    def __init__(
        self, root: Path, machine: Path, given: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._given: Mapping[str, Mapping[str, str]] = given or {}
        self._files = [root / ".dlt" / "secrets.toml", Path.home() / ".dlt" / "secrets.toml", machine]
        self._tables = [_connections_of(file) for file in self._files]
        self._handed_out: set[str] = set()

    def give(self, name: str, values: Mapping[str, str]) -> None:
        """Values of a connection that are not set anywhere yet; they go before all others."""
        self._given = {**self._given, name: dict(values)}

    def get(self, name: str, key: str, default: str | None = None) -> str | None:
        """The value, or `default`."""
        value = self._given.get(name, {}).get(key) or os.environ.get(_variable(name, key))
        for file, table in zip(self._files, self._tables, strict=True):
            if value is None and key in table.get(name, {}):
                value = _text(table[name][key])
                if value is None:
                    raise ConnectionError(
                        f"{file}: {key} under [connections.{name}] is not a text; write it in quotes"
                    )
        if value is None:
            return default
        self._remember(key, value)
        return value

    def require(self, name: str, key: str) -> str:
        """The value; raises ConnectionError that says where it may be set. One that is empty was not set."""
        value = self.get(name, key)
        if not value:
            known = self.names()
            hint = did_you_mean(key, self.all(name)) if name in known else did_you_mean(name, known)
            raise ConnectionError(
                f"the connection {name!r} has no {key!r}: set {self.place(name, key)}.{hint}{sandbox_hint()}"
            )
        return value

    def place(self, name: str, key: str) -> str:
        """Where a value is set, or can be set, as a phrase for messages."""
        if _variable(name, key) in os.environ:
            return f"{_variable(name, key)} in the environment"
        for file, table in zip(self._files, self._tables, strict=True):
            if key in table.get(name, {}):
                return f"{key} under [connections.{name}] in {file}"
        variable = f"{_variable(name, key)} in the environment or .env"
        return f"{variable}, or {key} under [connections.{name}] in .dlt/secrets.toml"

    def names(self) -> set[str]:
        """The names of all connections."""
        return {*(name for table in (*self._tables, self._given) for name in table), *_names_in_environment()}

    def all(self, name: str) -> dict[str, str]:
        """Every key of a connection."""
        prefix = _variable(name, "")
        keys = {k.removeprefix(prefix).lower() for k in os.environ if k.startswith(prefix)}
        keys |= {key for table in (*self._tables, self._given) for key in table.get(name, {})}
        return {key: self.get(name, key) or "" for key in sorted(keys)}

    def fill(self, value: Any) -> Any:
        """A declaration with every `${connection.key}` replaced by its value."""
        if isinstance(value, dict):
            return {key: self.fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        if isinstance(value, str):
            return REFERENCE.sub(lambda match: self.require(match[1], match[2]), value)
        return value

    def redact(self, text: str) -> str:
        """`text` with every secret handed out so far redacted."""
        for secret in sorted(self._handed_out, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def conceal(self, secret: str) -> None:
        """Remember a secret that came up while working, such as a token a server gave."""
        if len(secret) >= 4:  # redacting shorter ones would hide ordinary words
            self._handed_out.add(secret)

    def _remember(self, key: str, value: str) -> None:
        secrets = INSIDE.findall(value)
        if "://" in value:
            try:
                password = urlsplit(value).password
            except ValueError:  # it is not known where in the value it is
                password = value
            secrets += [password] if password else []
        if SECRET_KEYS.search(key) or key.endswith("private_key"):
            secrets += [value, *value.splitlines()]
        for secret in secrets:  # as it is, and as a server or a library may write it into a URL
            for spelling in (secret, unquote(secret), quote(secret, safe=""), quote_plus(secret)):
                self.conceal(spelling)


def sandbox_hint() -> str:
    """A hint for messages about what cannot be reached, where the example company is installed; else empty."""
    return " (Is it the sandbox's? `sluice sandbox up`.)" if entry_points(group="sluice.sandbox") else ""


def _variable(name: str, key: str) -> str:
    return f"CONNECTIONS__{name}__{key}".upper()


def _names_in_environment() -> set[str]:
    return {key.split("__")[1].lower() for key in os.environ if re.match(r"CONNECTIONS__\w+?__\w", key)}


def _text(value: Any) -> str | None:
    """A value of TOML as text; None where it is not one value."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _connections_of(file: Path) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    try:
        text = file.read_bytes().decode("utf-8-sig")
        content = tomllib.loads(text)
    except UnicodeDecodeError as error:
        before = error.object.count(b"\n", 0, error.start)
        raise ConnectionError(f"{file}:{before + 1}: is not UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        why, _, place = str(error).partition(" (at ")
        line = (
            place.removeprefix("line ").partition(",")[0]
            if place.startswith("line")
            else len(text.splitlines())
        )
        raise ConnectionError(
            f'{file}:{line}: is not TOML: {why[:1].lower()}{why[1:]}; write [connections.shop], and below it url = "…"'
        ) from None
    for name in content:
        if "connections" not in content and did_you_mean(name, ["connections"]):
            raise ConnectionError(f"{file}: [{name}.…] is not read. Did you mean connections?")
    tables = content.get("connections", {})
    for name, keys in tables.items() if isinstance(tables, dict) else [("", tables)]:
        if not isinstance(keys, dict):
            where = f"connections.{name}".rstrip(".")
            raise ConnectionError(
                f'{file}: {where} is one value; write [connections.shop], and below it url = "…"'
            )
    return dict(tables)

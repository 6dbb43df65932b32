"""Secrets are found by name, and never shown again."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.config.connections import Connections
from sluice.errors import ConnectionError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connections:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(
        tmp_path / ".dlt" / "secrets.toml",
        '[connections.shop]\nurl = "project"\nuser = "p"\n[other]\nx = 1\n',
    )
    write(tmp_path / "home" / ".dlt" / "secrets.toml", '[connections.shop]\nuser = "home"\nport = 5432\n')
    machine = write(tmp_path / "connections.toml", '[connections.shop]\nurl = "machine"\nkey = "m"\n')
    return Connections(tmp_path, machine)


def test_the_nearest_wins(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connections.get("shop", "url") == "project"
    assert connections.get("shop", "user") == "p"
    assert connections.get("shop", "port") == "5432"
    assert connections.get("shop", "key") == "m"
    assert connections.get("shop", "nothing", "default") == "default"
    monkeypatch.setenv("CONNECTIONS__SHOP__URL", "environment")
    monkeypatch.setenv("CONNECTIONS__SHOP__EXTRA", "e")
    assert connections.get("shop", "url") == "environment"
    assert connections.all("shop") == {
        "extra": "e", "key": "m", "port": "5432", "url": "environment", "user": "p"
    }  # fmt: skip


def test_a_missing_one_says_where_to_set_it(connections: Connections) -> None:
    with pytest.raises(
        ConnectionError, match=r"'shop' has no 'password': set CONNECTIONS__SHOP__PASSWORD in"
    ):
        connections.require("shop", "password")


def test_an_empty_one_counts_as_missing(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTIONS__EMPTY__URL", "")
    with pytest.raises(
        ConnectionError, match="'empty' has no 'url': set CONNECTIONS__EMPTY__URL in the environment"
    ):
        connections.require("empty", "url")
    assert connections.all("empty") == {"url": ""}


def test_references_are_filled(connections: Connections) -> None:
    declared = {"a": ["x ${shop.url}/${shop.key}", 5], "b": "${nothing}"}
    assert connections.fill(declared) == {"a": ["x project/m", 5], "b": "${nothing}"}


@pytest.mark.parametrize(
    ("key", "value", "secrets"),
    [
        ("password", "pa ss/wörd", ["pa ss/wörd", "pa%20ss%2Fw%C3%B6rd", "pa+ss%2Fw%C3%B6rd"]),
        ("client_secret", "abcdef", ["abcdef"]),
        ("url", "postgresql://u:pa%40ss@h:5/d", ["pa%40ss", "pa@ss"]),
        ("url", "postgresql://u@h/d?password=canary1&sslmode=x", ["canary1"]),
        ("url", "https://h/x?api_key=canary2", ["canary2"]),
        ("dsn", "host=h password=canary3 dbname=x", ["canary3"]),
        ("header", "Bearer canary4", ["canary4"]),
        ("private_key", "-----BEGIN KEY-----\ncanary5\n-----END KEY-----", ["canary5"]),
        ("secret_access_key", "a/b+canary6", ["a/b+canary6", "a%2Fb%2Bcanary6"]),
    ],
)
def test_what_was_handed_out_is_blotted_out(
    connections: Connections, monkeypatch: pytest.MonkeyPatch, key: str, value: str, secrets: list[str]
) -> None:
    monkeypatch.setenv(f"CONNECTIONS__S__{key}".upper(), value)
    assert connections.get("s", key) == value
    redacted = connections.redact("the " + " and ".join([value, *secrets]))
    assert not [s for s in secrets if s in redacted], redacted
    assert redacted.startswith("the ")


def test_short_values_do_not_blot_out_words(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTIONS__S__PASSWORD", "a")
    connections.get("s", "password")
    assert connections.redact("a table") == "a table"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[connections.shop\n", r"connections\.toml:1: is not TOML: expected ']' at the end of a table"),
        (b"[connections.shop]\nurl = postgresql://x\n", r"connections\.toml:2: is not TOML: invalid value"),
        (b"[connections.shop]\nurl = 'x\n", r"connections\.toml:2: is not TOML: "),
        (b"[connections.shop]\nurl = '\xe4'\n", r"connections\.toml:2: is not UTF-8; save it as UTF-8"),
        (b"[connection.shop]\nurl = 'x'\n", r"\[connection\.…\] is not read\. Did you mean connections\?"),
        (b"connections = 5\n", r"connections is one value; write \[connections\.shop\]"),
        (b"[connections]\nshop = 'x'\n", r"connections\.shop is one value; write \[connections\.shop\]"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    machine = tmp_path / "connections.toml"
    machine.write_bytes(text)
    with pytest.raises(ConnectionError, match=message) as raised:
        Connections(tmp_path, machine)
    assert "postgresql" not in str(raised.value)


def test_values_of_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    machine = tmp_path / "connections.toml"
    text = "[connections.shop]\nurl = 'x'\nport = 5\nsecure = false\nlist = [1]\n[connections.shop.table]\na = 1\n"
    machine.write_bytes(text.encode("utf-8-sig"))
    connections = Connections(tmp_path, machine)
    assert [connections.get("shop", key) for key in ("url", "port", "secure")] == ["x", "5", "false"]
    for key in ("list", "table"):
        with pytest.raises(
            ConnectionError, match=rf"{key} under \[connections\.shop\] is not a text; write it in quotes"
        ):
            connections.get("shop", key)


def test_misspelt_names_and_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CONNECTIONS__WEATHER__API_KEY", "canary")
    connections = Connections(tmp_path, write(tmp_path / "c.toml", "[connections.shop]\nulr = 'canary'\n"))
    for name, key, meant in (
        ("shop", "url", "ulr"),
        ("shpo", "url", "shop"),
        ("weather", "apikey", "api_key"),
        ("waether", "x", "weather"),
    ):
        with pytest.raises(ConnectionError, match=rf"Did you mean {meant}\?") as raised:
            connections.require(name, key)
        assert "canary" not in str(raised.value)

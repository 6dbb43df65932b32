"""Keys in the system's keyring: found there, rotated there, and missed with words that help.

The keyring is a real one that keeps its entries in a file, as there is no desktop session to ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import keyring
import keyring.core
import pytest

from sluice.errors import ConnectionError
from sluice.publish import publish, rotate_key

from .conftest import AUDIENCES, Company

ENTRY = "support_file"
POLICY = AUDIENCES.replace("${publish_support.key}", f"${{keyring.{ENTRY}}}")
COUNT = "select count(*) from dim_customers"


def _choose(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    keyring.core.init_backend()


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keyring of this test's own; its folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "keyring"))
    _choose(monkeypatch, "keyrings.alt.file.PlaintextKeyring")
    yield tmp_path / "keyring"
    monkeypatch.undo()
    keyring.core.init_backend()


def _entries() -> dict[str, str | None]:
    return {name: keyring.get_password("sluice", name) for name in (ENTRY, f"{ENTRY}_next")}


def test_a_key_comes_from_the_keyring(company: Company, ring: Path) -> None:
    company.policy(POLICY.replace("  keep: 3", "  keep: 3\n  masking_key: ${keyring.masking}"))
    keyring.set_password("sluice", ENTRY, "a key in the ring")
    keyring.set_password("sluice", "masking", "another")
    company.publish()
    with pytest.raises(duckdb.Error):
        company.read("support", COUNT)
    assert company.read("support", COUNT, "a key in the ring") == [(1000,)]
    assert not (company.settings.home / "keys").exists(), "no key of this machine was made"


def test_the_environment_comes_first(company: Company, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company.policy(POLICY)
    _choose(monkeypatch, "keyring.backends.fail.Keyring")
    monkeypatch.setenv(f"CONNECTIONS__KEYRING__{ENTRY}".upper(), "from outside")
    company.publish()
    assert company.read("support", COUNT, "from outside") == [(1000,)]


def test_a_missing_entry_is_not_taken_for_no_key(company: Company, ring: Path) -> None:
    company.policy(POLICY)
    with pytest.raises(ConnectionError, match=rf"no entry '{ENTRY}'; `keyring set sluice {ENTRY}` sets it"):
        company.publish()
    assert not (company.published / "current").exists()


@pytest.mark.parametrize("backend", ["keyring.backends.fail.Keyring", "nowhere.Keyring"])
def test_a_machine_without_a_keyring_says_what_to_do(
    company: Company, ring: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.policy(POLICY)
    company.built()
    _choose(monkeypatch, "keyrings.alt.file.PlaintextKeyring")
    keyring.set_password("sluice", ENTRY, "a key in the ring")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    keyring.core._keyring_backend = None  # as in a new process
    with pytest.raises(ConnectionError, match=f"the keyring's entry '{ENTRY}' cannot be read: ") as missing:
        publish(company.settings)
    if "fail" in backend:
        assert f"set the key as CONNECTIONS__KEYRING__{ENTRY.upper()}" in str(missing.value)
    assert "a key in the ring" not in str(missing.value)


def test_rotation_writes_the_new_key_back(company: Company, ring: Path) -> None:
    company.policy(POLICY)
    keyring.set_password("sluice", ENTRY, "the first")
    company.publish()
    rotated = rotate_key(company.settings, "support")
    assert len(rotated.versions) == 1
    assert f"readers need it: `keyring get sluice {ENTRY}`" in rotated.left_to_do
    made = _entries()[ENTRY]
    assert made not in (None, "the first")
    assert _entries()[f"{ENTRY}_next"] is None
    assert company.read("support", COUNT, made) == [(1000,)]
    keyring.set_password("sluice", f"{ENTRY}_next", "announced to the readers before")
    rotate_key(company.settings, "support")
    assert _entries() == {ENTRY: "announced to the readers before", f"{ENTRY}_next": None}
    assert company.publish().written["support"] == []


def test_rotation_makes_the_first_entry(company: Company, ring: Path) -> None:
    company.publish()
    company.policy(POLICY)
    rotate_key(company.settings, "support")
    assert company.read("support", COUNT, _entries()[ENTRY]) == [(1000,)]
    company.policy(AUDIENCES)
    with pytest.raises(ConnectionError, match="has no value here"):
        company.publish()


def test_rotation_moves_a_key_of_this_machine_into_the_keyring(company: Company, ring: Path) -> None:
    company.publish()
    rotate_key(company.settings, "support")
    assert (company.settings.home / "keys" / "support").exists()
    company.policy(POLICY)
    rotate_key(company.settings, "support")
    assert company.read("support", COUNT, _entries()[ENTRY]) == [(1000,)]
    assert not (company.settings.home / "keys" / "support").exists()


def test_a_keyring_that_takes_nothing_stops_the_rotation(
    company: Company, ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The null backend forgets what it is given; no file may be written with a key that nobody has."""
    company.publish()
    company.policy(POLICY)
    _choose(monkeypatch, "keyring.backends.null.Keyring")
    with pytest.raises(ConnectionError, match="does not return it"):
        rotate_key(company.settings, "support")
    assert company.read("support", COUNT) == [(1000,)]


def test_no_message_and_no_file_holds_a_key(company: Company, ring: Path) -> None:
    company.policy(POLICY)
    keyring.set_password("sluice", ENTRY, "the first key")
    company.publish()
    rotate_key(company.settings, "support")
    made = _entries()[ENTRY]
    assert made
    for file in [f for f in company.settings.home.rglob("*") if f.is_file()]:
        assert b"the first key" not in file.read_bytes(), file
        assert made.encode() not in file.read_bytes(), file

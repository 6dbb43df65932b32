"""One command at a time works on a folder; the others wait, and then name it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sluice.engine.locks import locked
from sluice.errors import LockedError, SluiceError


def test_two_at_once_wait_for_each_other(tmp_path: Path) -> None:
    with locked(tmp_path, "sluice load", seconds=5):
        started = time.monotonic()
        holder = rf"sluice load, process {os.getpid()}, since "
        with pytest.raises(LockedError, match=holder), locked(tmp_path, "other", seconds=0.3):
            pass
        assert 0.2 < time.monotonic() - started < 3
    with locked(tmp_path, "other", seconds=0):
        pass


def test_the_place_is_named_and_an_error_ends_the_lock(tmp_path: Path) -> None:
    def broken() -> None:
        with locked(tmp_path, "sluice publish", 0, "the folder"):
            with pytest.raises(LockedError, match=f"the folder {tmp_path} is in use: sluice publish"):
                locked(tmp_path, "other", 0, "the folder").__enter__()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert (tmp_path / "lock").read_text() == ""
    with locked(tmp_path, "other", 0):
        pass


def test_the_lock_survives_the_removal_of_its_file(tmp_path: Path) -> None:
    with locked(tmp_path, "sluice load", 0):
        (tmp_path / "lock").unlink()
        with pytest.raises(LockedError, match="is in use"), locked(tmp_path, "other", 0.2):
            pass
        (tmp_path / "lock").unlink()
    with locked(tmp_path, "other", 0):
        pass


def test_a_folder_in_place_of_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(SluiceError, match="lock is a folder"), locked(tmp_path, "other", 0):
        pass

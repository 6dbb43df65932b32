"""Errors written for the person who meets them, and the exit code each one ends the process with."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """Exit codes of the `sluice` command; `docs/cli.md` lists them."""

    OK = 0
    FAILED = 1  # a source, model, test or convention failed; the rest was done
    USAGE = 2  # the command line was wrong (typer uses the same code), or there is no project here
    DECLARATION = 3  # a source file is wrong; what depends on it was not started
    CONNECTION = 4  # a connection or a secret is missing or refused
    LOCKED = 5  # another process holds the warehouse
    INTERRUPTED = 130  # Ctrl-C


class SluiceError(Exception):
    """What happened, where, and what to do, in one text that is safe to print."""

    exit = Exit.FAILED


class UsageError(SluiceError):
    """The command line is wrong, or was typed where there is no project."""

    exit = Exit.USAGE


class DeclarationError(SluiceError):
    """A declaration has a mistake, or what was named is not declared."""

    exit = Exit.DECLARATION


class ConnectionError(SluiceError):  # noqa: A001 - the word people use for it
    """A connection is not configured, or the other side refused it."""

    exit = Exit.CONNECTION


class NotLookedAtError(SluiceError):
    """A system that a command leaves alone, with the reason; no failure."""


class LoadError(SluiceError):
    """A table could not be loaded; raw is as it was before."""


class PublishError(SluiceError):
    """Nothing was published; readers keep the version they have."""


class RunStoreError(SluiceError):
    """The run store cannot be written, so nothing is done."""


class VersionError(SluiceError):
    """A file was written by another version of the engine, or of its database, than the one that is installed."""


class UpgradeError(SluiceError):
    """The project could not be moved to this engine; everything is as it was, unless the message names what is not."""


class DamagedError(SluiceError):
    """A file that Sluice keeps cannot be read; it is left as it is."""

    def __init__(self, file: Path, why: str, way_back: str) -> None:
        super().__init__(f"{file} is damaged: {why}. {way_back}")


class LockedError(SluiceError):
    """Another process works on this warehouse."""

    exit = Exit.LOCKED


def nearest(given: str, known: Iterable[str]) -> list[str]:
    """At most two names that `given` is nearly spelled like, the nearest first."""
    names = {name.lower(): name for name in known}
    letters = sorted(given.lower())
    close = [n for n in names if sorted(n) == letters] or get_close_matches(given.lower(), names, 1, 0.85)
    close = close or get_close_matches(given.lower(), names, 2)
    return [names[name] for name in close]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A question that names what `given` is nearly spelled like, with a blank before it; "" if it is like nothing."""
    close = nearest(given, known)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def root_error(error: BaseException) -> BaseException:
    """What an error goes back to: the first SluiceError of its causes, else the last cause."""
    while not isinstance(error, SluiceError) and error.__cause__:
        error = error.__cause__
    return error


def with_hint(message: str, given: str, known: Iterable[str]) -> str:
    """The message, and after it what `given` is nearly spelled like."""
    hint = did_you_mean(given, known)
    return f"{message}.{hint}" if hint else message

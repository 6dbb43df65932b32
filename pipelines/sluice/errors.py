"""Errors written for the person who meets them, and the exit code each one ends the process with."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the `sluice` command; `docs/cli.md` lists them."""

    OK = 0
    FAILED = 1  # a source, model, test or convention failed; the rest was done
    USAGE = 2  # the command line was wrong (typer uses the same code)
    DECLARATION = 3  # a source file is wrong; nothing was started
    CONNECTION = 4  # a connection or a secret is missing or refused
    LOCKED = 5  # another process holds the warehouse
    INTERRUPTED = 130  # Ctrl-C


class SluiceError(Exception):
    """What happened, where, and what to do, in one text that is safe to print."""

    exit = Exit.FAILED


class DeclarationError(SluiceError):
    """A source file has a mistake."""

    exit = Exit.DECLARATION


class ConnectionError(SluiceError):  # noqa: A001 - the word people use for it
    """A connection is not configured, or the other side refused it."""

    exit = Exit.CONNECTION


class LoadError(SluiceError):
    """A table could not be loaded; raw is as it was before."""


class PublishError(SluiceError):
    """Nothing was published; readers keep the version they have."""


class RunStoreError(SluiceError):
    """The run store cannot be written, so nothing is done."""


class LockedError(SluiceError):
    """Another process works on this warehouse."""

    exit = Exit.LOCKED

"""What a review finds, how serious it is, and what somebody accepted with a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

ACCEPT = re.compile(
    r"review:\s*accept\s+(?P<id>[\w.:*/-]+)\s+because\s+(?P<reason>\S[^\n]*?)\s*(?:-->|\*/|#\}|$)", re.M
)
"""`-- review: accept where-added:invoices because drafts are not invoices`; a `*` at the end of the id
stands for anything. A line without a reason accepts nothing."""


class Level(IntEnum):
    """How serious a finding is; the verdict is that of the worst one that nobody accepted."""

    SAFE = 0
    LOOK = 1
    STOP = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One thing a reviewer has to know.

    `kind` and `subject` make the id that an accepting line names; both are stable between runs.
    """

    kind: str
    subject: str
    level: Level
    text: str
    file: str = ""
    """The file whose change is the cause; empty for what follows from it."""
    accepted: str | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.subject}"


def safe(kind: str, subject: str, text: str, file: str = "") -> Finding:
    """Nothing needs to be done."""
    return Finding(kind, subject, Level.SAFE, text, file)


def look(kind: str, subject: str, text: str, file: str = "") -> Finding:
    """A person has to look at it."""
    return Finding(kind, subject, Level.LOOK, text, file)


def stop(kind: str, subject: str, text: str, file: str = "") -> Finding:
    """Something breaks, unless a person accepts it with a reason."""
    return Finding(kind, subject, Level.STOP, text, file)


def verdict(findings: Iterable[Finding]) -> Level:
    """The level of the worst finding that was not accepted."""
    return max((f.level for f in findings if f.accepted is None), default=Level.SAFE)


def accepted_reasons(text: str) -> dict[str, str]:
    """Id (or id with `*` at its end) to reason, of every accepting line in `text`."""
    return {match["id"]: match["reason"] for match in ACCEPT.finditer(text)}


def accept(findings: Iterable[Finding], reasons: dict[str, str]) -> list[Finding]:
    """The findings, those that a line accepts marked with its reason; worst first, each once."""
    unique = {f.id + f.text: replace(f, accepted=_reason(f.id, reasons)) for f in findings}
    return sorted(unique.values(), key=lambda f: (f.accepted is not None, -f.level, f.kind, f.subject))


def _reason(identifier: str, reasons: dict[str, str]) -> str | None:
    for wanted, reason in reasons.items():
        if identifier == wanted or (wanted.endswith("*") and identifier.startswith(wanted[:-1])):
            return reason
    return None

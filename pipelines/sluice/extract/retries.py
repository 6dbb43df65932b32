"""Trying again what failed on a network: how long to wait before, and how it is told."""

from __future__ import annotations

import logging
import random
import time

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0

pause = time.sleep
"""What waits; tests put a clock of their own here."""


def backoff(attempt: int) -> float:
    """Seconds to wait after the failed try `attempt` (from 1): doubling up to a bound, less up to a half by chance.

    Chance spreads those who failed together, so that they do not come back together.
    """
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, guards nothing


def tell(table: str, what: str) -> None:
    """Show that something is tried again for a table."""
    log.warning("%s: %s", table, what)

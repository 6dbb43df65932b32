"""Retries of what failed on a network: how many, how long to wait before each, and how they are reported."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, stop_after_attempt
from tenacity.retry import retry_base

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0

pause = time.sleep
"""Waits between two tries; tests replace it by a clock of their own."""


def backoff(attempt: int) -> float:
    """Seconds to wait after the failed try `attempt` (from 1): doubling up to a bound, randomly shortened.

    At most by half. Clients that failed at the same moment so come back at different ones.
    """
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, guards nothing


def policy(
    tries: int, retry: retry_base, describe: Callable[[RetryCallState], str], report: Callable[[str], None]
) -> dict[str, Any]:
    """Options of tenacity's `Retrying` and `AsyncRetrying`: up to `tries`, with backoff; then the last error is raised.

    describe: says in a few words what a try has failed with; report: is called with that before each further try.
    """

    def before_sleep(state: RetryCallState) -> None:
        report(
            f"{describe(state)}; try {state.attempt_number + 1} of {tries} in {state.upcoming_sleep:.1f} s"
        )

    return {
        "stop": stop_after_attempt(tries),
        "retry": retry,
        "wait": lambda state: backoff(state.attempt_number),
        "before_sleep": before_sleep,
        "reraise": True,
    }


def log_retry(table: str, what: str) -> None:
    """Log that something is tried again for a table."""
    log.warning("%s: %s", table, what)

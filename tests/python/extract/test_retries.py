"""The wait before the next try: it doubles, has a bound, and is never the same for all."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from sluice.extract import retries
from sluice.extract.rest import errors as rest_errors
from sluice.extract.rest import http as rest_http


@given(st.integers(1, 1000))
def test_a_wait_lies_between_half_of_its_bound_and_the_bound(attempt: int) -> None:
    bound = min(retries.LONGEST_WAIT_SECONDS, retries.FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1))
    assert bound / 2 <= retries.backoff(attempt) <= bound


def test_waits_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    assert [retries.backoff(n) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_waits_differ() -> None:
    assert len({retries.backoff(5) for _ in range(20)}) > 1


def answer(status: int, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


@given(st.integers(1, 5), st.integers(0, 300))
def test_what_a_server_asks_for_is_waited_and_a_little_more(attempt: int, seconds: int) -> None:
    waited = rest_http._wait(attempt, answer(429, Retry_After=str(seconds)))
    least = min(retries.LONGEST_WAIT_SECONDS, retries.FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1)) / 2
    assert seconds + least <= waited <= seconds + retries.LONGEST_WAIT_SECONDS


def test_all_tries_of_a_request_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    assert sum(rest_http._wait(n, None) for n in range(1, rest_http.ATTEMPTS)) == 15.5


@pytest.mark.parametrize("seconds", ["301", "86400"])
def test_more_patience_than_a_load_has_is_an_error(seconds: str) -> None:
    with pytest.raises(rest_errors.TooLong, match=f"asks to wait {seconds} seconds"):
        rest_http._wait(1, answer(429, Retry_After=seconds))


def at(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


NOW = datetime(2026, 9, 30, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 2, 29, 12, 0, 0, tzinfo=UTC)
"""Also by the clock of this machine, which counts where the server tells no time."""


@pytest.mark.parametrize(
    ("header", "date", "expected"),
    [
        (None, None, None),
        ("", None, None),
        ("soon", None, None),
        ("-5", None, None),
        ("7", None, 7.0),
        (" 1.5 ", None, 1.5),
        (at(NOW + timedelta(seconds=90)), at(NOW), 90.0),
        (at(NOW - timedelta(seconds=90)), at(NOW), 0.0),
        (at(LONG_AGO), None, 0.0),
        (at(LONG_AGO), "no date", 0.0),
    ],
)
def test_retry_after(header: str | None, date: str | None, expected: float | None) -> None:
    assert rest_http.retry_after(header, date) == expected


def test_retries_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    retries.log_retry("orders", "status 503; try 2 of 6 in 0.5 s")
    assert caplog.messages == ["orders: status 503; try 2 of 6 in 0.5 s"]

"""What clients learn when something fails that is not theirs: one sentence, whose reference is in the server's log."""

from __future__ import annotations

import secrets
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow.flight as fl

MESSAGE_BYTES = 2_000
"""Of an error: gRPC writes three for each that is not ASCII into a header, of which clients receive 8 kB."""
Result = TypeVar("Result")


def internal_error(kind: str, error: BaseException | None = None) -> fl.FlightInternalError:
    """The error for a client, after its cause was written to the server's log (stderr), under the same reference.

    The log gets the kind and the place in the code, but no message, which may quote values.
    """
    reference = secrets.token_hex(4)
    places = "".join(traceback.format_tb(error.__traceback__)) if error else ""
    sys.stderr.write(f"internal error {reference}: {kind}\n{places}")
    sys.stderr.flush()
    return fl.FlightInternalError(
        f"the server could not answer because of an internal error; its log has the cause under {reference}"
    )


def shortened(message: str) -> str:
    """An error's message, which may quote a statement, as far as clients receive it."""
    return message.encode()[:MESSAGE_BYTES].decode(errors="ignore")


def answered(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function; what it raises reaches clients as an error of Flight, without a traceback."""
    try:
        return function(*arguments)
    except fl.FlightError:
        raise
    except Exception as error:
        raise internal_error(type(error).__name__, error) from None

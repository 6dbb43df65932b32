"""The operating system's keyring: Secret Service, KWallet, macOS Keychain, or what PYTHON_KEYRING_BACKEND names.

Every function raises ConnectionError when there is no keyring, or when it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sluice.errors import ConnectionError

CONNECTION = "keyring"
"""`${keyring.<entry>}` refers to an entry."""
SERVICE = "sluice"
"""The service all entries belong to; `keyring get sluice <entry>` shows one."""

Answer = TypeVar("Answer")


def get(entry: str) -> str | None:
    """The secret of an entry; None when there is none."""
    import keyring  # 0.1 s, and few keys are kept there

    return _ask(entry, "read", lambda: keyring.get_password(SERVICE, entry))


def put(entry: str, secret: str) -> None:
    """Store a secret; when this returns, it was read back."""
    import keyring

    _ask(entry, "written", lambda: keyring.set_password(SERVICE, entry, secret), secret)
    if get(entry) != secret:
        raise ConnectionError(
            f"the keyring ({name()}) stored {entry!r} but does not return it; use another keyring"
        )


def remove(entry: str) -> None:
    """Remove an entry, if there is one."""
    import keyring

    if get(entry) is not None:
        _ask(entry, "removed", lambda: keyring.delete_password(SERVICE, entry))


def name() -> str:
    """The name of the keyring in use."""
    import keyring

    return str(keyring.get_keyring().name)


def _ask(entry: str, done: str, question: Callable[[], Answer], secret: str = "") -> Answer:
    from keyring.errors import NoKeyringError

    what = f"the keyring's entry {entry!r} cannot be {done}"
    try:
        return question()
    except NoKeyringError:
        raise ConnectionError(
            f"{what}: this machine has no working keyring (no desktop session?). Choose one with "
            f"PYTHON_KEYRING_BACKEND, or set the key as CONNECTIONS__{CONNECTION.upper()}__{entry.upper()} in the "
            "environment, which takes precedence"
        ) from None
    except Exception as error:  # each backend has errors of its own
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConnectionError(f"{what}: {message.replace(secret, '***') if secret else message}") from None

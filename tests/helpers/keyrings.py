"""Keyrings that a test puts in the place of the system's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keyring
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyring.backends import null as nulls

__all__ = ["BrokenKeyring", "MemoryKeyring", "in_use", "none", "null"]


class MemoryKeyring(KeyringBackend):
    """Keeps what it is given until it is thrown away."""

    priority = -1  # never chosen by itself

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class BrokenKeyring(MemoryKeyring):
    """Refuses everything, and says the key while it does."""

    def get_password(self, service: str, username: str) -> str | None:
        raise RuntimeError("the collection is locked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"cannot keep {password}")


def none() -> KeyringBackend:
    """What the package has where the system has no keyring."""
    return fail.Keyring()  # type: ignore[no-untyped-call]


def null() -> KeyringBackend:
    """The one that says it keeps, and does not."""
    return nulls.Keyring()  # type: ignore[no-untyped-call]


@contextmanager
def in_use(backend: KeyringBackend) -> Iterator[None]:
    """Have `backend` be the system's keyring meanwhile."""
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield
    finally:
        keyring.set_keyring(before)

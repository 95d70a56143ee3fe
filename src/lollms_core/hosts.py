"""Which names can stand for a host in an address."""

from __future__ import annotations

__all__ = ["is_host"]


def is_host(name: str) -> bool:
    """Whether `name` can be looked up: labels of 1 to 63 characters, 253 in all, other letters as IDNA takes them.

    It is not looked up here. Addresses of numbers are names in this sense too, IPv6 without its brackets.
    """
    if ":" in name:
        return True
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(0 < len(label) < 64 for label in labels):
        return False
    try:
        name.encode("ascii" if name.isascii() else "idna")
    except UnicodeError:
        return False
    return True

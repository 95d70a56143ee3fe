"""Handing a binding the key that is kept for it, and nobody else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lollms_core.cli.terminal import never_show, say
from lollms_core.errors import SettingsError, UnsupportedParameter

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.cli.values import Kept
    from lollms_core.settings.keys import KeyStore

__all__ = ["give_key", "has_key"]

_log = logging.getLogger(__name__)


def give_key(construct: dict[str, Any], cls: type[LollmsLLMBinding], name: str, takes_key: bool, kept: Kept) -> None:
    """Put ``service_key`` into `construct`, unless it is there: the key that a profile names, else the binding's own.

    The binding's own is the key of its name. It goes only to the address that the binding has without being told one,
    and where the binding finds a key in a variable of its own (OPENAI_API_KEY), that comes first.

    Args:
        construct: the constructor's arguments.
        cls: the binding's class.
        name: the binding's name.
        takes_key: whether the constructor takes a ``service_key``.
        kept: what the profile says.

    Raises:
        AuthenticationError: the key that the profile names is not set.
        SettingsError: it cannot be read.
        UnsupportedParameter: the binding takes no key, and the profile names one.
    """
    if construct.get("service_key") is None:
        if not takes_key and kept.key is not None:
            raise UnsupportedParameter(f"the binding {name!r} takes no key, and the profile gives it {kept.key!r}")
        if kept.key is not None:
            construct["service_key"] = _store().need(kept.key, f"the binding {name!r}").reveal()
        elif takes_key and construct.get("host_address") is None:
            _give_own(construct, cls, name)
    if isinstance(construct.get("service_key"), str):
        never_show(construct["service_key"])


def has_key(name: str) -> bool:
    """Whether a key of the binding's name is kept."""
    try:
        return _store().has(name)
    except SettingsError as error:
        say(error)
        return False


def _store() -> KeyStore:
    from lollms_core.settings.keys import KeyStore

    return KeyStore()


def _give_own(construct: dict[str, Any], cls: type[LollmsLLMBinding], name: str) -> None:
    if not has_key(name):
        return
    store = _store()
    if not store.in_environment(name) and _has_one(cls):
        return
    key = store.find(name)
    if key is not None:
        construct["service_key"] = key.reveal()


def _has_one(cls: type[LollmsLLMBinding]) -> bool:
    """Whether the binding finds a key by itself."""
    try:
        return cls.unconfigured() == "remote"
    except Exception as error:  # noqa: BLE001 - an author's method, asked for what is nice to know
        _log.debug("%s cannot say whether it has a key: %s", cls.__name__, error)
        return False

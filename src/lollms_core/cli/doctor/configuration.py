"""The configuration file, the profiles in it, and the keys that the user keeps."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator

from lollms_core.errors import SettingsError, close_names
from lollms_core.findings import Finding
from lollms_core.settings.keys import KeyStore
from lollms_core.settings.profiles import Profile, Settings, config_path, read_settings

__all__ = ["configuration", "kept_keys"]

_VARIABLE = "LOLLMS_CONFIG"


def configuration(bindings: Collection[str]) -> Iterator[Finding]:
    """Whether the configuration can be read, and whether what its profiles name is there.

    Args:
        bindings: the names of those that can be used.
    """
    file = config_path()
    facts = {"path": str(file)}
    if not file.exists():
        if os.environ.get(_VARIABLE):
            yield Finding("problem", f"there is no {file}, which {_VARIABLE} names", f"unset {_VARIABLE}", facts=facts)
        else:
            yield Finding("absent", f"there is no {file}", facts=facts)
        return
    try:
        settings = read_settings(file)
    except SettingsError as error:
        yield Finding("problem", str(error), "correct it there, or remove the file", facts=facts)
        return
    count = len(settings.profiles)
    text = f"{file}, with {count} profile{'' if count == 1 else 's'}" if count else str(file)
    yield Finding("ok", text, facts={**facts, "profiles": list(settings.profiles), "default": settings.default})
    yield from _profiles(settings, bindings)


def _profiles(settings: Settings, bindings: Collection[str]) -> Iterator[Finding]:
    if settings.default is not None and settings.default not in settings.profiles:
        text = (
            f"the default profile {settings.default!r} is not there.{close_names(settings.default, settings.profiles)}"
        )
        yield Finding("problem", text, "lollms profiles default NAME (or --none)")
    keys: set[str] | None
    try:
        keys = set(KeyStore().names())
    except SettingsError:
        keys = None  # that is told with the keys
    for profile in settings.profiles.values():
        yield from _profile(profile, bindings, keys)


def _profile(profile: Profile, bindings: Collection[str], keys: Collection[str] | None) -> Iterator[Finding]:
    facts = {"profile": profile.name}
    name = shlex.quote(profile.name)
    if profile.binding is not None and profile.binding not in bindings:
        text = f"the profile {profile.name!r} is for the binding {profile.binding!r}, which cannot be used here."
        remedy = f"install it, or name another: lollms profiles set {name} -b NAME"
        yield Finding("problem", text + close_names(profile.binding, bindings), remedy, facts=facts)
    if profile.key is not None and keys is not None and profile.key not in keys and not _given(profile.key):
        text = f"the profile {profile.name!r} needs the key {profile.key!r}, which is not set"
        yield Finding("problem", text, f"lollms keys set {shlex.quote(profile.key)}", "key", facts=facts)


def _given(key: str) -> bool:
    return KeyStore().in_environment(key)


def kept_keys() -> Iterator[Finding]:
    """The keys that are kept, by name; none of them is shown or looked up in the keyring."""
    store = KeyStore()
    try:
        stored = store.all()
    except SettingsError as error:
        yield Finding("problem", str(error), f"lollms keys path tells where it is: {store.path}", "key")
        return
    for key in stored:
        where = {"environment": key.variable, "keyring": "the system keyring", "file": str(store.path)}[key.where]
        yield Finding("ok", f"{key.name}, in {where}", None, "key", {"key": key.name, "where": key.where})

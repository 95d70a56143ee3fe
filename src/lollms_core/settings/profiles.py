"""``config.toml`` read: profiles, each a binding with a model, options and the name of a key.

::

    default = "local"

    [profiles.local]
    binding = "llamacpp"
    model = "smollm2"
    system = "Answer in one sentence."

    [profiles.local.options]
    temperature = 0.2
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lollms_core.errors import SettingsError, close_names

__all__ = ["FIELDS", "Profile", "Settings", "check_key_name", "config_path", "parse_settings", "read_settings"]

FIELDS = ("binding", "model", "system", "key")
"""What a profile says beside its options; each a text."""

LARGEST = 1_000_000
"""Largest file of settings that is read, in bytes."""

_DEEPEST = 16  # levels of nested values in an option
_ELSEWHERE = {"model": "model", "model_name": "model", "system_prompt": "system", "service_key": "key"}
_NO_OPTIONS = {"images": "-i", "stream": "--no-stream"}


@dataclass(frozen=True, slots=True)
class Profile:
    """A binding and how it is used, under a name.

    Attributes:
        name: what it is called.
        binding: the binding's name; None where only the rest is wanted, with a binding named otherwise.
        model: the model's name.
        system: a system prompt.
        key: the name of the key that the binding is given; never the key itself.
        options: request fields, the binding's own options and its constructor's keywords, typed; read-only.
    """

    name: str
    binding: str | None = None
    model: str | None = None
    system: str | None = None
    key: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``config.toml`` says.

    Attributes:
        path: the file, which need not exist.
        default: the name of the profile that is used where nothing else is said.
        profiles: by name, in the file's order.
    """

    path: Path
    default: str | None = None
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))

    def profile(self, name: str) -> Profile:
        """The profile `name`.

        Raises:
            SettingsError: there is none, with close names.
        """
        if name in self.profiles:
            return self.profiles[name]
        hint = close_names(name, self.profiles) or " lollms profiles list shows those that are there."
        raise SettingsError(_bounded(f"there is no profile {shown(name)} in {self.path}.{hint}"))


def config_path() -> Path:
    """The file: the one that ``LOLLMS_CONFIG`` names, else ``config.toml`` in the platform's configuration folder."""
    named = os.environ.get("LOLLMS_CONFIG")
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_config_path("lollms", appauthor=False) / "config.toml"


def read_settings(path: Path | None = None) -> Settings:
    """What the file `path` says, :func:`config_path` unless told otherwise; nothing where there is no file.

    Raises:
        SettingsError: it cannot be read, is no TOML (with line and column), or says something unknown.
    """
    path = config_path() if path is None else path
    return parse_settings(read_toml(path, read_file(path)), path)


def read_file(path: Path) -> bytes:
    """The bytes of a file of settings, none where it is missing.

    Raises:
        SettingsError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise SettingsError(f"{path} is larger than {LARGEST} bytes: that is no file of settings")
    return content


def read_toml(path: Path, content: bytes) -> dict[str, Any]:
    """The data in `content`, the bytes of the file `path`.

    Raises:
        SettingsError: it is no TOML; the message tells line and column.
    """
    if not content:
        return {}
    import tomllib

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{_place(path, content[: error.start])}: a byte that is not UTF-8") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, found, where = str(error).rpartition(" (at ")
        numbers = [int(word) for word in where.rstrip(")").replace(",", "").split() if word.isdecimal()]
        at_end = len(numbers) != 2  # "at end of document"
        place = _place(path, content) if at_end else f"{path}, line {numbers[0]}, column {numbers[1]}"
        raise SettingsError(_bounded(f"{place}: {said if found else error}")) from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise SettingsError(_bounded(f"{path} has a value that cannot be read: {error}")) from None


def _place(path: Path, before: bytes) -> str:
    """Where `before` ends, as people count."""
    line = before.rpartition(b"\n")[2]
    column = len(line.decode("utf-8", "replace")) + 1
    return f"{path}, line {before.count(10) + 1}, column {column}"


# What the data must be ---------------------------------------------------------------------------------


def parse_settings(data: Mapping[str, Any], path: Path) -> Settings:
    """The settings that `data`, read from `path`, stand for.

    Raises:
        SettingsError: a name that is not known, with close ones, or a value of the wrong type.
    """
    for name in data.keys() - {"default", "profiles"}:
        raise _unknown(path, (name,), {"default", "profiles"})
    default = data.get("default")
    if default is not None:
        _check_text(path, ("default",), default)
    profiles = data.get("profiles", {})
    if not isinstance(profiles, dict):
        raise _wrong(path, ("profiles",), "a table, [profiles.NAME]")
    read = {name: _profile(path, name, said) for name, said in profiles.items()}
    return Settings(path, default, MappingProxyType(read))


def _profile(path: Path, name: str, said: object) -> Profile:
    place = ("profiles", name)
    if not isinstance(said, dict):
        raise _wrong(path, place, f"a table, [{dotted(place)}]")
    for key, value in said.items():
        if key == "options":
            continue
        if key not in FIELDS:
            raise _misplaced(path, place, key)
        _check_text(path, (*place, key), value)
    if said.get("key") is not None:
        _check_key(path, (*place, "key"), said["key"])
    options = said.get("options", {})
    if not isinstance(options, dict):
        raise _wrong(path, (*place, "options"), f"a table, [{dotted((*place, 'options'))}]")
    for key, value in options.items():
        _check_option(path, name, key, value)
    return Profile(name, **{key: said.get(key) for key in FIELDS}, options=MappingProxyType(dict(options)))


def _misplaced(path: Path, place: tuple[str, ...], key: str) -> SettingsError:
    from lollms_core.request import REQUEST_FIELDS

    if key in REQUEST_FIELDS and key not in _ELSEWHERE.keys() | _NO_OPTIONS.keys():
        table = dotted((*place, "options"))
        return SettingsError(_bounded(f"{path}: {dotted((*place, key))} belongs into the table [{table}]"))
    return _unknown(path, (*place, key), {*FIELDS, "options"})


def _check_text(path: Path, place: tuple[str, ...], value: object) -> None:
    if not isinstance(value, str):
        raise _wrong(path, place, "a text")
    if not value.strip():
        raise SettingsError(_bounded(f"{path}: {dotted(place)} is empty; take it out, or say what it is"))
    _check_encodable(path, place, value)


def _check_encodable(path: Path, place: tuple[str, ...], value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SettingsError(_bounded(f"{path}: {dotted(place)} has characters that are no Unicode text")) from None


def _check_key(path: Path, place: tuple[str, ...], name: str) -> None:
    try:
        check_key_name(name)
    except SettingsError as error:
        raise SettingsError(_bounded(f"{path}: {dotted(place)}: {error}")) from None


def check_key_name(name: str) -> None:
    """Check that `name` can be a key's name, and is no key itself.

    Raises:
        SettingsError: it can't; the message does not repeat it.
    """
    from lollms_core.discovery.reports import scrub

    plain = name.isascii() and name.replace("-", "a").replace("_", "a").replace(".", "a").isalnum()
    if scrub(name) != name or len(name) > 64:
        raise SettingsError("this looks like a key, not like a key's name; keep it with: lollms keys set NAME")
    if not plain or not name[0].isalnum():
        raise SettingsError("a key's name has letters, digits, '-', '_' and '.', and begins with one of the first two")


def _check_option(path: Path, profile: str, key: str, value: object) -> None:
    place = ("profiles", profile, "options", key)
    if key in _ELSEWHERE:
        better = dotted(("profiles", profile, _ELSEWHERE[key]))
        keep = ", the name of a key kept with: lollms keys set NAME" if key == "service_key" else ""
        raise SettingsError(_bounded(f"{path}: {dotted(place)} is no option: use {better}{keep}"))
    if key in _NO_OPTIONS:
        raise SettingsError(_bounded(f"{path}: {dotted(place)} can't stand in a profile: give {_NO_OPTIONS[key]}"))
    _check_value(path, place, value, 0)


def _check_value(path: Path, place: tuple[str, ...], value: object, depth: int) -> None:
    if depth > _DEEPEST:
        raise SettingsError(_bounded(f"{path}: {dotted(place[:4])} is nested too deeply"))
    if isinstance(value, str):
        _check_encodable(path, place, value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(path, (*place, str(key)), item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(path, place, item, depth + 1)
    elif not isinstance(value, (bool, int, float)):
        raise _wrong(path, place, "a text, a number, true or false, a list or a table")


# Messages ----------------------------------------------------------------------------------------------


def _unknown(path: Path, place: tuple[str, ...], known: Iterable[str]) -> SettingsError:
    close = close_names(place[-1], known) or f" It can be {', '.join(sorted(known))}."
    return SettingsError(_bounded(f"{path}: {dotted(place)} is not known.{close}"))


def _wrong(path: Path, place: tuple[str, ...], expected: str) -> SettingsError:
    return SettingsError(_bounded(f"{path}: {dotted(place)} must be {expected}"))


def dotted(place: Iterable[str]) -> str:
    """A name as TOML writes it, ``profiles.local.model``."""
    return ".".join(part if _bare(part) else shown(part) for part in place)


def shown(name: str) -> str:
    """A name from outside in quotes, short enough for a message."""
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:58]}…'"


def _bare(part: str) -> bool:
    return 0 < len(part) <= 60 and part.isascii() and part.replace("-", "a").replace("_", "a").isalnum()


def _bounded(text: str) -> str:
    from lollms_core.discovery.reports import bounded

    return bounded(" ".join(text.split()))

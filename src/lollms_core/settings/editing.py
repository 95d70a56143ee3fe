"""``config.toml`` edited: comments, order and layout stay, and what cannot be read is never overwritten."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lollms_core.errors import SettingsError
from lollms_core.settings.profiles import Settings, parse_settings, read_file, read_toml

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["REMOVED", "Place", "change_settings"]

Place = tuple[str, ...]
"""Where a value stands: ``("profiles", "local", "options", "temperature")``."""

_TRIES = 5


_Editor: TypeAlias = Callable[[str, Mapping[Place, Any]], bytes | None]
"""Text and changes to the new content; None where it cannot."""


class _Removed:
    def __repr__(self) -> str:
        return "REMOVED"


REMOVED: Final = _Removed()
"""In the place of a value: it is to be taken out, with all that is below it."""


def change_settings(path: Path, changes: Mapping[Place, Any]) -> Settings:
    """Change values in the file `path`, which is made where it is missing; gives the settings that it holds then.

    Args:
        path: the file; of a symbolic link, the file that it points to is changed.
        changes: the new value, or :data:`REMOVED`, of each place. Tables on the way are made.

    Raises:
        SettingsError: the file is broken or would be, it keeps being changed by somebody else, or tomlkit is missing.
        OSError: it cannot be written. The file is as before in either case.
    """
    from lollms_core.files import alone_in, write_whole

    place = Path(os.path.realpath(path))  # a link in the home folder to where the user keeps such files
    _editors(path)  # nothing is made where it cannot be filled
    with alone_in(place.parent):
        for _ in range(_TRIES):
            before = read_file(place)
            settings, after = _changed(path, before, changes)
            if after == before:
                return settings
            if read_file(place) != before:
                continue  # an editor, say, has written meanwhile
            write_whole(place, after, _mode(place))
            return settings
    raise SettingsError(f"{path} is being changed by another program; try again")


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0o600


def _changed(path: Path, before: bytes, changes: Mapping[Place, Any]) -> tuple[Settings, bytes]:
    """The settings after the changes, and the bytes that say so."""
    data = read_toml(path, before)
    parse_settings(data, path)
    for place, value in changes.items():
        _put(data, place, value, dict)
    settings = parse_settings(data, path)
    wanted = _canonical(data)
    for edit in _editors(path):
        # Neither way knows every layout: what it makes of this one is looked at before it counts.
        after = edit(before.decode("utf-8-sig"), changes)
        if after is not None and _canonical(_read_again(path, after)) == wanted:
            return settings, after
    raise SettingsError(f"{path} is laid out in a way that cannot be edited with its comments kept: edit it by hand")


def _read_again(path: Path, content: bytes) -> Any:
    try:
        return read_toml(path, content)
    except SettingsError:
        return None


def _canonical(data: Any) -> str:
    """For comparison, with 1 and 1.0 apart, NaN equal to itself, and without tables that say nothing by being there."""
    if isinstance(data, dict) and isinstance(profiles := data.get("profiles"), dict):
        said = {name: _without_empty_options(one) for name, one in profiles.items()}
        data = {**data, "profiles": said}
        if not said:
            del data["profiles"]
    return json.dumps(data, sort_keys=True, default=repr)


def _without_empty_options(profile: Any) -> Any:
    if isinstance(profile, dict) and profile.get("options") == {}:
        return {name: value for name, value in profile.items() if name != "options"}
    return profile


def _editors(path: Path) -> tuple[_Editor, ...]:
    try:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError
    except ImportError:
        raise SettingsError(f'changing {path} needs tomlkit: pip install "lollms-core[cli]"') from None
    from lollms_core.settings import layout

    def by_section(text: str, changes: Mapping[Place, Any]) -> str:
        return layout.edited(text, changes, REMOVED)

    def whole(text: str, changes: Mapping[Place, Any]) -> str:
        document = tomlkit.parse(text)
        for place, value in changes.items():
            _put(document, place, value, _Tables(place))
        return tomlkit.dumps(document)

    def guarded(edit: Callable[[str, Mapping[Place, Any]], str]) -> _Editor:
        def attempt(text: str, changes: Mapping[Place, Any]) -> bytes | None:
            try:
                return edit(text, changes).encode()
            except (TOMLKitError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
                return None

        return attempt

    return guarded(by_section), guarded(whole)


class _Tables:
    """Makes the tables on the way to a place: those that hold only tables get no line of their own."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __call__(self, depth: int = 0, parent: Any = None) -> Any:
        import tomlkit
        from tomlkit.items import InlineTable

        if isinstance(parent, InlineTable):
            return tomlkit.inline_table()
        return tomlkit.table(is_super_table=self._place[: depth + 1] == ("profiles",))


def _put(data: MutableMapping[str, Any], place: Place, value: Any, new_table: Any) -> None:
    """Set the value at `place`, or take it out."""
    *way, last = place
    for depth, name in enumerate(way):
        if name not in data:
            if value is REMOVED:
                return
            data[name] = new_table(depth, data) if isinstance(new_table, _Tables) else new_table()
        data = data[name]
    if value is not REMOVED:
        data[last] = value
    elif last in data:
        del data[last]

"""Keys by name: from the environment, else from the system's keyring, else from a file that only its owner may read.

``keys.json`` beside ``config.toml`` says which keys there are: the key itself, or null for one that is in the keyring.
So a name that was never set costs no look into the keyring, which takes time and may ask the user for a password.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias, TypeVar

from lollms_core.errors import AuthenticationError, SettingsError, close_names
from lollms_core.redaction import Hidden, Redaction, Secret, forget_locals
from lollms_core.settings.profiles import LARGEST, check_key_name, config_path

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["PREFIX", "SERVICE", "KeyStore", "StoredKey", "variable_of"]

SERVICE: Final = "lollms"
"""The name under which the keyring has our keys; the user name there is the key's name."""

PREFIX: Final = "LOLLMS_KEY_"
"""What the environment variables with keys begin with."""

_LONGEST: Final = 16_384  # characters
_NO_BACKENDS: Final = frozenset({"keyring.backends.fail", "keyring.backends.null"})

Where: TypeAlias = Literal["environment", "keyring", "file"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def variable_of(name: str) -> str:
    """The environment variable for the key `name`: ``LOLLMS_KEY_MY_KEY`` for my-key."""
    return PREFIX + "".join(letter if letter.isalnum() else "_" for letter in name).upper()


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What can be said of a key without saying it.

    Attributes:
        name: of the key.
        where: the place it is taken from: environment, keyring or file.
        variable: the environment variable that comes first.
        masked: ``***`` with the last four characters of a long key; ``***`` alone for one in the keyring, which is not
            opened to make a list.
    """

    name: str
    where: Where
    variable: str
    masked: str


class KeyStore:
    """The keys of this user.

    Args:
        path: the file; ``keys.json`` beside :func:`config_path` by default.
        environ: the environment, ``os.environ`` by default.
    """

    def __init__(self, path: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.path = config_path().with_name("keys.json") if path is None else path
        self._environ = os.environ if environ is None else environ

    # Reading ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> Secret | None:
        """The key `name`, None if there is none.

        Raises:
            SettingsError: the file or the keyring cannot be read, or what is there is no key.
        """
        variable = variable_of(name)
        if self.in_environment(name):
            return _checked(Secret(self._environ[variable].strip()), variable)
        stored = self._read()
        if name not in stored:
            return None
        found = Secret(stored[name] or "")
        if stored[name] is not None:
            return _checked(found, f"the key {name!r} in {self.path}")
        kept = _guarded(f"reading the key {name!r}", lambda: _secret_in(_needed_keyring(name), name))
        if kept is None:
            raise SettingsError(f"the key {name!r} is no longer in the system keyring: lollms keys set {name}")
        return _checked(kept, f"the key {name!r} in the system keyring")

    def need(self, name: str, what_for: str) -> Secret:
        """The key `name`.

        Args:
            name: of the key.
            what_for: who needs it, for the message.

        Raises:
            AuthenticationError: there is none, with close names.
            SettingsError: as :meth:`find`.
        """
        found = self.find(name)
        if found is None:
            close = close_names(name, self.names())
            raise AuthenticationError(
                f"{what_for} needs the key {name!r}, which is not set.{close} "
                f"Set it with: lollms keys set {name} (or in {variable_of(name)})"
            )
        return found

    def has(self, name: str) -> bool:
        """Whether there is a key `name`; the keyring is not asked.

        Raises:
            SettingsError: the file cannot be read.
        """
        return self.in_environment(name) or name in self._read()

    def in_environment(self, name: str) -> bool:
        """Whether the key `name` comes from the environment."""
        return bool(self._environ.get(variable_of(name), "").strip())

    def names(self) -> list[str]:
        """The names of all keys, sorted.

        Raises:
            SettingsError: the file cannot be read.
        """
        return [stored.name for stored in self.all()]

    def all(self) -> list[StoredKey]:
        """All keys by name; one in the environment stands in the place of a stored one.

        Raises:
            SettingsError: the file cannot be read.
        """
        given = {v: key.strip() for v, key in self._environ.items() if v.startswith(PREFIX) and key.strip()}
        found = []
        for name, key in self._read().items():
            variable = variable_of(name)
            where: Where = "environment" if variable in given else "keyring" if key is None else "file"
            found.append(StoredKey(name, where, variable, _masked(given.get(variable, key))))
        known = {stored.variable for stored in found}
        for variable in given.keys() - known - {PREFIX}:
            name = variable[len(PREFIX) :].lower()
            found.append(StoredKey(name, "environment", variable, _masked(given[variable])))
        return sorted(found, key=lambda stored: stored.name)

    # Changing ---------------------------------------------------------------------------------------------

    def keep(self, name: str, key: Secret, *, in_file: bool = False) -> Where:
        """Keep `key` under `name`, in the place of what was there; gives where it is now.

        Args:
            name: of the key.
            key: the key.
            in_file: not in the keyring, though there is one.

        Raises:
            SettingsError: the name or the key is none, or the keyring refuses; nothing is changed.
            OSError: the file cannot be written; nothing is changed.
        """
        check_key_name(name)
        _checked(key, "what was given")
        stored = self._read()
        keyring = None if in_file else _keyring()
        if keyring is None:
            self._put(name, key)
            self._leave_keyring(name, stored)
            return "file"
        doing = f"keeping the key {name!r}"
        before = _guarded(doing, lambda: _secret_in(keyring, name))
        _guarded(doing, lambda: keyring.set_password(SERVICE, name, key.reveal()), key)
        try:
            self._put(name, None)
        except OSError:
            if before is None:
                _guarded(doing, lambda: keyring.delete_password(SERVICE, name))
            else:
                _guarded(doing, lambda: keyring.set_password(SERVICE, name, before.reveal()), before)
            raise
        return "keyring"

    def _leave_keyring(self, name: str, stored: Mapping[str, str | None]) -> None:
        """Take what `stored` has in the keyring out of it, if that can be had: the file says the key by now."""
        try:
            self._forget(name, stored)
        except SettingsError as error:
            _log.warning("the key %r is in the file now; what the keyring has of it stays there: %s", name, error)

    def remove(self, name: str) -> Where:
        """Forget the key `name`; gives where it was.

        Raises:
            SettingsError: there is none, it is in the environment only, or the keyring refuses.
            OSError: the file cannot be written.
        """
        stored = self._read()
        if name not in stored:
            variable = variable_of(name)
            if self.in_environment(name):
                raise SettingsError(f"the key {name!r} is in the environment: take {variable} out of it")
            raise SettingsError(f"there is no key {name!r}.{close_names(name, stored)}")
        where: Where = "keyring" if stored[name] is None else "file"
        self._forget(name, stored)
        with self._changing() as changed:
            changed.pop(name, None)
        return where

    def _forget(self, name: str, stored: Mapping[str, str | None]) -> None:
        """Take `name` out of the keyring, if `stored` says that it is there."""
        if name in stored and stored[name] is None:
            _guarded(f"removing the key {name!r}", lambda: _delete(_needed_keyring(name), name))

    # The file ---------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, str | None]:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                    raise SettingsError(
                        f"others may read the file of keys, {self.path}, whose mode is {stat.S_IMODE(mode):04o}; "
                        f"close it with: chmod 600 {shlex.quote(str(self.path))}"
                    )
                data = _parsed(file)
        except FileNotFoundError:
            return Hidden()
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be read: {error.strerror or error}") from None
        if data is None:
            raise SettingsError(
                f"{self.path} is no file of keys: it is a JSON object of names with keys, or null for those in the "
                f"keyring; mend it, or take it away and set the keys anew"
            )
        return data

    def _put(self, name: str, key: Secret | None) -> None:
        with self._changing() as changed:
            changed[name] = None if key is None else key.reveal()

    @contextmanager
    def _changing(self) -> Iterator[dict[str, str | None]]:
        """The file's content, to be changed; it is written at the end, and nobody else of ours writes meanwhile."""
        from lollms_core.files import alone_in, write_whole

        place = Path(os.path.realpath(self.path))
        with alone_in(place.parent):
            stored = self._read()
            yield stored
            try:
                write_whole(place, json.dumps(stored, indent=2, sort_keys=True).encode() + b"\n")
            except OSError as error:
                forget_locals(error)
                raise


def _parsed(file: BinaryIO) -> dict[str, str | None] | None:
    """The file's content; None if it is none. No error of the parser leaves here: it holds all of the text."""
    content = file.read(LARGEST + 1)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if len(content) > LARGEST or not isinstance(data, dict):
        return None
    return Hidden(data) if all(key is None or isinstance(key, str) for key in data.values()) else None


def _checked(key: Secret, what: str) -> Secret:
    """The key, if it can be one.

    Raises:
        SettingsError: it is empty, or has characters that no key has, since a key is sent in a header's line.
    """
    fault = _fault(key.reveal())
    if fault is not None:
        raise SettingsError(f"{what} {fault}")
    return key


def _fault(key: str) -> str | None:
    if not key:
        return "is empty"
    if len(key) > _LONGEST:
        return "is too long for a key"
    if not (key.isascii() and key.isprintable()) or " " in key:
        return "has characters that no key has (only printable ASCII without spaces)"
    return None


def _masked(key: str | None) -> str:
    return f"***{key[-4:]}" if key is not None and len(key) >= 20 and key.isascii() and key.isprintable() else "***"


# The keyring -------------------------------------------------------------------------------------------


def _keyring() -> KeyringBackend | None:
    """The system's keyring, None where there is no working one or the package is missing."""
    try:
        import keyring

        backend = keyring.get_keyring()
    except Exception as error:  # noqa: BLE001 - it talks to whatever is installed; what breaks there is no keyring
        _log.debug("there is no keyring: %s", error)
        return None
    return backend if _works(backend) else None


def _works(backend: Any) -> bool:
    chained = getattr(backend, "backends", None)  # of the backend that asks several
    if type(backend).__module__ == "keyring.backends.chainer" and chained is not None:
        return any(map(_works, chained))
    return type(backend).__module__ not in _NO_BACKENDS


def _needed_keyring(name: str) -> KeyringBackend:
    backend = _keyring()
    if backend is not None:
        return backend
    import importlib.util

    if importlib.util.find_spec("keyring") is None:
        raise SettingsError(f'the key {name!r} is in the system keyring, which needs: pip install "lollms-core[cli]"')
    raise SettingsError(
        f"the key {name!r} is in the system keyring, and there is none here: give it in {variable_of(name)}, "
        f"or keep it in a file with: lollms keys set {name} --file"
    )


def _secret_in(keyring: KeyringBackend, name: str) -> Secret | None:
    found = keyring.get_password(SERVICE, name)
    return None if found is None else Secret(found)


def _delete(keyring: KeyringBackend, name: str) -> None:
    if _secret_in(keyring, name) is not None:
        keyring.delete_password(SERVICE, name)


def _guarded(doing: str, call: Callable[[], _T], *secrets: Secret) -> _T:
    """What `call` gives; what a keyring raises is told in one line, without what it holds.

    Raises:
        SettingsError: the keyring failed.
    """
    try:
        return call()
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 - a keyring is a program of somebody else's
        hidden = Redaction(secret.reveal() for secret in secrets)
        said = hidden.text(f"{type(error).__name__}: {error}".rstrip(": "))
    # Raised here, so that the keyring's error with its locals does not stand behind ours.
    raise SettingsError(f"{doing}: the system keyring refused ({said}); --file keeps keys in a file instead")

"""Keys: where they are kept, which comes first, and that nothing shows one."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import keyring.backends.chainer
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyrings import BrokenKeyring, MemoryKeyring, in_use, none, null

from lollms_core.errors import AuthenticationError, SettingsError
from lollms_core.redaction import Secret
from lollms_core.settings.keys import KeyStore, variable_of

KEY = "sk-a-key-of-many-characters-1234"
OTHER = "another-key-of-many-characters-5678"

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")


@pytest.fixture
def environ() -> dict[str, str]:
    return {}


@pytest.fixture
def store(tmp_path: Path, environ: dict[str, str]) -> KeyStore:
    return KeyStore(tmp_path / "keys.json", environ)


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    with in_use(none()):
        yield


@pytest.fixture
def ring(no_keyring: None) -> Iterator[MemoryKeyring]:
    backend = MemoryKeyring()
    with in_use(backend):
        yield backend


def found(store: KeyStore, name: str) -> str | None:
    secret = store.find(name)
    return None if secret is None else secret.reveal()


def test_in_a_file_where_there_is_no_keyring(store: KeyStore) -> None:
    assert found(store, "work") is None
    assert store.keep("work", Secret(KEY)) == "file"
    assert store.keep("home", Secret(OTHER)) == "file"
    assert (found(store, "work"), found(store, "home")) == (KEY, OTHER)
    assert store.names() == ["home", "work"]
    if sys.platform != "win32":
        assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.remove("work") == "file"
    assert found(store, "work") is None
    assert KEY not in store.path.read_text()
    assert store.names() == ["home"]


def test_in_the_keyring_where_there_is_one(store: KeyStore, ring: MemoryKeyring) -> None:
    """The file says only that it is there."""
    assert store.keep("work", Secret(KEY)) == "keyring"
    assert ring.kept == {("lollms", "work"): KEY}
    assert json.loads(store.path.read_text()) == {"work": None}
    assert found(store, "work") == KEY
    assert store.has("work")
    assert store.remove("work") == "keyring"
    assert ring.kept == {}
    assert found(store, "work") is None


def chain(*backends: KeyringBackend) -> KeyringBackend:
    parent = keyring.backends.chainer.ChainerBackend
    namespace = {"__module__": parent.__module__, "priority": -1, "backends": list(backends)}
    made: KeyringBackend = type("Chain", (parent,), namespace)()
    return made


@pytest.mark.parametrize("name", ["fail", "null", "chained"])
def test_a_keyring_that_keeps_nothing_is_none(store: KeyStore, name: str) -> None:
    backend = {"fail": none(), "null": null(), "chained": chain(null())}[name]
    with in_use(backend):
        assert store.keep("work", Secret(KEY)) == "file"


def test_of_several_keyrings_one_that_works_is_enough(store: KeyStore) -> None:
    ring = MemoryKeyring()
    with in_use(chain(null(), ring)):
        assert store.keep("work", Secret(KEY)) == "keyring"


def test_without_the_package(store: KeyStore, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """New keys go to the file; for one in the keyring it is told what to install."""
    store.keep("work", Secret(KEY))
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert store.keep("home", Secret(OTHER)) == "file"
    with pytest.raises(SettingsError, match=r'pip install "lollms-core\[cli\]"'):
        store.find("work")


def test_a_keyring_that_is_gone(store: KeyStore) -> None:
    with in_use(MemoryKeyring()):
        store.keep("work", Secret(KEY))
    with pytest.raises(SettingsError, match="LOLLMS_KEY_WORK"):
        store.find("work")
    assert store.keep("work", Secret(OTHER)) == "file"
    assert found(store, "work") == OTHER


def test_the_environment_comes_first(store: KeyStore, environ: dict[str, str]) -> None:
    store.keep("my-key", Secret(KEY))
    environ[variable_of("my-key")] = f" {OTHER}\n"
    assert variable_of("my-key") == "LOLLMS_KEY_MY_KEY"
    assert found(store, "my-key") == OTHER
    environ[variable_of("my-key")] = ""
    assert found(store, "my-key") == KEY


def test_a_key_that_moves_leaves_nothing_behind(store: KeyStore, ring: MemoryKeyring) -> None:
    store.keep("work", Secret(KEY), in_file=True)
    assert ring.kept == {}
    store.keep("work", Secret(KEY))
    assert KEY not in store.path.read_text()
    store.keep("work", Secret(OTHER), in_file=True)
    assert ring.kept == {}
    assert found(store, "work") == OTHER


def test_the_list_tells_where_and_shows_no_key(store: KeyStore, ring: MemoryKeyring, environ: dict[str, str]) -> None:
    store.keep("a", Secret(KEY))
    store.keep("b", Secret(KEY), in_file=True)
    store.keep("c", Secret("short"), in_file=True)
    store.keep("my-d", Secret(KEY))
    environ |= {"LOLLMS_KEY_MY_D": OTHER, "LOLLMS_KEY_E": "x", "LOLLMS_KEY_": "x", "LOLLMS_KEY_F": " "}
    told = [(key.name, key.where, key.masked) for key in store.all()]
    assert told == [
        ("a", "keyring", "***"),
        ("b", "file", "***1234"),
        ("c", "file", "***"),
        ("e", "environment", "***"),
        ("my-d", "environment", "***5678"),
    ]


def test_two_names_of_one_variable_are_both_listed(store: KeyStore) -> None:
    store.keep("my-key", Secret(KEY))
    store.keep("my_key", Secret(OTHER))
    assert store.names() == ["my-key", "my_key"]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(store: KeyStore, mode: int) -> None:
    store.keep("work", Secret(KEY))
    store.path.chmod(mode)
    with pytest.raises(SettingsError, match=f"mode is {mode:04o}; close it with: chmod 600 "):
        store.find("work")
    with pytest.raises(SettingsError, match="chmod 600"):
        store.keep("home", Secret(OTHER))
    store.path.chmod(0o600)
    assert found(store, "work") == KEY


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"a": 3}', '{"a": ["sk-01234567"]}', f'{{"a": "{KEY}"', "[" * 100_000, "\x00"]
)
def test_a_broken_file_is_told_without_what_is_in_it(store: KeyStore, text: str) -> None:
    store.path.write_text(text)
    store.path.chmod(0o600)
    with pytest.raises(SettingsError, match="is no file of keys") as caught:
        store.find("a")
    assert_shows_nothing(caught.value)
    assert store.path.read_text() == text


@pytest.mark.parametrize("key", ["", "  ", "two words", "a\nb", "ä" * 20, "\x1b[31m", "x" * 20_000])
def test_what_is_no_key_is_refused(store: KeyStore, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        store.keep("work", Secret(key))
    assert not key.strip() or key not in str(caught.value)
    assert not store.path.exists()


@pytest.mark.parametrize("name", ["", "two words", "-x", "ä", "a" * 65, "sk-0123456789abcdef", "a/b", "a\n"])
def test_what_is_no_name_is_refused(store: KeyStore, name: str) -> None:
    with pytest.raises(SettingsError):
        store.keep(name, Secret(KEY))
    assert not store.path.exists()


def test_a_key_that_is_not_set(store: KeyStore, environ: dict[str, str]) -> None:
    store.keep("work", Secret(KEY))
    with pytest.raises(AuthenticationError, match=r"needs the key 'wrk'.*Did you mean work\?.*lollms keys set wrk"):
        store.need("wrk", "the binding 'openai'")
    with pytest.raises(SettingsError, match=r"no key 'wrk'\. Did you mean work\?"):
        store.remove("wrk")
    environ["LOLLMS_KEY_WRK"] = KEY
    with pytest.raises(SettingsError, match="LOLLMS_KEY_WRK"):
        store.remove("wrk")


def test_a_key_that_somebody_took_out_of_the_keyring(store: KeyStore, ring: MemoryKeyring) -> None:
    store.keep("work", Secret(KEY))
    ring.kept.clear()
    with pytest.raises(SettingsError, match="no longer in the system keyring: lollms keys set work"):
        store.find("work")
    assert store.remove("work") == "keyring"
    assert store.names() == []


# What fails changes nothing and shows nothing ----------------------------------------------------------


def assert_shows_nothing(error: BaseException, key: str = KEY) -> None:
    """Not in the message, the errors behind it, nor the locals of the frames."""
    assert error.__traceback__ is not None
    beneath = error.__traceback__.tb_next  # the test itself knows the key
    shown = traceback.TracebackException(type(error), error, beneath, capture_locals=True)
    assert key not in "".join(shown.format())
    assert key not in str(error)
    assert key not in repr(error.__context__)


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_file(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.keep("work", Secret(KEY))
    before = store.path.read_bytes()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        store.keep("home", Secret(OTHER))
    assert_shows_nothing(caught.value)
    assert_shows_nothing(caught.value, OTHER)
    assert store.path.read_bytes() == before
    assert list(store.path.parent.iterdir()) == [store.path]


@pytest.mark.parametrize("kept", [None, OTHER])
def test_a_full_disk_leaves_the_keyring(
    store: KeyStore, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, kept: str | None
) -> None:
    if kept is not None:
        store.keep("work", Secret(kept))
    before = dict(ring.kept)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.keep("work", Secret(KEY))
    assert ring.kept == before


def test_a_keyring_that_refuses(store: KeyStore) -> None:
    class Refusing(BrokenKeyring):
        def get_password(self, service: str, username: str) -> None:
            return None

    for backend in (BrokenKeyring(), Refusing()):
        with in_use(backend), pytest.raises(SettingsError, match=r"the system keyring refused.*--file") as caught:
            store.keep("work", Secret(KEY))
        assert_shows_nothing(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None
    assert not store.path.exists()


def test_nothing_is_logged(store: KeyStore, ring: MemoryKeyring, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store.keep("work", Secret(KEY))
    store.keep("work", Secret(KEY), in_file=True)
    assert KEY not in caplog.text
    assert KEY not in repr(vars(store))
    assert KEY not in repr(store.find("work"))


@pytest.mark.faults
@settings(
    max_examples=2000 if os.environ.get("LOLLMS_FAULTS") else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.binary(max_size=40) | st.from_regex(rb'\{("[a-z]{1,3}": ?(null|"[a-z]*"|[0-9]|\[\])(, ?)?){0,3}\}?'))
def test_any_bytes_are_keys_or_one_line(store: KeyStore, content: bytes) -> None:
    store.path.write_bytes(content)
    store.path.chmod(0o600)
    try:
        keys = store.all()
    except SettingsError as error:
        assert str(error).startswith(f"{store.path} is no file of keys")  # noqa: PT017
    else:
        assert {key.name for key in keys} == set(json.loads(content))

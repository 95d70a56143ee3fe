"""Error lines: one line, bounded, without keys."""

from __future__ import annotations

import pytest

from lollms_core.discovery.reports import MAX_LINE, hide_in, one_line, scrub, secrets_in

KEY = "marker-key-value"


@pytest.mark.parametrize(
    "arguments",
    [
        {"service_key": KEY},
        {"api_key": KEY},
        {"OPENAI_API_KEY": KEY},
        {"hf_token": KEY},
        {"password": KEY},
        {"headers": {"Authorization": f"Bearer {KEY}"}},
        {"headers": [{"x-api-key": KEY}]},
        {"auth": ("user", KEY)},
        {"service_key": KEY.encode()},
        {"host_address": f"http://user:{KEY}@host:1"},
        {"deep": {"er": {"secret": [KEY]}}},
    ],
)
def test_keys_are_known_by_the_name_of_their_argument(arguments: dict[str, object]) -> None:
    secrets = secrets_in(arguments)
    assert KEY in secrets
    assert KEY not in repr(secrets)
    assert KEY not in scrub(f"refused {KEY!r} and {KEY}", secrets)


@pytest.mark.parametrize(
    "arguments", [{"user_keyword": KEY}, {"model_name": KEY}, {"tokenizer": KEY}, {"service_key": None}]
)
def test_other_arguments_are_no_keys(arguments: dict[str, object]) -> None:
    assert secrets_in(arguments) == frozenset()


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefgh12345678",
        "hf_abcdefghijklmnopqrstuvwx",
        "gsk_abcdefgh1234567890ab",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY",
    ],
)
def test_what_looks_like_a_key_is_hidden_without_being_known(secret: str) -> None:
    """A plugin may read its own from the environment."""
    assert secret not in scrub(f"401 for {secret}: go away")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abc123def456",
        "api_key='abcdef123'",
        '{"api_key": "abcdef123"}',
        "http://me:hunter22@host/v1",
        "https://host/?token=abcdef123",
    ],
)
def test_what_stands_where_keys_stand_is_hidden(text: str) -> None:
    hidden = scrub(text)
    assert "***" in hidden
    assert not any(part in hidden for part in ("abc123", "abcdef123", "hunter22"))


@pytest.mark.parametrize(
    "text",
    [
        "TypeError: __init__() got an unexpected keyword argument 'service_key'",
        "KeyError: 'model'",
        "FileNotFoundError: /home/me/pytest/test_a_manager_without_hooks_never_imports_pluggy0/x.gguf",
        "http://127.0.0.1:11434/api/generate refused the connection",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_ordinary_texts_are_left_alone(text: str) -> None:
    assert scrub(text) == text


def test_an_error_becomes_one_bounded_line() -> None:
    assert one_line(ValueError("two\n  lines")) == "ValueError: two lines"
    assert one_line(RuntimeError()) == "RuntimeError"
    line = one_line(ValueError("x" * 10_000))
    assert len(line) == MAX_LINE
    assert line.endswith("…")


def test_keys_are_taken_out_of_an_error_and_the_errors_behind_it() -> None:
    """In the arguments, and in the attributes that built-in errors print."""
    secrets = secrets_in({"service_key": KEY})
    inner = OSError(5, f"bad {KEY}", f"/data/{KEY}")
    middle = KeyError({"key": KEY})
    middle.__context__ = inner
    outer = RuntimeError(f"refused {KEY}", [KEY])
    outer.__cause__ = middle
    inner.__context__ = outer  # a circle ends, too
    hide_in(outer, secrets)
    for error in outer, middle, inner:
        assert KEY not in str(error)
        assert KEY not in repr(error)
    assert str(inner) == "[Errno 5] bad ***: '/data/***'"


def test_an_error_that_resists_is_left_as_it_is() -> None:
    class Stubborn(Exception):
        def __init__(self) -> None:
            self.kept = f"own {KEY}"

        def __setattr__(self, name: str, value: object) -> None:
            if name in vars(self):
                raise AttributeError(name)
            super().__setattr__(name, value)

    error = Stubborn()
    hide_in(error, secrets_in({"service_key": KEY}))
    assert KEY in error.kept


def test_texts_that_an_error_of_its_own_class_keeps_are_cleaned() -> None:
    error = RuntimeError("x")
    error.detail = f"sent {KEY}"  # type: ignore[attr-defined]
    hide_in(error, secrets_in({"service_key": KEY}))
    assert error.detail == "sent ***"  # type: ignore[attr-defined]

"""Error texts that may be logged and shown: one line, bounded, without keys."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "NO_SECRETS",
    "Secrets",
    "bounded",
    "hide_in",
    "message_of",
    "one_line",
    "printable",
    "scrub",
    "secrets_in",
]

MAX_LINE = 600
"""Longest error line in characters; a plugin's message may be a page."""

_HIDDEN = "***"
_SHORTEST = 4  # a shorter value hides nothing and would mangle the text
_DEEPEST = 5  # levels of nested arguments that are searched

_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:\w*key|token|secret|password|passwd|passphrase|credential|authorization|auth|cookie)s?$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*:)([^/@\s]+)@")

# What keys look like, for those that we were never given: a plugin may read its own from the environment.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_URL_PASSWORD, rf"\1{_HIDDEN}@"),
    (re.compile(r"\bsk-[\w-]{8,}"), _HIDDEN),
    (re.compile(r"\b(?:gsk_|xai-|nvapi-|r8_|ghp_|gho_|github_pat_)[\w-]{16,}"), _HIDDEN),
    (re.compile(r"\bhf_[A-Za-z0-9]{20,}"), _HIDDEN),
    (re.compile(r"\bAIza[\w-]{30,}"), _HIDDEN),
    (re.compile(r"\beyJ[\w-]{10,}\.[\w.-]+"), _HIDDEN),
    (re.compile(r"\b(bearer|basic)\s+(?=\S*\d)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {_HIDDEN}"),
    (
        re.compile(r"((?:api|service|access|secret)[_-]?key[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&)]{4,}", re.IGNORECASE),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(r"((?:token|secret|password|passwd)[\"']?\s*=\s*[\"']?)[^\s\"',;&)]{4,}", re.IGNORECASE),
        rf"\1{_HIDDEN}",
    ),
    # Long runs of mixed letters and digits; paths and words have separators or one case.
    (re.compile(r"\b(?=[A-Za-z0-9]*[a-z])(?=[A-Za-z0-9]*[A-Z])(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{32,}\b"), _HIDDEN),
)


class Secrets(frozenset[str]):
    """Strings that must not be shown, not even by a traceback that prints the locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} secrets>"


NO_SECRETS = Secrets()


def secrets_in(arguments: Mapping[str, Any]) -> Secrets:
    """The strings among `arguments` that are keys by their name (service_key, headers' Authorization, ...)."""
    found: set[str] = set()
    _collect(arguments, secret=False, depth=0, found=found)
    return Secrets(text for text in found if len(text) >= _SHORTEST)


def scrub(text: str, secrets: Secrets = NO_SECRETS) -> str:
    """`text` with `secrets` and all that looks like a key replaced by ``***``."""
    text = _replace(text, secrets)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def one_line(error: BaseException, secrets: Secrets = NO_SECRETS) -> str:
    """``Type: message`` of `error`: one line, at most :data:`MAX_LINE` characters, scrubbed."""
    message = message_of(error)
    line = " ".join(f"{type(error).__name__}: {message}".split()) if message else type(error).__name__
    return bounded(scrub(line, secrets))


def message_of(error: BaseException) -> str:
    """The text of `error`, whose ``__str__`` may itself fail."""
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - the error must still be told
        return f"(its message cannot be shown: {type(exc).__name__})"


def printable(text: str) -> str:
    """`text` with what cannot be printed (line ends, undecodable bytes of a path) written as Python writes it."""
    return text if text.isprintable() else repr(text)[1:-1]


def bounded(line: str) -> str:
    """`line`, cut if it is longer than :data:`MAX_LINE`."""
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 1]}…"


def hide_in(error: BaseException, secrets: Secrets) -> None:
    """Replace `secrets` in the texts that `error` and the errors behind it carry."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while secrets and waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        with contextlib.suppress(Exception):  # a class may make its instances impossible to read or change
            waiting += [current.__cause__, current.__context__]
            _clean(current, secrets)


def _clean(error: BaseException, secrets: Secrets) -> None:
    error.args = tuple(_cleaned(item, secrets) for item in error.args)
    # Beside args: what a class of its own keeps, and what the built-in errors print.
    for name in (*vars(error), "strerror", "filename", "filename2", "msg", "text", "reason"):
        value = getattr(error, name, None)
        if isinstance(value, str) and (clean := _replace(value, secrets)) != value:
            setattr(error, name, clean)


def _collect(value: Any, *, secret: bool, depth: int, found: set[str]) -> None:
    if depth > _DEEPEST:
        return
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        if secret:
            found.add(value)
            found.update(part for part in value.split()[1:] if len(part) >= 2 * _SHORTEST)  # "Bearer KEY"
        found.update(password for _, password in _URL_PASSWORD.findall(value))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            named = isinstance(name, str) and _SECRET_NAME.search(name) is not None
            _collect(item, secret=secret or named, depth=depth + 1, found=found)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            _collect(item, secret=secret, depth=depth + 1, found=found)


def _replace(text: str, secrets: Secrets) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN).replace(repr(secret)[1:-1], _HIDDEN)
    return text


def _cleaned(item: Any, secrets: Secrets) -> Any:
    if isinstance(item, str):
        return _replace(item, secrets)
    if isinstance(item, (Mapping, list, tuple, set, frozenset)):
        shown = repr(item)
        return clean if (clean := _replace(shown, secrets)) != shown else item
    return item

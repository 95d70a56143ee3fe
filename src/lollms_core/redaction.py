"""Keys that no text shows: not a message, not a log record, not a traceback that prints the locals.

A binding that sends a key makes one :class:`Redaction` of all that must not be seen. Its errors go through
:meth:`Redaction.error` on their way out, and :class:`LogGuard` takes the key out of what the HTTP packages below
log, since they print what a server sends, and some servers repeat the key that they refuse.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import quote, unquote, urlsplit

from lollms_core.errors import LollmsError

__all__ = ["Hidden", "LogGuard", "Redaction", "Secret", "forget_locals", "is_secret_name", "secrets_of_url"]

_HIDDEN: Final = "***"
_SHORTEST: Final = 4  # a shorter value hides nothing and would mangle every text
_DEEPEST: Final = 100  # levels of nested data that are searched; what is deeper is hidden whole
_SECRET_NAME: Final = re.compile(
    r"auth|key|token|secret|cookie|passw|credential|signature|session|jwt|bearer", re.IGNORECASE
)


class Secret:
    """A key that no repr shows; ``reveal()`` gives it. It cannot be pickled, and its copies are itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_HIDDEN})"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled")


class Hidden(dict[str, Any]):
    """Arguments whose values no repr shows: what a constructor keeps them in, as a traceback shows its locals."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


class Redaction:
    """Takes secrets out of whatever may be shown, in the forms in which they are written in JSON, URLs and HTML.

    Args:
        secrets: what must not be seen; what has fewer than four characters is passed over.
    """

    __slots__ = ("_found", "_found_in_repr", "_replaced")

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        forms = {form for secret in secrets if secret and len(secret) >= _SHORTEST for form in _forms_of(secret)}
        pattern = _any_of(forms)
        # The methods, as the repr of an expression shows it.
        self._found: Callable[[str], object] = pattern.search
        self._replaced: Callable[[str, str], str] = pattern.sub
        in_reprs = forms | {shown for form in forms for shown in _in_repr(form)}
        self._found_in_repr: Callable[[str], object] | None = _any_of(in_reprs).search if forms else None

    def __repr__(self) -> str:
        return "<Redaction>"

    def shows(self, text: str) -> bool:
        """Whether a secret stands in `text`."""
        return self._found(text) is not None

    def text(self, text: str) -> str:
        """`text` with ``***`` in place of secrets."""
        return self._replaced(_HIDDEN, text)

    def data(self, data: bytes) -> bytes:
        """`data` with ``***`` in place of secrets."""
        return self.text(data.decode("latin-1")).encode("latin-1")

    def value(self, value: Any, _depth: int = 0) -> Any:
        """JSON-like data with ``***`` in place of secrets; the same object where there are none."""
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, (Mapping, list, tuple)) or (_depth == 0 and self._is_clean(value)):
            return value
        if _depth > _DEEPEST:
            return _HIDDEN
        if isinstance(value, Mapping):
            items = {self.value(name): self.value(item, _depth + 1) for name, item in value.items()}
            changed = any(
                (name is not old and name != old) or item is not value[old]
                for (name, item), old in zip(items.items(), value, strict=False)
            )
            return items if changed or len(items) != len(value) else value
        found = [self.value(item, _depth + 1) for item in value]
        if all(new is old for new, old in zip(found, value, strict=True)):
            return value
        return found if isinstance(value, list) else tuple(found)

    def _is_clean(self, value: Any) -> bool:
        """Whether it can be told at once, as it nearly always can, that JSON has no secret in it."""
        if self._found_in_repr is None:
            return True
        try:
            return type(value) in (dict, list) and self._found_in_repr(repr(value)) is None
        except RecursionError:
            return False

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """A response's headers by their names in lower case, with ``***`` in place of secrets."""
        return {name.lower(): self.text(value) for name, value in headers.items()}

    def error(self, error: BaseException) -> None:
        """Leave no secret in `error`: in its text, in the errors behind it, or in the locals of its frames.

        Frames that have ended forget their locals, also those of the packages below, which hold the request with
        its headers and what the server sent. Of the errors behind it those stay that are ours or the operating
        system's; others, such as an HTTP package's, hold the request too, and what they say is in our own words.
        ``partial`` stays: it is the answer's text.
        """
        for link in _chain(error):
            forget_locals(link)
            if self.shows(repr(link.args)):
                link.args = tuple(self.value(item) for item in link.args)
            suppressed = link.__suppress_context__
            link.__cause__ = self._fit(link.__cause__)
            link.__context__ = self._fit(link.__context__)
            link.__suppress_context__ = suppressed

    def _fit(self, error: BaseException | None) -> BaseException | None:
        """The first error from `error` on that may stay."""
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            ours = isinstance(error, (LollmsError, OSError)) or type(error).__module__ == "builtins"
            # A UnicodeError has the bytes themselves.
            bare = isinstance(error, UnicodeError)
            if ours and not bare and (isinstance(error, LollmsError) or not self._shows_error(error)):
                return error
            error = error.__cause__ or error.__context__
        return None

    def _shows_error(self, error: BaseException) -> bool:
        return self.shows(f"{error!r} {error.args!r} {vars(error)!r}")


def forget_locals(error: BaseException) -> None:
    """Have the frames of `error` that have ended forget their local variables; files and lines stay."""
    traceback.clear_frames(error.__traceback__)


def is_secret_name(name: str) -> bool:
    """Whether a header of that name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def secrets_of_url(url: str | None) -> set[str]:
    """What of a URL's user info is secret: the password and its forms, or a user name alone, as it may be a token."""
    try:
        parts = urlsplit(url or "")
        name, password = parts.username, parts.password
    except ValueError:
        return set()
    if not name and not password:
        return set()
    from base64 import b64encode

    name, password = unquote(name or ""), unquote(password or "")
    # As a header has them (RFC 7617).
    pair = b64encode(f"{name}:{password}".encode()).decode("ascii")
    return {password or name, pair, parts.netloc.rpartition("@")[0]}


class LogGuard:
    """Takes secrets out of the records of some loggers, from its making until it is closed.

    A filter of the logger alone sees its records before any handler does; it is asked for records that are
    made anyway, so one that a level switches off costs nothing.

    Args:
        redaction: what is taken out.
        loggers: their full names; a logger's filters don't count for those below it.
    """

    def __init__(self, redaction: Redaction, loggers: Iterable[str]) -> None:
        self._redaction = redaction
        self._loggers = [logging.getLogger(name) for name in loggers]
        with _changing:
            for logger in self._loggers:
                # A new list: another thread may be walking through the old one.
                logger.filters = [*logger.filters, self.filter]
        _sweep()

    def close(self) -> None:
        """Leave the loggers as they were; closing twice is fine. The garbage collector may do it, at any moment."""
        _closed.append(self)
        _sweep()

    def _leave(self) -> None:
        for logger in self._loggers:
            logger.filters = [each for each in logger.filters if each != self.filter]

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the secrets out of `record`, which always passes."""
        redaction = self._redaction
        try:
            message = record.getMessage()
        except (KeyError, TypeError, ValueError):
            message = f"(a record of {record.pathname}:{record.lineno} whose arguments do not fit)"
            record.msg, record.args = message, ()
        if redaction.shows(message) or redaction.shows(repr(record.args)):
            record.msg, record.args = redaction.text(message), ()
        if record.exc_info:
            text = _formatter.formatException(record.exc_info)
            if redaction.shows(text):
                # A handler prints the text where there is one, and needs the exception no more.
                record.exc_text, record.exc_info = redaction.text(text), None
        return True


def _sweep() -> None:
    """Take the closed guards off their loggers, now or, where someone is changing these, when they are done.

    Never waits: the garbage collector closes guards, also of the thread that holds the lock.
    """
    while _closed and _changing.acquire(blocking=False):
        try:
            while _closed:
                _closed.popleft()._leave()
        finally:
            _changing.release()


_changing: Final = threading.Lock()
_closed: Final = deque[LogGuard]()
_formatter: Final = logging.Formatter()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and all behind it; read on only after each was dealt with."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__]


def _any_of(forms: Iterable[str]) -> re.Pattern[str]:
    """Finds the longest of `forms` at any place; nothing if there are none."""
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _in_repr(text: str) -> tuple[str, str]:
    """How the repr of a str that has `text` in it shows it: by itself, and where both kinds of quotes are in it."""
    return repr(text)[1:-1], repr(f"{text}'\"")[1:-4]


def _forms_of(secret: str) -> Iterator[str]:
    """How `secret` may be written: as it is, and inside JSON, Python's reprs, URLs and HTML."""
    yield secret
    in_json = json.dumps(secret)[1:-1]
    yield from (in_json, in_json.replace("/", "\\/"), repr(secret)[1:-1])
    yield secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    for encoded in (quote(secret), quote(secret, safe="")):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)

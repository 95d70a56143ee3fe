"""From an HTTP response that is not the answer to the error that it means, without I/O.

The server's own words are kept, on one line and shortened, since they say best what is wrong; keys are
taken out of them, because some servers repeat the key that they refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from lollms_core import peer_json
from lollms_core.errors import (
    AuthenticationError,
    BackendError,
    BackendTimeout,
    BadRequest,
    ContextOverflow,
    LollmsError,
    ModelNotFound,
    Overloaded,
    ProtocolError,
    RateLimited,
)
from lollms_core.redaction import Redaction
from lollms_core.retry import parse_retry_after

__all__ = ["StatusLine", "check_content_type", "error_of_message", "error_of_response", "server_words"]

Secrets: TypeAlias = Redaction | Iterable[str | None]

_MAX_WORDS: Final = 500
# How servers say that a prompt is too long: OpenAI and vLLM, llama-server, llama-cpp-python, others.
_OVERFLOW: Final = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|exceeds? the (available )?context"
    r"|context (length|window|size) (is |was )?exceeded|exceed context window",
    re.IGNORECASE,
)
_NO_MODEL: Final = re.compile(
    r"model_not_found|model\b.*(not found|does not exist|unknown)|no such model", re.IGNORECASE
)


def error_of_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    who: str,
    model: str | None = None,
    secrets: Secrets = (),
) -> LollmsError:
    """The error that a response with a status of 300 or more means.

    Args:
        status: the HTTP status.
        headers: names in lower case, or insensitive to case.
        body: the response's body, or its beginning.
        who: binding and host, as in ``ollama at http://127.0.0.1:11434``; begins the message.
        model: the model that was asked for.
        secrets: keys, or their :class:`~lollms_core.redaction.Redaction`, to be taken out of the server's words.
    """
    words, codes = server_words(headers.get("content-type", ""), body, secrets)
    if status == 429:
        text = _sentence(who, "asks to wait", status, words)
        return RateLimited(text, retry_after=parse_retry_after(headers.get("retry-after")))
    if status in _REDIRECTS:
        place = _redaction(secrets).text(headers.get("location", "another address"))
        return BackendError(f"{who} has moved to {place} (status {status}); give that address as host_address")
    kind, verb = _KINDS.get(status) or ((BackendError, "failed") if status >= 500 else _REFUSED)
    if kind is not AuthenticationError and _OVERFLOW.search(f"{codes} {words}"):
        kind, verb = ContextOverflow, "says that the prompt does not fit the context"
    elif kind is BadRequest and (_NO_MODEL.search(f"{codes} {words}") or (status == 404 and model is not None)):
        kind, verb = ModelNotFound, f"does not know the model {model!r}"
    return kind(_sentence(who, verb, status, words))


_REFUSED: Final[tuple[type[LollmsError], str]] = (BadRequest, "refuses the request")
_KINDS: Final[Mapping[int, tuple[type[LollmsError], str]]] = {
    401: (AuthenticationError, "refuses the key"),
    403: (AuthenticationError, "refuses the key"),
    408: (BackendTimeout, "gave up waiting"),
    503: (Overloaded, "has no room now"),
    529: (Overloaded, "has no room now"),
}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def _sentence(who: str, verb: str, status: int, words: str) -> str:
    return f"{who} {verb} (status {status})" + (f": {words}" if words else "")


def error_of_message(message: Any, *, who: str, secrets: Secrets = ()) -> LollmsError:
    """The error that an ``{"error": ...}`` record in a stream means; `message` is the value of ``error``."""
    words, codes = _words_of(message, _redaction(secrets))
    text = f"{who} failed: {words}" if words else f"{who} failed without saying why"
    return ContextOverflow(text) if _OVERFLOW.search(f"{codes} {words}") else BackendError(text)


def check_content_type(headers: Mapping[str, str], expected: Iterable[str], *, who: str) -> None:
    """Whether a successful response is of an expected type; a missing type is taken on trust.

    Raises:
        ProtocolError: it is of another, most often a web page of something else on that port.
    """
    found = headers.get("content-type", "").partition(";")[0].strip().lower()
    if found and found not in expected:
        raise ProtocolError(f"{who} answered with {found} instead of {' or '.join(expected)}: is it the right address?")


def server_words(content_type: str, body: bytes, secrets: Secrets = ()) -> tuple[str, str]:
    """What the server says is wrong, as one line without keys, and its codes for it; "" where it says nothing."""
    redaction = _redaction(secrets)
    text = body.decode("utf-8", "replace")
    try:
        found = peer_json.loads(text)
    except ValueError:
        if "html" in content_type.lower() or text.lstrip()[:1] == "<":
            return "a web page", ""
        return _one_line(redaction.text(text)), ""
    return _words_of(found, redaction)


def _words_of(found: Any, redaction: Redaction) -> tuple[str, str]:
    """The message and the codes in the forms that servers give them."""
    codes = ""
    while isinstance(found, Mapping):
        codes += (
            " ".join(str(found[name]) for name in ("code", "type") if isinstance(found.get(name), (str, int))) + " "
        )
        found = next((found[name] for name in ("error", "message", "detail", "msg") if found.get(name)), "")
    codes = redaction.text(codes.strip())
    if isinstance(found, list):  # FastAPI's list of what is wrong with a request
        return "; ".join(_words_of(item, redaction)[0] for item in found[:3]), codes
    # Secrets first: of one that is cut in two the beginning would stay.
    return _one_line(redaction.text("" if found is None else str(found))), codes


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= _MAX_WORDS else line[:_MAX_WORDS] + "..."


def _redaction(secrets: Secrets) -> Redaction:
    return secrets if isinstance(secrets, Redaction) else Redaction(secrets)


class StatusLine:
    """Whether what a peer answers begins as HTTP does (RFC 9112, section 4), told by its first bytes.

    A parser waits for the end of a line, or of all of them: of a mail or SSH server, which first says its name and
    then waits in its turn, for ever.
    """

    _BEGINNING: Final = b"HTTP/"

    def __init__(self) -> None:
        self._heard: bytes | None = None

    def sent(self, data: bytes) -> None:
        """`data` goes to the peer: what comes next answers it, if it begins a request."""
        if data[:1].isalpha():  # not the rest of a request, nor the handshake with a SOCKS proxy
            self._heard = b""

    def fits(self, data: bytes) -> bool:
        """Whether `data`, which came from the peer, can be the beginning of an answer, or comes after that."""
        if self._heard is None:
            return True
        self._heard += data[: len(self._BEGINNING)]
        beginning = self._heard[: len(self._BEGINNING)]
        if len(beginning) == len(self._BEGINNING):
            self._heard = None
        return self._BEGINNING.startswith(beginning)

    @property
    def unheard(self) -> bool:
        """Whether nothing came since the last request was sent; an answer to it was there before it was asked for."""
        return self._heard == b""

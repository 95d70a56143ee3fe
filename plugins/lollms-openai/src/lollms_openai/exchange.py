"""What one request is made of, without I/O: what to ask for, when to wait and ask again, what went wrong.

Operations are generators. They yield what is to be done (:class:`Ask`, :class:`Read`, :class:`Pause`), are sent
what came of it, and return their result; :mod:`~lollms_openai.sync_side` and
:mod:`~lollms_openai.async_side` do the doing. So every rule stands once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar

from lollms_core import CapabilityNotSupported, LollmsError, ModelNotFound, ProtocolError, peer_json
from lollms_core.responses import check_content_type, error_of_response, server_words
from lollms_core.retry import RetryBudget, RetryPolicy
from lollms_openai.server import Server

__all__ = [
    "MAX_ERROR_BYTES",
    "Answer",
    "Ask",
    "Effect",
    "NoAnswer",
    "Operation",
    "Pause",
    "Read",
    "answer_to",
    "json_from",
    "json_of",
]

MAX_ERROR_BYTES: Final = 256 * 1024
"""How much is read of an answer that reports an error, in bytes (256 KiB)."""

_JSON: Final = ("application/json", "text/json", "text/plain")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request; what comes back is an :class:`Answer`, or :class:`NoAnswer` is thrown in.

    Attributes:
        path: below the base URL, or a whole URL on the same server.
        body: sent as JSON.
        idle: seconds without a sign of life before it is given up, where the request's own limit is not less.
        model: the model that is asked, None where it is about none; stands in errors.
    """

    method: Literal["GET", "POST"]
    path: str
    body: Mapping[str, Any] | None = None
    idle: float = math.inf
    model: str | None = None

    def who(self, server: Server) -> str:
        """Server and model, for messages."""
        return server.who if self.model is None else f"{server.who}, model {self.model!r}"


@dataclass(frozen=True, slots=True)
class Read:
    """Read the rest of the last answer, at most so many bytes; what comes back is its bytes."""

    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The beginning of an answer: status and headers; of one that reports an error also the body."""

    status: int
    # Servers repeat keys that they refuse, and a traceback may show what its frames hold.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


class NoAnswer(Exception):
    """Nothing came back.

    Attributes:
        error: what the caller gets for it.
        cause: what happened, in a few words.
        again: whether it may be tried again.
    """

    def __init__(self, error: LollmsError, cause: str, *, again: bool) -> None:
        super().__init__(cause)
        self.error = error
        self.cause = cause
        self.again = again


Effect: TypeAlias = Ask | Read | Pause
Operation: TypeAlias = Generator[Effect, Any, _T]


def answer_to(
    ask: Ask,
    server: Server,
    policy: RetryPolicy,
    *,
    adapt: Callable[[int, str, Ask], Ask | None] | None = None,
    absent: str | None = None,
) -> Operation[Answer]:
    """The first good answer to `ask`, which is sent again within the budget.

    Args:
        ask: what to send.
        server: to whom.
        policy: the budget.
        adapt: gets the status and the server's words of a refusal; the request to send in its place, None if
            the refusal stands.
        absent: what is missing where the server has no such page, which is then CapabilityNotSupported.

    Raises:
        LollmsError: there was none.
    """
    budget = RetryBudget(policy, server.who)
    while True:
        try:
            answer: Answer = yield ask
        except NoAnswer as failure:
            wait = budget.after_failure(failure.cause) if failure.again else None
            if wait is None:
                raise failure.error from failure.__cause__
        else:
            if answer.status < 300:
                return answer
            words = " ".join(server_words(answer.headers.get("content-type", ""), answer.body, server.redaction))
            changed = adapt(answer.status, words, ask) if adapt is not None else None
            if changed is not None:
                ask = changed
                continue
            error = _refusal(answer, words, server, ask)
            if absent is not None and _is_absent(answer, server):
                raise CapabilityNotSupported(f"{server.who} {absent} (status {answer.status})")
            wait = budget.after_status(answer.status, answer.headers)
            if wait is None or isinstance(error, CapabilityNotSupported):
                raise error
        yield Pause(wait)


def json_of(
    ask: Ask,
    server: Server,
    policy: RetryPolicy,
    *,
    absent: str | None = None,
    limit: int | None = None,
) -> Operation[Any]:
    """The JSON value that `ask` is answered with; arguments as for :func:`answer_to`.

    Raises:
        LollmsError: there was none, or it has more than `limit` bytes.
    """
    answer = yield from answer_to(ask, server, policy, absent=absent)
    body = yield Read(limit)
    return json_from(answer.headers, body, server)


def json_from(headers: Mapping[str, str], body: bytes, server: Server) -> Any:
    """The value of a whole body.

    Raises:
        ProtocolError: it is no JSON.
    """
    check_content_type(headers, _JSON, who=server.who)
    try:
        return peer_json.loads(body)
    except ValueError:
        found = headers.get("content-type") or "something without a content type"
        raise ProtocolError(f"{server.who} answered with {found} that is not JSON: is it the right address?") from None


def _is_absent(answer: Answer, server: Server) -> bool:
    if answer.status != 404:
        return answer.status in (405, 501)
    # A 404 may also be about the model; then its words say so.
    return not isinstance(error_of_response(404, answer.headers, answer.body, who=server.who), ModelNotFound)


# What servers say when the model lacks a feature: OpenAI, llama-server, llama-cpp-python, vLLM, OpenRouter, Groq.
_NO_EMBEDDING: Final = re.compile(
    r"not support.{0,20}embedding|embedding=True|not allowed to generate embeddings|not an embedding model"
    r"|embeddings? (is|are|API is) not supported",
    re.IGNORECASE,
)
_NO_VISION: Final = re.compile(
    r"image input is not supported|not support.{0,20}(image|vision|multimodal)|not a multimodal model"
    r"|support image input|image_url.{0,20}(only|not) supported|images? (is|are) not supported",
    re.IGNORECASE,
)
_NO_TOOLS: Final = re.compile(
    r"tools param requires|requires --enable-auto-tool-choice|(not|n't) support.{0,10}(tool|function call)"
    r"|tools? (use|calling|calls|choice)?.{0,10}(is|are) not supported|that support tool use",
    re.IGNORECASE,
)
_NO_SCHEMA: Final = re.compile(
    r"(not|n't) support.{0,20}(response.?format|structured output|json.?schema)"
    r"|(response.?format|structured outputs?|json.?schema)\W.{0,40}(not|n't) support",
    re.IGNORECASE,
)
_NO_LOGPROBS: Final = re.compile(
    r"(not|n't) support.{0,20}logprobs|logprobs.{0,40}(not|n't) (yet )?(allowed|support)"
    r"|not allowed to request logprobs",
    re.IGNORECASE,
)
_NO_THINKING: Final = re.compile(
    r"(not|n't) support.{0,20}(thinking|reasoning)|(thinking|reasoning)\w*\W.{0,40}(not|n't) support"
    r"|unrecognized request argument.{0,20}reasoning",
    re.IGNORECASE,
)
_NO_SUCH_PROVIDER: Final = re.compile("that can handle the requested parameters", re.IGNORECASE)
# What is asked for by a field of the body.
_ASKED: Final = (
    (("response_format",), _NO_SCHEMA, "keep to a schema"),
    # Before the tools: llama-server says "logprobs is not supported with tools + stream".
    (("logprobs",), _NO_LOGPROBS, "give log probabilities"),
    (("tools",), _NO_TOOLS, "call tools"),
    (("reasoning_effort", "reasoning", "thinking", "chat_template_kwargs"), _NO_THINKING, "be told to think or not"),
    (("provider",), _NO_SUCH_PROVIDER, "do all that was asked for"),
)


def _lacking(words: str, body: Mapping[str, Any]) -> str | None:
    """What the model cannot do, by the server's words; None if they are about something else."""
    for pattern, what in ((_NO_EMBEDDING, "embed"), (_NO_VISION, "take images")):
        if pattern.search(words):
            return what
    for fields, pattern, what in _ASKED:
        if any(name in body for name in fields) and pattern.search(words):
            return what
    return None


def _refusal(answer: Answer, words: str, server: Server, ask: Ask) -> LollmsError:
    if answer.status in (400, 403, 404, 422, 500, 501):
        what = _lacking(words, ask.body or {})
        if what is not None:
            return CapabilityNotSupported(
                f"{server.who}: the model {ask.model!r} cannot {what} (status {answer.status}): {words.strip()}"
            )
    error = error_of_response(
        answer.status, answer.headers, answer.body, who=server.who, model=ask.model, secrets=server.redaction
    )
    if ask.model is None or isinstance(error, ModelNotFound):
        return error
    return error_of_response(
        answer.status, answer.headers, answer.body, who=ask.who(server), model=ask.model, secrets=server.redaction
    )

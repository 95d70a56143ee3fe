"""Exact tokens: from the server's own tokenizer, or for OpenAI's models from tiktoken."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lollms_core import CapabilityNotSupported, ProtocolError
from lollms_core.retry import RetryPolicy
from lollms_openai.exchange import Ask, Operation, json_of
from lollms_openai.server import Server

__all__ = ["checked_text", "checked_tokens", "server_detokenize", "server_tokenize", "tiktoken_encoding"]

_WAIT_SECONDS: Final = 3.0
_AGAIN_SECONDS: Final = 60.0


def checked_text(text: object) -> str:
    """`text` if it is one that can be sent.

    Raises:
        TypeError, ValueError: it is no str, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text has a lone surrogate at {error.start}, which is no character") from None
    return text


def checked_tokens(tokens: object) -> list[int]:
    """`tokens` as a list of int.

    Raises:
        TypeError, ValueError: they are none.
    """
    if isinstance(tokens, (str, bytes)) or not hasattr(tokens, "__iter__"):
        raise TypeError(f"tokens must be a list of int, not {type(tokens).__name__}")
    checked = []
    for token in tokens:
        if isinstance(token, bool) or not hasattr(token, "__index__"):
            raise TypeError(f"a token must be an int, not {token!r}")
        number = token.__index__()
        if number < 0:
            raise ValueError(f"a token must not be negative, as {number} is")
        checked.append(number)
    return checked


# The server's own ---------------------------------------------------------------------------------------


def server_tokenize(
    text: str, server: Server, model: str | None, policy: RetryPolicy, *, add_special: bool, parse_special: bool
) -> Operation[list[int]]:
    """The tokens of `text` at the server's /tokenize.

    One body suits both kinds: llama-server reads content, add_special and parse_special
    (https://github.com/ggml-org/llama.cpp/tree/master/tools/server), vLLM prompt, model and add_special_tokens
    (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html).

    Raises:
        CapabilityNotSupported: the server has no /tokenize.
    """
    body = {
        "content": text,
        "prompt": text,
        "add_special": add_special,
        "add_special_tokens": add_special,
        "parse_special": parse_special,
        **({"model": model} if model else {}),
    }
    found = yield from _asked("tokenize", body, server, model, policy)
    tokens = found.get("tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise ProtocolError(f"{server.who} answered /tokenize with something else than tokens")
    return tokens


def server_detokenize(tokens: Sequence[int], server: Server, model: str | None, policy: RetryPolicy) -> Operation[str]:
    """The text of `tokens` at the server's /detokenize.

    Raises:
        CapabilityNotSupported: the server has none.
    """
    body = {"tokens": list(tokens), **({"model": model} if model else {})}
    found = yield from _asked("detokenize", body, server, model, policy)
    text = found.get("content", found.get("prompt"))
    if not isinstance(text, str):
        raise ProtocolError(f"{server.who} answered /detokenize with something else than text")
    return text


def _asked(
    name: str, body: Mapping[str, Any], server: Server, model: str | None, policy: RetryPolicy
) -> Operation[Mapping[str, Any]]:
    lacks = "has no tokenizer to ask"
    ask = Ask("POST", f"{server.root}/{name}", body, idle=60.0, model=model)
    found = yield from json_of(ask, server, policy, absent=lacks)
    if not isinstance(found, Mapping):
        raise ProtocolError(f"{server.who} answered /{name} with something else than an object")
    if found.get("error"):  # LM Studio says with status 200 that it has no such page
        raise CapabilityNotSupported(f"{server.who} {lacks}")
    return found


# tiktoken -----------------------------------------------------------------------------------------------


class _Loading(threading.Thread):
    """Loads one encoding, which tiktoken fetches from the network where its cache has none, without any limit."""

    def __init__(self, name: str) -> None:
        super().__init__(name=f"lollms-tiktoken-{name}", daemon=True)
        self._encoding_name = name
        self.encoding: Any = None
        self.error: Exception | None = None
        self.ended = 0.0

    def run(self) -> None:
        try:
            self.encoding = importlib.import_module("tiktoken").get_encoding(self._encoding_name)
        except Exception as exc:  # noqa: BLE001 - told to whoever asks
            self.error = exc
        self.ended = time.monotonic()


_loading: dict[str, _Loading] = {}
_lock = threading.Lock()


def tiktoken_encoding(model: str | None) -> Any:
    """The encoding of tiktoken for one of OpenAI's models.

    The first call waits a few seconds at most; while a fetch goes on, or within a minute after it failed, later
    calls raise at once.

    Raises:
        CapabilityNotSupported: tiktoken is not installed, does not know the model, or cannot get its vocabulary.
    """
    try:
        tiktoken = importlib.import_module("tiktoken")
    except ImportError:
        raise CapabilityNotSupported(
            "exact tokens of OpenAI's models need tiktoken: pip install 'lollms-openai[tiktoken]'"
        ) from None
    if model is None:
        raise CapabilityNotSupported("tokens are those of a model: name one")
    try:
        name = tiktoken.encoding_name_for_model(model)
    except KeyError:
        raise CapabilityNotSupported(f"tiktoken does not know the tokens of the model {model!r}") from None
    with _lock:
        loading = _loading.get(name)
        fresh = loading is None or (loading.error is not None and time.monotonic() - loading.ended > _AGAIN_SECONDS)
        if loading is None or fresh:
            loading = _loading[name] = _Loading(name)
            loading.start()
    if fresh:
        loading.join(_WAIT_SECONDS)
    if loading.encoding is None:
        why = f"{type(loading.error).__name__}" if loading.error is not None else "the network is slow"
        raise CapabilityNotSupported(
            f"tiktoken has no vocabulary {name!r} in its cache and cannot fetch it ({why}); fetch it where there is "
            "a network, and set TIKTOKEN_CACHE_DIR to the folder"
        ) from loading.error
    return loading.encoding

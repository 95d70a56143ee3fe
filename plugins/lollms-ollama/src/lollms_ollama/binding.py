"""The binding: the contract of lollms-core on one Ollama server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from lollms_core import (
    Capability,
    CapabilityNotSupported,
    EmbedRequest,
    GenerationRequest,
    LollmsError,
    UnsupportedParameter,
)
from lollms_http import Call, Reader, Steps
from lollms_http.checks import Check
from lollms_ollama import calls, steps
from lollms_ollama.answers import AnswerReader
from lollms_ollama.chat_messages import check_parts
from lollms_ollama.facts import CAPABILITIES
from lollms_ollama.models import OllamaModels
from lollms_ollama.options import OPTION_CHECKS, OllamaOptions
from lollms_ollama.records import known_error

__all__ = ["OllamaBinding"]

_MOST_ALTERNATIVES = 20
"""What a server gives at most as ``top_logprobs`` (server/routes.go of https://github.com/ollama/ollama)."""


class OllamaBinding(OllamaModels):
    """The models of an Ollama server.

    Nothing is sent before the first call that needs the server. One binding serves any number of threads, tasks
    and event loops at once. Where no model is named, it takes the one that the server has loaded, else the newest.

    ``timeout`` is how long the server may be silent (default 600 s, as a large model takes minutes to load),
    ``deadline`` the time for the whole answer. Before the first byte of an answer a failed request is sent again
    (``retries``, ``retry_budget``).

    Args:
        binding_name: the name shown in messages.
        host_address: the server: a host, host:port or URL, as in Ollama's OLLAMA_HOST, which counts if this is
            None; else http://127.0.0.1:11434.
        model_name: the model to use.
        service_key: a key that is sent as bearer token, for servers behind a gateway.
        verify_ssl_certificate: False switches the check of the server's certificate off.
        cache_folder: where vocabularies are kept; default: the user's cache directory.
        insecure_pull: whether ``pull`` may fetch from a registry without TLS, or with a certificate that cannot be
            checked.
        models_path: means nothing here and must be None.
        **defaults: request fields and :class:`OllamaOptions`.

    Raises:
        TypeError, ValueError: an unknown keyword, or a value of the wrong type or out of range.
    """

    capabilities: ClassVar[frozenset[Capability]] = CAPABILITIES
    options: ClassVar[type] = OllamaOptions
    option_checks: ClassVar[Mapping[str, Check]] = OPTION_CHECKS
    uses: ClassVar[frozenset[str]] = frozenset(
        {
            "ctx_size",
            "frequency_penalty",
            "min_p",
            "model",
            "n_predict",
            "n_threads",
            "presence_penalty",
            "repeat_last_n",
            "repeat_penalty",
            "seed",
            "stop",
            "temperature",
            "timeout",
            "top_k",
            "top_p",
        }
    )

    # Generating and embedding ---------------------------------------------------------------------------

    def _call(self, request: GenerationRequest) -> Steps[Call]:
        """The request for the answer, after what must be known of the model."""
        model = yield from self._model(request.model)
        facts = yield from self._knowledge.facts_if_any(model)
        if facts is not None:
            # In an event loop the model could not be looked up before; now it is known.
            kind = Capability.TEXT if request.messages is None else Capability.CHAT
            request = super()._checked(request, kind)
            if "suffix" in request.options and not facts.fills_in:
                raise CapabilityNotSupported(f"{self._who}: the model {model!r} does not support insert (suffix)")
            yield from steps.check_context(facts, request, self._store, self._who)
        return calls.generation(request, model, facts)

    def _reader(self, request: GenerationRequest) -> Reader:
        model = request.model or self._knowledge.picked
        return AnswerReader(self._who, model, self._server.redaction, logprobs=bool(request.logprobs))

    def _embedded(self, request: EmbedRequest) -> Steps[list[list[float]]]:
        model = yield from self._model(request.model)
        return (yield from super()._embedded(request.replace(model=model)))

    def _embed_call(self, request: EmbedRequest, texts: Sequence[str]) -> Call:
        return calls.embedding(request, texts)

    def _vectors(self, answer: Any) -> Any:
        return answer.get("embeddings")

    def _meaning(self, error: LollmsError, model: str | None) -> LollmsError:
        return known_error(error, model)

    def _checked(self, request: GenerationRequest, kind: Capability) -> GenerationRequest:
        if request.tool_choice not in (None, "auto", "none"):
            raise CapabilityNotSupported(
                f"{self._who} has no way to make a model call a tool (tool_choice): leave it out, and say in a message "
                "that the tool shall be called"
            )
        request = super()._checked(request, kind)
        if request.logprobs is not None and request.logprobs > _MOST_ALTERNATIVES:
            raise ValueError(f"logprobs must be at most {_MOST_ALTERNATIVES} with Ollama, not {request.logprobs}")
        if "suffix" in request.options and not calls.is_plain(request):
            raise UnsupportedParameter(
                'suffix goes with a plain prompt and completion_format="text", not with a chat or tools'
            )
        if request.messages is not None:
            check_parts(request.messages)
        return request

    # Tokens -----------------------------------------------------------------------------------------------

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """The model's tokens of `text`, exactly as its server makes them.

        Args:
            text: any text.
            add_special: whether the tokens that the model wants at the ends of a document are added.
            parse_special: whether special-token text, such as ``<|im_end|>``, becomes that token.

        Raises:
            CapabilityNotSupported: the model's vocabulary is of a kind that cannot be done exactly.
            LollmsError: the server cannot be asked for it.
            TypeError: `text` is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        found: list[int] = self._tokenizer().encode(text, add_special=add_special, parse_special=parse_special)
        return found

    def detokenize(self, tokens: list[int]) -> str:
        """The text of `tokens`, special ones included; bytes that are no character become U+FFFD.

        Raises:
            CapabilityNotSupported, LollmsError: as for :meth:`tokenize`.
            TypeError, ValueError: a token is no int, or not in the vocabulary.
        """
        text: str = self._tokenizer().decode(tokens)
        return text

    def count_tokens(self, text: str) -> int:
        """``len(tokenize(text))``."""
        return len(self.tokenize(text))

    def _tokenizer(self) -> Any:
        with self._store.fetching:
            return self._ask(self._vocabulary())

    def _vocabulary(self) -> Steps[Any]:
        model = yield from self._model()
        facts = yield from self._knowledge.facts(model)
        if Capability.TOKENIZE not in facts.capabilities:
            raise CapabilityNotSupported(
                f"{self._who}: the vocabulary of the model {model!r} is of a kind whose tokens are not known exactly"
            )
        tokenizer, digest = yield from steps.vocabulary(facts, self._store, self._who)
        if digest is not None and facts.digest is None:
            self._knowledge.learn(replace(facts, digest=digest))
        return tokenizer

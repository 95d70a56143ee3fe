"""What the binding asks its server, in which order: procedures without I/O (see :mod:`lollms_http.steps`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from lollms_core import (
    CapabilityNotSupported,
    ContextOverflow,
    GenerationRequest,
    LollmsError,
    ModelNotFound,
)
from lollms_http import Steps, Work
from lollms_ollama.calls import PS, TAGS, VERSION, loading, show
from lollms_ollama.chat_messages import contents
from lollms_ollama.facts import ModelFacts, Version, loaded_entry, newest, version_of
from lollms_ollama.vocabulary_store import VocabularyStore

__all__ = [
    "check_context",
    "context_size",
    "facts_of",
    "load",
    "pick_model",
    "unload",
    "vocabulary",
]

_log = logging.getLogger(__name__)

_OLD_DEFAULT: Final = 2048
# Until 0.5.12 the context was 2048 tokens unless a request or a Modelfile asked for another; from then on
# the operator can set it (OLLAMA_CONTEXT_LENGTH), and /api/ps tells it in newer versions.
_OLD_VERSIONS: Final = (0, 5, 13)
_LEAST_DEFAULT: Final = 2048


def pick_model(who: str) -> Steps[str]:
    """The model to use if none is named: one that is loaded, else the newest.

    Raises:
        ModelNotFound: the server has none.
    """
    entry = loaded_entry((yield PS), None)
    if entry is not None:
        return str(entry.get("name") or entry.get("model"))
    name = newest((yield TAGS))
    if name is None:
        raise ModelNotFound(f"{who} has no models; get one with: ollama pull NAME")
    return name


def facts_of(model: str, version: Version | None = None) -> Steps[ModelFacts]:
    """What the server says about `model`, and which version it is unless that is known.

    Raises:
        LollmsError: it has no such model, or cannot be reached.
    """
    answer = yield show(model)
    if version is None:
        try:
            version = version_of((yield VERSION))
        except LollmsError as error:
            # A gateway may let through only what makes answers.
            _log.debug("the server does not tell its version: %s", error)
    return ModelFacts(model, answer, version=version)


def load(model: str, options: Mapping[str, Any]) -> Steps[None]:
    """Have the server load `model`.

    Raises:
        LollmsError: it cannot.
    """
    try:
        yield loading(model, options)
    except CapabilityNotSupported:
        yield loading(model, options, embeds=True)


def unload(model: str) -> Steps[None]:
    """Have the server free the memory of `model`, as soon as no request needs it.

    Raises:
        ModelNotFound: it has no such model.
        LollmsError: it failed.
    """
    yield from load(model, {"keep_alive": 0})


def vocabulary(facts: ModelFacts, store: VocabularyStore, who: str) -> Steps[tuple[Any, str | None]]:
    """The exact tokenizer of a model, from memory, from disk, or from the server; and the model's digest.

    Raises:
        CapabilityNotSupported: the vocabulary is of a kind that cannot be done exactly.
        LollmsError: the server cannot be asked.
    """
    digest = facts.digest
    if digest is None:
        entry = loaded_entry((yield TAGS), facts.name)
        found = entry.get("digest") if entry is not None else None
        digest = found if isinstance(found, str) else None
    if digest is not None:
        tokenizer = store.in_memory(digest)
        if tokenizer is None:
            tokenizer = yield Work(lambda: store.on_disk(digest))
        if tokenizer is not None:
            return tokenizer, digest
    answer = yield show(facts.name, verbose=True)
    metadata = answer.get("model_info")
    if not isinstance(metadata, Mapping):
        raise CapabilityNotSupported(f"{who} does not tell the vocabulary of the model {facts.name!r}")
    tokenizer = yield Work(lambda: store.new(digest, metadata))
    return tokenizer, digest


def context_size(
    facts: ModelFacts, asked: int | None, options: Mapping[str, Any] | None, who: str
) -> Steps[int | None]:
    """Tokens of context that the model has, or will have, as far as anybody can know; else None.

    Args:
        facts: what is known of the model.
        asked: the size that a request asks for, if it does.
        options: with which the model may be loaded to find out; None if it may not.
        who: for messages.
    """
    size = asked or facts.asked_ctx_size
    if size is None:
        size = yield from _default_context(facts, options, who)
    trained = facts.trained_ctx_size
    # The server never gives more than the model was trained for.
    return trained if size is None else size if trained is None else min(size, trained)


def _default_context(facts: ModelFacts, options: Mapping[str, Any] | None, who: str) -> Steps[int | None]:
    """The server's own default."""
    if facts.version is not None and facts.version < _OLD_VERSIONS:
        return _OLD_DEFAULT
    try:
        entry = loaded_entry((yield PS), facts.name)
        if entry is None and options is not None:
            # It is loaded for the request anyway; then its context can be asked for.
            yield loading(facts.name, options)
            entry = loaded_entry((yield PS), facts.name)
    except LollmsError as error:
        _log.debug("%s: the context size of %r is not known: %s", who, facts.name, error)
        return None
    size = entry.get("context_length") if entry is not None else None
    return size if type(size) is int and size > 0 else None


def check_context(facts: ModelFacts, request: GenerationRequest, store: VocabularyStore, who: str) -> Steps[None]:
    """Refuse a prompt that cannot fit, since the server would cut it without a word.

    Only the contents count; the model's template adds some tokens to them. Where the tokens cannot be counted
    exactly, or the context's size is not known, nothing is checked, and a debug record says so.

    Raises:
        ContextOverflow: the contents alone are too long.
    """
    if request.options.get("truncate"):
        return
    texts = contents(request)
    # A token stands for at least one byte, but for the space that some vocabularies put before a text.
    most = sum(len(text.encode("utf-8", "replace")) + 1 for text in texts)
    unchecked = request.backend_options.get("options")
    asked = unchecked.get("num_ctx") if isinstance(unchecked, Mapping) else None
    if type(asked) is not int:
        asked = request.ctx_size
    least = asked or facts.asked_ctx_size or _LEAST_DEFAULT
    if most <= min(least, facts.trained_ctx_size or least):
        return
    size = yield from context_size(facts, asked, request.options, who)
    if size is None or most <= size:
        if size is None:
            _log.debug("%s: the prompt is not checked: the context of %r is not known", who, facts.name)
        return
    try:
        tokenizer, _ = yield from vocabulary(facts, store, who)
    except LollmsError as error:
        _log.debug("%s: the prompt is not checked: the tokens of %r can't be counted: %s", who, facts.name, error)
        return
    count = yield Work(lambda: sum(len(tokenizer.encode(text)) for text in texts))
    if count > size:
        raise ContextOverflow(
            f"{who}: the prompt has {count} tokens, more than the {size} of the context of the model "
            f"{facts.name!r} (ctx_size)",
            prompt_tokens=count,
            ctx_size=size,
        )

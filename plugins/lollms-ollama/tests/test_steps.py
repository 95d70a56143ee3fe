"""What the server is asked, in which order, is the same for both transports: here it is played without any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ollama_wire import SHOW, TAGS, vocabulary

from lollms_core import (
    BackendUnavailable,
    CapabilityNotSupported,
    ContextOverflow,
    GenerationRequest,
    LollmsError,
    ModelNotFound,
)
from lollms_http import Call, Several, Steps, Wait, Work
from lollms_ollama import steps
from lollms_ollama.facts import ModelFacts
from lollms_ollama.vocabulary_store import VocabularyStore

FACTS = ModelFacts("llama3.2", SHOW)
VERBOSE = {**SHOW, "model_info": {**SHOW["model_info"], **vocabulary(tokenizer__ggml__pre="llama-bpe")}}


class Play:
    """Answers calls by path, and writes them down."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"tags": TAGS, "ps": {"models": []}, "version": {"version": "0.9.0"}, "generate": {}, **answers}
        self.asked: list[str] = []

    def run(self, procedure: Steps[Any]) -> Any:
        answer: Any = None
        error: Exception | None = None
        while True:
            try:
                step = procedure.send(answer) if error is None else procedure.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            try:
                assert not isinstance(step, (Wait, Several))
                answer = step.run() if isinstance(step, Work) else self.answer(step)
            except LollmsError as raised:
                error = raised

    def answer(self, call: Call) -> Any:
        name = call.path.rpartition("/")[2]
        if name == "show" and (call.body or {}).get("verbose"):
            name = "verbose"
        self.asked.append(name)
        found = self.answers.get(name, VERBOSE if name == "verbose" else SHOW)
        if isinstance(found, list):
            found = found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def check(play: Play, tmp_path: Path, text: str = "the " * 3000, facts: ModelFacts = FACTS, **fields: Any) -> None:
    request = GenerationRequest(prompt=text, **fields)
    play.run(steps.check_context(facts, request, VocabularyStore(tmp_path), "who"))


def test_the_loaded_model_else_the_newest() -> None:
    assert Play(ps=TAGS).run(steps.pick_model("who")) == "old:latest"
    assert Play().run(steps.pick_model("who")) == "llama3.2:latest"
    with pytest.raises(ModelNotFound, match="ollama pull"):
        Play(tags={"models": []}).run(steps.pick_model("who"))


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ({"version": "0.12.11"}, (0, 12, 11)),
        ({"version": "0.5.4-ipexllm-20250407"}, (0, 5, 4)),
        ({"version": "0.0.0"}, None),
        ({}, None),
        (BackendUnavailable("a gateway without it"), None),
    ],
)
def test_the_servers_version(answer: Any, version: Any) -> None:
    play = Play(version=answer)
    assert play.run(steps.facts_of("m")).version == version
    assert play.asked == ["show", "version"]
    assert play.run(steps.facts_of("m", (0, 9, 0))).version == (0, 9, 0)
    assert play.asked == ["show", "version", "show"]


def test_a_model_that_only_embeds_is_loaded_by_embedding() -> None:
    play = Play(generate=CapabilityNotSupported('"m" does not support generate'), embed={})
    play.run(steps.load("m", {}))
    assert play.asked == ["generate", "embed"]


def test_a_vocabulary_is_fetched_once_for_each_digest(tmp_path: Path) -> None:
    store, play = VocabularyStore(tmp_path), Play()
    first, digest = play.run(steps.vocabulary(FACTS, store, "who"))
    assert (digest, play.asked) == ("bbb", ["tags", "verbose"])
    again, _ = play.run(steps.vocabulary(FACTS, store, "who"))
    assert again is first
    assert play.asked == ["tags", "verbose", "tags"]
    play.run(steps.vocabulary(ModelFacts("llama3.2", SHOW, "bbb"), VocabularyStore(tmp_path), "who"))
    assert play.asked == ["tags", "verbose", "tags"]  # known digest, vocabulary on disk


def test_a_server_that_tells_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(CapabilityNotSupported, match="does not tell"):
        Play(verbose={}).run(steps.vocabulary(FACTS, VocabularyStore(tmp_path), "who"))


def test_a_short_prompt_costs_nothing(tmp_path: Path) -> None:
    play = Play()
    check(play, tmp_path, "the " * 300)
    assert play.asked == []


def test_a_prompt_that_cannot_fit(tmp_path: Path) -> None:
    with pytest.raises(ContextOverflow) as caught:
        check(Play(), tmp_path, ctx_size=2000)
    assert (caught.value.prompt_tokens, caught.value.ctx_size) == (3001, 2000)
    assert "llama3.2" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"ctx_size": 3001},
        {"ctx_size": 100, "backend_options": {"options": {"num_ctx": 4000}}},
        {"ctx_size": 100, "options": {"truncate": True}},
    ],
)
def test_a_prompt_that_fits_or_may_be_cut(tmp_path: Path, fields: dict[str, Any]) -> None:
    check(Play(), tmp_path, **fields)


def test_the_models_own_context_counts(tmp_path: Path) -> None:
    small = ModelFacts("llama3.2", {**SHOW, "parameters": "num_ctx 1000"})
    with pytest.raises(ContextOverflow):
        check(Play(), tmp_path, facts=small)
    # Never more than it was trained for.
    with pytest.raises(ContextOverflow) as caught:
        check(Play(), tmp_path, "the " * 9000, ctx_size=100_000)
    assert caught.value.ctx_size == 8192


def loaded(size: Any) -> dict[str, Any]:
    return {"models": [{"name": "llama3.2:latest", "context_length": size}]}


def test_the_servers_default_is_asked_for(tmp_path: Path) -> None:
    play = Play(ps=loaded(2500))
    with pytest.raises(ContextOverflow):
        check(play, tmp_path)
    assert play.asked[0] == "ps"
    play = Play(ps=[{"models": []}, loaded(4096)])  # known once it is loaded
    check(play, tmp_path)
    assert play.asked[:3] == ["ps", "generate", "ps"]


def test_old_servers_have_2048(tmp_path: Path) -> None:
    with pytest.raises(ContextOverflow) as caught:
        check(Play(), tmp_path, facts=ModelFacts("llama3.2", SHOW, version=(0, 5, 4)))
    assert caught.value.ctx_size == 2048


@pytest.mark.parametrize(
    "play",
    [
        lambda: Play(ps=BackendUnavailable("gone")),
        lambda: Play(ps=loaded("x")),
        lambda: Play(ps=loaded(100), verbose=BackendUnavailable("gone")),
        lambda: Play(ps=loaded(100), verbose={"model_info": vocabulary(tokenizer__ggml__model="bert")}),
    ],
)
def test_what_cannot_be_known_is_not_guessed(
    play: Callable[[], Play], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = ModelFacts("llama3.2", {**SHOW, "model_info": {}})
    with caplog.at_level("DEBUG"):
        check(play(), tmp_path, facts=facts)
    assert "the prompt is not checked" in caplog.text

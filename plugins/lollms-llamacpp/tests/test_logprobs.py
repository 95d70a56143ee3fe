"""Log probabilities: the model's own, and in step with the text."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import pytest

from lollms_core import Event, GenerationRequest, TextDelta, TokenLogprob
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.logprobs import Logprobs
from lollms_llamacpp.native import Model
from lollms_llamacpp.options import LoadOptions

GREEDY: dict[str, Any] = {"temperature": 0.0}


def events_of(binding: LlamaCppBinding, prompt: str, **fields: Any) -> list[Event]:
    return list(binding.stream(prompt, **{**GREEDY, **fields}))


def test_values(smollm2: LlamaCppBinding) -> None:
    """They are logarithms of probabilities; the greedy choice is the likeliest, and the alternatives are sorted."""
    done = smollm2.chat("The capital of France is", n_predict=8, logprobs=5, **GREEDY)
    assert len(done.logprobs) == done.usage.completion_tokens == 8
    assert "".join(one.token for one in done.logprobs) == done.text
    for one in done.logprobs:
        assert one.logprob < 0
        assert one.top[0] == (one.token, one.logprob)
        assert [value for _, value in one.top] == sorted((value for _, value in one.top), reverse=True)
        assert len(one.top) == len({token for token, _ in one.top}) == 5
        assert sum(math.exp(value) for _, value in one.top) < 1
        assert one.bytes is None
    assert math.exp(done.logprobs[-1].logprob) > 0.01


def test_they_are_of_all_tokens(smollm2: LlamaCppBinding) -> None:
    """All probabilities together are 1, whatever is sampled from."""
    done = smollm2.chat("Once", n_predict=1, logprobs=60_000, top_k=1, **GREEDY)
    (one,) = done.logprobs
    assert len(one.top) == 49_152
    assert sum(math.exp(value) for _, value in one.top) == pytest.approx(1)


def test_the_same_as_others(smollm2_path: Path) -> None:
    """They are those of llama-cpp-python's own class, with the same kind of attention."""
    prompt = "The capital of France is"
    llama = importlib.import_module("llama_cpp").Llama
    model = llama(
        model_path=str(smollm2_path), n_ctx=256, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    theirs = model.create_completion(prompt, max_tokens=8, temperature=0, logprobs=4)["choices"][0]["logprobs"]
    model.close()
    with LlamaCppBinding(model_name="smollm2", ctx_size=256, n_threads=1, flash_attn=False) as binding:
        request = GenerationRequest(
            prompt=prompt, n_predict=8, temperature=0.0, logprobs=4, options={"completion_format": "text"}
        )
        ours = [event for event in binding._events(request) if isinstance(event, TokenLogprob)]
    assert [one.token for one in ours] == theirs["tokens"]
    assert [one.logprob for one in ours] == pytest.approx(theirs["token_logprobs"], abs=1e-4)
    for one, top in zip(ours, theirs["top_logprobs"], strict=True):
        # It writes tokens that control as "".
        known = {token: value for token, value in one.top if token in top}
        assert len(known) >= 3
        assert known == pytest.approx({token: top[token] for token in known}, abs=1e-4)


def test_sampling_changes_nothing(smollm2: LlamaCppBinding) -> None:
    """Temperature, filters, penalties, biases and a schema choose other tokens; the probabilities stay the model's."""
    plain = smollm2.chat("The capital of France is", n_predict=1, logprobs=3, **GREEDY).logprobs[0]
    for fields in (
        {"temperature": 2.0, "seed": 1},
        {"temperature": 0.0, "top_k": 1},
        {"temperature": 0.0, "logit_bias": {1000: 1e4}},
        {"temperature": 0.0, "repeat_penalty": 1.9},
        {"temperature": 0.0, "response_format": {"enum": [1, 2]}, "n_predict": 4},
    ):
        done = smollm2.chat("The capital of France is", **{"n_predict": 1, "logprobs": 3, **GREEDY, **fields})
        assert done.logprobs[0].top == plain.top
        if "response_format" in fields:
            assert done.logprobs[0].token in {"1", "2"}
            assert done.logprobs[0].logprob < plain.top[-1][1]


@pytest.mark.parametrize(("asked", "alternatives"), [(True, 0), (1, 1), (4, 4)])
def test_how_many(smollm2: LlamaCppBinding, asked: bool | int, alternatives: int) -> None:
    """True gives the token's own, a number so many alternatives."""
    done = smollm2.chat("Once", n_predict=3, logprobs=asked, **GREEDY)
    assert [len(one.top) for one in done.logprobs] == [alternatives] * 3


@pytest.mark.parametrize("asked", [None, False, 0])
def test_none(smollm2: LlamaCppBinding, asked: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed for who does not ask."""
    monkeypatch.setattr(Logprobs, "of", None)
    assert smollm2.chat("Once", n_predict=3, logprobs=asked, **GREEDY).logprobs == []


def test_each_after_its_text(smollm2: LlamaCppBinding) -> None:
    """Each comes just after the text that it belongs to."""
    events = events_of(smollm2, "Once upon a", n_predict=6, logprobs=True)
    text = tokens = ""
    for event in events:
        if isinstance(event, TextDelta):
            assert text == tokens
            text += event.text
        elif isinstance(event, TokenLogprob):
            tokens += event.token
    assert text == tokens != ""


def test_text_that_is_held_back(smollm2: LlamaCppBinding) -> None:
    """With a stop string that begins again and again, no logprob comes before its text, and at the end none lacks."""
    said = {"const": "ha ha ha ha ha ha"}
    events = events_of(smollm2, "Laugh.", n_predict=20, logprobs=True, stop=" ha ha ha!", response_format=said)
    assert max(len(event.text) for event in events if isinstance(event, TextDelta)) > len(" ha ha")
    text = tokens = ""
    for event in events:
        if isinstance(event, TextDelta):
            text += event.text
        elif isinstance(event, TokenLogprob):
            tokens += event.token
            assert text.startswith(tokens)
    assert text == tokens
    assert text == '"ha ha ha ha ha ha"'


def test_what_is_cut_off(smollm2: LlamaCppBinding) -> None:
    """Tokens that a stop string cuts off whole do not appear; one of which a part remains does."""
    whole = smollm2.chat("Once upon a", n_predict=12, logprobs=True, **GREEDY)
    tokens = [one.token for one in whole.logprobs]
    stop = "".join(tokens[4:6])
    if stop in "".join(tokens[:5]):
        pytest.fail("another prompt, please: this stop string comes earlier")
    cut = smollm2.chat("Once upon a", n_predict=12, logprobs=True, stop=stop, **GREEDY)
    assert [one.token for one in cut.logprobs] == tokens[:4]
    assert cut.text == "".join(tokens[:4])
    part = tokens[4][-1] + tokens[5]
    cut = smollm2.chat("Once upon a", n_predict=12, logprobs=True, stop=part, **GREEDY)
    assert [one.token for one in cut.logprobs] == tokens[: 5 if len(tokens[4]) > 1 else 4]


def test_bytes_of_tokens(smollm2: LlamaCppBinding) -> None:
    """A token that is a part of a character has its bytes; they come with the character."""
    emoji = "🦙"
    done = smollm2.chat("x", n_predict=12, logprobs=True, response_format={"const": emoji}, seed=3, **GREEDY)
    assert done.parsed == emoji
    events = events_of(smollm2, "x", n_predict=12, logprobs=True, response_format={"const": emoji}, seed=3)
    if f'"{emoji}"' == done.text:
        parts = [one for one in done.logprobs if one.bytes is not None]
        assert b"".join(one.bytes or b"" for one in parts) in f'"{emoji}"'.encode()
        assert all("\ufffd" in one.token for one in parts)
    text = ""
    for event in events:
        if isinstance(event, TextDelta):
            text += event.text
        elif isinstance(event, TokenLogprob) and event.bytes is not None:
            assert emoji in text


def test_holding_back(tiny_folder: Path) -> None:
    """Logprobs whose text is not out yet wait; those of text that never comes are dropped."""
    model = Model(tiny_folder / "chatty.gguf", LoadOptions())
    held = Logprobs(model, 0)
    one, two, three, four = (TokenLogprob(name, -1.0) for name in "abcd")
    for found, begin, end in ((one, 0, 2), (two, 2, 2), (three, 2, 4), (four, 4, 5)):
        held.add(found, begin, end)
    assert list(held.ready(1)) == []
    assert list(held.ready(2)) == [one, two]
    assert list(held.ready(3)) == []
    assert list(held.rest(3)) == [three]
    assert list(held.rest(9)) == []
    model.close()

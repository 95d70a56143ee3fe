"""The binding on a real model: answers, tokens, vectors, and many callers at once."""

from __future__ import annotations

import asyncio
import importlib
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lollms_core import MSG_TYPE, ContextOverflow, Finish, LollmsError, TextDelta, Usage
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.context import ABORTED, Context
from lollms_llamacpp.engine import Engine

GREEDY: dict[str, Any] = {"temperature": 0, "cache_prompt": False}

# This vocabulary has no tokens for these bytes, as nothing of its training text had them.
MISSING_BYTES = {0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2}


def test_an_answer(smollm2: LlamaCppBinding) -> None:
    """The model answers the question, and the token figures are exact."""
    done = smollm2.chat("Which city is the capital of France?", n_predict=24, **GREEDY)
    assert "Paris" in done.text
    assert done.model == "smollm2"
    assert done.finish_reason == "stop"
    assert done.usage == Usage(38, len(smollm2.tokenize(done.text)), 0)
    assert (done.timings.first_token or 0) > 0


def test_as_llama_cpp_python_answers(smollm2_path: Path) -> None:
    """The greedy answer is token for token that of llama-cpp-python's own class, with the same kind of attention."""
    llama = importlib.import_module("llama_cpp").Llama
    talk = [{"role": "user", "content": "Why is the sky blue?"}]
    other = llama(model_path=str(smollm2_path), n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)
    theirs = other.create_chat_completion(talk, temperature=0, max_tokens=24, repeat_penalty=1.0)
    other.close()
    with LlamaCppBinding(model_name="smollm2", ctx_size=512, n_threads=1, flash_attn=False) as binding:
        ours = binding.chat(talk, n_predict=24, temperature=0)
    assert ours.text == theirs["choices"][0]["message"]["content"]
    assert ours.usage.prompt_tokens == theirs["usage"]["prompt_tokens"]


def test_forms_of_a_prompt(smollm2: LlamaCppBinding) -> None:
    """A prompt, a message and a discussion of one turn are the same to the model; plain completion is not."""
    fields: dict[str, Any] = {"n_predict": 8, **GREEDY}
    question = "Name a colour."
    answer = smollm2.chat(question, **fields).text
    assert smollm2.generate_text(question, **fields) == answer
    assert smollm2.generate_text(f"!@>user:{question}", split=True, **fields) == answer
    assert smollm2.generate_from_messages([{"role": "user", "content": question}], **fields) == answer
    system = smollm2.generate_text(question, system_prompt="You are a pirate.", **fields)
    talk = [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": question}]
    assert smollm2.chat(talk, **fields).text == system
    assert smollm2.generate_text(f"!@>system:You are a pirate.!@>user:{question}", split=True, **fields) == system
    plain = smollm2.generate_text("The capital of France is", completion_format="text", **fields)
    assert "Paris" in str(plain)


def test_a_conversation(smollm2: LlamaCppBinding) -> None:
    """The next turn knows of the one before."""
    talk: list[dict[str, Any]] = [{"role": "user", "content": "My name is Ada. Remember it."}]
    talk.append(smollm2.chat(talk, n_predict=16, **GREEDY).message)
    talk.append({"role": "user", "content": "What is my name?"})
    assert "Ada" in smollm2.chat(talk, n_predict=16, **GREEDY).text


def test_streaming(smollm2: LlamaCppBinding) -> None:
    """The pieces are the answer; the last events are the figures and the end."""
    whole = smollm2.chat("Say hello.", n_predict=12, **GREEDY)
    stream = smollm2.stream("Say hello.", n_predict=12, **GREEDY)
    events = list(stream)
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert len(deltas) > 3
    assert "".join(delta.text for delta in deltas) == whole.text == stream.completion.text
    assert isinstance(events[-2], Usage)
    assert isinstance(events[-1], Finish)
    pieces: list[tuple[str, MSG_TYPE]] = []
    text = smollm2.generate_text(
        "Say hello.", n_predict=12, streaming_callback=lambda piece, kind: pieces.append((piece, kind)), **GREEDY
    )
    assert "".join(piece for piece, _ in pieces) == text == whole.text
    assert {kind for _, kind in pieces} == {MSG_TYPE.MSG_TYPE_CHUNK}


def test_callback_that_stops(smollm2: LlamaCppBinding) -> None:
    """A callback that returns False ends the answer; what came is returned."""
    pieces: list[str] = []

    def two(piece: str, _: MSG_TYPE) -> bool:
        pieces.append(piece)
        return len(pieces) < 2

    assert smollm2.generate_text("Count to twenty.", streaming_callback=two, **GREEDY) == "".join(pieces)
    assert len(pieces) == 2


def test_seeds(smollm2: LlamaCppBinding) -> None:
    """The same seed gives the same text, another seed another, whatever was done in between."""
    fields: dict[str, Any] = {"n_predict": 16, "temperature": 1.2}
    first = smollm2.chat("Tell me a story.", seed=1, **fields).text
    smollm2.chat("Something else entirely, to fill the cache.", n_predict=3)
    assert smollm2.chat("Tell me a story.", seed=1, **fields).text == first
    assert smollm2.chat("Tell me a story.", seed=2, **fields).text != first
    assert smollm2.chat("Tell me a story.", **fields).text != smollm2.chat("Tell me a story.", **fields).text


def test_stop_strings(smollm2: LlamaCppBinding) -> None:
    """A stop string ends the answer and leaves no trace, also where it spans tokens or is streamed."""
    whole = smollm2.chat("Count from one to ten in words.", n_predict=24, **GREEDY).text
    for stop in (whole[9:14], whole[10:11], whole[7:20]):
        expected = whole[: whole.index(stop)]
        for stops in (stop, [stop, "never in there"]):
            stream = smollm2.stream("Count from one to ten in words.", n_predict=24, stop=stops, **GREEDY)
            assert "".join(stream.text_stream) == expected
            assert stream.completion.finish_reason == "stop"


def test_length(smollm2: LlamaCppBinding) -> None:
    """n_predict is the number of tokens, and the reason tells that it was reached."""
    done = smollm2.chat("Count to twenty.", n_predict=3, **GREEDY)
    assert (done.finish_reason, done.usage.completion_tokens) == ("length", 3)
    assert smollm2.count_tokens(done.text) == 3


def test_penalties(smollm2: LlamaCppBinding) -> None:
    """Each of the penalties breaks a repetition."""
    fields: dict[str, Any] = {"n_predict": 16, "completion_format": "text", **GREEDY}
    prompt = "ha ha ha ha ha ha ha ha ha ha ha ha"
    plain = str(smollm2.generate_text(prompt, **fields))
    assert plain.count("ha") > 10
    for penalty in ({"repeat_penalty": 2.0}, {"presence_penalty": 20.0}, {"frequency_penalty": 2.0}):
        assert str(smollm2.generate_text(prompt, **penalty, **fields)).count("ha") < plain.count("ha")
        assert smollm2.generate_text(prompt, repeat_last_n=0, **penalty, **fields) == plain


def test_biases(smollm2: LlamaCppBinding) -> None:
    """A token can be forbidden or forced."""
    (token,) = smollm2.tokenize(" Paris")
    fields: dict[str, Any] = {"n_predict": 1, "completion_format": "text", **GREEDY}
    prompt = "The capital of France is"
    assert smollm2.generate_text(prompt, **fields) == " Paris"
    assert smollm2.generate_text(prompt, logit_bias={token: -1e9}, **fields) != " Paris"
    assert smollm2.generate_text("Two plus two is", logit_bias={str(token): 1e9}, **fields) == " Paris"


def test_injected_control_tokens(smollm2: LlamaCppBinding) -> None:
    """A user who writes control tokens ends no message: the model reads them as text."""
    innocent = smollm2.chat("x", n_predict=1).usage.prompt_tokens or 0
    injected = smollm2.chat("x<|im_end|>", n_predict=1).usage.prompt_tokens or 0
    assert injected - innocent == len(smollm2.tokenize("x<|im_end|>")) - 1 > 1


def test_too_long(smollm2: LlamaCppBinding) -> None:
    """A prompt longer than the context costs nothing but its counting."""
    with pytest.raises(ContextOverflow) as caught:
        smollm2.chat("word " * 3000)
    assert (caught.value.ctx_size, (caught.value.prompt_tokens or 0) > 3000) == (2048, True)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.faults
@given(text=st.text(max_size=60))
def test_tokens_round_trip(smollm2: LlamaCppBinding, text: str) -> None:
    """Text comes back from its tokens as it was, leading spaces and all."""
    if MISSING_BYTES.isdisjoint(text.encode()):
        assert smollm2.detokenize(smollm2.tokenize(text)) == text


@pytest.mark.parametrize("text", [" x", "  x ", "\n\n", "\t", " 👩‍👩‍👧 é", "▁", "<|im_end|>", "\0", "'s  ' s", ""])
def test_tokens_of(smollm2: LlamaCppBinding, text: str) -> None:
    """Blanks, emoji, special-token text: all comes back, and is counted as it is tokenized."""
    tokens = smollm2.tokenize(text)
    assert smollm2.detokenize(tokens) == text
    assert smollm2.count_tokens(text) == len(tokens)
    assert not set(tokens) & {0, 1, 2}


def test_embeddings(smollm2: LlamaCppBinding) -> None:
    """Vectors of length 1, in the order of the texts, the same alone or in company, close for what is alike."""
    texts = ["A cat sat on the mat.", "Stock prices fell sharply today.", "The kitten sat on the rug."]
    vectors = smollm2.embed(texts)
    assert [len(vector) for vector in vectors] == [576] * 3
    for text, vector in zip(texts, vectors, strict=True):
        assert sum(one * one for one in vector) == pytest.approx(1)
        assert smollm2.embed(text) == pytest.approx(vector, abs=1e-6)

    def likeness(one: int, other: int) -> float:
        return float(sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True)))

    assert likeness(0, 2) > likeness(0, 1)
    assert smollm2.embed([]) == []
    assert len(smollm2.embed("x" * 2000)) == 576


def test_bad_embeddings(smollm2: LlamaCppBinding) -> None:
    """Empty and overlong texts and other dimensions are refused; the next call works."""
    with pytest.raises(LollmsError, match="text 1 is empty"):
        smollm2.embed(["x", ""])
    with pytest.raises(ContextOverflow, match="text 0"):
        smollm2.embed("word " * 3000)
    with pytest.raises(LollmsError, match="dimensions"):
        smollm2.embed("x", dimensions=100)
    assert smollm2.embed("x", dimensions=576) == smollm2.embed("x")


def test_many_callers(smollm2: LlamaCppBinding) -> None:
    """Requests of every kind from several threads at once get the answers that they get alone."""
    questions = [f"Tell me about the number {number}." for number in range(4)]
    fields: dict[str, Any] = {"n_predict": 8, "temperature": 0.9}
    alone = [smollm2.chat(question, seed=number, **fields).text for number, question in enumerate(questions)]
    vector = smollm2.embed(questions[0])
    answers: dict[object, object] = {}

    def chat(number: int) -> None:
        answers[number] = smollm2.chat(questions[number], seed=number, **fields).text

    def stream(number: int) -> None:
        answers["stream", number] = "".join(smollm2.stream(questions[number], seed=number, **fields).text_stream)

    def embed() -> None:
        answers["embed"] = smollm2.embed(questions[0])

    def tokens() -> None:
        answers["tokens"] = [smollm2.detokenize(smollm2.tokenize(question)) for question in questions * 20]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4) for call in (chat, stream)]
    threads += [threading.Thread(target=embed), threading.Thread(target=tokens)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[number] for number in range(4)] == alone
    assert [answers["stream", number] for number in range(4)] == alone
    assert answers["embed"] == pytest.approx(vector)
    assert answers["tokens"] == questions * 20


async def test_many_tasks(smollm2: LlamaCppBinding) -> None:
    """The same for asyncio."""
    fields: dict[str, Any] = {"n_predict": 6, **GREEDY}
    alone = [(await smollm2.achat(f"Say {word}.", **fields)).text for word in ("yes", "no", "maybe")]
    together = await asyncio.gather(*(smollm2.achat(f"Say {word}.", **fields) for word in ("yes", "no", "maybe")))
    assert [done.text for done in together] == alone
    async with smollm2.astream("Say yes.", **fields) as stream:
        assert "".join([piece async for piece in stream.text_stream]) == alone[0]


def test_a_question_within_an_answer(smollm2: LlamaCppBinding) -> None:
    """Who reads a stream may ask the same model something else in between; neither answer suffers."""
    fields: dict[str, Any] = {"n_predict": 10, **GREEDY}
    outer, inner = smollm2.chat("Count to ten.", **fields).text, smollm2.chat("Name a bird.", **fields).text
    pieces = []
    for piece in smollm2.stream("Count to ten.", **fields).text_stream:
        pieces.append(piece)
        if len(pieces) in {2, 5}:
            assert smollm2.chat("Name a bird.", **fields).text == inner
    assert "".join(pieces) == outer


def test_cancel_while_the_prompt_is_read(smollm2: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling ends the very step that runs: the rest of a long prompt is not read."""
    begun, ended, computed = threading.Event(), threading.Event(), []
    decode = Context.decode

    def seen(self: Context) -> int:
        begun.set()
        code = decode(self)
        computed.append(code)
        ended.set()
        return code

    monkeypatch.setattr(Context, "decode", seen)
    stream = smollm2.stream("word " * 1900, **GREEDY)

    def cancel() -> None:
        begun.wait(60)
        stream.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    assert list(stream) == []
    canceller.join()
    assert stream.completion.finish_reason == "cancelled"
    assert ended.wait(60)
    assert computed == [ABORTED]
    monkeypatch.undo()
    assert "Paris" in smollm2.chat("Which city is the capital of France?", n_predict=24, **GREEDY).text


def test_cancel_while_waiting(smollm2: LlamaCppBinding) -> None:
    """A request that waits for its turn leaves when it is cancelled."""
    first = iter(smollm2.stream("Count to ten.", n_predict=10, **GREEDY))
    next(first)
    waiting = smollm2.stream("Count to ten.", **GREEDY)
    events: list[object] = []
    reader = threading.Thread(target=lambda: events.extend(waiting))
    waiting.cancel()
    reader.start()
    reader.join(60)
    assert events == []
    assert waiting.completion.finish_reason == "cancelled"
    assert len(list(first)) > 1


def test_left_streams(smollm2: LlamaCppBinding) -> None:
    """A stream that is left or closed frees the model at once."""
    for _ in smollm2.stream("Count to a hundred.", **GREEDY):
        break
    with smollm2.stream("Count to a hundred.", **GREEDY) as stream:
        next(iter(stream))
    assert isinstance(smollm2._models.engine, Engine)
    assert not smollm2._models.engine.n_requests
    assert "Paris" in smollm2.chat("Which city is the capital of France?", n_predict=24, **GREEDY).text


def test_threads_of_a_request(smollm2: LlamaCppBinding) -> None:
    """The number of threads can be chosen for each request and changes nothing in the answer's form."""
    assert smollm2.chat("Say hello.", n_predict=4, n_threads=1, n_threads_batch=1, **GREEDY).text


def test_info(smollm2: LlamaCppBinding) -> None:
    """What is loaded, with the facts of its file."""
    info = smollm2.get_model_info()
    assert info["model_name"] == "smollm2"
    assert (info["loaded"], info["ctx_size"], info["trained_ctx_size"]) == (True, 2048, 8192)
    assert (info["architecture"], info["quantization"], info["n_params"]) == ("llama", "Q4_1", 134_515_008)
    assert info["supports"] == [
        "async",
        "chat",
        "embed",
        "json_schema",
        "logprobs",
        "pull",
        "stream",
        "text",
        "tokenize",
    ]
    assert info["parameters"]["ctx_size"] == 2048
    assert info["parameters"]["temperature"] == 0.8
    (listed,) = smollm2.listModels()
    assert (listed["model_name"], listed["loaded"], listed["size"]) == ("smollm2", True, 98_362_432)
    assert smollm2.list_models() == [listed]

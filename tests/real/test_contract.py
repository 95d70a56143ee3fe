"""The contract, kept by every binding with every real server.

The model is small: answers are looked at for their shape, their counts and their sameness, not for what they say.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from lollms_core import (
    MSG_TYPE,
    BackendUnavailable,
    CapabilityNotSupported,
    Completion,
    ContextOverflow,
    LollmsError,
    LollmsLLMBinding,
    ModelNotFound,
    TextDelta,
    UnsupportedParameter,
)

if TYPE_CHECKING:
    from .conftest import Backend, Opener

QUESTION = "Why is the sky blue? Answer in two sentences."
DISCUSSION = "!@>system:You are brief.\n!@>user:Say hello.\n!@>assistant:Hello.\n!@>user:And now say goodbye."
GREEDY: dict[str, Any] = {"temperature": 0.0, "seed": 1}
DIMENSIONS = 576  # of SmolLM2-135M
LIMIT = 60.0  # seconds for what another thread or task has to do


def text_of(answer: str | dict[str, Any]) -> str:
    assert isinstance(answer, str), answer
    return answer


# Generating ---------------------------------------------------------------------------------------------


def test_generate_text(binding: LollmsLLMBinding) -> None:
    """A text; greedy, so the same again."""
    answers = [text_of(binding.generate_text(QUESTION, n_predict=12, **GREEDY)) for _ in range(3)]
    assert answers[0].strip()
    # The first reads the whole prompt; the others find it cached, where the backend does that.
    assert answers[1] == answers[2]


def test_seed_decides(binding: LollmsLLMBinding) -> None:
    """With temperature, the same seed gives the same text, and another seed another."""
    binding.generate_text(QUESTION, n_predict=1, seed=1)  # from here on the prompt is cached, or never is
    sampled: dict[str, Any] = {"n_predict": 24, "temperature": 1.5, "top_k": 100, "top_p": 1.0}
    same = {text_of(binding.generate_text(QUESTION, seed=5, **sampled)) for _ in range(2)}
    others = {text_of(binding.generate_text(QUESTION, seed=seed, **sampled)) for seed in (6, 7, 8)}
    assert len(same) == 1
    assert others - same


def test_n_predict_bounds_the_answer(binding: LollmsLLMBinding) -> None:
    """The answer ends at the limit and says that it did."""
    completion = binding.chat(QUESTION, n_predict=5, **GREEDY)
    assert completion.finish_reason == "length"
    assert completion.usage.completion_tokens == 5


def test_stop_text_ends_the_answer(binding: LollmsLLMBinding) -> None:
    """The answer ends before the stop text, which is not part of it."""
    whole = text_of(binding.generate_text(QUESTION, n_predict=24, **GREEDY))
    middle = len(whole) // 2
    stop = whole[middle : middle + 3]
    completion = binding.chat(QUESTION, n_predict=24, stop=[stop], **GREEDY)
    assert stop not in completion.text
    assert completion.text == whole[: whole.index(stop)]
    assert completion.finish_reason == "stop"


# Streaming ----------------------------------------------------------------------------------------------


def test_callback_gets_the_text_in_pieces(binding: LollmsLLMBinding) -> None:
    """What the callback got, joined, is what is returned."""
    pieces: list[str] = []
    kinds = set()

    def callback(piece: str, kind: MSG_TYPE) -> None:
        pieces.append(piece)
        kinds.add(kind)

    text = text_of(binding.generate_text(QUESTION, n_predict=16, streaming_callback=callback, **GREEDY))
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert kinds == {MSG_TYPE.MSG_TYPE_CHUNK}


def test_streamed_or_not_the_text_is_the_same(binding: LollmsLLMBinding) -> None:
    """`stream` decides how the answer travels, not what it says."""
    binding.generate_text(QUESTION, n_predict=1, **GREEDY)
    texts = {
        text_of(binding.generate_text(QUESTION, n_predict=16, stream=stream, **GREEDY)) for stream in (True, False)
    }
    assert len(texts) == 1


def test_callback_stops_with_false(binding: LollmsLLMBinding) -> None:
    """False ends it at once with the text so far; the binding goes on working."""
    pieces: list[str] = []

    def callback(piece: str, kind: MSG_TYPE) -> bool:
        pieces.append(piece)
        return len(pieces) < 3

    text = text_of(binding.generate_text(QUESTION, n_predict=300, streaming_callback=callback, **GREEDY))
    assert len(pieces) == 3
    assert text == "".join(pieces)
    assert binding.chat(QUESTION, n_predict=3, **GREEDY).text


def test_an_exception_in_the_callback_comes_out(binding: LollmsLLMBinding) -> None:
    """What the callback raises reaches the caller; the binding goes on working."""

    class OwnError(Exception):
        pass

    def callback(piece: str, kind: MSG_TYPE) -> None:
        raise OwnError(piece)

    with pytest.raises(OwnError):
        binding.generate_text(QUESTION, n_predict=300, streaming_callback=callback, **GREEDY)
    assert binding.chat(QUESTION, n_predict=3, **GREEDY).text


def test_stream_gives_events_and_a_completion(backend: Backend, binding: LollmsLLMBinding) -> None:
    """The text events make up the completion's text."""
    with binding.stream(QUESTION, n_predict=12, **GREEDY) as stream:
        text = "".join(event.text for event in stream if isinstance(event, TextDelta))
    assert stream.completion.text == text
    assert stream.completion.finish_reason == "length"
    assert stream.completion.usage.completion_tokens == (12 if backend.counts_streams else None)


def test_a_reader_that_leaves_ends_the_stream(binding: LollmsLLMBinding) -> None:
    """After a `break` the completion holds the text so far."""
    text = ""
    stream = binding.stream(QUESTION, n_predict=300, **GREEDY)
    for event in stream:
        if isinstance(event, TextDelta):
            text += event.text
            if len(text) > 10:
                break
    assert stream.completion.text == text
    assert stream.completion.finish_reason == "cancelled"
    assert binding.chat(QUESTION, n_predict=3, **GREEDY).text


def test_cancel_from_another_thread(binding: LollmsLLMBinding) -> None:
    """`cancel` ends what runs: the text so far is returned."""
    started = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            binding.generate_text,
            "Write a very long story.",
            n_predict=1200,
            streaming_callback=lambda piece, kind: started.set(),
            temperature=1.0,
            seed=3,
        )
        assert started.wait(LIMIT)
        binding.cancel()
        assert text_of(running.result(LIMIT))
    assert binding.chat(QUESTION, n_predict=3, **GREEDY).text


# Conversations ------------------------------------------------------------------------------------------


def test_discussion(binding: LollmsLLMBinding) -> None:
    """A marked discussion is the conversation that it splits into."""
    messages = binding.split_discussion(DISCUSSION)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    binding.generate_from_messages(messages, n_predict=1, **GREEDY)
    from_text = text_of(binding.generate_text(DISCUSSION, split=True, n_predict=12, **GREEDY))
    from_messages = text_of(binding.generate_from_messages(messages, n_predict=12, **GREEDY))
    assert from_text.strip()
    assert from_text == from_messages


def test_chat_says_all_about_the_answer(binding: LollmsLLMBinding) -> None:
    """Text, reason, usage, timings, and a message to go on with."""
    first = binding.chat(QUESTION, n_predict=8, **GREEDY)
    assert isinstance(first, Completion)
    assert first.text.strip()
    assert first.timings.total is not None
    assert first.timings.total > 0
    assert "smollm2" in str(first.model).lower()
    assert first.ignored == ()
    turns = [{"role": "user", "content": QUESTION}, first.message, {"role": "user", "content": "Go on."}]
    assert binding.chat(turns, n_predict=8, **GREEDY).text.strip()


def test_usage_grows_with_the_prompt(binding: LollmsLLMBinding) -> None:
    """Prompt tokens are those of the conversation, completion tokens those of the answer."""
    short = binding.chat("Hello", n_predict=4, **GREEDY).usage
    # Nothing in common with the one before: some servers leave out what they have cached.
    long = binding.chat("Count: " + "one two three four five " * 20, n_predict=4, **GREEDY).usage
    assert short.prompt_tokens is not None
    assert long.prompt_tokens is not None
    assert 0 < short.prompt_tokens < 80
    assert 100 < long.prompt_tokens - short.prompt_tokens < 130
    assert short.completion_tokens == long.completion_tokens == 4


# Embedding ----------------------------------------------------------------------------------------------


def test_embed(backend: Backend, binding: LollmsLLMBinding) -> None:
    """One text gives one vector, several give as many in their order; the same text gives the same vector."""
    texts = ["The cat sat on the mat.", "Quantum chromodynamics", "Le chat est assis.", "x"]
    if not backend.embeds:
        with pytest.raises(CapabilityNotSupported, match="embeddings"):
            binding.embed(texts)
        return
    one = binding.embed(texts[1])
    many = binding.embed(texts)
    assert [len(vector) for vector in (one, *many)] == [DIMENSIONS] * 5
    assert all(isinstance(number, float) for number in one)
    # In a batch sums are taken in another order.
    assert many[1] == pytest.approx(one, rel=0.05, abs=0.01)
    assert binding.embed(texts[::-1])[2] == pytest.approx(many[1], rel=0.05, abs=0.01)
    assert many[0] != pytest.approx(many[1], rel=0.05, abs=0.01)
    assert binding.embed([]) == []


# Models -------------------------------------------------------------------------------------------------


def test_model_list(binding: LollmsLLMBinding) -> None:
    """The served model is listed."""
    models = binding.listModels()
    assert any(str(model["model_name"]).partition(":")[0] == "smollm2" for model in models)
    assert binding.list_models() == models


def test_model_info(binding: LollmsLLMBinding) -> None:
    """The contract's keys, true of what is served."""
    binding.generate_text("Hello", n_predict=1)  # now it is loaded everywhere
    info = binding.get_model_info()
    assert {"binding_name", "model_name", "loaded", "ctx_size", "supports", "parameters"} <= info.keys()
    assert info["loaded"] is True
    assert info["ctx_size"] in {None, 2048, 8192}
    assert {"TEXT", "CHAT", "STREAM"} <= {str(name).upper() for name in info["supports"]}
    assert info.get("host_address") or info.get("path")
    assert "a-key-for-loopback" not in repr(info) + repr(binding)


def test_load_model(binding: LollmsLLMBinding) -> None:
    """A known model loads; an unknown one gives False with the reason, and the old one stays usable."""
    assert binding.load_model("smollm2") is True
    assert binding.last_error is None
    assert binding.load_model("no-such-model") is False
    assert "no-such-model" in str(binding.last_error)
    assert str(binding.model_name).startswith("smollm2")
    assert binding.chat(QUESTION, n_predict=3, **GREEDY).text


def test_unknown_model(backend: Backend, binding: LollmsLLMBinding) -> None:
    """An unknown model for one request is ModelNotFound, raised or returned; some servers take any name."""
    if not backend.knows_its_models:
        assert binding.chat(QUESTION, model="no-such-model", n_predict=3, **GREEDY).text
        return
    with pytest.raises(ModelNotFound, match="no-such-model"):
        binding.chat(QUESTION, model="no-such-model", n_predict=3)
    messages = [{"role": "user", "content": QUESTION}]
    answer = binding.generate_from_messages(messages, model="no-such-model", n_predict=3)
    assert isinstance(answer, dict)
    assert answer["status"] is False
    assert answer["error_type"] == "ModelNotFound"
    assert binding.chat(QUESTION, n_predict=3, **GREEDY).text


# Async, and many at once --------------------------------------------------------------------------------


async def test_async(backend: Backend, binding: LollmsLLMBinding) -> None:
    """Every async form gives what its twin gives."""
    async with binding:
        completion = await binding.achat(QUESTION, n_predict=8, **GREEDY)
        assert completion.text.strip()
        assert completion.usage.completion_tokens == 8
        pieces: list[str] = []
        text = await binding.agenerate_text(
            QUESTION, n_predict=8, streaming_callback=lambda piece, kind: pieces.append(piece), **GREEDY
        )
        assert text_of(text) == "".join(pieces)
        stream = binding.astream(QUESTION, n_predict=8, **GREEDY)
        streamed = "".join([event.text async for event in stream if isinstance(event, TextDelta)])
        assert stream.completion.text == streamed
        assert streamed.strip()
        if backend.embeds:
            assert [len(vector) for vector in await binding.aembed(["a", "b"])] == [DIMENSIONS] * 2


async def test_a_cancelled_task_gets_its_cancelled_error(binding: LollmsLLMBinding) -> None:
    """And the binding goes on working."""
    started = asyncio.Event()
    async with binding:
        task = asyncio.create_task(
            binding.agenerate_text(
                "Write a very long story.",
                n_predict=1200,
                streaming_callback=lambda piece, kind: started.set(),
                **GREEDY,
            )
        )
        await asyncio.wait_for(started.wait(), LIMIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await binding.achat(QUESTION, n_predict=3, **GREEDY)).text


def test_several_threads(binding: LollmsLLMBinding) -> None:
    """Requests of several threads on one binding: each gets its whole answer."""

    def ask(number: int) -> Completion:
        with binding.stream(f"Tell me about the number {number}.", n_predict=8, **GREEDY) as stream:
            text = "".join(event.text for event in stream if isinstance(event, TextDelta))
        assert stream.completion.text == text
        return stream.completion

    with ThreadPoolExecutor(4) as pool:
        completions = list(pool.map(ask, range(8), timeout=LIMIT))
    assert all(completion.text for completion in completions)


async def test_several_tasks(binding: LollmsLLMBinding) -> None:
    """The same for tasks of one event loop."""
    async with binding:
        asked = [binding.achat(f"Tell me about the number {number}.", n_predict=8, **GREEDY) for number in range(8)]
        completions = await asyncio.wait_for(asyncio.gather(*asked), LIMIT)
    assert all(completion.text for completion in completions)


def test_threads_and_loops_share_a_binding(binding: LollmsLLMBinding) -> None:
    """Threads that each run an event loop of their own, beside one that runs none."""

    def ask_async(number: int) -> str:
        async def ask() -> str:
            return (await binding.achat(f"Say {number}.", n_predict=4, **GREEDY)).text

        return asyncio.run(ask())

    with ThreadPoolExecutor(3) as pool:
        looped = [pool.submit(ask_async, number) for number in range(2)]
        plain = pool.submit(lambda: binding.chat("Say 3.", n_predict=4, **GREEDY).text)
        assert all(future.result(LIMIT) for future in (*looped, plain))


# Misuse and ends ----------------------------------------------------------------------------------------


def test_misuse_is_raised(binding: LollmsLLMBinding) -> None:
    """Wrong types, ranges and names, from generate_text too."""
    with pytest.raises(ValueError, match="temperature"):
        binding.generate_text(QUESTION, temperature=-1.0)
    with pytest.raises(TypeError, match="n_predict"):
        binding.generate_text(QUESTION, n_predict="many")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedParameter, match="keep_alove"):
        binding.chat(QUESTION, keep_alove=1)


def test_a_prompt_that_cannot_fit(binding: LollmsLLMBinding) -> None:
    """ContextOverflow, raised or returned; nobody cuts the prompt without a word."""
    prompt = "one two three four " * 2500
    with pytest.raises(ContextOverflow):
        binding.chat(prompt, n_predict=4)
    answer = binding.generate_text(prompt, n_predict=4)
    assert isinstance(answer, dict)
    assert answer["error_type"] == "ContextOverflow"


def test_an_image_for_a_model_that_cannot_see(backend: Backend, binding: LollmsLLMBinding) -> None:
    """CapabilityNotSupported where that can be known beforehand; at least no silent loss elsewhere."""
    pixel = (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\3\1\1"
        b"\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82"
    )
    expected = CapabilityNotSupported if backend.sees_nothing else LollmsError
    with pytest.raises(expected):
        binding.chat("What is this?", images=[pixel], n_predict=4)


def test_closed(backend: Backend, opener: Opener, request: pytest.FixtureRequest) -> None:
    """A closed binding says so; closing twice is fine."""
    binding = opener(backend.binding, **backend.arguments(request.getfixturevalue))
    assert binding.chat("Hello", n_predict=2).text
    binding.close()
    binding.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        binding.chat("Hello", n_predict=2)
    answer = binding.generate_text("Hello", n_predict=2)
    assert isinstance(answer, dict)
    assert answer["error_type"] == "BackendUnavailable"

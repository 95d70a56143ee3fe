"""ScriptedBinding: answers what a test wrote down, remembers what it was asked, and keeps the contract."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from samples import EightMethods, Events

from lollms_core import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    Capability,
    CapabilityNotSupported,
    InvalidOutput,
    LollmsError,
    LollmsLLMBinding,
    ModelNotFound,
    StreamInterrupted,
    TextDelta,
    UnsupportedParameter,
)
from lollms_core.testing import Answer, Gate, Held, Reply, ScriptedBinding, ScriptError, last_text

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
FOREVER = 3600.0


def silent() -> Reply:
    """Says one word and then nothing more."""
    return Reply(pieces=["Well, ", FOREVER, "no."])


# Answers ------------------------------------------------------------------------------------------------------


def test_each_request_gets_the_next_answer_whatever_the_method() -> None:
    binding = ScriptedBinding(["one", "two", "three"])
    assert binding.generate_text("a") == "one"
    assert binding.chat("b").text == "two"
    assert "".join(binding.stream("c").text_stream) == "three"
    assert [last_text(request) for request in binding.requests] == ["a", "b", "c"]


async def test_the_async_methods_too() -> None:
    binding = ScriptedBinding(["one", "two", "three"])
    assert await binding.agenerate_text("a") == "one"
    assert (await binding.achat("b")).text == "two"
    assert "".join([piece async for piece in binding.astream("c").text_stream]) == "three"


def test_a_request_is_remembered_as_the_backend_gets_it() -> None:
    binding = ScriptedBinding(["ok"], temperature=0.2)
    binding.chat("x", seed=7, system_prompt="be brief")
    (request,) = binding.requests
    assert (request.temperature, request.seed, request.system_prompt) == (0.2, 7, "be brief")


def test_a_function_answers_from_the_request() -> None:
    binding = ScriptedBinding([lambda request: f"You said {last_text(request)}"], repeat=True)
    assert [binding.generate_text(word) for word in ("a", "b")] == ["You said a", "You said b"]


def test_failures_follow_the_table_of_returned_and_raised() -> None:
    answers: list[Answer] = [
        BackendUnavailable("gone"),
        Reply("part", then=StreamInterrupted("cut")),
        RuntimeError("odd"),
    ]
    binding = ScriptedBinding([*answers, *answers])
    returned = [binding.generate_text("x") for _ in answers]
    assert [(dict(one)["error_type"], dict(one)["partial"]) for one in returned if isinstance(one, dict)] == [
        ("BackendUnavailable", ""),
        ("StreamInterrupted", "part"),
        ("BackendError", ""),
    ]
    for kind in (BackendUnavailable, StreamInterrupted, BackendError):
        with pytest.raises(kind):
            binding.chat("x")


def test_a_callback_gets_the_pieces_and_may_stop() -> None:
    binding = ScriptedBinding(["a b c", "a b c"])
    pieces: list[str] = []
    assert binding.generate_text("x", streaming_callback=lambda piece, _: pieces.append(piece)) == "a b c"
    assert pieces == ["a ", "b ", "c"]
    assert binding.generate_text("x", streaming_callback=lambda *_: False) == "a "


def test_tools_run_to_the_answer() -> None:
    def weather(city: str) -> str:
        """The weather."""
        return f"rain in {city}"

    binding = ScriptedBinding([Reply(tool_calls=[("weather", {"city": "Oslo"})]), "Take an umbrella."])
    completion = binding.chat("Weather?", tools=[weather], run_tools=True)
    assert completion.text == "Take an umbrella."
    assert last_text(binding.requests[1]) == "rain in Oslo"


def test_an_answer_is_held_to_the_schema() -> None:
    @dataclass
    class Colour:
        name: str

    binding = ScriptedBinding([{"name": "red"}, {"title": "red"}])
    assert binding.chat("x", response_format=Colour).parsed == Colour("red")
    with pytest.raises(InvalidOutput):
        binding.chat("x", response_format=Colour)


def test_reasoning_images_and_log_probabilities_are_taken() -> None:
    binding = ScriptedBinding([Reply("A cat.", reasoning="Fur.")])
    completion = binding.chat("What is it?", images=[PNG], think=True, logprobs=True)
    assert (completion.text, completion.reasoning) == ("A cat.", "Fur.")
    assert len(completion.logprobs) == 2
    assert completion.ignored == ()


# The end of the script ----------------------------------------------------------------------------------------


def test_more_requests_than_answers_fail_the_test_whatever_the_method() -> None:
    binding = ScriptedBinding(["one"])
    binding.generate_text("a")
    with pytest.raises(ScriptError, match="the script has 1 answer, and request 2 came: 'b'"):
        binding.generate_text("b")
    with pytest.raises(ScriptError, match="request 3 came"):
        binding.chat("c")
    with pytest.raises(ScriptError, match="request 4 came"):
        list(binding.stream("d"))


async def test_more_async_requests_than_answers_fail_the_test() -> None:
    binding = ScriptedBinding()
    with pytest.raises(ScriptError):
        await binding.agenerate_text("x")
    async with binding.astream("x") as stream:
        with pytest.raises(ScriptError):
            await anext(aiter(stream))


def test_a_failed_assertion_in_a_function_reaches_the_test() -> None:
    def check(request: Any) -> str:
        assert request.temperature == 0, "be exact"
        return "ok"

    with pytest.raises(AssertionError, match="be exact"):
        ScriptedBinding([check]).generate_text("x", temperature=1)


def test_what_the_code_under_test_swallows_comes_out_at_the_end() -> None:
    binding = ScriptedBinding()
    with pytest.raises(ScriptError) as raised:
        binding.generate_text("x")
    with pytest.raises(ScriptError) as again:
        binding.assert_followed(unused=False)
    assert raised.value is again.value


def test_answers_that_are_left_fail_the_test() -> None:
    binding = ScriptedBinding(["one", "two"])
    binding.generate_text("x")
    with pytest.raises(ScriptError, match=r"1 of 2 scripted answers were not used: 1 request came; .*'two'"):
        binding.assert_followed()
    binding.assert_followed(unused=False)
    binding.generate_text("x")
    binding.assert_followed()


def test_the_last_answer_stays_if_wanted_and_answers_can_be_added() -> None:
    binding = ScriptedBinding(["one"], repeat=True)
    assert [binding.generate_text("x") for _ in range(3)] == ["one"] * 3
    binding = ScriptedBinding()
    binding.add("late")
    assert binding.generate_text("x") == "late"


# Ending a silence -------------------------------------------------------------------------------------------


def test_cancel_ends_a_silence_at_once() -> None:
    binding = ScriptedBinding([silent()])
    stream = binding.stream("x")
    threading.Timer(0.01, binding.cancel).start()
    assert "".join(stream.text_stream) == "Well, "
    assert stream.completion.finish_reason == "cancelled"


def test_close_and_a_gate_end_a_silence_too() -> None:
    gate = Gate()
    binding = ScriptedBinding([Reply(pieces=["a", gate, "b"]), silent()])
    threading.Timer(0.01, gate.open).start()
    assert binding.generate_text("x") == "ab"
    threading.Timer(0.01, binding.close).start()
    assert binding.chat("x").finish_reason == "cancelled"
    with pytest.raises(BackendUnavailable, match="closed"):
        binding.chat("x")


def test_leaving_a_stream_leaves_nothing_behind() -> None:
    binding = ScriptedBinding([silent()])
    before = Held.now()
    for event in binding.stream("x"):
        assert isinstance(event, TextDelta)
        break
    assert before.more() == ""


def test_a_deadline_and_a_timeout_end_a_silence() -> None:
    binding = ScriptedBinding([silent()], repeat=True)
    with pytest.raises(BackendTimeout, match="deadline") as raised:
        binding.chat("x", deadline=0.01)
    assert raised.value.partial == "Well, "
    with pytest.raises(BackendTimeout, match="no sign of life"):
        binding.chat("x", timeout=0.01)


async def test_a_silence_does_not_block_the_loop_and_ends_with_the_task() -> None:
    gate = Gate()
    binding = ScriptedBinding([Reply(pieces=[gate, "late"]), silent()])
    late = asyncio.create_task(binding.achat("x"))
    await asyncio.sleep(0)
    task = asyncio.create_task(binding.achat("x"))
    while len(binding.requests) < 2:  # noqa: ASYNC110 - the loop must go on by itself
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    assert (await late).text == "late"


async def test_cancel_ends_an_async_silence_and_timeouts_do() -> None:
    binding = ScriptedBinding([silent(), Reply(pieces=["a", Gate()])])
    async with binding.astream("x") as stream:
        async for event in stream:
            assert isinstance(event, TextDelta)
            binding.cancel()
    assert stream.completion.finish_reason == "cancelled"
    with pytest.raises(BackendTimeout):
        await binding.achat("x", timeout=0.01)


async def test_without_async_of_its_own_it_runs_in_a_thread() -> None:
    binding = ScriptedBinding(["a"], capabilities={Capability.TEXT, Capability.CHAT})
    seen: list[threading.Thread] = []

    def answer(_: Any) -> str:
        seen.append(threading.current_thread())
        return "b"

    binding.add(answer)
    assert (await binding.achat("x")).text == "a"
    assert (await binding.achat("x")).text == "b"
    assert seen != [threading.current_thread()]


# Capabilities -------------------------------------------------------------------------------------------------


def test_capabilities_can_be_narrowed() -> None:
    binding = ScriptedBinding(["ok"], capabilities={"text", "chat"})
    calls: list[Any] = [
        lambda: binding.stream("x"),
        lambda: binding.chat("x", tools=[{"name": "f"}]),
        lambda: binding.chat("x", images=[PNG]),
        lambda: binding.chat("x", think=True),
        lambda: binding.embed("x"),
        lambda: binding.tokenize("x"),
        lambda: binding.count_tokens("x"),
        lambda: binding.detokenize([1]),
    ]
    for call in calls:
        with pytest.raises(CapabilityNotSupported):
            call()
    assert binding.requests == []
    assert binding.chat("x").text == "ok"
    assert binding.get_model_info()["supports"] == ["chat", "text"]
    assert ScriptedBinding().capabilities > binding.capabilities, "another instance is not touched"


def test_capabilities_cannot_be_widened() -> None:
    with pytest.raises(ValueError, match="pull"):
        ScriptedBinding(capabilities=list(Capability))


def test_it_can_stand_in_for_a_class() -> None:
    binding = ScriptedBinding(["ok"], like=Events, shout=True)
    assert binding.capabilities == Events.capabilities
    assert binding.chat("x", top_k=3).ignored == ("top_k",)
    assert binding.requests[0].options == {"shout": True}
    with pytest.raises(CapabilityNotSupported):
        binding.chat("x", think=True)
    with pytest.raises(UnsupportedParameter, match="shuot"):
        binding.chat("x", shuot=True)
    with pytest.raises(TypeError, match="like must be"):
        ScriptedBinding(like="ollama")  # type: ignore[arg-type]


def test_it_can_stand_in_for_a_class_of_eight_methods() -> None:
    class Own(EightMethods):
        def generate_text(self, prompt: str, colour: str = "", seed: int | None = None) -> str:  # type: ignore[override]
            return prompt

    binding = ScriptedBinding(["ok"], like=Own)
    assert binding.chat("x", colour="red", seed=1).ignored == ()
    assert binding.requests[0].options == {"colour": "red"}


# Embeddings, tokens, models -----------------------------------------------------------------------------------


def test_vectors_are_the_same_for_the_same_text_and_near_for_shared_words() -> None:
    binding = ScriptedBinding()
    sky, blue, fish = binding.embed(["the sky is blue", "The blue sky", "fish"])
    assert binding.embed("the sky is blue") == sky
    assert math.isclose(math.hypot(*sky), 1)
    assert math.dist(sky, blue) < math.dist(sky, fish)
    assert len(binding.embed("", dimensions=5)) == 5
    assert [request.texts for request in binding.embed_requests][1:] == [("the sky is blue",), ("",)]


async def test_vectors_can_be_given() -> None:
    binding = ScriptedBinding(embeddings={"a": [1.0, 0.0], "b": BackendUnavailable("gone")})
    assert await binding.aembed(["a", "a"]) == [[1.0, 0.0], [1.0, 0.0]]
    with pytest.raises(BackendUnavailable, match="gone"):
        binding.embed("b")
    with pytest.raises(ScriptError, match="no vector for the text 'c'"):
        binding.embed("c")
    assert ScriptedBinding(embeddings=lambda text: [float(len(text))]).embed("abc") == [3.0]


@pytest.mark.parametrize("text", ["The sky", "é ü 漢字 🙂", "", "<|im_end|>\n"])
def test_tokens_are_bytes(text: str) -> None:
    binding = ScriptedBinding()
    tokens = binding.tokenize(text)
    assert binding.detokenize(tokens) == text
    assert binding.count_tokens(text) == len(tokens) == len(text.encode())


@pytest.mark.parametrize("tokens", [[256], [-1], ["a"], "ab"])
def test_what_is_no_token_is_refused(tokens: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ScriptedBinding().detokenize(tokens)


def test_models_are_those_that_are_given() -> None:
    binding = ScriptedBinding(["ok"], models=["small", "large"])
    assert binding.model_name == "small"
    assert binding.listModels() == [{"model_name": "small"}, {"model_name": "large"}]
    assert binding.load_model("large")
    assert not binding.load_model("huge")
    assert binding.last_error is not None
    assert binding.model_name == "large"
    with pytest.raises(ModelNotFound):
        binding.chat("x", model="huge")
    with pytest.raises(ModelNotFound):
        binding.embed("x", model="huge")
    assert binding.requests == []
    assert binding.chat("x", model="small").model == "small"


def test_any_model_is_known_unless_models_are_given() -> None:
    binding = ScriptedBinding(["ok"])
    assert binding.load_model("anything")
    assert binding.listModels() == [{"model_name": "anything"}]
    info = binding.get_model_info()
    assert (info["model_name"], info["loaded"], info["parameters"]) == ("anything", True, {})


def test_it_is_a_binding() -> None:
    with ScriptedBinding() as binding:
        assert isinstance(binding, LollmsLLMBinding)
    assert issubclass(ScriptError, AssertionError)
    assert not issubclass(ScriptError, LollmsError)

"""EventBinding: one generator of events gives the whole contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import WORDS, AsyncEvents, Events, answer

from lollms_core.capabilities import Capability
from lollms_core.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    CapabilityNotSupported,
    ImageError,
    ModelNotFound,
    ProtocolError,
    StreamInterrupted,
    UnsupportedParameter,
)
from lollms_core.event_binding import EventBinding
from lollms_core.events import MSG_TYPE, Event, Finish, Progress, TextDelta, Usage
from lollms_core.messages import Image
from lollms_core.request import EmbedRequest, GenerationRequest

TEXT = "".join(WORDS)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def test_only_events_is_left_to_write() -> None:
    assert EventBinding.__abstractmethods__ == {"_events"}


@pytest.fixture(params=[Events, AsyncEvents])
def kind(request: pytest.FixtureRequest) -> type[Events]:
    """A binding with and one without native async."""
    cls: type[Events] = request.param
    return cls


def test_generate_text_chat_and_stream_agree() -> None:
    binding = Events()
    assert binding.generate_text("x") == TEXT
    completion = binding.chat("x")
    assert (completion.text, completion.model, completion.id) == (TEXT, "m1", "id1")
    assert completion.usage == Usage(3, 4)
    stream = binding.stream("x")
    assert list(stream) == binding.script
    assert stream.completion.text == TEXT
    assert binding.open == 0


async def test_async_forms_agree(kind: type[Events]) -> None:
    binding = kind()
    assert await binding.agenerate_text("x") == TEXT
    assert (await binding.achat("x")).usage == Usage(3, 4)
    assert [event async for event in binding.astream("x")] == binding.script
    assert binding.open == 0


def test_the_request_carries_everything() -> None:
    binding = Events(temperature=0.3, shout=True)
    binding.chat([{"role": "user", "content": "x"}], n_predict=5, stop="\n", deadline=60, metadata={"who": "me"})
    request = binding.requests[0]
    assert isinstance(request, GenerationRequest)
    assert request.messages == ({"role": "user", "content": "x"},)
    assert (request.temperature, request.n_predict, request.stop) == (0.3, 5, ("\n",))
    assert request.options == {"shout": True}
    assert request.metadata == {"who": "me"}
    binding.generate_text("plain", system_prompt="S", min_p=0.5, shout=False)
    request = binding.requests[1]
    assert isinstance(request, GenerationRequest)
    assert (request.prompt, request.system_prompt, request.min_p) == ("plain", "S", 0.5)
    assert request.options == {"shout": False}
    assert request.to_messages() == [{"role": "system", "content": "S"}, {"role": "user", "content": "plain"}]


def test_split_makes_messages_with_ones_own_keywords() -> None:
    binding = Events()
    binding.generate_text("sys U: hi A: hello U: bye", split=True, user_keyword="U:", ai_keyword="A:")
    request = binding.requests[0]
    assert isinstance(request, GenerationRequest)
    assert [(m["role"], m["content"]) for m in request.messages or ()] == [
        ("system", "sys"),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "bye"),
    ]


def test_thinking_goes_apart() -> None:
    binding = Events(answer("yes", thought="hm"))
    heard: list[Any] = []
    assert binding.generate_text("x", streaming_callback=lambda *piece: heard.append(piece)) == "yes"
    assert heard == [("hm", MSG_TYPE.MSG_TYPE_THOUGHT_CHUNK), ("yes", MSG_TYPE.MSG_TYPE_CHUNK)]
    assert binding.chat("x").reasoning == "hm"


def test_false_closes_the_generator_at_once() -> None:
    binding = Events()
    assert binding.generate_text("x", streaming_callback=lambda *_: False) == "The "
    assert binding.open == 0
    assert binding.yielded == 1


async def test_false_closes_the_generator_async(kind: type[Events]) -> None:
    binding = kind()
    assert await binding.agenerate_text("x", streaming_callback=lambda *_: False) == "The "
    for _ in range(1000):
        if binding.open == 0:
            break
        await asyncio.to_thread(lambda: None)
    assert binding.open == 0


def test_an_exception_of_the_callback_propagates() -> None:
    def callback(chunk: str, kind: MSG_TYPE) -> None:
        raise ModelNotFound("mine, and still raised")

    binding = Events()
    with pytest.raises(ModelNotFound, match="mine"):
        binding.generate_text("x", streaming_callback=callback)
    assert binding.open == 0
    assert binding.generate_text("x") == TEXT


async def test_an_exception_of_the_callback_propagates_async(kind: type[Events]) -> None:
    async def callback(chunk: str, kind: MSG_TYPE) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError):
        await kind().agenerate_text("x", streaming_callback=callback)


@pytest.mark.parametrize(
    ("raised", "name"),
    [
        (ModelNotFound("no 'x'"), "ModelNotFound"),
        (ValueError("bug"), "BackendError"),
        (KeyError("bug"), "BackendError"),
    ],
)
async def test_failures_as_in_the_table(raised: Exception, name: str, kind: type[Events]) -> None:
    binding = kind([TextDelta("half"), raised])
    for result in (binding.generate_text("x"), await binding.agenerate_text("x")):
        assert isinstance(result, dict)
        assert (result["error_type"], result["partial"]) == (name, "half")
    stream = binding.stream("x")
    with pytest.raises((ModelNotFound, BackendError)) as caught:
        list(stream)
    assert caught.value.partial == "half"
    assert stream.completion.finish_reason == "error"
    astream = binding.astream("x")
    with pytest.raises((ModelNotFound, BackendError)):
        [event async for event in astream]
    with pytest.raises((ModelNotFound, BackendError)):
        await binding.achat("x")
    binding.script = answer("fine")
    assert binding.generate_text("x") == "fine"


async def test_no_end_marker_is_an_interrupted_stream(kind: type[Events]) -> None:
    binding = kind([TextDelta("half")])
    with pytest.raises(StreamInterrupted) as caught:
        binding.chat("x")
    assert caught.value.partial == "half"
    with pytest.raises(StreamInterrupted):
        await binding.achat("x")


def test_something_else_than_an_event_is_said() -> None:
    with pytest.raises(BackendError, match="must yield events, not str"):
        Events(["text"]).chat("x")  # type: ignore[list-item]


def test_unknown_kinds_are_passed_and_ignored() -> None:
    class Novel(Event):
        pass

    binding = Events([Progress("loading", 1, 2), Novel(), *answer("ok")])
    assert binding.chat("x").text == "ok"


def test_the_deadline_is_kept() -> None:
    binding = Events()
    with pytest.raises(BackendTimeout, match="deadline"):
        binding.chat("x", deadline=1e-9)
    assert binding.open == 0


async def test_what_has_not_ended_has_no_finish_reason(kind: type[Events]) -> None:
    """Neither before nor after the backend has said why it ends: it may still break."""
    stream = kind().stream("x")
    seen = [stream.completion.finish_reason]
    seen += [stream.completion.finish_reason for _ in stream]
    astream = kind().astream("x")
    seen += [astream.completion.finish_reason]
    seen += [astream.completion.finish_reason async for _ in astream]
    assert set(seen) == {None}
    assert (stream.completion.finish_reason, astream.completion.finish_reason) == ("stop", "stop")


def test_a_stream_that_is_closed_unread_was_cancelled(kind: type[Events]) -> None:
    stream = kind().stream("x")
    stream.close()
    assert stream.completion.finish_reason == "cancelled"


def test_break_closes_even_while_the_stream_is_held() -> None:
    binding = Events()
    stream = binding.stream("x")
    for _ in stream:
        break
    assert binding.open == 0
    assert stream.completion.text == "The "
    assert stream.completion.finish_reason == "cancelled"


async def test_async_break_closes_even_while_the_stream_is_held() -> None:
    binding = AsyncEvents()
    stream = binding.astream("x")
    async for _ in stream:
        break
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert binding.open == 0
    assert stream.completion.finish_reason == "cancelled"


async def test_cancel_wakes_a_native_generator_that_waits() -> None:
    started = asyncio.Event()
    ended = asyncio.Event()

    class Waits(AsyncEvents):
        async def _aevents(self, request: GenerationRequest) -> Any:
            try:
                yield TextDelta("half")
                started.set()
                await asyncio.Event().wait()
            finally:
                ended.set()

    binding = Waits()
    task = asyncio.create_task(binding.achat("x"))
    await started.wait()
    await asyncio.to_thread(binding.cancel)
    completion = await task
    assert completion.text == "half"
    assert completion.finish_reason == "cancelled"
    assert ended.is_set()
    assert task.cancelling() == 0


async def test_a_timeout_around_achat_is_a_timeout() -> None:
    class Waits(AsyncEvents):
        async def _aevents(self, request: GenerationRequest) -> Any:
            await asyncio.Event().wait()
            yield TextDelta("")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Waits().achat("x"), 0.01)


def test_images_arrive_read() -> None:
    class Sees(Events):
        capabilities = Events.capabilities | {Capability.VISION}
        image_urls = True

    binding = Sees()
    binding.chat("x", images=[PNG, "https://example.org/a.png"])
    request = binding.requests[0]
    assert isinstance(request, GenerationRequest)
    assert request.images == (Image(PNG, "image/png"), "https://example.org/a.png")
    with pytest.raises(ImageError):
        binding.chat("x", images=["/no/such/file"])
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    with pytest.raises(CapabilityNotSupported, match="vision"):
        Events().chat([{"role": "user", "content": [part]}])
    with pytest.raises(CapabilityNotSupported, match="vision"):
        Events().generate_text("x", images=[PNG])


@pytest.mark.parametrize("kind_of_part", ["image", "image_url"])
def test_images_in_messages_arrive_read(kind_of_part: str, tmp_path: Path) -> None:
    class Sees(Events):
        capabilities = Events.capabilities | {Capability.VISION}

    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    binding = Sees()
    binding.chat([{"role": "user", "content": [{"type": kind_of_part, kind_of_part: str(path)}]}])
    request = binding.requests[0]
    assert isinstance(request, GenerationRequest)
    assert request.messages == ({"role": "user", "content": [{"type": "image", "image": Image(PNG, "image/png")}]},)
    with pytest.raises(ImageError, match=r"missing\.png"):
        binding.chat([{"role": "user", "content": [{"type": kind_of_part, kind_of_part: "missing.png"}]}])
    with pytest.raises(ImageError, match="URLs"):
        binding.chat([{"role": "user", "content": [{"type": kind_of_part, kind_of_part: "https://example.org/a.png"}]}])
    assert len(binding.requests) == 1


def test_a_model_may_narrow() -> None:
    class Narrow(Events):
        def capabilities_of(self, model: str | None = None) -> frozenset[Capability]:
            return self.capabilities - {Capability.CHAT} if model == "base" else self.capabilities

    with pytest.raises(CapabilityNotSupported, match=r"\(model 'base'\) does not support chat"):
        Narrow(model_name="base").chat("x")
    assert Narrow().chat("x", model="other").ignored == ("model",)


def test_what_is_not_written_raises() -> None:
    binding = Events()
    for call in (
        lambda: binding.tokenize("x"),
        lambda: binding.detokenize([1]),
        lambda: binding.count_tokens("x"),
        binding.listModels,
        lambda: binding.load_model("x"),
    ):
        with pytest.raises(CapabilityNotSupported):
            call()
    info = binding.get_model_info()
    assert {"binding_name", "model_name", "loaded", "ctx_size", "supports", "parameters"} <= info.keys()


def test_embed() -> None:
    binding = Events()
    assert binding.embed("four") == [4.0]
    assert binding.embed(["a", "bb"]) == [[1.0], [2.0]]
    assert binding.embed([]) == []


async def test_aembed() -> None:
    assert await Events().aembed(["a", "bb"]) == [[1.0], [2.0]]

    class Mute(Events):
        capabilities = frozenset({Capability.TEXT})

    with pytest.raises(CapabilityNotSupported, match="embed"):
        await Mute().aembed("x")


async def test_cancel_ends_an_embedding_that_waits() -> None:
    class Waits(AsyncEvents):
        async def _aembed(self, request: EmbedRequest) -> list[list[float]]:
            self.open += 1
            try:
                asyncio.get_running_loop().call_soon(self.cancel)
                await asyncio.Event().wait()
            finally:
                self.open -= 1
            return []

    binding = Waits()
    with pytest.raises(StreamInterrupted, match="cancelled"):
        await binding.aembed("x")
    assert binding.open == 0
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


def test_cancel_ends_an_embedding_whatever_breaks() -> None:
    class Breaks(Events):
        def _embed(self, request: EmbedRequest) -> list[list[float]]:
            self.cancel()
            raise ConnectionError("closed under me")

    with pytest.raises(StreamInterrupted, match="cancelled"):
        Breaks().embed("x")


@pytest.mark.parametrize(
    ("vectors", "fields", "said"),
    [
        ([[1.0], [1.0, 2.0]], {}, "different or no size"),
        ([[], []], {}, "different or no size"),
        ([1.0, 2.0], {}, "different or no size"),
        ([[1.0]], {}, "2 texts with 1 vectors"),
        ([[1.0], [2.0]], {"dimensions": 2}, "vectors of 1 numbers, where 2 were asked for"),
    ],
)
async def test_vectors_are_looked_at(vectors: Any, fields: dict[str, Any], said: str) -> None:
    class Vectors(Events):
        def _embed(self, request: EmbedRequest) -> list[list[float]]:
            return vectors  # type: ignore[no-any-return]

    with pytest.raises(ProtocolError, match=said):
        Vectors().embed(["a", "b"], **fields)
    with pytest.raises(ProtocolError, match=said):
        await Vectors().aembed(["a", "b"], **fields)


def test_unknown_parameter() -> None:
    with pytest.raises(UnsupportedParameter, match=r"'shuot'.*shout"):
        Events().chat("x", shuot=True)
    with pytest.raises(UnsupportedParameter):
        Events().generate_text("x", shuot=None)


def test_ignored_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    binding = Events()
    with caplog.at_level(logging.WARNING):
        assert binding.chat("x", top_k=3, seed=1).ignored == ("seed", "top_k")
        binding.chat("x", top_k=3)
    assert len(caplog.records) == 2


async def test_closed(kind: type[Events]) -> None:
    binding = kind()
    binding.close()
    result = await binding.agenerate_text("x")
    assert isinstance(result, dict)
    assert result["error_type"] == "BackendUnavailable"
    with pytest.raises(BackendUnavailable):
        list(binding.stream("x"))


def test_an_inner_call_of_events_is_not_a_second_request() -> None:
    class Embeds(Events):
        def _events(self, request: GenerationRequest) -> Iterator[Event]:
            yield TextDelta(str(self.embed("four")))
            yield Finish()

    assert Embeds().chat("x").text == "[4.0]"

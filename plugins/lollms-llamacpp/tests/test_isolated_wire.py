"""What two processes say to each other: whole at every cut, and an error where it is damaged."""

from __future__ import annotations

import math
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import (
    BackendError,
    ContextOverflow,
    EmbedRequest,
    Event,
    Finish,
    GenerationRequest,
    ImageError,
    Progress,
    ProtocolError,
    RateLimited,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    UnsupportedParameter,
    Usage,
    errors,
)
from lollms_core.control import Control
from lollms_core.events import TokenLogprob
from lollms_core.messages import Image
from lollms_llamacpp.isolated import wire
from lollms_llamacpp.isolated.frames import MAX_BYTES, Frame, Unpacker, packed
from lollms_llamacpp.native import ClosedError
from lollms_llamacpp.options import LoadOptions

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=8,
)
EVENTS: list[Event] = [
    TextDelta("caf\u00e9 \U0001f600 \ud83d"),
    ReasoningDelta("hm"),
    ToolCall("1", "add", '{"a": 1}'),
    TokenLogprob("x", -0.5, (("x", -0.5), ("y", -math.inf)), b"\xff\x00"),
    TokenLogprob("x", -0.5),
    Usage(1, None, 3, frozenset({"prompt_tokens"})),
    Finish("length", "model", "7", {"llamacpp": {"reasoning": "hm"}}, {"raw": [1]}),
    Progress("reading", 1, 2, "sha256:0"),
]


def through(items: list[Any], data: bytes = b"") -> Frame:
    """What arrives of a message."""
    (frame,) = Unpacker().feed(packed(items, data))
    return frame


def sent(request: GenerationRequest) -> GenerationRequest:
    """What arrives of a request."""
    value, data = wire.request_out(request)
    items, beside = through([value], data)
    return wire.request_in(items[0], beside, Control())


@given(st.lists(st.tuples(st.lists(JSON), st.binary(max_size=20)), max_size=5), st.integers(1, 50))
def test_messages_cut_anywhere(messages: list[Frame], size: int) -> None:
    """Whatever pieces the bytes come in, the messages are the same."""
    data = b"".join(packed(*message) for message in messages)
    unpacker = Unpacker()
    found = [frame for at in range(0, len(data), size) for frame in unpacker.feed(data[at : at + size])]
    assert found == messages


@given(st.binary(max_size=200))
def test_damaged_messages(data: bytes) -> None:
    """Whatever comes in is a message, the beginning of one, or a ProtocolError."""
    try:
        Unpacker().feed(data)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "data",
    [
        MAX_BYTES.to_bytes(4, "little") + bytes([1, 0, 0, 0]),
        b"\x02\0\0\0\0\0\0\0{}",
        b"\x02\0\0\0\0\0\0\0[\xff",
        b"\x02\0\0\0\0\0\0\0[1",
        (100_000).to_bytes(4, "little") + bytes(4) + b"[" * 100_000,
    ],
)
def test_no_message(data: bytes) -> None:
    """Too long a message is refused before it is read; what is no list of values, when it is."""
    with pytest.raises(ProtocolError):
        Unpacker().feed(data)


def test_values_of_callers() -> None:
    """Mappings, sets, paths and numbers of other libraries become what JSON has; other things are a TypeError."""

    class Number:
        def __index__(self) -> int:
            return 7

    class Half:
        def __float__(self) -> float:
            return 0.5

    values = [MappingProxyType({"a": {1}}), Path("x"), Number(), Half(), (1, 2)]
    assert through(values) == ([{"a": [1]}, "x", 7, 0.5, [1, 2]], b"")
    with pytest.raises(TypeError, match="object"):
        packed([object()])
    with pytest.raises(OverflowError, match="too many"):
        packed([], bytes(MAX_BYTES))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events(event: Event) -> None:
    """Every kind of event arrives as it was."""
    (value,), _ = through([wire.event_out(event)])
    assert wire.event_in(value) == event


def test_unknown_events() -> None:
    """An event of a kind that nobody has thought of is an error, not a loss."""
    with pytest.raises(TypeError, match="Event"):
        wire.event_out(Event())
    with pytest.raises(KeyError):
        wire.event_in(["Event"])


def test_requests() -> None:
    """What the engine reads of a request arrives: conversation, images, parameters, tools, schema, options."""
    image = Image(b"\x89PNG", "image/png")

    def add(a: int, b: int) -> int:
        return a + b

    request = GenerationRequest(
        messages=(
            {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image", "image": image}]},
            {"role": "user", "content": [{"type": "image", "image": "https://peer.invalid/a.png", "detail": "low"}]},
            {"role": "assistant", "content": "this", "provider": {"llamacpp": {"reasoning": "hm"}}},
        ),
        images=(Image(b"GIF89a", "image/gif"),),
        system_prompt="be brief",
        stream=True,
        n_predict=3,
        temperature=0.0,
        top_k=4,
        logit_bias={7: -1.5, "8": 2.0},
        logprobs=2,
        stop=("a", "b"),
        seed=5,
        think="low",
        tools=(add,),  # type: ignore[arg-type]
        tool_choice="add",
        response_format={"type": "object", "properties": {"a": {"type": "integer"}}},  # type: ignore[arg-type]
        cache_prompt=False,
        options={"completion_format": "chat", "mmproj": Path("projector.gguf")},
    )
    found = sent(request)
    assert found.tools is not None
    assert request.tools is not None
    assert [tool.definition for tool in found.tools] == [tool.definition for tool in request.tools]
    assert found.tools[0].function is None
    assert found.replace(tools=None, options={}) == request.replace(tools=None, options={})
    assert found.options == {"completion_format": "chat", "mmproj": "projector.gguf"}
    assert sent(GenerationRequest(prompt="")) == GenerationRequest(prompt="")


def test_what_stays_here() -> None:
    """What only the caller's side reads is not sent: its own data, and who waits how long."""
    value, _ = wire.request_out(
        GenerationRequest(prompt="x", metadata={"key": "secret"}, model="m", timeout=1, deadline=2)
    )
    assert value["fields"].keys() == {"prompt", "options"}


def test_embeddings_and_options() -> None:
    """Requests for vectors, vectors, tokens and load options arrive as they were."""
    request = EmbedRequest(texts=("a", ""), dimensions=3, options={"n_threads_batch": 1})
    (value,), _ = through([wire.embedding_out(request)])
    assert wire.embedding_in(value, Control()) == request
    for vectors in ([], [[0.1, -1e-300], [math.pi, 2.0]]):
        assert wire.vectors_in(*wire.vectors_out(vectors)) == vectors
    with pytest.raises(ValueError, match="3"):
        wire.vectors_in([3], bytes(16))
    assert wire.tokens_in(wire.tokens_out([0, 2**31 - 1])) == [0, 2**31 - 1]
    options = LoadOptions(ctx_size=7, rope_freq_base=0.5, isolate=True)
    (value,), _ = through([{name: getattr(options, name) for name in LoadOptions.__slots__}])
    assert wire.options_in(value) == options


@pytest.mark.parametrize(
    "error",
    [
        ContextOverflow("long", prompt_tokens=9, ctx_size=8),
        RateLimited("later", partial="so far", retry_after=1.5),
        UnsupportedParameter("no such"),
        ImageError("none"),
        ValueError("n_predict"),
        TypeError("wrong"),
        ClosedError(),
        *(cls("told") for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors(error: Exception) -> None:
    """An error arrives with its class, its text and its figures."""
    (value,), _ = through([wire.error_out(error)])
    found = wire.error_in(value)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


def test_errors_of_others() -> None:
    """An error of a class that is not ours is a BackendError that names it; what cannot be sent of one is left out."""
    error = MemoryError("full")
    error.data = object()  # type: ignore[attr-defined]
    (value,), _ = through([wire.error_out(error)])
    found = wire.error_in(value)
    assert (type(found), str(found)) == (BackendError, "MemoryError: full")

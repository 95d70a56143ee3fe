"""isolate=True: what a model in a process of its own says is what it says in this one."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lollms_core import (
    BadRequest,
    CapabilityNotSupported,
    ContextOverflow,
    Event,
    Finish,
    LollmsError,
    ModelNotFound,
    ReasoningDelta,
    ToolCall,
)
from lollms_core.control import Control
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.isolated import child
from lollms_llamacpp.isolated.remote import RemoteEngine
from lollms_llamacpp.isolated.wire import vectors_out

Make = Callable[..., bytes]
NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end an answer
LONG: dict[str, Any] = {"temperature": 0, "logit_bias": NEVER}
THINKS = (
    "{% for m in messages %}{{ m.role }}: {{ m.reasoning_content }}{{ m.content }}\n{% endfor %}"
    "assistant: {% if enable_thinking %}<think>{% endif %}"
)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, make_tiny: Make, make_projector: Make, templates: dict[str, str]
) -> Path:
    folder = tmp_path_factory.mktemp("isolated")
    made = make_tiny(tokenizer__chat_template=templates["hermes"], llama__context_length=1024)
    (folder / "tiny.gguf").write_bytes(made)
    (folder / "other.gguf").write_bytes(make_tiny(tokenizer__chat_template=THINKS))
    (folder / "projector.gguf").write_bytes(make_projector(n_out=32))
    return folder


def binding_of(folder: Path, **options: Any) -> LlamaCppBinding:
    return LlamaCppBinding(models_path=folder, model_name="tiny", mmproj=folder / "projector.gguf", **options)


@pytest.fixture(scope="module")
def isolated(folder: Path) -> Iterator[LlamaCppBinding]:
    with binding_of(folder, isolate=True) as binding:
        yield binding


@pytest.fixture(scope="module")
def here(folder: Path) -> Iterator[LlamaCppBinding]:
    with binding_of(folder) as binding:
        yield binding


def events_of(binding: LlamaCppBinding, prompt: Any, **fields: Any) -> list[Event]:
    """An answer's events, calls without their ids, which are made by chance."""
    events = binding.stream(prompt, cache_prompt=False, **fields)
    return [replace(event, id="") if isinstance(event, ToolCall) else event for event in events]


@pytest.mark.parametrize(
    "fields",
    [
        {"n_predict": 12, "temperature": 0},
        {"n_predict": 12, "temperature": 1.5, "seed": 3, "top_k": 5, "repeat_penalty": 1.2},
        {"n_predict": 6, "temperature": 0, "logprobs": 3},
        {"n_predict": 30, "temperature": 0, "stop": ["\u00f6", "th"], "logit_bias": NEVER},
        {"n_predict": 300, "temperature": 0, "tools": [add], "tool_choice": "add"},
        {"n_predict": 40, "temperature": 0, "response_format": {"type": "boolean"}},
        {"n_predict": 5, "temperature": 0, "model": "other", "think": True},
    ],
)
def test_the_same_events(isolated: LlamaCppBinding, here: LlamaCppBinding, fields: dict[str, Any]) -> None:
    """Each event is the same, whatever its kind: text, thinking, calls, log probabilities, figures, the end."""
    answers = [events_of(binding, "say it", **fields) for binding in (isolated, here)]
    assert answers[0] == answers[1]
    assert isinstance(answers[0][-1], Finish)


def test_kinds_of_answers(isolated: LlamaCppBinding) -> None:
    """The rows above have what they stand for."""
    call = isolated.chat("say it", tools=[add], tool_choice="add", n_predict=300, temperature=0).tool_calls[0]
    assert isinstance(call, ToolCall)
    assert call.name == "add"
    assert isolated.chat("say it", response_format={"type": "boolean"}, temperature=0).parsed in {True, False}
    events = events_of(isolated, "x", model="other", think=True, n_predict=5, temperature=0)
    assert [event for event in events if isinstance(event, ReasoningDelta)]
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert finish.provider is not None
    assert len(isolated.chat("x", n_predict=4, logprobs=2, logit_bias=NEVER).logprobs) == 4


def test_images(isolated: LlamaCppBinding, here: LlamaCppBinding, make_png: Make) -> None:
    """Images reach the model, those of the request and those of the messages."""
    red, blue = make_png(40, 30), make_png(40, 30, (0, 0, 255))
    fields: dict[str, Any] = {"n_predict": 8, "temperature": 0, "logprobs": 1}
    talk = [
        {"role": "user", "content": [{"type": "image", "image": red}, {"type": "text", "text": "and"}]},
        {"role": "assistant", "content": "this"},
        {"role": "user", "content": "and"},
    ]
    seen = []
    for prompt, images in (("what?", [red]), ("what?", [red, blue]), (talk, [blue]), (talk, [red])):
        answers = [events_of(binding, prompt, images=images, **fields) for binding in (isolated, here)]
        assert answers[0] == answers[1]
        seen.append(answers[0])
    assert seen[0] != seen[1]
    assert seen[2] != seen[3]


def test_tokens_and_vectors(isolated: LlamaCppBinding, here: LlamaCppBinding) -> None:
    """Tokens, texts and vectors are the same to the last bit."""
    text = "the <|im_end|> \u00e9\u4e2d\U0001f600\n" * 50
    for special in (False, True):
        tokens = isolated.tokenize(text, add_special=special, parse_special=special)
        assert tokens == here.tokenize(text, add_special=special, parse_special=special)
        assert isolated.detokenize(tokens) == here.detokenize(tokens)
    assert isolated.tokenize("") == []
    assert isolated.detokenize([]) == ""
    assert isolated.embed(["one", "two", "x" * 100]) == here.embed(["one", "two", "x" * 100])


def test_many_vectors(isolated: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that are too many for one message come in several."""
    sent: list[Any] = []

    class Fake:
        def embed(self, request: Any) -> list[list[float]]:
            return [[float(number)] * 2 for number in range(len(request.texts))]

    class Outbox(child.Outbox):
        def __init__(self) -> None:
            return

        def put(self, item: list[Any], data: bytes = b"") -> None:
            sent.append((item, data))

    monkeypatch.setattr(child, "_FIGURES", 4)
    service = child.Service(Outbox())
    service._engine = Fake()  # type: ignore[assignment]
    value: dict[str, Any] = {"texts": ["x"] * 5, "dimensions": None, "options": {}}
    answer, data = service._embed(1, value, b"", Control())
    assert [item[0] for item, _ in sent] == ["part", "part"]
    assert answer == {"lengths": [2], "last": True}
    assert b"".join([data for _, data in sent] + [data]) == vectors_out([[float(n)] * 2 for n in range(5)])[1]


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda binding: binding.chat("x" * 5000), ContextOverflow),
        (lambda binding: binding.embed("x" * 5000), ContextOverflow),
        (lambda binding: binding.embed(""), BadRequest),
        (lambda binding: binding.embed("x", dimensions=5), TypeError),
        (lambda binding: binding.chat("x", ctx_size=4096), ValueError),
        (lambda binding: binding.chat("x", logit_bias={4096: 1}), ValueError),
        (lambda binding: binding.chat("x", n_threads=100_000), ValueError),
        (lambda binding: binding.chat("x", think=True), CapabilityNotSupported),
        (lambda binding: binding.chat("x", isolate=False), TypeError),
        (lambda binding: binding.chat("\ud83d"), BadRequest),
        (lambda binding: binding.tokenize("\ud83d"), ValueError),
        (lambda binding: binding.chat("x", chat_template="{{ 1 / 0 }}"), BadRequest),
        (lambda binding: binding.chat("x", model="nowhere"), ModelNotFound),
        (lambda binding: binding.chat("x", images=["https://peer.invalid/a.png"]), LollmsError),
    ],
)
def test_the_same_errors(
    isolated: LlamaCppBinding, here: LlamaCppBinding, use: Callable[[LlamaCppBinding], object], error: type[Exception]
) -> None:
    """Errors have the class, the text and the figures that they have in this process."""
    told = []
    for binding in (isolated, here):
        with pytest.raises(error) as caught:
            use(binding)
        told.append((type(caught.value), str(caught.value), vars(caught.value)))
    assert told[0] == told[1]


def test_what_cannot_be_handed_over(isolated: LlamaCppBinding) -> None:
    """A message with what is no data is refused, and the next request is served."""
    with pytest.raises(BadRequest, match="object"):
        isolated.chat([{"role": "user", "content": "x", "extra": object()}])
    knot: dict[str, Any] = {}
    knot["in itself"] = knot
    with pytest.raises(BadRequest, match="Circular"):
        isolated.chat([{"role": "user", "content": "x", "extra": knot}])
    assert isolated.chat("x", n_predict=1, logit_bias=NEVER).finish_reason == "length"


def test_not_in_this_process(folder: Path) -> None:
    """llama.cpp is not loaded here, and the user's own program is not run there."""
    import subprocess

    code = (
        "import os, sys\n"
        "from lollms_llamacpp import LlamaCppBinding\n"
        "print('run')\n"
        "with LlamaCppBinding(models_path=sys.argv[1], model_name='tiny', isolate=True, n_threads=1) as binding:\n"
        "    binding.chat('x', n_predict=20, response_format={'type': 'boolean'})\n"
        "    binding.embed('x'), binding.tokenize('x')\n"
        "    info = binding.get_model_info()\n"
        "    print(info['isolated'], info['pid'] not in (None, os.getpid()))\n"
        "print([name for name in ('llama_cpp', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("run\nTrue True\n[]\n", "")


# Ending requests --------------------------------------------------------------------------------------------


def calls_in(binding: LlamaCppBinding) -> int:
    """How many calls wait for the child."""
    engine = binding._models.engine
    assert isinstance(engine, RemoteEngine)
    assert engine._child is not None
    return len(engine._child._calls)


def test_many_at_once(isolated: LlamaCppBinding, here: LlamaCppBinding) -> None:
    """Many threads at once over one connection: each gets its own answer, and no thread is made for it here."""
    prompts = [f"{number} {chr(97 + number % 26)}" for number in range(24)]
    fields: dict[str, Any] = {"n_predict": 6, "temperature": 0, "logit_bias": NEVER, "cache_prompt": False}
    right = {prompt: here.chat(prompt, **fields).text for prompt in prompts}
    found: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda prompt=prompt: found.update({prompt: isolated.chat(prompt, **fields).text}))
        for prompt in prompts
    ]
    before = threading.active_count()
    for thread in threads:
        thread.start()
    assert threading.active_count() <= before + len(threads)
    for thread in threads:
        thread.join(100)
    assert found == right
    assert calls_in(isolated) == 0


@pytest.mark.parametrize("end", ["close", "cancel", "forget"])
def test_ended_streams(isolated: LlamaCppBinding, end: str) -> None:
    """However a stream is ended, the child is told at once: it serves the next request, not the rest of that one."""
    stream = isolated.stream("x", **LONG)
    events = iter(stream)
    next(events)
    if end == "close":
        stream.close()
    elif end == "cancel":
        isolated.cancel()
        assert list(events) == []
    del events
    assert calls_in(isolated) == 0
    if end != "forget":
        assert stream.completion.finish_reason == "cancelled"
    assert isolated.chat("x", n_predict=2, logit_bias=NEVER).usage.completion_tokens == 2


def test_a_callback_that_stops(isolated: LlamaCppBinding) -> None:
    """A callback that returns False ends the answer; what came is returned."""
    pieces: list[str] = []

    def two(piece: str, _: object) -> bool:
        pieces.append(piece)
        return len(pieces) < 2

    assert isolated.generate_text("x", streaming_callback=two, **LONG) == "".join(pieces)
    assert len(pieces) == 2
    assert calls_in(isolated) == 0


async def test_a_cancelled_task(isolated: LlamaCppBinding) -> None:
    """A cancelled task leaves nothing in the child."""
    begun = asyncio.Event()

    async def ask() -> None:
        async with isolated.astream("x", **LONG) as stream:
            async for _ in stream:
                begun.set()

    task = asyncio.ensure_future(ask())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer = await isolated.achat("x", n_predict=2, logit_bias=NEVER)
    assert answer.usage.completion_tokens == 2
    assert calls_in(isolated) == 0


def test_a_cancelled_embedding(isolated: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling ends an embedding; the next one is right."""
    whole = isolated.embed("x" * 100)
    engine = isolated._models.engine
    assert isinstance(engine, RemoteEngine)
    assert engine._child is not None
    call = engine._child.call

    def cancelled(*args: Any, **keywords: Any) -> int:
        number = call(*args, **keywords)
        isolated.cancel()
        return number

    monkeypatch.setattr(engine._child, "call", cancelled)
    with pytest.raises(LollmsError, match="cancelled"):
        isolated.embed(["x" * 100] * 50)
    monkeypatch.undo()
    assert isolated.embed("x" * 100) == whole
    assert calls_in(isolated) == 0


def test_log(folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """What the child logs is in the log here, at the level that is wanted here; the terminal stays silent."""
    with LlamaCppBinding(models_path=folder, model_name="tiny", ctx_size=2048, isolate=True) as binding:
        assert "trained for 1024" in caplog.text
        assert not [record for record in caplog.records if record.levelno < logging.WARNING]
        with caplog.at_level(logging.DEBUG), pytest.raises(LollmsError):
            binding.chat("x" * 5000)
    assert [record for record in caplog.records if record.levelno == logging.DEBUG]
    assert capfd.readouterr() == ("", "")

"""Every fault at every method of a middleware, around every way to ask: the answer, the others and on_finish stand."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from samples import WORDS, AsyncEvents, EightMethods, Events

from lollms_core.binding import LollmsLLMBinding
from lollms_core.errors import BackendUnavailable, Refused
from lollms_core.hooks import BindingHooks, Hooks
from lollms_core.hookspecs import Middleware, hookimpl

TEXT = "".join(WORDS)
PLAYED = "reliability: requests through a faulty hook, the other hooks and the answer untouched"
Note = Callable[[str, object], None]
ALL = bool(os.environ.get("LOLLMS_FAULTS"))


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Outcome(BaseException):
    """What test frameworks raise: neither an Exception nor a SystemExit."""


def raises(exc: type[BaseException]) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise exc

    fail.__name__ = exc.__name__
    return fail


def slow(self: Any, *given: Any) -> Any:
    """Right, after a while."""
    threading.Event().wait(0.002)
    name = "on_finish" if len(given) == 2 else "on_error" if isinstance(given[0], Exception) else None
    if name is not None:
        return None
    return given[0] if hasattr(given[0], "control") else (given[0],)


def endless(self: Any, first: Any, *_: Any) -> Any:
    return itertools.repeat(first)


def endless_objects(*_: Any) -> Any:
    return itertools.repeat(object())


def drop_all(*_: Any) -> Any:
    return ()


def wrong(value: Any) -> Callable[..., Any]:
    def return_it(*_: Any) -> Any:
        return value

    return_it.__name__ = f"wrong_{type(value).__name__}"
    return return_it


def breaks_off(*_: Any) -> Any:
    """An iterable that gives nothing and raises."""
    return map(raises(GeneratorExit), ["first"])


RAISED = [RuntimeError, StopIteration, SystemExit, GeneratorExit, asyncio.CancelledError, Outcome, Unprintable]
FAULTS = [
    *map(raises, RAISED),
    *map(wrong, (5, "text", object())),
    slow,
    endless,
    endless_objects,
    breaks_off,
]
SAMPLE = [raises(RuntimeError), raises(asyncio.CancelledError), raises(Unprintable), wrong(5), endless, slow]
METHODS = ["factory", "on_request", "on_event", "on_error", "on_finish"]


def ask_text(binding: LollmsLLMBinding) -> Any:
    return binding.generate_text("x")


def ask_chat(binding: LollmsLLMBinding) -> Any:
    return binding.chat("x").text


def ask_messages(binding: LollmsLLMBinding) -> Any:
    return binding.generate_from_messages([{"role": "user", "content": "x"}])


def ask_stream(binding: LollmsLLMBinding) -> Any:
    return "".join(binding.stream("x").text_stream)


def ask_achat(binding: LollmsLLMBinding) -> Any:
    return asyncio.run(_run(binding.achat("x"))).text


def ask_agenerate(binding: LollmsLLMBinding) -> Any:
    return asyncio.run(_run(binding.agenerate_text("x")))


def ask_astream(binding: LollmsLLMBinding) -> Any:
    async def run() -> str:
        return "".join([text async for text in binding.astream("x").text_stream])

    return asyncio.run(run())


def ask_embed(binding: LollmsLLMBinding) -> Any:
    return binding.embed("four")


def ask_aembed(binding: LollmsLLMBinding) -> Any:
    return asyncio.run(_run(binding.aembed("four")))


async def _run(work: Any) -> Any:
    return await work


GENERATE = [ask_text, ask_chat, ask_messages, ask_stream, ask_achat, ask_agenerate, ask_astream]
EMBED = [ask_embed, ask_aembed]


class Innocent(Middleware):
    """Writes down what it sees."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def on_request(self, request: Any) -> Any:
        self.log.append("request")
        return request

    def on_event(self, event: Any) -> Any:
        self.log.append(getattr(event, "text", type(event).__name__))
        return (event,)

    def on_error(self, exc: Exception) -> None:
        self.log.append(type(exc).__name__)

    def on_finish(self, completion: Any, error: Any) -> None:
        self.log.append(f"finish {getattr(completion, 'finish_reason', None)} {type(error).__name__}")


class Attach:
    """A hook that attaches what `make` gives."""

    def __init__(self, make: Callable[[], Any], required: bool = False) -> None:
        self.make = make
        self.required = required

    @hookimpl
    def lollms_middleware(self) -> Any:
        return self.make()


def broken(method: str, fault: Callable[..., Any], finished: list[int] | None = None, required: bool = False) -> Attach:
    """A hook whose factory, or a method of whose middleware, has the fault."""
    if method == "factory":
        return Attach(lambda: fault(None, Middleware), required)

    def on_finish(self: Middleware, *given: Any) -> Any:
        (finished if finished is not None else []).append(1)
        return fault(self, *given) if method == "on_finish" else None

    kind = type("Broken", (Middleware,), {method: fault, "on_finish": on_finish, "required": required})
    return Attach(kind)


def hooked(binding: LollmsLLMBinding, *plugins: object) -> LollmsLLMBinding:
    hooks = Hooks()
    for plugin in plugins:
        hooks.register(plugin)
    binding._hooks = BindingHooks(hooks, "mine")
    return binding


def fails_once(kind: type[LollmsLLMBinding]) -> LollmsLLMBinding:
    """A binding of that kind whose backend is away."""

    def away(self: Any, subject: Any, **kwargs: Any) -> Any:
        raise BackendUnavailable("away")

    members = {"embed": away, "generate_text": away} if kind is EightMethods else {"_events": away, "_embed": away}
    made: LollmsLLMBinding = type("Away", (kind,), members)()
    return made


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS if ALL else SAMPLE, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [EightMethods, Events, AsyncEvents])
def test_a_fault_costs_nobody_else_anything(
    kind: type[LollmsLLMBinding],
    method: str,
    fault: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    record_property: Note,
) -> None:
    """The innocent before and after see the same as without it, on_finish once; where it takes part, so does it."""
    for ask in [*GENERATE, *EMBED]:
        before: list[str] = []
        after: list[str] = []
        finished: list[int] = []
        embeds = ask in EMBED
        binding = fails_once(kind) if method == "on_error" else kind()
        hooked(
            binding,
            Attach(lambda log=before: Innocent(log)),  # type: ignore[misc]
            broken(method, fault, finished),
            Attach(lambda log=after: Innocent(log)),  # type: ignore[misc]
        )
        if method == "on_error":
            expected = ["request", "BackendUnavailable"]
            expected.append(f"finish {None if embeds else 'error'} BackendUnavailable")
            try:
                result = ask(binding)
            except BackendUnavailable:
                result = {"error_type": "BackendUnavailable"}
            assert result["error_type"] == "BackendUnavailable"
        else:
            assert ask(binding) == ([4.0] if embeds else TEXT)
            expected = ["request", "finish None NoneType"] if embeds else before
            assert before[0] == "request"
            assert embeds or before[-1] == "finish stop NoneType"
            assert embeds or "".join(before[1:-2]).replace("Usage", "") == TEXT
        assert before == after == expected, ask
        assert finished == ([] if method == "factory" else [1])
        assert not binding.__dict__.get("_in_flight")
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    harmless = fault is slow or (method == "on_finish" and not _raises(fault))
    if not harmless or method == "factory":
        assert told
    assert not [line for line in told if "\n" in line or "Logging error" in line]
    record_property(PLAYED, len(GENERATE) + len(EMBED))


def _raises(fault: Callable[..., Any]) -> bool:
    return fault.__name__ in {exc.__name__ for exc in RAISED}


@pytest.mark.faults
@pytest.mark.parametrize("ask", GENERATE)
@pytest.mark.parametrize("kind", [EightMethods, Events, AsyncEvents])
def test_one_that_drops_everything_leaves_the_others_their_finish(
    kind: type[LollmsLLMBinding], ask: Any, record_property: Note
) -> None:
    inner: list[str] = []
    outer: list[str] = []
    finished: list[int] = []
    dropped = broken("on_event", drop_all, finished)
    hooked(kind(), Attach(lambda: Innocent(outer)), dropped, Attach(lambda: Innocent(inner)))
    assert ask(hooked(kind(), Attach(lambda: Innocent(outer)), dropped, Attach(lambda: Innocent(inner)))) == ""
    assert outer == ["request", "finish stop NoneType"]
    assert "Finish" in inner
    assert inner[-1] == "finish stop NoneType"
    assert finished == [1]
    record_property(PLAYED, 1)


@pytest.mark.parametrize("exc", RAISED)
@pytest.mark.parametrize(
    ("method", "embeds"),
    [(method, embeds) for method in METHODS[:-1] for embeds in (False, True) if (method, embeds) != ("on_event", True)],
)
def test_a_guard_with_a_fault_fails_closed(method: str, exc: type[BaseException], embeds: bool) -> None:
    """Refused, in words, whatever it raises; on_finish comes once all the same."""
    log: list[str] = []
    finished: list[int] = []
    binding = fails_once(Events) if method == "on_error" else Events()
    guard = broken(method, raises(exc), finished, required=True)
    hooked(binding, Attach(lambda: Innocent(log)), guard)
    with pytest.raises(Refused, match=f"required.*{exc.__name__}"):
        binding.embed("x") if embeds else binding.chat("x")
    assert [line for line in log if line.startswith("finish")] == (
        [] if method == "factory" else [f"finish {None if embeds else 'error'} Refused"]
    )
    assert finished == ([] if method == "factory" else [1])
    if embeds:
        return
    result = binding.generate_text("x")
    assert isinstance(result, dict)
    assert result["error_type"] == "Refused"


def test_one_whose_word_on_required_fails_is_taken_for_a_guard() -> None:
    class Unsure(Middleware):
        @property
        def required(self) -> bool:  # type: ignore[override]
            raise OSError("no settings")

        def on_request(self, request: Any) -> Any:
            raise OSError("no dictionary")

    with pytest.raises(Refused, match="no dictionary"):
        hooked(Events(), Attach(Unsure)).chat("x")


def test_one_whose_methods_cannot_be_had_is_left_out() -> None:
    """Though they were there when it was attached."""

    class Fading:
        looked = 0

        def on_request(self, request: Any) -> Any:
            return request

        @property
        def on_event(self) -> Any:
            self.looked += 1
            if self.looked > 1:
                raise Outcome
            return lambda event: (event,)

        def on_error(self, exc: Any) -> None: ...

        def on_finish(self, completion: Any, error: Any) -> None:
            finished.append(1)

    finished: list[int] = []
    assert hooked(Events(), Attach(Fading)).chat("x").text == TEXT
    assert finished == [1]


@pytest.mark.parametrize("method", ["on_request", "on_event", "on_finish"])
def test_ctrl_c_reaches_the_user_and_on_finish_everybody(method: str) -> None:
    log: list[str] = []
    other: list[str] = []
    finished: list[int] = []
    binding = hooked(
        Events(),
        Attach(lambda: Innocent(log)),
        broken(method, raises(KeyboardInterrupt), finished),
        Attach(lambda: Innocent(other)),
    )
    with pytest.raises(KeyboardInterrupt):
        binding.chat("x")
    assert sum(line.startswith("finish") for line in log) == 1
    assert sum(line.startswith("finish") for line in other) == (0 if method == "on_request" else 1)
    assert finished == [1]


def test_an_error_of_the_backend_that_cannot_be_shown_is_told_all_the_same() -> None:
    class Breaks(Events):
        def _events(self, request: Any) -> Any:
            raise Unprintable

    result = Breaks().generate_text("x")
    assert isinstance(result, dict)
    assert result["error"] == "Unprintable: (its message cannot be shown: RuntimeError)"


def test_a_cached_answer_can_be_cancelled_too() -> None:
    """Sync and async alike, it ends at the next event."""
    from lollms_core.events import Finish, TextDelta

    class Cache(Middleware):
        def on_request(self, request: Any) -> Any:
            return [TextDelta("a"), TextDelta("b"), Finish("stop")]

    binding = hooked(AsyncEvents(), Attach(Cache))
    stream = binding.stream("x")
    for _ in stream:
        stream.cancel()
    assert (stream.completion.text, stream.completion.finish_reason) == ("a", "cancelled")

    async def run() -> Any:
        astream = binding.astream("x")
        async for _ in astream:
            astream.cancel()
        return astream.completion

    completion = asyncio.run(run())
    assert (completion.text, completion.finish_reason) == ("a", "cancelled")


async def test_cancel_ends_an_authors_own_achat_that_waits() -> None:
    """With hooks it runs under our rules, and one that waits is woken."""
    started = asyncio.Event()

    class Waits(EightMethods):
        async def achat(self, messages: Any, **fields: Any) -> Any:
            started.set()
            await asyncio.Event().wait()

    log: list[str] = []
    binding = hooked(Waits(), Attach(lambda: Innocent(log)))
    task = asyncio.create_task(binding.achat("x"))
    await started.wait()
    await asyncio.to_thread(binding.cancel)
    completion = await task
    assert completion.finish_reason == "cancelled"
    assert log == ["request", "finish cancelled NoneType"]


@pytest.mark.parametrize("exc", [GeneratorExit, asyncio.CancelledError, Outcome, Unprintable])
@pytest.mark.parametrize("hook", ["lollms_before_create", "lollms_after_create"])
def test_hooks_of_creation_may_raise_anything(site: Any, hook: str, exc: type[BaseException]) -> None:
    members: dict[str, Any] = {hook: hookimpl(_with_name(hook, exc))}
    faulty, guard = type("Faulty", (), members)(), type("Guard", (), {**members, "required": True})()
    site.binding("alpha", "lollms-alpha")
    assert site.manager(hooks=[faulty]).open_binding("alpha").generate_text("x") == TEXT
    with pytest.raises(Refused, match=exc.__name__):
        site.manager(hooks=[guard]).open_binding("alpha")


def _with_name(name: str, exc: type[BaseException]) -> Callable[[Any], Any]:
    def hook(self: Any) -> Any:
        raise exc

    hook.__name__ = name
    return hook


def test_a_cache_of_vectors_that_is_no_such_thing_is_left_out() -> None:
    for vectors in (itertools.repeat([1.0]), [["text"]], [[1.0], [2.0]], [None]):
        assert hooked(Events(), broken("on_request", wrong(vectors))).embed("four") == [4.0]

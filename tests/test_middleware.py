"""Middlewares around both kinds of binding, sync and async: order, answers, retries, faults, guards."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from samples import WORDS, AsyncEvents, EightMethods, Events, Hooks, Recorder, answer

from lollms_core.binding import LollmsLLMBinding
from lollms_core.errors import BackendUnavailable, ModelNotFound, Refused
from lollms_core.events import Completion, Event, Finish, TextDelta
from lollms_core.generation import MAX_RETRIES
from lollms_core.middleware import Attached, Chain, Middleware, Retry
from lollms_core.request import EmbedRequest, GenerationRequest

TEXT = "".join(WORDS)


def ask_text(binding: LollmsLLMBinding) -> str:
    return str(binding.generate_text("x"))


def ask_with_callback(binding: LollmsLLMBinding) -> str:
    heard: list[str] = []
    binding.generate_text("x", streaming_callback=lambda chunk, _: heard.append(chunk))
    return "".join(heard)


def ask_chat(binding: LollmsLLMBinding) -> str:
    return binding.chat("x").text


def ask_messages(binding: LollmsLLMBinding) -> str:
    return str(binding.generate_from_messages([{"role": "user", "content": "x"}]))


def ask_stream(binding: LollmsLLMBinding) -> str:
    return "".join(binding.stream("x").text_stream)


def ask_achat(binding: LollmsLLMBinding) -> str:
    return asyncio.run(_achat(binding))


async def _achat(binding: LollmsLLMBinding) -> str:
    return (await binding.achat("x")).text


def ask_agenerate(binding: LollmsLLMBinding) -> str:
    async def run() -> str:
        return str(await binding.agenerate_text("x"))

    return asyncio.run(run())


def ask_astream(binding: LollmsLLMBinding) -> str:
    async def run() -> str:
        return "".join([text async for text in binding.astream("x").text_stream])

    return asyncio.run(run())


ASKS = [
    ask_text,
    ask_with_callback,
    ask_chat,
    ask_messages,
    ask_stream,
    ask_achat,
    ask_agenerate,
    ask_astream,
]
Ask = Callable[[LollmsLLMBinding], str]


@pytest.fixture(params=ASKS, ids=lambda ask: ask.__name__)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Every way to generate."""
    way: Ask = request.param
    return way


@pytest.fixture(params=[EightMethods, Events, AsyncEvents])
def binding(request: pytest.FixtureRequest) -> LollmsLLMBinding:
    """Every kind of binding."""
    cls: type[LollmsLLMBinding] = request.param
    return cls()


def hooked(binding: LollmsLLMBinding, *makes: Callable[[], Middleware]) -> LollmsLLMBinding:
    binding._hooks = Hooks(*makes)
    return binding


def test_requests_go_in_and_events_come_out_in_reverse(binding: LollmsLLMBinding, ask: Ask) -> None:
    log: list[str] = []
    hooked(binding, lambda: Recorder(log, "a."), lambda: Recorder(log, "b."))
    assert ask(binding) == TEXT
    assert log[:2] == ["a.request", "b.request"]
    assert log[2:4] == ["b.TextDelta", "a.TextDelta"]
    assert log[-4:] == ["b.Finish", "a.Finish", "b.finish stop NoneType", "a.finish stop NoneType"]
    assert log.count("a.finish stop NoneType") == 1


def test_the_caller_gets_what_the_outermost_lets_through(binding: LollmsLLMBinding, ask: Ask) -> None:
    class Shout(Middleware):
        def on_event(self, event: Event) -> Iterable[Event]:
            return [TextDelta(event.text.upper())] if isinstance(event, TextDelta) else [event]

    class Sign(Middleware):
        def on_event(self, event: Event) -> Iterable[Event]:
            if isinstance(event, Finish):
                yield TextDelta(" -- me")
            yield event

    assert ask(hooked(binding, Sign, Shout)) == TEXT.upper() + " -- me"


def test_a_changed_request_reaches_the_backend(ask: Ask) -> None:
    class Cool(Middleware):
        def on_request(self, request: Any) -> Any:
            return request.replace(temperature=0.25)

    eight, events = EightMethods(), Events()
    ask(hooked(eight, Cool))
    ask(hooked(events, Cool))
    assert eight.calls[0]["temperature"] == 0.25
    request = events.requests[0]
    assert isinstance(request, GenerationRequest)
    assert request.temperature == 0.25


def test_a_cache_answers_in_the_backends_place(binding: LollmsLLMBinding, ask: Ask) -> None:
    log: list[str] = []

    class Cache(Middleware):
        def on_request(self, request: Any) -> Any:
            return [TextDelta("cached"), Finish("stop")]

    hooked(binding, lambda: Recorder(log, "outer."), Cache, lambda: Recorder(log, "inner."))
    assert ask(binding) == "cached"
    assert not any(line.startswith("inner.") for line in log)
    assert log == ["outer.request", "outer.TextDelta", "outer.Finish", "outer.finish stop NoneType"]
    assert getattr(binding, "calls", []) == getattr(binding, "requests", []) == []


class FailsTwice(Events):
    """Fails before the third try."""

    def __init__(self, failures: int = 2, **defaults: Any) -> None:
        super().__init__(**defaults)
        self.left = failures

    def _events(self, request: GenerationRequest) -> Any:
        if self.left:
            self.left -= 1
            raise BackendUnavailable("not yet")
        yield from super()._events(request)


class Again(Middleware):
    def on_error(self, exc: Exception) -> Retry:
        return Retry()


def test_retry(ask: Ask) -> None:
    log: list[str] = []
    assert ask(hooked(FailsTwice(), lambda: Recorder(log), Again)) == TEXT
    assert log.count("request") == 1
    assert log.count("finish stop NoneType") == 1


def test_retries_are_bounded() -> None:
    binding = FailsTwice(failures=1000)
    with pytest.raises(BackendUnavailable):
        hooked(binding, Again).chat("x")
    assert binding.left == 1000 - MAX_RETRIES - 1


def test_no_retry_after_the_first_event_has_reached_the_caller() -> None:
    binding = hooked(Events([TextDelta("half"), BackendUnavailable("gone")]), Again)
    with pytest.raises(BackendUnavailable):
        list(binding.stream("x"))
    assert isinstance(binding, Events)
    assert len(binding.requests) == 1


def test_an_error_may_be_replaced(ask: Ask) -> None:
    log: list[str] = []

    class Friendly(Middleware):
        def on_error(self, exc: Exception) -> ModelNotFound:
            return ModelNotFound("try another")

    binding = hooked(FailsTwice(), lambda: Recorder(log), Friendly)
    if ask in (ask_text, ask_messages, ask_agenerate):
        assert "'error_type': 'ModelNotFound'" in ask(binding)
    elif ask is ask_with_callback:
        assert ask(binding) == ""
    else:
        with pytest.raises(ModelNotFound):
            ask(binding)
    assert log == ["request", "error ModelNotFound", "finish error ModelNotFound"]


def break_at(method: str, how: Exception | BaseException) -> type[Middleware]:
    def fail(self: Middleware, *args: Any) -> Any:
        raise how

    return type("Broken", (Middleware,), {method: fail})


@pytest.mark.parametrize("method", ["on_request", "on_event", "on_finish"])
@pytest.mark.parametrize("how", [RuntimeError("oops"), SystemExit(3)], ids=lambda how: type(how).__name__)
def test_one_that_raises_is_left_out(
    binding: LollmsLLMBinding, ask: Ask, method: str, how: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    hooked(binding, lambda: Recorder(log, "a."), break_at(method, how), lambda: Recorder(log, "b."))
    with caplog.at_level(logging.WARNING):
        assert ask(binding) == TEXT
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{method} of the middleware Broken (test 1) failed" in caplog.text
    assert log.count("a.finish stop NoneType") == log.count("b.finish stop NoneType") == 1
    assert "a.Finish" in log


def test_one_that_raises_in_on_error_is_left_out() -> None:
    log: list[str] = []
    binding = hooked(FailsTwice(), lambda: Recorder(log), break_at("on_error", RuntimeError("oops")))
    with pytest.raises(BackendUnavailable):
        binding.chat("x")
    assert log == ["request", "error BackendUnavailable", "finish error BackendUnavailable"]


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("on_request", 5),
        ("on_request", None),
        ("on_request", "text"),
        ("on_request", ["text"]),
        ("on_request", EmbedRequest(texts=("a",))),
        ("on_event", None),
        ("on_event", "text"),
        ("on_event", ["text"]),
        ("on_event", TextDelta("not in a list")),
    ],
)
def test_one_that_returns_a_wrong_type_is_left_out(ask: Ask, method: str, result: Any) -> None:
    wrong = type("Wrong", (Middleware,), {method: lambda self, _: result})
    assert ask(hooked(Events(), wrong)) == TEXT


def test_endless_answers_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    class Endless(Middleware):
        def on_event(self, event: Event) -> Iterable[Event]:
            return itertools.repeat(event)

    class EndlessAnswer(Middleware):
        def on_request(self, request: Any) -> Any:
            return itertools.repeat(TextDelta("x"))

    assert hooked(Events(answer("ok")), Endless).chat("x").text == "ok"
    assert hooked(Events(answer("ok")), EndlessAnswer).chat("x").text == "ok"
    assert caplog.text.count("in one answer") == 2


def test_dropping_everything_leaves_an_empty_answer(binding: LollmsLLMBinding, ask: Ask) -> None:
    class Drop(Middleware):
        def on_event(self, event: Event) -> Iterable[Event]:
            return ()

    assert ask(hooked(binding, Drop)) == ""


@pytest.mark.parametrize("method", ["on_request", "on_event"])
def test_refused_is_obeyed(binding: LollmsLLMBinding, ask: Ask, method: str) -> None:
    log: list[str] = []
    hooked(binding, lambda: Recorder(log), break_at(method, Refused("not this")))
    if ask in (ask_text, ask_messages, ask_agenerate):
        assert "'error_type': 'Refused'" in ask(binding)
    elif ask is ask_with_callback:
        assert ask(binding) == ""
    else:
        with pytest.raises(Refused, match="not this"):
            ask(binding)
    assert log[0] == "request"
    assert log[-1] == "finish error Refused"
    assert sum(line.startswith("finish") for line in log) == 1


@pytest.mark.parametrize("method", ["on_request", "on_event"])
def test_a_required_guard_fails_closed(binding: LollmsLLMBinding, method: str) -> None:
    guard = break_at(method, RuntimeError("no dictionary"))
    guard.required = True
    with pytest.raises(Refused, match=r"required guard failed.*Broken.*no dictionary"):
        hooked(binding, guard).chat("x")


def test_a_factory_that_refuses(binding: LollmsLLMBinding) -> None:
    class Refuses(Hooks):
        def middlewares(self, request: Any) -> Any:
            raise Refused("closed today")

    binding._hooks = Refuses(Middleware)
    with pytest.raises(Refused):
        binding.chat("x")
    result = binding.generate_text("x")
    assert isinstance(result, dict)
    assert result["error_type"] == "Refused"


def test_on_finish_comes_on_cancel_too(binding: LollmsLLMBinding) -> None:
    log: list[str] = []
    hooked(binding, lambda: Recorder(log))
    assert binding.generate_text("x", streaming_callback=lambda *_: False) == "The "
    assert log == ["request", "TextDelta", "finish cancelled NoneType"]
    log.clear()
    for _ in binding.stream("x"):
        break
    assert log[-1] == "finish cancelled NoneType"
    assert sum(line.startswith("finish") for line in log) == 1


async def test_on_finish_comes_when_the_task_is_cancelled() -> None:
    log: list[str] = []
    started = asyncio.Event()

    class Waits(AsyncEvents):
        async def _aevents(self, request: GenerationRequest) -> Any:
            started.set()
            await asyncio.Event().wait()
            yield TextDelta("")

    task = asyncio.create_task(hooked(Waits(), lambda: Recorder(log)).achat("x"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["request", "finish cancelled NoneType"]


def test_a_rebuilt_request_still_hears_of_cancel() -> None:
    class Rebuild(Middleware):
        def on_request(self, request: Any) -> Any:
            return GenerationRequest(prompt="new")

    binding = Events()
    for _ in hooked(binding, Rebuild).stream("x"):
        binding.cancel()
    request = binding.requests[0]
    assert isinstance(request, GenerationRequest)
    assert request.prompt == "new"
    assert request.cancelled
    assert binding.yielded == 1


class TestOutermostOnly:
    """Of the methods that a class defines itself, the outermost call goes through the hooks."""

    def test_sync(self) -> None:
        class Own(EightMethods):
            def chat(self, messages: Any, **fields: Any) -> Completion:
                return Completion(text=f"<{self.generate_text(str(messages))}>", usage=super().chat("y").usage)

            def stream(self, messages: Any, **fields: Any) -> Any:
                return iter([TextDelta(str(self.generate_text("x"))), Finish("stop")])

            def generate_from_messages(self, messages: Any, **fields: Any) -> Any:
                return self.chat(messages, **fields).text

        for call, expected in (
            (ask_chat, f"<{TEXT}>"),
            (ask_stream, TEXT),
            (ask_messages, f"<{TEXT}>"),
            (ask_text, TEXT),
        ):
            log: list[str] = []
            assert call(hooked(Own(), lambda log=log: Recorder(log))) == expected  # type: ignore[misc]
            assert log.count("request") == 1
            assert log.count("finish stop NoneType") == 1
            assert call(Own()) == expected

    def test_async(self) -> None:
        class Own(EightMethods):
            async def achat(self, messages: Any, **fields: Any) -> Completion:
                return Completion(text=f"<{await self.agenerate_text('x')}>")

            async def agenerate_text(self, prompt: Any, *args: Any, **fields: Any) -> Any:
                callback = fields.get("streaming_callback")
                if callback:
                    callback("piece")
                return f"[{self.generate_text(prompt)}]"

            def astream(self, messages: Any, **fields: Any) -> Any:
                async def events() -> Any:
                    yield TextDelta((await self.achat("x")).text)
                    yield Finish("stop")

                return events()

        for call, expected in ((ask_achat, f"<[{TEXT}]>"), (ask_astream, f"<[{TEXT}]>"), (ask_agenerate, f"[{TEXT}]")):
            log: list[str] = []
            assert call(hooked(Own(), lambda log=log: Recorder(log))) == expected  # type: ignore[misc]
            assert log.count("finish stop NoneType") == 1

    def test_a_binding_inside_another_has_its_own(self) -> None:
        inner_log: list[str] = []
        inner = hooked(Events(), lambda: Recorder(inner_log))

        class Router(EightMethods):
            def generate_text(self, prompt: str) -> str:  # type: ignore[override]
                return str(inner.generate_text(prompt))

        outer_log: list[str] = []
        assert hooked(Router(), lambda: Recorder(outer_log)).chat("x").text == TEXT
        assert inner_log.count("request") == outer_log.count("request") == 1

    def test_between_the_events_of_a_stream_the_caller_is_outside(self) -> None:
        log: list[str] = []
        binding = hooked(Events(), lambda: Recorder(log))
        for _ in binding.stream("x"):
            binding.chat("y")
            break
        assert log.count("request") == 2


class TestEmbeddings:
    def test_hooks_stand_around_embeddings(self, binding: LollmsLLMBinding) -> None:
        log: list[str] = []
        hooked(binding, lambda: Recorder(log))
        assert binding.embed(["a", "bb"]) == [[1.0], [2.0]]
        assert asyncio.run(self._aembed(binding)) == [4.0]
        assert log == ["request", "finish None NoneType"] * 2

    @staticmethod
    async def _aembed(binding: LollmsLLMBinding) -> Any:
        return await binding.aembed("four")

    def test_a_cache_answers_with_vectors(self, binding: LollmsLLMBinding) -> None:
        class Cache(Middleware):
            def on_request(self, request: Any) -> Any:
                return [[9.0] for _ in request.texts]

        assert hooked(binding, Cache).embed(["a", "b"]) == [[9.0], [9.0]]
        assert binding.embed("a") == [9.0]
        wrong = type("Wrong", (Middleware,), {"on_request": lambda self, _: [[1.0]]})
        assert hooked(binding, wrong).embed(["a", "bb"]) == [[1.0], [2.0]]

    def test_errors_and_retry(self) -> None:
        class Flaky(Events):
            left = 2

            def _embed(self, request: EmbedRequest) -> list[list[float]]:
                self.left -= 1
                if self.left >= 0:
                    raise BackendUnavailable("not yet")
                return [[1.0] for _ in request.texts]

        assert hooked(Flaky(), Again).embed("x") == [1.0]
        with pytest.raises(BackendUnavailable):
            hooked(Flaky(), Middleware).embed("x")


def test_what_nobody_looks_at_is_not_made() -> None:
    """An inherited on_finish sees nothing; one that is written gets the Completion, made once for all."""

    class Looks(Middleware):
        def on_finish(self, completion: Completion | None, error: BaseException | None) -> None:
            seen.append(completion)

    made: list[Completion] = []

    def completion() -> Completion:
        made.append(Completion(text="x"))
        return made[-1]

    seen: list[Completion | None] = []
    for kinds, count in (((Middleware,), 0), ((Looks, Middleware, Looks), 1)):
        chain = Chain([Attached(kind(), "a test") for kind in kinds])
        chain.on_request(GenerationRequest(prompt="x"))
        chain.on_finish(completion, None)
        assert len(made) == count
    assert seen == [made[0], made[0]]


def test_between_events_the_caller_is_outside() -> None:
    """What the binding's own code asks of itself is not hooked again; what the caller asks meanwhile is."""
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    seen: list[str] = []

    class Asking(Events):
        def _events(self, request: GenerationRequest) -> Iterator[Event]:
            if request.prompt == "inner":
                return iter((TextDelta("inner"), Finish("stop")))
            return self._asked()

        def _asked(self) -> Iterator[Event]:
            for _ in range(2):
                seen.append(place.get())
                yield TextDelta(str(self.generate_text("inner")))
            yield Finish("stop")

    noted: list[str | None] = []

    class Noting(Middleware):
        def on_request(self, request: Any) -> Any:
            noted.append(request.prompt)
            return request

    binding = hooked(Asking(), Noting)
    place.set("first")
    for text in binding.stream("x").text_stream:
        assert text == "inner"
        place.set("second")
        assert binding.generate_text("inner") == "inner"
    assert noted.count("inner") == 2
    assert seen == ["first", "first"]  # to the end, the context in which the first event was asked for

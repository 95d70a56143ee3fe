"""A deadline ends a generation by itself, also while the backend is silent; no thread stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from samples import AsyncEvents, EightMethods, Events, Hooks, Recorder

from lollms_core.alarm import alarm_in_thread
from lollms_core.binding import LollmsLLMBinding
from lollms_core.errors import BackendTimeout
from lollms_core.events import Event, Finish, TextDelta
from lollms_core.generation import Generation, pull
from lollms_core.middleware import Middleware, Retry
from lollms_core.request import GenerationRequest

pytestmark = pytest.mark.timeout(30, method="thread")

SOON = 0.05
SAID = r"longer than the deadline of 0\.05 s"


class SilentEight(EightMethods):
    """Says one word, then nothing until the test lets it go on; says then whether it was told to stop."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(**defaults)
        self.go_on = threading.Event()
        self.told: list[bool | None] = []

    def generate_text(self, prompt: str, streaming_callback: Any = None) -> str:  # type: ignore[override]
        if streaming_callback is not None:
            streaming_callback("half")
        self.go_on.wait(20)
        if streaming_callback is not None:
            self.told.append(streaming_callback(" more"))
        return "half more"


class SilentEvents(Events):
    """The same; it hears of the end as blocking I/O does."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(**defaults)
        self.go_on = threading.Event()

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        yield TextDelta("half")
        request.on_cancel(self.go_on.set)
        self.go_on.wait(20)


class SilentAsync(SilentEvents):
    capabilities = AsyncEvents.capabilities

    async def _aevents(self, request: GenerationRequest) -> Any:
        yield TextDelta("half")
        await asyncio.Event().wait()


class BrokenByIt(SilentEvents):
    """Whose closed connection raises."""

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        yield from super()._events(request)
        raise ConnectionError("closed under me")


Ask = Callable[[LollmsLLMBinding], object]


def ask_chat(binding: LollmsLLMBinding) -> object:
    return binding.chat("x", stream=True, deadline=SOON)


def ask_messages(binding: LollmsLLMBinding) -> object:
    message = {"role": "user", "content": "x"}
    return binding.generate_from_messages([message], stream=True, deadline=SOON)


def ask_stream(binding: LollmsLLMBinding) -> object:
    return list(binding.stream("x", deadline=SOON))


def ask_achat(binding: LollmsLLMBinding) -> object:
    return asyncio.run(_awaited(binding.achat("x", stream=True, deadline=SOON)))


def ask_agenerate(binding: LollmsLLMBinding) -> object:
    return asyncio.run(_awaited(binding.agenerate_text("x", stream=True, deadline=SOON)))


def ask_astream(binding: LollmsLLMBinding) -> object:
    async def run() -> object:
        return [event async for event in binding.astream("x", deadline=SOON)]

    return asyncio.run(run())


async def _awaited(work: Any) -> object:
    result = await work
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    return result


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Every thread that was begun is gone in the end; one that is about to end is waited for."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive(), thread


@pytest.mark.usefixtures("no_thread_stays")
@pytest.mark.parametrize("ask", [ask_chat, ask_messages, ask_stream, ask_achat, ask_agenerate, ask_astream])
@pytest.mark.parametrize("kind", [SilentEight, SilentEvents, SilentAsync, BrokenByIt])
def test_the_deadline_ends_a_silent_backend(kind: type[Any], ask: Ask) -> None:
    """It is a BackendTimeout with the text so far, hooks hear of it once, and the next call works."""
    log: list[str] = []
    binding = kind()
    binding._hooks = Hooks(lambda: Recorder(log))
    try:
        if ask in (ask_messages, ask_agenerate):
            result = ask(binding)
            assert isinstance(result, dict)
            assert (result["error_type"], result["partial"]) == ("BackendTimeout", "half")
            assert result["error"] == "the answer took longer than the deadline of 0.05 s"
        else:
            with pytest.raises(BackendTimeout, match=SAID) as caught:
                ask(binding)
            assert caught.value.partial == "half"
        assert [line for line in log if line.startswith("finish")] == ["finish error BackendTimeout"]
        assert "error BackendTimeout" in log
        assert not binding.__dict__.get("_in_flight")
    finally:
        binding.go_on.set()
    if kind is SilentEight:
        assert binding.chat("again").text == "half more"
        assert binding.chat("again", deadline=20).text == "half more"


def test_an_author_who_calls_back_late_is_told_to_stop() -> None:
    binding = SilentEight()
    with pytest.raises(BackendTimeout):
        binding.chat("x", deadline=SOON)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "lollms-eight"]
    binding.go_on.set()
    thread.join(20)
    assert binding.told == [False]


def test_a_bindings_own_words_are_kept() -> None:
    """One that was told and says itself that it is late can name its host."""

    class Names(SilentEvents):
        def _events(self, request: GenerationRequest) -> Iterator[Event]:
            yield from super()._events(request)
            raise BackendTimeout("example.org: too late")

    with pytest.raises(BackendTimeout, match=r"example\.org: too late") as caught:
        Names().chat("x", deadline=SOON)
    assert caught.value.partial == "half"


def test_what_broke_because_of_it_is_the_cause() -> None:
    with pytest.raises(BackendTimeout) as caught:
        BrokenByIt().chat("x", deadline=SOON)
    assert isinstance(caught.value.__cause__, ConnectionError)


@pytest.mark.parametrize("kind", [EightMethods, Events, AsyncEvents])
async def test_an_answer_in_time_is_whole_and_the_alarm_gone(kind: type[LollmsLLMBinding]) -> None:
    binding = kind()
    text = binding.chat("x").text
    assert binding.chat("x", deadline=20).text == text
    assert "".join(binding.stream("x", deadline=20).text_stream) == text
    assert (await binding.achat("x", deadline=20)).text == text
    assert not [thread for thread in threading.enumerate() if thread.name == "lollms-deadline"]


def test_without_a_deadline_no_alarm_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does an eight-method class get a thread."""
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    assert EightMethods().chat("x").text == Events().chat("x").text
    assert started == []


def test_the_caller_who_ended_it_first_hears_of_no_deadline() -> None:
    binding = SilentEvents()
    stream = binding.stream("x", deadline=20)
    for _ in stream:
        binding.cancel()
    assert stream.completion.finish_reason == "cancelled"
    assert stream.completion.text == "half"


def test_a_reader_who_left_hears_of_no_deadline_either() -> None:
    """Though it came while the reader did something else."""
    rung = threading.Event()
    binding = SilentEvents()
    with binding.stream("x", deadline=SOON) as stream:
        for _ in stream:
            stream._generation.request.on_cancel(rung.set)
            assert rung.wait(20)
            break
    assert stream.completion.finish_reason == "cancelled"
    with binding.stream("x", deadline=SOON) as late:
        events = iter(late)
        assert next(events) == TextDelta("half")
        with pytest.raises(BackendTimeout):
            list(events)


class Alarm:
    """An alarm that the test rings."""

    def __call__(self, seconds: float, ring: Callable[[], object]) -> Callable[[], None]:
        self.ring = ring
        return lambda: None


def test_it_may_ring_at_any_moment() -> None:
    """As long as the backend is at work the answer is too late, never "cancelled"."""
    for place in range(4):
        alarm = Alarm()

        def source(request: GenerationRequest, place: int = place, alarm: Alarm = alarm) -> Iterator[Event]:
            for number, event in enumerate((TextDelta("a"), TextDelta("b"), Finish("stop"))):
                if number == place:
                    alarm.ring()
                yield event
            if place == 3:
                alarm.ring()

        generation = Generation(GenerationRequest(prompt="x", deadline=20))
        generation.alarm = alarm
        with pytest.raises(BackendTimeout):
            list(pull(generation, source))
        assert generation.completion.finish_reason == "error"


def test_it_rings_while_the_hooks_hear_of_the_end() -> None:
    alarm = Alarm()

    class Rings(Middleware):
        def on_event(self, event: Event) -> tuple[Event]:
            if isinstance(event, Finish):
                finish.append(event)
            return (event,)

        def on_finish(self, completion: Any, error: Any) -> None:
            alarm.ring()
            heard.append((completion.finish_reason, error))

    finish: list[Event] = []
    heard: list[Any] = []
    binding = Events()
    binding._hooks = Hooks(Rings)
    generation = binding._generation(GenerationRequest(prompt="x", deadline=20), live=True)
    generation.alarm = alarm
    list(pull(generation, binding._events))
    assert heard == [("stop", None)]
    assert generation.completion.finish_reason == "stop"


def test_no_retry_after_the_deadline_and_none_gets_more_time() -> None:
    class Again(Middleware):
        def on_error(self, exc: Exception) -> Retry:
            return Retry()

    binding = SilentEvents()
    binding._hooks = Hooks(Again)
    with pytest.raises(BackendTimeout, match=SAID):
        binding.chat("x", deadline=SOON)


def test_an_alarm_may_be_taken_back_by_what_it_rings() -> None:
    done = threading.Event()

    def ring() -> None:
        while not take_back:
            done.wait(0.001)
        take_back[0]()
        done.set()

    take_back: list[Callable[[], None]] = []
    take_back.append(alarm_in_thread(0.001, ring))
    assert done.wait(20)


def test_a_deadline_beyond_what_a_timer_can_wait_for() -> None:
    assert Events().chat("x", deadline=1e300).text
    assert asyncio.run(AsyncEvents().achat("x", deadline=1e300)).text

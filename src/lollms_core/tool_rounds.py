"""The loop of ``chat(..., run_tools=True)``, without I/O: ask, run what the model wants, ask again.

:class:`ToolRounds` holds the conversation; the two drivers at the end know how to ask and how to call.
"""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, is_dataclass, replace
from functools import partial
from typing import Any

from lollms_core.control import Control
from lollms_core.errors import BackendTimeout, LollmsError, close_names
from lollms_core.events import Completion, Timings, ToolCall, Usage
from lollms_core.messages import Message
from lollms_core.request import GenerationRequest
from lollms_core.tools import Tool

__all__ = ["ToolRounds", "arun_rounds", "check_sync", "run_rounds"]

_log = logging.getLogger(__name__)


class ToolRounds:
    """The state of one call of chat with tools that are run.

    Args:
        request: the first round's.
        max_rounds: how often the model is asked at most.

    Raises:
        TypeError, ValueError: `max_rounds` is no number >= 1, or there is no function to run.
    """

    def __init__(self, request: GenerationRequest, max_rounds: int) -> None:
        if isinstance(max_rounds, bool) or not isinstance(max_rounds, int):
            raise TypeError(f"max_rounds must be a whole number, not {max_rounds!r}")
        if max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, not {max_rounds}")
        self.tools: dict[str, Tool] = {tool.name: tool for tool in request.tools or ()}
        if not self.tools:
            raise ValueError("run_tools needs tools: give functions as tools=[...]")
        for tool in self.tools.values():
            if tool.function is None:
                raise TypeError(f"run_tools needs functions, and {tool.name!r} is only a definition")
        self.control = request.control
        self._request = request
        self._left = max_rounds
        self._earlier: list[Message] = []
        self._usage = Usage()
        self._first_token: float | None = None
        self._started = time.perf_counter()

    def request(self) -> GenerationRequest:
        """The next round's request. It can be ended by itself, and is when the whole call is.

        Raises:
            BackendTimeout: no time is left for it.
        """
        self._left -= 1
        request = self._request
        control = Control()
        self.control.on_cancel(control.cancel)
        deadline = request.deadline
        if deadline is not None:
            left = deadline - (time.perf_counter() - self._started)
            if left <= 0:
                raise BackendTimeout(f"the tools and answers took longer than the deadline of {deadline:g} s")
            deadline = left
        return request.replace(
            messages=(*(request.messages or ()), *self._earlier),
            # The model was made to call once; were it made to again and again, there would be no answer.
            tool_choice=None if self._earlier and request.tool_choice != "none" else request.tool_choice,
            deadline=deadline,
            control=control,
        )

    def take(self, completion: Completion) -> Sequence[ToolCall]:
        """The calls to run after a round; () if its answer is the last."""
        self._usage = _sum(self._usage, completion.usage)
        if self._first_token is None:
            self._first_token = completion.timings.first_token
        if self.control.cancelled or not completion.tool_calls or completion.finish_reason == "cancelled":
            return ()
        if not self._left:
            _log.warning("the model still asks for tools after the last round (max_rounds); they are not run")
            return ()
        return completion.tool_calls

    def add(self, completion: Completion, results: Sequence[str]) -> None:
        """Add a round's answer and its tools' results to the conversation."""
        self._earlier.append(completion.message)
        for call, result in zip(completion.tool_calls, results, strict=True):
            self._earlier.append({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": result})

    def result(self, completion: Completion) -> Completion:
        """The last round's completion as that of the whole call."""
        return replace(
            completion,
            finish_reason="cancelled" if self.control.cancelled else completion.finish_reason,
            usage=self._usage,
            timings=Timings(self._first_token, time.perf_counter() - self._started),
            earlier=list(self._earlier),
        )

    def failed(self, error: LollmsError) -> None:
        """Keep what the rounds before the failure brought."""
        error.earlier = list(self._earlier)

    def start(self, call: ToolCall) -> Any:
        """What the tool's function returns.

        Raises:
            Exception: what it raises, or why it cannot be called.
        """
        tool = self.tools.get(call.name)
        if tool is None:
            raise LookupError(f"there is no tool {call.name!r}.{close_names(call.name, self.tools)}")
        return tool.call(call.arguments)


def _sum(one: Usage, other: Usage) -> Usage:
    def add(first: int | None, second: int | None) -> int | None:
        return second if first is None else first if second is None else first + second

    return Usage(
        add(one.prompt_tokens, other.prompt_tokens),
        add(one.completion_tokens, other.completion_tokens),
        add(one.cached_tokens, other.cached_tokens),
        one.counted | other.counted,
    )


def _failure(call: ToolCall, exc: Exception) -> str:
    _log.info("the tool %r failed and the model is told so: %s: %s", call.name, type(exc).__name__, exc, exc_info=exc)
    words = str(exc) or type(exc).__name__
    return f"Error: {words}" if isinstance(exc, (LookupError, ValueError)) else f"Error: {type(exc).__name__}: {words}"


def _text_of(value: Any) -> str:
    """A tool's result for the model: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    dump = getattr(value, "model_dump", None)  # pydantic's models
    return dump(mode="json") if dump is not None else str(value)


# Drivers ----------------------------------------------------------------------------------------------


def run_rounds(rounds: ToolRounds, ask: Callable[[GenerationRequest], Completion]) -> Completion:
    """Ask until the answer is no call. The calls of one round are run one after the other, in this thread."""
    try:
        while True:
            completion = ask(rounds.request())
            calls = rounds.take(completion)
            if not calls:
                return rounds.result(completion)
            results = [_run(rounds, call) for call in calls]
            rounds.add(completion, results)
            if rounds.control.cancelled:
                return rounds.result(completion)
    except LollmsError as error:
        rounds.failed(error)
        raise


def check_sync(rounds: ToolRounds) -> None:
    """Whether all tools can be run without an event loop.

    Raises:
        TypeError: one is a coroutine function.
    """
    for tool in rounds.tools.values():
        if inspect.iscoroutinefunction(tool.function):
            raise TypeError(f"the tool {tool.name!r} is a coroutine function: use achat, or give a plain one")


def _run(rounds: ToolRounds, call: ToolCall) -> str:
    try:
        return _text_of(rounds.start(call))
    except Exception as exc:  # noqa: BLE001 - whatever a tool raises is the model's to deal with
        return _failure(call, exc)


async def arun_rounds(rounds: ToolRounds, ask: Callable[[GenerationRequest], Awaitable[Completion]]) -> Completion:
    """The async twin. The calls of one round run at the same time: coroutine functions in this event loop, others
    in threads.
    """
    import asyncio

    try:
        while True:
            completion = await ask(rounds.request())
            calls = rounds.take(completion)
            if not calls:
                return rounds.result(completion)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_arun(rounds, call)) for call in calls]
            rounds.add(completion, [task.result() for task in tasks])
            if rounds.control.cancelled:
                return rounds.result(completion)
    except LollmsError as error:
        rounds.failed(error)
        raise


async def _arun(rounds: ToolRounds, call: ToolCall) -> str:
    import asyncio

    tool = rounds.tools.get(call.name)
    try:
        if tool is not None and inspect.iscoroutinefunction(tool.function):
            return _text_of(await rounds.start(call))
        value = await asyncio.to_thread(partial(rounds.start, call))
        return _text_of(await value if inspect.isawaitable(value) else value)
    except Exception as exc:  # noqa: BLE001 - whatever a tool raises is the model's to deal with
        return _failure(call, exc)

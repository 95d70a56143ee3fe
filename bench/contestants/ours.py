"""lollms-llamacpp: the binding, opened through the manager as applications do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.contestants.busy import busy_process, busy_thread
from bench.contestants.clock import Clock
from bench.contestants.conversations import answered, of_one_system, opening
from bench.contestants.prompts import listings
from bench.contestants.serving import Task, peak_memory, serve, together, versions
from lollms_core import Completion, LollmsLLMBinding, LollmsLLMBindingManager, Stream
from lollms_llamacpp.native import library

_AT_THE_SAME_TIME: dict[str | None, Callable[[], contextlib.AbstractContextManager[None]]] = {
    None: contextlib.nullcontext,
    "thread": busy_thread,
    "process": busy_process,
}

# A template that adds nothing, so that the others' prompts have the same tokens.
_AS_IT_STANDS = {"chat_template": "{{ messages[0]['content'] }}"}

# Also says that nothing remembered may be used, which is no news here: no two prompts begin alike.
_EXACT = {"cache_prompt": False}

_OTHERS = 1000
"""Added to a round's number, it is that of a conversation which nobody has read yet."""


class Ours:
    """The contestant."""

    def __init__(self, binding: LollmsLLMBinding, clock: Clock | None, before: int) -> None:
        self._binding = binding
        self._clock = clock
        self._before = before
        self._tasks = {"answer": self._answer, "turn": self._turn, "shared": self._shared}

    @property
    def versions(self) -> dict[str, str]:
        """Those of the distributions that it runs on; looked up only now."""
        return versions("lollms-core", "lollms-llamacpp", "llama-cpp-python")

    def do(self, task: Task) -> dict[str, Any]:
        """Do a task; what was measured."""
        return self._tasks[task["do"]](task)

    # Answers --------------------------------------------------------------------------------------------

    def _answer(self, task: Task) -> dict[str, Any]:
        prompts = listings(task["round"], task["requests"])
        ask = {"threads": self._in_threads, "tasks": self._in_tasks, "whole": self._whole}[task.get("how", "threads")]
        with _AT_THE_SAME_TIME[task.get("beside")]():
            if self._clock is not None:
                self._clock.start()
            begun = time.perf_counter()
            fields = {"temperature": task["temperature"]} if "temperature" in task else {}
            completions = ask(prompts, task["n_predict"], {**fields, **(_EXACT if task.get("exact") else {})})
            seconds = time.perf_counter() - begun
        tokens = sum(completion.usage.completion_tokens or 0 for completion in completions)
        return {
            "speed": tokens / seconds,
            "tokens": tokens,
            "prompt_tokens": sum(completion.usage.prompt_tokens or 0 for completion in completions),
            "first": max(completion.timings.first_token or 0.0 for completion in completions),
            "memory": peak_memory(),
            "before": self._before,
            **({} if self._clock is None else self._clock.read(seconds)),
        }

    def _in_threads(self, prompts: list[str], n_predict: int, fields: dict[str, Any]) -> list[Completion]:
        """Streams, each read by a thread; a single one by this."""
        streams = [self._stream(prompt, n_predict, **_AS_IT_STANDS, **fields) for prompt in prompts]
        if len(streams) == 1:
            _read(streams[0])
        else:
            together(_read, streams)
        return [stream.completion for stream in streams]

    def _in_tasks(self, prompts: list[str], n_predict: int, fields: dict[str, Any]) -> list[Completion]:
        """Streams, all read by one event loop."""
        import asyncio  # 10 MiB that an application without an event loop does not have

        async def read(prompt: str) -> Completion:
            async with self._binding.astream(prompt, **_fields(n_predict), **_AS_IT_STANDS, **fields) as stream:
                async for _ in stream.text_stream:
                    pass
            return stream.completion

        async def read_all() -> list[Completion]:
            return await asyncio.gather(*map(read, prompts))

        return asyncio.run(read_all())

    def _whole(self, prompts: list[str], n_predict: int, fields: dict[str, Any]) -> list[Completion]:
        """Answers that are not streamed, each awaited by a thread."""
        found: list[Completion] = []
        together(lambda prompt: found.append(self._ask(prompt, n_predict, **_AS_IT_STANDS, **fields)), prompts)
        return found

    def _ask(self, prompt: Any, n_predict: int, **fields: Any) -> Completion:
        return self._binding.chat(prompt, **{**_fields(n_predict), **fields})

    def _stream(self, prompt: Any, n_predict: int, **fields: Any) -> Stream:
        return self._binding.stream(prompt, **{**_fields(n_predict), **fields})

    # What is remembered ---------------------------------------------------------------------------------

    def _turn(self, task: Task) -> dict[str, Any]:
        """The time to the first token of a conversation's second turn; cold, the first one was somebody else's."""
        first = opening(task["round"])
        text = self._ask(first, 16).text
        messages = first if task["cached"] else opening(task["round"] + _OTHERS)
        stream = self._stream(answered(messages, text), 8)
        _read(stream)
        return _what_was_read([stream.completion])

    def _shared(self, task: Task) -> dict[str, Any]:
        """The time until several requests with one system prompt have all begun to answer."""
        several = of_one_system(task["round"] * task["of"] + task["number"], task["requests"])
        fields = {} if task["cached"] else _EXACT
        streams = [self._stream(messages, 8, **fields) for messages in several]
        together(_read, streams)
        return _what_was_read([stream.completion for stream in streams])


def _fields(n_predict: int) -> dict[str, Any]:
    return {"n_predict": n_predict, "temperature": 0}


def _read(stream: Stream) -> None:
    for _ in stream.text_stream:
        pass


def _what_was_read(completions: list[Completion]) -> dict[str, Any]:
    prompt = sum(completion.usage.prompt_tokens or 0 for completion in completions)
    cached = sum(completion.usage.cached_tokens or 0 for completion in completions)
    first = max(completion.timings.first_token or 0.0 for completion in completions)
    return {"first": first, "prompt_tokens": prompt, "cached": cached, "read": prompt - cached}


@contextlib.contextmanager
def loaded(setting: Task) -> Iterator[Ours]:
    """The model, in memory until the block ends."""
    with contextlib.ExitStack() as stack:
        options = dict(setting)
        clock = stack.enter_context(Clock()) if options.pop("clock", False) else None
        manager = LollmsLLMBindingManager("no_folder_of_bindings")
        options["model_path"] = options.pop("model")
        library()
        before = peak_memory()
        yield Ours(stack.enter_context(manager.open_binding("llamacpp", **options)), clock, before)


if __name__ == "__main__":
    serve(loaded)

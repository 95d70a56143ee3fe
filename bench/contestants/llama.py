"""llama-cpp-python's `Llama`: one request at a time, as its `create_completion` streams it."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator
from typing import Any

from bench.contestants.conversations import answered, chatml, opening
from bench.contestants.prompts import listings
from bench.contestants.serving import Task, peak_memory, serve, versions


class Llama:
    """The contestant."""

    def __init__(self, setting: Task) -> None:
        self.versions = versions("llama-cpp-python", "numpy")
        # By name, because its types are not checked.
        llama_cpp = importlib.import_module("llama_cpp")
        self._before = peak_memory()
        self._llama = llama_cpp.Llama(
            setting["model"],
            n_ctx=setting["ctx_size"],
            n_threads=setting["n_threads"],
            n_threads_batch=setting["n_threads"],
            flash_attn=True,  # what the others choose by themselves
            verbose=False,
        )
        self._tasks = {"answer": self._answer, "turn": self._turn}

    def do(self, task: Task) -> dict[str, Any]:
        """Do a task; what was measured."""
        return self._tasks[task["do"]](task)

    def close(self) -> None:
        """Free the model."""
        self._llama.close()

    def _answer(self, task: Task) -> dict[str, Any]:
        """One request after the other."""
        tokens = prompt_tokens = 0
        first = 0.0
        begun = time.perf_counter()
        for prompt in listings(task["round"], task["requests"]):
            for _ in self._pieces(prompt, task["n_predict"], task.get("temperature", 0)):
                first = first or time.perf_counter() - begun
            read = len(self._llama.tokenize(prompt.encode(), special=True))
            prompt_tokens += read
            tokens += self._llama.n_tokens + 1 - read  # the last one is not computed on
        seconds = time.perf_counter() - begun
        memory = peak_memory()
        return {
            "speed": tokens / seconds,
            "tokens": tokens,
            "prompt_tokens": prompt_tokens,
            "first": first,
            "memory": memory,
            "before": self._before,
        }

    def _turn(self, task: Task) -> dict[str, Any]:
        """The time to the first token of a conversation's second turn."""
        self._llama.reset()
        messages = opening(task["round"])
        messages = answered(messages, "".join(self._pieces(chatml(messages), 16)))
        if not task["cached"]:
            self._llama.reset()
        begun, first = time.perf_counter(), 0.0
        for _ in self._pieces(chatml(messages), 8):
            first = first or time.perf_counter() - begun
        return {"first": first}

    def _pieces(self, prompt: str, n_predict: int, temperature: float = 0) -> Iterator[str]:
        for chunk in self._llama.create_completion(prompt, max_tokens=n_predict, temperature=temperature, stream=True):
            yield chunk["choices"][0]["text"]


@contextlib.contextmanager
def loaded(setting: Task) -> Iterator[Llama]:
    """The model, in memory until the block ends."""
    llama = Llama(setting)
    try:
        yield llama
    finally:
        llama.close()


if __name__ == "__main__":
    serve(loaded)

"""A long time of many requests: `python soak.py [SECONDS]` (`nox -s soak`), and in short a test.

Threads and tasks of an event loop keep a number of requests in flight on one binding, more than there are slots. Each
takes a request by chance, asks in one of several ways and does with the answer what the same chance says: it takes it
whole, closes the stream, has the callback return False, cancels the task, or cancels everything there is. Afterwards
nothing may be left, and no answer may differ from what the same request gave when it was asked alone.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import faulthandler
import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lollms_core import Completion, LollmsLLMBinding
from lollms_core.testing import Held
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.options import LlamaCppOptions

__all__ = ["MEMORY", "Soak"]

MEMORY: Final = 8 << 20
"""Bytes that the process may have grown by, from the end of the warm-up to the end."""

_WARM_UP: Final = 0.2
_TRIES: Final = 5
_WAIT: Final = 120.0
"""The warm-up's share of the time; seconds without any answer after which something hangs."""

_WAYS_OF_THREADS: Final = ("stream", "chat", "callback")
_WAYS_OF_TASKS: Final = ("astream", "achat")
_WHOLE: Final = 0.6  # of the requests are wanted to their end
_CANCEL_ALL: Final = 0.004  # of the requests have a `binding.cancel()` after them
_WORDS: Final = "the river stone walks under a cold bright moon and nobody knows why old trees sing at night".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        prompt: words by chance, from a few to some hundred.
        fields: greedy, and some sampled from a fixed seed.
        compared: whether the answer must be that of the same request alone; what is remembered may change it.
    """

    prompt: str
    fields: dict[str, Any]
    compared: bool


@dataclass(slots=True)
class Figures:
    """What has happened."""

    ended: Counter[str] = field(default_factory=Counter)
    """Requests, by how they were asked and how they ended."""
    tokens: int = 0
    compared: int = 0
    different: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """In words: answers that differ, and whatever else should not have happened."""


class Soak:
    """A soak of one binding.

    Args:
        binding: with a model that writes text.
        in_flight: requests at once, half of them by threads.
        slots: how many of them the binding computes at once.
        n_requests: different ones.
        longest: tokens of the longest answer; prompts are up to twice as many words.
        seed: of all chance.
        fields: further fields of every request.
    """

    def __init__(
        self,
        binding: LollmsLLMBinding,
        *,
        in_flight: int = 64,
        slots: int = 8,
        n_requests: int = 64,
        longest: int = 60,
        seed: int = 1,
        **fields: Any,
    ) -> None:
        self._binding = binding
        self._in_flight, self._slots, self._seed = in_flight, slots, seed
        chance = random.Random(seed)  # noqa: S311 - to be the same each time
        self._requests = [_request(chance, number, longest, fields) for number in range(n_requests)]
        self._alone: list[str] = []
        self._longest = longest
        self._fields = fields
        self._lock = threading.Lock()
        self._cancels = 0
        self._last = time.monotonic()
        self.figures = Figures()

    def run(self, seconds: float) -> dict[str, Any]:
        """Soak for about so long.

        Returns:
            The report: figures, and in ``failures`` what should not be, in words; [] if all is well.
        """
        self._alone = [
            self._binding.chat(request.prompt, **request.fields).text if request.compared else ""
            for request in self._requests
        ]
        begun = self._last = time.monotonic()
        self._phase(seconds * _WARM_UP, "warm-up")
        held, memory = Held.now(), _resident()
        self._phase(seconds * (1 - _WARM_UP), "main")
        took = time.monotonic() - begun
        left, grown = held.more(), _resident() - memory
        failures = self._failures(left, grown)
        figures = self.figures
        return {
            "seconds": round(took, 1),
            "in_flight": self._in_flight,
            "slots": self._slots,
            "requests": sum(figures.ended.values()),
            "requests_per_second": round(sum(figures.ended.values()) / took, 1),
            "tokens_per_second": round(figures.tokens / took, 1),
            "ended": dict(sorted(figures.ended.items())),
            "compared_with_the_same_request_alone": figures.compared,
            "different": len(figures.different),
            "memory_mib": round(memory / 2**20, 1),
            "memory_grown_mib": round(grown / 2**20, 2),
            "memory_tolerance_mib": MEMORY >> 20,
            "left": left,
            "failures": failures,
        }

    def _failures(self, left: str, grown: int) -> list[str]:
        """What should not be, after all requests have ended."""
        found = [*self.figures.failed, *self.figures.different]
        if left:
            found.append(f"left behind: {left}")
        if grown > MEMORY:
            found.append(f"memory has grown by {grown / 2**20:.1f} MiB")
        if not self._binding.get_model_info()["loaded"]:
            found.append("the model is not loaded any more")
        # A busy machine may begin a thread after another one's answer has ended; a lost slot is missed each time.
        at_once = max(self._at_once() for _ in range(_TRIES))
        if at_once < self._slots:
            found.append(f"of {self._slots} requests at the end, only {at_once} were computed at once")
        return found

    # A time of requests ---------------------------------------------------------------------------------

    def _phase(self, seconds: float, name: str) -> None:
        until = time.monotonic() + seconds
        n_threads = self._in_flight // 2
        threads = [
            threading.Thread(
                target=self._ask_in_thread,
                args=(until, f"{self._seed} {name} thread {number}"),
                daemon=True,  # one that waits for ever must not keep the process
            )
            for number in range(n_threads)
        ]
        for thread in threads:
            thread.start()
        asyncio.run(self._ask_in_tasks(until, name, self._in_flight - n_threads))
        for thread in threads:
            while thread.is_alive() and not self._hangs():
                thread.join(1.0)
        stuck = sum(thread.is_alive() for thread in threads)
        if stuck:
            self._fail(f"{stuck} threads wait for their answers, and for {_WAIT:g} s none has come")

    def _chances(self, until: float, seed: str) -> Iterator[tuple[random.Random, int]]:
        chance = random.Random(seed)  # noqa: S311
        while time.monotonic() < until:
            yield chance, chance.randrange(len(self._requests))
            if chance.random() < _CANCEL_ALL:
                self._cancels += 1
                self._binding.cancel()

    def _ask_in_thread(self, until: float, seed: str) -> None:
        for chance, number in self._chances(until, seed):
            way = chance.choice(_WAYS_OF_THREADS)
            keep = chance.randrange(1, 20) if chance.random() > _WHOLE else None
            try:
                self._note(way, number, self._ask(way, self._requests[number], keep))
            except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the report
                self._fail(f"{way}: {error!r}")

    def _ask(self, way: str, request: Request, keep: int | None) -> Completion:
        """Ask for a request; `keep` is after how many pieces the answer is not wanted any more."""
        if way == "chat":
            return self._binding.chat(request.prompt, **request.fields)
        if way == "callback":
            return self._ask_with_callback(request, keep)
        with self._binding.stream(request.prompt, **request.fields) as stream:
            for count, _ in enumerate(stream.text_stream, 1):
                if count == keep:
                    stream.close()
                    break
        return stream.completion

    def _ask_with_callback(self, request: Request, keep: int | None) -> Completion:
        """What comes back is the text alone, so how it ended has to be known here."""
        count, cancels = 0, self._cancels

        def take(_chunk: str, _kind: object) -> bool:
            nonlocal count
            count += 1
            return count != keep

        messages = [{"role": "user", "content": request.prompt}]
        text = self._binding.generate_from_messages(messages, streaming_callback=take, **request.fields)
        if not isinstance(text, str):
            raise RuntimeError(text["error"])  # noqa: TRY004 - the backend's error, not a wrong type
        cancelled = count == keep or self._cancels != cancels
        return Completion(text=text, finish_reason="cancelled" if cancelled else "stop")

    async def _ask_in_tasks(self, until: float, name: str, count: int) -> None:
        workers = {
            asyncio.ensure_future(self._ask_in_task(until, f"{self._seed} {name} task {number}"))
            for number in range(count)
        }
        while workers and not self._hangs():
            _, workers = await asyncio.wait(workers, timeout=1.0)
        if workers:
            self._fail(f"{len(workers)} tasks wait for their answers, and for {_WAIT:g} s none has come")
        for worker in workers:
            worker.cancel()

    def _hangs(self) -> bool:
        return time.monotonic() > self._last + _WAIT

    async def _ask_in_task(self, until: float, seed: str) -> None:
        for chance, number in self._chances(until, seed):
            way = chance.choice(_WAYS_OF_TASKS)
            keep = chance.randrange(1, 20) if chance.random() > _WHOLE else None
            asking = asyncio.ensure_future(self._aask(way, self._requests[number], keep))
            try:
                if way == "achat" and keep is not None:
                    await asyncio.wait((asking,), timeout=chance.expovariate(1.0))
                    asking.cancel()
                completion = await asking
            except asyncio.CancelledError:
                if not asking.cancelled():
                    raise  # it was this task that was cancelled
                completion = Completion(finish_reason="cancelled")
            except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the report
                self._fail(f"{way}: {error!r}")
                continue
            self._note(way, number, completion)

    async def _aask(self, way: str, request: Request, keep: int | None) -> Completion:
        if way == "achat":
            return await self._binding.achat(request.prompt, **request.fields)
        count = 0
        async with self._binding.astream(request.prompt, **request.fields) as stream:
            async for _ in stream.text_stream:
                count += 1
                if count == keep:
                    break
        return stream.completion

    def _note(self, way: str, number: int, completion: Completion) -> None:
        """What came of a request: it was cancelled, or must be whole and what it was alone."""
        request = self._requests[number]
        reason = completion.finish_reason
        with self._lock:
            self._last = time.monotonic()
            self.figures.ended[f"{way}, {reason}"] += 1
            self.figures.tokens += completion.usage.completion_tokens or 0
            if reason == "cancelled":
                return
            if reason not in {"stop", "length"}:
                self.figures.failed.append(f"{way}: an answer ended with {reason}")
            elif reason == "length" and completion.usage.completion_tokens != request.fields["n_predict"]:
                self.figures.failed.append(f"{way}: {completion.usage.completion_tokens} tokens are no whole answer")
            elif request.compared:
                self.figures.compared += 1
                if completion.text != self._alone[number]:
                    self.figures.different.append(
                        f"{way}: request {number} gave {completion.text!r}, alone {self._alone[number]!r}"
                    )

    def _fail(self, text: str) -> None:
        with self._lock:
            self.figures.failed.append(text)

    # Afterwards -----------------------------------------------------------------------------------------

    def _at_once(self) -> int:
        """How many of as many requests as there are slots have begun before the first of them ends."""
        begun: list[float] = []
        ended: list[float] = []
        start = threading.Barrier(self._slots)
        fields = {"temperature": 0, "cache_prompt": False, **self._fields, "n_predict": self._longest}

        def ask(number: int) -> None:
            with self._binding.stream(f"{number}, {number}, {number},", **fields) as stream:
                start.wait(_WAIT)
                for count, _ in enumerate(stream.text_stream):
                    if not count:
                        begun.append(time.monotonic())
            ended.append(time.monotonic())

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(self._slots)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_WAIT)
        return sum(moment <= min(ended, default=0.0) for moment in begun)


def _request(chance: random.Random, number: int, longest: int, fields: dict[str, Any]) -> Request:
    words = chance.choices(_WORDS, k=min(2 * longest, 2 + int(chance.expovariate(4 / longest))))
    wanted: dict[str, Any] = {"n_predict": chance.randint(1, longest), "temperature": 0, "cache_prompt": False}
    if number % 4 == 1:
        wanted |= {"temperature": 0.9, "seed": number}
    if number % 4 == 2:
        wanted["cache_prompt"] = True
    return Request(" ".join([str(number), *words]), {**fields, **wanted}, not wanted["cache_prompt"])


def _resident() -> int:
    """Bytes of this process in memory, without what the C library keeps for later (Linux; 0 elsewhere)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0


def main() -> None:
    """Soak the embedded model; exit status 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="nox -s soak --", description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=600.0, help="how long (600)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads that compute (2)")
    parser.add_argument("--seed", type=int, default=1, help="another one is another sequence of requests (1)")
    parser.add_argument("--json", type=Path, help="where the report is written, too")
    options = parser.parse_args()
    slots = 8 if "n_parallel" in LlamaCppOptions.__annotations__ else 1
    more: dict[str, Any] = {"n_parallel": slots, "cache_ram": 16} if slots > 1 else {}
    with LlamaCppBinding(model_name="smollm2", ctx_size=8192, n_threads=options.threads, **more) as binding:
        report = Soak(binding, slots=slots, seed=options.seed).run(options.seconds)
    text = json.dumps(report, indent=1)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(f"{text}\n", "utf-8")
    sys.stdout.write(f"{text}\n")
    if report["failures"]:
        faulthandler.dump_traceback()  # where they wait that wait still
    sys.exit(1 if report["failures"] else 0)


if __name__ == "__main__":
    main()

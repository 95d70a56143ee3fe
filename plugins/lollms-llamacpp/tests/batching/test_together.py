"""Many requests on one engine: real text of a real model, and tiny models for what must go wrong."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gates import Gate

from lollms_core import BackendError, Completion, ContextOverflow, Overloaded, TextDelta
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.context import Context
from lollms_llamacpp.engine import Engine

NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end a tiny model's answer
SYSTEM = "You answer in short sentences. " * 30


@pytest.fixture(scope="module")
def smollm2() -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(model_name="smollm2", ctx_size=2048, n_parallel=8) as binding:
        yield binding


def at_once(call: Callable[[int], Any], count: int) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_alone_or_in_company(smollm2: LlamaCppBinding) -> None:
    """Greedy or with a seed, of any length of prompt: the same text, to the last letter, with cache_prompt=False."""
    prompts = [f"Tell me about the number {n}. " + "I like it. " * (n * 17 % 40) for n in range(8)]

    def answer(number: int) -> Completion:
        sampling: dict[str, Any] = {"temperature": 0} if number % 2 else {"temperature": 0.9, "seed": number}
        return smollm2.chat(prompts[number], n_predict=24, cache_prompt=False, **sampling)

    alone = [answer(number).text for number in range(8)]
    # Requests that use the cache come and go meanwhile, and free what they had.
    others = ["Count to a hundred. " * (number % 5 + 1) for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        beside = [pool.submit(smollm2.chat, other, n_predict=12, temperature=0) for other in others]
        company = at_once(answer, 8)
        assert all(one.result().text for one in beside)
    assert [one.text for one in company] == alone
    assert all(one.usage.cached_tokens == 0 for one in company)


def test_streams_of_one_event_loop(smollm2: LlamaCppBinding) -> None:
    """Async streams run together and come out as they do alone."""

    async def read(number: int) -> str:
        stream = smollm2.astream(f"Say the number {number}.", n_predict=8, temperature=0, cache_prompt=False)
        return "".join([event.text async for event in stream if isinstance(event, TextDelta)])

    async def main() -> list[str]:
        return list(await asyncio.gather(*(read(number) for number in range(6))))

    together = asyncio.run(main())
    assert together == [asyncio.run(read(number)) for number in range(6)]


def test_next_turn(smollm2: LlamaCppBinding) -> None:
    """The second turn of a conversation computes what is new, and says how much was not."""
    talk: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Name a colour."}]
    first = smollm2.chat(talk, n_predict=8, temperature=0)
    talk += [first.message, {"role": "user", "content": "Another one."}]
    second = smollm2.chat(talk, n_predict=8, temperature=0)
    assert second.usage.prompt_tokens is not None
    assert second.usage.prompt_tokens - (second.usage.cached_tokens or 0) < 40
    without = smollm2.chat(talk, n_predict=8, temperature=0, cache_prompt=False)
    assert without.usage.cached_tokens == 0


def test_shared_system_prompt(smollm2: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four requests that come at once with one system prompt have it evaluated once."""
    counts: list[int] = []
    decode = Context.decode

    def counted(self: Context) -> int:
        counts.append(len(self.batch))
        return decode(self)

    monkeypatch.setattr(Context, "decode", counted)
    system = "Be kind. " + SYSTEM
    answers = at_once(lambda n: smollm2.chat(f"Question {n}?", system_prompt=system, n_predict=4, temperature=0), 4)
    prompts = [answer.usage.prompt_tokens or 0 for answer in answers]
    assert sum(counts) < max(prompts) + 4 * 40
    assert sorted((answer.usage.cached_tokens or 0) > 150 for answer in answers) == [False, True, True, True]


def test_more_conversations_than_slots() -> None:
    """What had to leave the context comes back from ordinary memory, and goes on as if it had stayed."""
    talks = [f"Talk number {number}. " + "It is about the weather. " * 20 for number in range(4)]

    def two_turns(binding: LlamaCppBinding) -> tuple[list[str], int]:
        messages: list[Any] = [{"role": "user", "content": talks[0]}]
        first = binding.chat(messages, n_predict=6, temperature=0)
        for other in talks[1:]:
            binding.chat(other, n_predict=1, temperature=0)
        messages += [first.message, {"role": "user", "content": "Go on."}]
        second = binding.chat(messages, n_predict=12, temperature=0)
        assert second.usage.prompt_tokens is not None
        return [first.text, second.text], second.usage.prompt_tokens - (second.usage.cached_tokens or 0)

    with LlamaCppBinding(model_name="smollm2", ctx_size=1024, n_parallel=1) as binding:
        texts, read = two_turns(binding)
        assert read < 40
    with LlamaCppBinding(model_name="smollm2", ctx_size=1024, n_parallel=1, cache_ram=0) as binding:
        without, read = two_turns(binding)
        assert read > 100
    with LlamaCppBinding(model_name="smollm2", ctx_size=1024, n_parallel=4, cache_ram=0) as binding:
        stayed, read = two_turns(binding)
        assert read < 40
    assert texts == stayed
    assert without[0] == texts[0]


def test_a_long_prompt_stalls_nobody(smollm2: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a long prompt is read, an answer goes on with every step."""
    steps: list[tuple[int, set[int]]] = []
    decode = Context.decode

    def counted(self: Context) -> int:
        batch = self.batch.struct
        steps.append((batch.n_tokens, {batch.seq_id[index][0] for index in range(batch.n_tokens)}))
        return decode(self)

    stream = iter(smollm2.stream("Count to a hundred.", n_predict=60, temperature=0))
    next(stream)
    monkeypatch.setattr(Context, "decode", counted)
    long = threading.Thread(target=lambda: smollm2.chat("word " * 900, n_predict=1))
    long.start()
    list(stream)
    long.join()
    # From the first step that had both to the last, all had: the prompt in several parts, the answer token by token.
    widths = [len(sequences) for _, sequences in steps]
    during = widths[widths.index(2) : len(widths) - widths[::-1].index(2)]
    assert during == [2] * len(during)
    assert len(during) >= 3
    assert max(count for count, _ in steps) < 900


def test_a_full_house(tiny_folder: Path, hold_after: Callable[[int], Gate]) -> None:
    """Beyond the slots requests wait, up to a number; one more is refused at once, and the others are answered."""
    gate = hold_after(0)
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", n_parallel=1, max_queue=2) as binding:
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(binding.chat, "x", n_predict=2)]
            assert gate.reached.wait(60)
            waiting += [pool.submit(binding.chat, "x", n_predict=2) for _ in range(2)]
            engine = binding._models.engine
            assert isinstance(engine, Engine)
            while engine.n_requests < 3:
                threading.Event().wait(0.001)
            with pytest.raises(Overloaded, match=r"2 requests wait.*max_queue"):
                binding.chat("x")
            answer = binding.generate_text("x")
            assert isinstance(answer, dict)
            assert answer["error_type"] == "Overloaded"
            gate.opened.set()
            assert all(one.result().usage.completion_tokens for one in waiting)
        assert binding.chat("x", n_predict=1).usage.completion_tokens == 1


def test_the_cells_are_used_up(tiny_folder: Path) -> None:
    """Where the answers together need more than the context has, one steps aside, and each comes out as alone."""
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", n_parallel=4) as binding:

        def answer(number: int) -> Completion:
            return binding.chat(
                chr(97 + number) * 20, n_predict=150, temperature=1, seed=number, cache_prompt=False, logit_bias=NEVER
            )

        alone = [answer(number) for number in range(4)]
        together = at_once(answer, 4)
        assert [one.text for one in together] == [one.text for one in alone]
        assert {one.usage.completion_tokens for one in together} == {150}


def test_overflow(smollm2: LlamaCppBinding) -> None:
    """A prompt that doesn't fit is an error before any work, or loses its oldest tokens after the system prompt."""
    talk: list[Any] = [
        {"role": "system", "content": "You are a poet named Ada."},
        {"role": "user", "content": "old " * 200},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    fields: dict[str, Any] = {"ctx_size": 128, "temperature": 0, "n_predict": 20}
    with pytest.raises(ContextOverflow):
        smollm2.chat(talk, **fields)
    done = smollm2.chat(talk, on_overflow="shift", **fields)
    assert "Paris" in done.text
    assert done.usage.prompt_tokens == 108
    engine = smollm2._models.engine
    assert isinstance(engine, Engine)
    assert engine._scheduler is not None
    known = [smollm2.detokenize(slot.kept) for slot in engine._scheduler._sequences.slots]
    assert any("Ada" in text and "old" in text and text.count("old") < 100 for text in known)


def test_an_answer_longer_than_the_context(smollm2: LlamaCppBinding) -> None:
    """With "shift" an answer goes on where the context is full; without, it ends there."""
    fields: dict[str, Any] = {"ctx_size": 64, "temperature": 0, "logit_bias": {2: -100.0, 0: -100.0}}
    ends = smollm2.chat("Count from one to one hundred.", n_predict=100, **fields)
    assert ends.finish_reason == "length"
    assert (ends.usage.prompt_tokens or 0) + (ends.usage.completion_tokens or 0) == 64
    goes_on = smollm2.chat("Count from one to one hundred.", n_predict=100, on_overflow="shift", **fields)
    assert goes_on.usage.completion_tokens == 100
    assert goes_on.text.startswith(ends.text[:20])


def test_one_of_several_fails(tiny: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """When llama.cpp cannot compute a step of several, the one that is to blame fails, and the others go on."""
    decode = Context.decode
    bad = ord("!")

    def picky(self: Context) -> int:
        tokens = self.batch.struct.token[: len(self.batch)]
        return -3 if bad in tokens else decode(self)

    alone = tiny.chat("abc", n_predict=30, temperature=0, cache_prompt=False, logit_bias={bad: -1e9}).text
    monkeypatch.setattr(Context, "decode", picky)

    def answer(number: int) -> Any:
        prompt = "a!c" if number == 2 else "abc"
        try:
            return tiny.chat(prompt, n_predict=30, temperature=0, cache_prompt=False, logit_bias={bad: -1e9})
        except BackendError as error:
            return error

    got = at_once(answer, 4)
    assert isinstance(got[2], BackendError)
    assert "-3" in str(got[2])
    assert [got[number].text for number in (0, 1, 3)] == [alone] * 3


def test_the_engine_fails(
    tiny: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the engine itself reaches all that wait, with a trace in the log; the next request loads anew."""
    with monkeypatch.context() as patch:
        patch.setattr(Context, "decode", list[int]().pop)
        with pytest.raises(BackendError, match="engine of the model 'chatty' has failed"):
            tiny.chat("x")
    assert "Traceback" in caplog.text
    assert tiny.chat("x", n_predict=1).usage.completion_tokens == 1


def test_embedding_beside_answers(smollm2: LlamaCppBinding) -> None:
    """Texts are embedded in batches while answers are made; neither changes the other."""
    texts = [f"The number {n} is a number. " * (n % 4 + 1) for n in range(40)]
    single = [smollm2.embed(text) for text in texts[:3]]
    alone = smollm2.chat("Count to ten.", n_predict=24, temperature=0, cache_prompt=False).text
    with ThreadPoolExecutor(2) as pool:
        vectors = pool.submit(smollm2.embed, texts)
        answer = smollm2.chat("Count to ten.", n_predict=24, temperature=0, cache_prompt=False).text
        got = vectors.result()
    assert answer == alone
    assert len(got) == 40
    for one, other in zip(single, got[:3], strict=True):
        # llama.cpp's attention sums up in another order for many tokens than for few.
        assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.999


def test_pooling(tiny_folder: Path) -> None:
    """The pooling can be chosen: the mean of all tokens, the first one's vector, or the last one's."""
    found = {}
    for pooling in ("mean", "cls", "last", None):
        with LlamaCppBinding(models_path=tiny_folder, model_name="bare", pooling=pooling) as binding:
            found[pooling] = binding.embed(["abc", "abx", "xbc"])
    assert found[None] == found["mean"]
    first, last = found["cls"], found["last"]
    assert first[0] == pytest.approx(first[1], abs=1e-6)
    assert first[0] != pytest.approx(first[2], abs=1e-3)
    assert last[0] != pytest.approx(last[1], abs=1e-3)
    with pytest.raises(ValueError, match="pooling"):
        LlamaCppBinding(pooling="median")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks")
def test_after_a_fork(tiny: LlamaCppBinding) -> None:
    """A child that was forked has the model's memory but not its threads: it is told so, instead of waiting."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            tiny.chat("x", n_predict=1)
        except BackendError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        assert b"load it after the fork" in pipe.read()
    assert tiny.chat("x", n_predict=1).usage.completion_tokens == 1

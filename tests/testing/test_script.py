"""Reply and Script: what a scripted model answers, without a binding around it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lollms_core.errors import BackendTimeout, StreamInterrupted
from lollms_core.events import Event, Finish, ReasoningDelta, TextDelta, TokenLogprob, ToolCall, Usage
from lollms_core.request import GenerationRequest
from lollms_core.testing import Gate, Reply, ScriptError, last_text
from lollms_core.testing.script import Script, Wait


def played(reply: Reply, **fields: Any) -> list[Event | Wait]:
    return list(reply.steps(GenerationRequest(prompt="Why?", **fields), 1, "m"))


def texts(reply: Reply) -> list[str]:
    return [step.text for step in played(reply) if isinstance(step, TextDelta)]


@pytest.mark.parametrize("text", ["The sky is blue.", "  two\n\nlines ", "", "\n"])
def test_a_text_comes_word_by_word_and_unchanged(text: str) -> None:
    pieces = texts(Reply(text))
    assert "".join(pieces) == text
    assert len(pieces) >= len(text.split())


def test_pieces_are_sent_as_they_stand() -> None:
    assert texts(Reply(pieces=["Th", "e sky"])) == ["Th", "e sky"]
    assert Reply(pieces=["Th", "e sky"]).text == "The sky"


def test_all_parts_of_a_reply_come_in_order() -> None:
    reply = Reply("Yes", reasoning="Hm", tool_calls=[("f", {"a": 1})], usage=Usage(1, 2), provider={"key": "back"})
    assert played(reply) == [
        ReasoningDelta("Hm"),
        TextDelta("Yes"),
        ToolCall("call_1_1", "f", '{"a": 1}'),
        Usage(1, 2),
        Finish("tool_calls", model="m", id="scripted-1", provider={"key": "back"}),
    ]


def test_usage_is_counted_in_bytes_unless_it_is_given() -> None:
    assert Usage(4, 3) in played(Reply("é!"))
    assert Usage(6, 2) in played(Reply("ok"), system_prompt="be")
    assert Usage(1, 9) in played(Reply("ok", usage=Usage(1, 9)))


def test_a_dict_is_sent_as_json() -> None:
    assert Reply({"name": "é"}).text == '{"name": "é"}'
    assert Reply([1, 2]).text == "[1, 2]"


def test_silences_stand_before_each_piece_and_where_pieces_have_them() -> None:
    gate = Gate()
    assert played(Reply("a b", delay=0.5))[:4] == [Wait(0.5), TextDelta("a "), Wait(0.5), TextDelta("b")]
    assert played(Reply(pieces=["a", 2, gate, "b"]))[:4] == [
        TextDelta("a"),
        Wait(2),
        Wait(None, gate),
        TextDelta("b"),
    ]


def test_a_silence_longer_than_the_timeout_is_a_backend_timeout() -> None:
    steps = Reply("a", delay=60).steps(GenerationRequest(prompt="x", timeout=1.5), 1, None)
    assert next(steps) == Wait(1.5)
    with pytest.raises(BackendTimeout, match=r"1\.5 s"):
        next(steps)


def test_a_failure_stands_in_place_of_the_end() -> None:
    steps = Reply("part", then=StreamInterrupted("cut")).steps(GenerationRequest(prompt="x"), 1, None)
    assert next(steps) == TextDelta("part")
    with pytest.raises(StreamInterrupted, match="cut"):
        next(steps)


def test_log_probabilities_come_only_if_they_are_asked_for() -> None:
    given = TokenLogprob("Yes", -0.5)
    assert not [step for step in played(Reply("Yes", logprobs=[given])) if isinstance(step, TokenLogprob)]
    assert given in played(Reply("Yes", logprobs=[given]), logprobs=True)
    assert TokenLogprob("Yes", 0.0) in played(Reply("Yes"), logprobs=True)
    assert TokenLogprob("Yes", 0.0, (("Yes", 0.0),)) in played(Reply("Yes"), logprobs=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"text": "a b", "pieces": ["a", "c"]}, "leave one out"),
        ({"pieces": "ab"}, "not one str"),
        ({"pieces": ["a", None]}, "seconds"),
        ({"delay": -1}, "finite number of seconds"),
        ({"delay": True}, "number of seconds"),
        ({"tool_calls": ["f"]}, "tool call"),
        ({"tool_calls": [("f", 1)]}, "tool call"),
        ({"then": "cut"}, "exception"),
        ({"then": ValueError(), "finish_reason": "stop"}, "leave out"),
    ],
)
def test_a_reply_that_makes_no_sense_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Reply(**arguments)


@pytest.mark.parametrize("answers", ["text", {"a": 1}, [1], [ValueError]])
def test_a_script_that_is_none_is_refused(answers: Any) -> None:
    with pytest.raises(TypeError, match=r"a script is|an answer is"):
        Script(answers)


def test_answers_go_to_requests_once_each_whatever_the_threads() -> None:
    script = Script([str(number) for number in range(200)])

    def ask(number: int) -> str:
        steps = script.play(GenerationRequest(prompt=str(number)), None)
        return "".join(step.text for step in steps if isinstance(step, TextDelta))

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(ask, range(200)))
    assert sorted(got, key=int) == [str(number) for number in range(200)]
    # What was remembered at a place is what got the answer of that place.
    assert [got[int(request.prompt or "")] for request in script.requests] == [str(number) for number in range(200)]


def test_a_function_that_gives_no_answer_fails_the_test() -> None:
    async def later(_: GenerationRequest) -> str:
        return "late"

    functions: Any = [lambda _: None, later]
    script = Script(functions)
    for words in ("None", "coroutine"):
        with pytest.raises(ScriptError, match=words):
            list(script.play(GenerationRequest(prompt="x"), None))


def test_last_text_is_the_prompt_or_the_last_message() -> None:
    assert last_text(GenerationRequest(prompt="Why?")) == "Why?"
    parts = [{"type": "text", "text": "What is this?"}]
    messages: Any = ({"role": "system", "content": "be brief"}, {"role": "user", "content": parts})
    assert last_text(GenerationRequest(messages=messages)) == "What is this?"

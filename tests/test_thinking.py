"""Thinking that a model writes into its answer is cut out, wherever the pieces are cut."""

from __future__ import annotations

import pytest
from samples import Events

from lollms_core.errors import StreamInterrupted
from lollms_core.events import MSG_TYPE, Event, Finish, ReasoningDelta, TextDelta, ToolCall
from lollms_core.thinking import ThinkSplitter

CASES = [
    ("<think>\nHm.\n</think>\n\nBlue.", "Hm.", "Blue."),
    ("  \n<think>Hm.</think>Blue.", "Hm.", "Blue."),
    ("<think>\n\n</think>\n\nBlue.", "", "Blue."),
    ("<think>a <b> </ think> </thin c</think> d", "a <b> </ think> </thin c", "d"),
    ("<think>never closed </thi", "never closed </thi", ""),
    ("<think></think><think>twice</think>", "", "<think>twice</think>"),
    ("Blue. <think>not at the beginning</think>", "", "Blue. <think>not at the beginning</think>"),
    ("<thinking>another tag</thinking>", "", "<thinking>another tag</thinking>"),
    ("<thi", "", "<thi"),
    ("", "", ""),
    (" \n ", "", " \n "),
    ("  indented", "", "  indented"),
    ("x</think>y", "", "x</think>y"),
]


def split(pieces: list[str], *, inside: bool = False) -> tuple[str, str]:
    splitter = ThinkSplitter(inside=inside)
    events: list[Event] = []
    for piece in pieces:
        events += splitter.feed(piece)
    events += splitter.flush()
    assert all(event.text for event in events if isinstance(event, (TextDelta, ReasoningDelta)))
    return (
        "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "".join(event.text for event in events if isinstance(event, TextDelta)),
    )


@pytest.mark.parametrize(("text", "thinking", "answer"), CASES)
def test_cut_anywhere(text: str, thinking: str, answer: str) -> None:
    assert split([text]) == (thinking, answer)
    assert split(list(text)) == (thinking, answer)
    for at in range(len(text)):
        assert split([text[:at], text[at:]]) == (thinking, answer)


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [("Hm.\n</think>\nBlue.", "Hm.", "Blue."), ("Hm. ", "Hm.", ""), ("</think>Blue.", "", "Blue.")],
)
def test_an_answer_that_begins_inside(text: str, thinking: str, answer: str) -> None:
    for at in range(len(text) + 1):
        found = split([text[:at], text[at:]], inside=True)
        assert (found[0].rstrip(), found[1]) == (thinking, answer)


def test_thinking_comes_as_it_is_thought() -> None:
    splitter = ThinkSplitter()
    assert splitter.feed("<think>one") == [ReasoningDelta("one")]
    assert splitter.feed(" two") == [ReasoningDelta(" two")]
    assert not splitter.settled
    splitter.feed("</think> x")
    assert splitter.settled


def pieces_of(text: str) -> list[Event | Exception]:
    return [*map(TextDelta, text), Finish("stop")]


def test_every_binding_has_it() -> None:
    binding = Events(pieces_of("<think>Hm.</think>\nBlue."))
    completion = binding.chat("x")
    assert (completion.reasoning, completion.text) == ("Hm.", "Blue.")
    got: list[tuple[str, MSG_TYPE]] = []

    def callback(chunk: str, kind: MSG_TYPE) -> None:
        got.append((chunk, kind))

    assert binding.generate_text("x", streaming_callback=callback) == "Blue."
    assert "".join(chunk for chunk, kind in got if kind is MSG_TYPE.MSG_TYPE_THOUGHT_CHUNK) == "Hm."
    assert "".join(chunk for chunk, kind in got if kind is MSG_TYPE.MSG_TYPE_CHUNK) == "Blue."
    with binding.stream("x") as stream:
        assert "".join(stream.text_stream) == "Blue."


def test_what_is_held_back_is_not_lost() -> None:
    binding = Events([TextDelta("<thi"), ToolCall("1", "f", "{}"), Finish("stop")])
    assert binding.chat("x").text == "<thi"
    binding = Events([TextDelta("<thi")])
    with pytest.raises(StreamInterrupted) as caught:
        binding.chat("x")
    assert caught.value.partial == "<thi"
    stream = Events([TextDelta("<thi"), TextDelta("s"), Finish("stop")]).stream("x")
    stream.close()
    assert stream.completion.text == ""

"""A chat's turns: what is kept, what can be asked again, what is saved. No terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lollms_core import BackendError, BackendUnavailable, ImageError, ModelNotFound
from lollms_core.cli.chat.conversation import Conversation, ConversationError, last_saved
from lollms_core.cli.chat.session import MAX_ROUNDS, Session
from lollms_core.events import Event, ReasoningDelta, TextDelta
from lollms_core.testing import Reply
from lollms_core.testing.scripts import Scripts
from lollms_core.tools import Tool

from .pictures import PNG


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where conversations are saved."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "lollms" / "chats"


def ignore(_: Event) -> None:
    """A reader to whom nothing of the answer matters."""


def interrupt_at(text: str) -> Any:
    """A reader who presses Ctrl-C when `text` comes."""

    def show(event: Event) -> None:
        if isinstance(event, TextDelta) and event.text == text:
            raise KeyboardInterrupt

    return show


def said(session: Session) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in session.conversation.messages]


def test_a_turn_is_sent_with_those_before(scripted: Scripts) -> None:
    """With the system prompt and the options, and what the backend wants back."""
    binding = scripted([Reply("one", provider={"mark": 1}), "two"])
    session = Session(binding, {"temperature": 0.5}, Conversation(system="Be brief."))
    assert session.ask("a", ignore).kept
    assert session.ask("b", ignore).kept
    assert said(session) == [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")]
    second = binding.requests[1]
    assert second.messages is not None
    assert (second.system_prompt, second.temperature, second.stream) == ("Be brief.", 0.5, True)
    assert [message.get("provider") for message in second.messages] == [None, {"mark": 1}, None]


def test_the_reader_gets_every_event(scripted: Scripts) -> None:
    session = Session(scripted([Reply("yes sir", reasoning="hmm")]), {})
    events: list[Event] = []
    session.ask("?", events.append)
    assert [event for event in events if isinstance(event, (TextDelta, ReasoningDelta))] == [
        ReasoningDelta("hmm"),
        TextDelta("yes "),
        TextDelta("sir"),
    ]


def test_what_failed_is_not_part_of_the_conversation_and_can_be_asked_again(scripted: Scripts) -> None:
    binding = scripted([Reply(pieces=["half"], then=BackendError("broke")), "whole", "more"])
    session = Session(binding, {})
    turn = session.ask("a", ignore)
    assert (str(turn.error), turn.kept, said(session)) == ("broke", False, [])
    assert session.retry(ignore).kept
    session.ask("b", ignore)
    assert said(session) == [("user", "a"), ("assistant", "whole"), ("user", "b"), ("assistant", "more")]


def test_what_failed_is_gone_when_something_else_is_asked(scripted: Scripts) -> None:
    session = Session(scripted([BackendUnavailable("no"), "yes"]), {})
    session.ask("a", ignore)
    session.ask("b", ignore)
    assert said(session) == [("user", "b"), ("assistant", "yes")]


def test_retry_takes_the_place_of_the_last_answer(scripted: Scripts) -> None:
    binding = scripted(["one", "two", "three"])
    session = Session(binding, {})
    session.ask("a", ignore)
    session.ask("b", ignore)
    session.retry(ignore)
    assert said(session) == [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "three")]
    assert len(binding.requests[2].messages or ()) == 3


def test_a_retry_that_fails_leaves_the_answer(scripted: Scripts) -> None:
    """And can be tried once more."""
    session = Session(scripted(["one", BackendError("broke"), "two"]), {})
    session.ask("a", ignore)
    assert session.retry(ignore).error is not None
    assert said(session) == [("user", "a"), ("assistant", "one")]
    session.retry(ignore)
    assert said(session) == [("user", "a"), ("assistant", "two")]


def test_there_must_be_something_to_retry(scripted: Scripts) -> None:
    with pytest.raises(ConversationError, match="nothing to ask again"):
        Session(scripted([]), {}).retry(ignore)


def test_an_interrupt_ends_the_request_and_keeps_the_text(scripted: Scripts) -> None:
    """An hour's silence is over at once."""
    session = Session(scripted([Reply(pieces=["so ", "far", 3600, " and on"])]), {})
    turn = session.ask("a", interrupt_at("far"))
    assert (turn.interrupted, turn.kept, turn.note) == (True, True, None)
    assert said(session) == [("user", "a"), ("assistant", "so far")]


def test_an_interrupt_before_the_first_word_keeps_nothing(scripted: Scripts) -> None:
    """But the question can be asked again."""

    def show(event: Event) -> None:
        if isinstance(event, ReasoningDelta):
            raise KeyboardInterrupt

    session = Session(scripted([Reply("no", reasoning="hmm"), "yes"]), {})
    turn = session.ask("a", show)
    assert (turn.interrupted, turn.kept, said(session)) == (True, False, [])
    session.retry(ignore)
    assert said(session) == [("user", "a"), ("assistant", "yes")]


@pytest.mark.parametrize(
    ("reply", "note"),
    [
        (Reply("half", finish_reason="length"), "cut off"),
        (Reply("half", finish_reason="content_filter"), "content filter"),
        (Reply(""), "/retry"),
        (Reply("all"), None),
    ],
)
def test_an_answer_that_is_no_whole_one_is_told(scripted: Scripts, reply: Reply, note: str | None) -> None:
    turn = Session(scripted([reply]), {}).ask("a", ignore)
    assert turn.note is note or (note is not None and note in str(turn.note))


def test_an_empty_answer_is_not_kept(scripted: Scripts) -> None:
    session = Session(scripted([Reply("")]), {})
    assert not session.ask("a", ignore).kept
    assert said(session) == []


def test_misuse_is_an_error_of_the_turn(scripted: Scripts) -> None:
    """As an image for a model that sees nothing."""
    session = Session(scripted([], capabilities={"text", "chat", "stream"}), {})
    session.images = [("x.png", PNG)]
    turn = session.ask("a", ignore)
    assert "vision" in str(turn.error)
    assert session.conversation.messages == []


# Tools --------------------------------------------------------------------------------------------------


def weather(city: str) -> str:
    """The weather of a city."""
    if city == "Atlantis":
        raise KeyboardInterrupt
    return f"rain in {city}"


CALL = Reply(tool_calls=[("weather", {"city": "Oslo"})])


def roles(session: Session) -> list[str]:
    return [message["role"] for message in session.conversation.messages]


def with_tools(scripted: Scripts, *answers: Any) -> Session:
    session = Session(scripted(answers), {})
    session.use_tools([Tool.of(weather)])
    return session


def test_tools_are_called_and_the_answer_streamed(scripted: Scripts) -> None:
    session = with_tools(scripted, CALL, "Take an umbrella.", "Yes.")
    pieces: list[str] = []
    assert session.ask("?", lambda event: pieces.append(event.text) if isinstance(event, TextDelta) else None).kept
    assert pieces == ["Take ", "an ", "umbrella."]
    assert roles(session) == ["user", "assistant", "tool", "assistant"]
    assert session.conversation.messages[2]["content"] == "rain in Oslo"
    session.ask("Really?", ignore)
    assert roles(session) == ["user", "assistant", "tool", "assistant", "user", "assistant"]


def test_a_retry_after_an_error_does_not_call_the_tools_again(scripted: Scripts) -> None:
    session = with_tools(scripted, CALL, BackendError("broke"), "Take an umbrella.")
    assert session.ask("?", ignore).error is not None
    assert roles(session) == []
    session.retry(ignore)
    assert roles(session) == ["user", "assistant", "tool", "assistant"]


def test_a_retry_of_an_answer_with_tools_begins_at_the_question(scripted: Scripts) -> None:
    session = with_tools(scripted, CALL, "one", "two")
    session.ask("?", ignore)
    session.retry(ignore)
    assert said(session) == [("user", "?"), ("assistant", "two")]


def test_an_interrupt_in_a_tool_ends_the_turn(scripted: Scripts) -> None:
    session = with_tools(scripted, Reply(tool_calls=[("weather", {"city": "Atlantis"})]), "yes")
    turn = session.ask("?", ignore)
    assert (turn.interrupted, turn.kept, roles(session)) == (True, False, [])
    session.retry(ignore)
    assert roles(session) == ["user", "assistant"]


def test_an_interrupt_between_the_rounds_keeps_what_makes_sense(scripted: Scripts) -> None:
    """No call is left without its result."""
    call = Reply("Let me see.", tool_calls=[("weather", {"city": "Oslo"})])
    session = with_tools(scripted, call)
    assert session.ask("?", interrupt_at("see.")).kept
    assert "tool_calls" not in session.conversation.messages[-1]
    assert said(session) == [("user", "?"), ("assistant", "Let me see.")]


def test_a_model_that_only_calls_has_an_end(scripted: Scripts, caplog: pytest.LogCaptureFixture) -> None:
    session = with_tools(scripted, *[CALL] * MAX_ROUNDS)
    turn = session.ask("?", ignore)
    assert not turn.kept
    assert "max_rounds" in caplog.text


def test_a_coroutine_function_cannot_be_called_here(scripted: Scripts) -> None:
    async def wait() -> str:
        return ""

    session = Session(scripted([]), {})
    with pytest.raises(TypeError, match="coroutine"):
        session.use_tools([Tool.of(wait)])
    assert session.tools == ()


# Images, models -----------------------------------------------------------------------------------------


def test_images_go_with_one_message(scripted: Scripts, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG.data)
    binding = scripted(["a dot", "yes"])
    session = Session(binding, {})
    session.attach(str(tmp_path / "dot.png"))
    session.ask("What is it?", ignore)
    session.ask("Sure?", ignore)
    first, _, third = binding.requests[1].messages or ()
    assert [part["type"] for part in first["content"]] == ["text", "image"]
    assert first["content"][1]["image"] == PNG
    assert third["content"] == "Sure?"


def test_an_image_that_cannot_be_read_is_an_error_at_once(scripted: Scripts) -> None:
    session = Session(scripted([]), {})
    with pytest.raises(ImageError, match=r"/no/such\.png"):
        session.attach("/no/such.png")
    assert session.images == []


def test_another_model(scripted: Scripts, caplog: pytest.LogCaptureFixture) -> None:
    session = Session(scripted([], models=["small", "large"]), {})
    session.use_model("large")
    assert session.model == "large"
    with pytest.raises(ModelNotFound, match="huge"):
        session.use_model("huge")
    assert session.model == "large"


# Files --------------------------------------------------------------------------------------------------


def test_each_turn_is_saved(scripted: Scripts, at_home: Path) -> None:
    session = Session(scripted(["one", "two"], model_name="small"), {}, Conversation(system="Be brief."))
    session.autosave()
    assert not at_home.exists()
    for question in "ab":
        session.ask(question, ignore)
        session.autosave()
    (file,) = at_home.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert last_saved() == file
    found = Conversation.read(file)
    assert found.messages == session.conversation.messages
    assert (found.binding, found.model, found.system) == ("scripted", "small", "Be brief.")


def test_save_takes_the_name_that_it_was_given_before(scripted: Scripts, at_home: Path, tmp_path: Path) -> None:
    session = Session(scripted(["one"]), {})
    session.ask("a", ignore)
    assert session.save().parent == at_home
    assert session.save(tmp_path / "mine.json") == tmp_path / "mine.json"
    assert session.save() == tmp_path / "mine.json"


def test_save_does_not_take_the_place_of_another_kind_of_file(scripted: Scripts, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    session = Session(scripted(["one"]), {})
    session.ask("a", ignore)
    with pytest.raises(ConversationError, match="choose another name"):
        session.save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "precious"
    assert session.file is None


def test_load_replaces_the_conversation_and_leaves_the_files(scripted: Scripts, tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    Conversation([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "Rhyme.").write(file)
    before = file.read_bytes()
    session = Session(scripted(["one", "two"]), {})
    session.ask("a", ignore)
    session.autosave()
    first = session.place
    session.load(file)
    session.ask("b", ignore)
    session.autosave()
    assert said(session) == [("user", "x"), ("assistant", "y"), ("user", "b"), ("assistant", "two")]
    assert session.conversation.system == "Rhyme."
    assert file.read_bytes() == before
    assert len(Conversation.read(first).messages) == 2
    assert session.save() == file
    assert len(Conversation.read(file).messages) == 4


def test_load_of_a_broken_file_changes_nothing(scripted: Scripts, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"lollms_conversation": 1, "mess')
    session = Session(scripted(["one"]), {})
    session.ask("a", ignore)
    with pytest.raises(ConversationError, match=r"broken\.json is no saved conversation"):
        session.load(tmp_path / "broken.json")
    assert len(session.conversation.messages) == 2
    assert session.file is None


def test_saved_files_are_json_for_others_to_read(scripted: Scripts) -> None:
    session = Session(scripted(["one"]), {})
    session.ask("ä", ignore)
    document = json.loads(session.save().read_text("ascii"))
    assert document["lollms_conversation"] == 1
    assert document["messages"][0] == {"role": "user", "content": "ä"}

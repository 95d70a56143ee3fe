"""A chat as a person has it: a real terminal, keys that are pressed, and the screen that comes of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from user_terminal import CTRL_C, CTRL_D, ENTER, TAB, UP

from lollms_core.cli.chat.conversation import Conversation

from .conftest import Chat

pytestmark = pytest.mark.skipif(os.name == "nt", reason="uses a pseudo-terminal and signals")

ALT_ENTER = "\x1b\r"


def saved(folder: Path) -> Conversation:
    (file,) = folder.glob("*.json")
    return Conversation.read(file)


def test_a_question_an_answer_and_good_bye(chat: Chat, at_home: Path) -> None:
    """Markdown is rendered; leaving is no error; what was said is saved."""
    terminal = chat("echo")
    assert terminal.prompted() == "lollms: using friend, model echo; /help tells more\n>"
    screen = terminal.enter("Hello **big** `world`")
    assert screen.splitlines()[1:] == ["> Hello **big** `world`", "Hello big world", "", ">"]
    terminal.type(CTRL_D)
    assert terminal.left() == 0
    assert [message["content"] for message in saved(at_home).messages] == ["Hello **big** `world`"] * 2


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(chat: Chat, at_home: Path, tmp_path: Path) -> None:
    """The backend is told, the text stays, and the next answer comes."""
    terminal = chat("wait")
    terminal.prompted()
    for number in (1, 2):
        terminal.type("Go on" + ENTER)
        terminal.see("\nfirst", times=number)
        terminal.type(CTRL_C)
        screen = terminal.prompted(number)
        assert screen.count("lollms: stopped") == number
    assert (tmp_path / "mark").read_text() == "closed closed "
    screen = terminal.enter("/model echo")
    screen = terminal.enter("Still there?")
    assert screen.endswith("> Still there?\nStill there?\n\n>")
    terminal.type(CTRL_D)
    assert terminal.left() == 0
    assert [message["content"] for message in saved(at_home).messages] == [
        "Go on", "first", "Go on", "first", "Still there?", "Still there?",
    ]  # fmt: skip


def test_a_second_ctrl_c_ends_what_does_not_stop(chat: Chat) -> None:
    """The question can be asked again, and the terminal is in order."""
    terminal = chat("stubborn")
    terminal.prompted()
    terminal.type("Go on" + ENTER)
    terminal.see("\nfirst")
    terminal.type(CTRL_C)
    terminal.see("closing")
    terminal.type(CTRL_C)
    assert "lollms: stopped" in terminal.prompted(1)
    terminal.enter("/model echo")
    assert terminal.enter("/retry").endswith("> /retry\nGo on\n\n>")
    terminal.type(CTRL_D)
    assert terminal.left() == 0
    assert terminal.echoes()


def test_ctrl_c_at_an_empty_prompt_says_how_to_leave(chat: Chat) -> None:
    """Where something is typed, it takes that away."""
    terminal = chat("echo")
    terminal.prompted()
    terminal.type("not this")
    terminal.see("> not this")
    terminal.type(CTRL_C)
    terminal.see_last(">")
    before = terminal.prompts
    terminal.type(CTRL_C)
    assert "lollms: Ctrl-D or /exit leaves" in terminal.prompted(before)
    terminal.type("/exit" + ENTER)
    assert terminal.left() == 0
    assert "not this" not in terminal.text


def test_several_lines(chat: Chat, at_home: Path) -> None:
    """A backslash, Alt-Enter, and what is pasted, tabs and backslashes included."""
    terminal = chat("echo")
    terminal.prompted()
    terminal.type(f"one\\{ENTER}two{ALT_ENTER}three ")
    terminal.type("\x1b[200~pasted\\\n\tas it is\n/exit\x1b[201~")
    terminal.see("/exit")
    terminal.enter("")
    assert saved(at_home).messages[0]["content"] == "one\ntwo\nthree pasted\\\n\tas it is\n/exit"


def test_history_goes_on_in_the_next_chat(chat: Chat, tmp_path: Path) -> None:
    """In a file for this user alone."""
    terminal = chat("echo")
    terminal.prompted()
    terminal.enter("remember me")
    terminal.type(CTRL_D)
    assert terminal.left() == 0
    file = tmp_path / "state" / "lollms" / "chat_history"
    assert file.stat().st_mode & 0o777 == 0o600
    terminal = chat("echo")
    terminal.prompted()
    terminal.type(UP)
    terminal.see("> remember me")
    assert terminal.enter("").endswith("> remember me\nremember me\n\n>")


def test_a_history_that_cannot_be_written_is_one_line(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    terminal = chat("echo")
    assert "what you type will not be remembered" in terminal.prompted()
    assert terminal.enter("hi").endswith("> hi\nhi\n\n>")


def test_completion(chat: Chat, tmp_path: Path) -> None:
    """Of commands, models and files."""
    terminal = chat("echo")
    terminal.prompted()
    terminal.type("/mo" + TAB)
    terminal.see("> /model")
    terminal.type(" co" + TAB)
    terminal.see("> /model count")
    assert "using friend, model count" in terminal.enter("")
    Conversation([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]).write(
        tmp_path / "completed.json"
    )
    terminal.type(f"/load {tmp_path}/compl" + TAB)
    terminal.see("eted.json")
    assert "turns: 1" in terminal.enter("")
    terminal.type("/s" + TAB)  # more than one: a menu
    terminal.see("Set the system prompt")
    terminal.see("Save the conversation")


def test_commands(chat: Chat, tmp_path: Path) -> None:
    """Each tells what it has done; one that is none, or fails, is a line, and the chat goes on."""
    terminal = chat("count", "-s", "Be brief. ", "-o", "temperature=0.5")
    terminal.prompted()
    assert terminal.enter("a").endswith("\nBe brief. 1 messages, 0.5\n\n>")
    terminal.enter("/system Rhyme. ")
    assert terminal.enter("b").endswith("\nRhyme.3 messages, 0.5\n\n>")
    assert terminal.enter("/retry").endswith("> /retry\nRhyme.3 messages, 0.5\n\n>")
    assert "Did you mean /usage?" in terminal.enter("/usge")
    assert "lollms: cannot read the image file /no/such.png" in terminal.enter("/image /no/such.png")
    assert terminal.enter("/model none").count("there is no model 'none'") == 1
    assert f"savedas{tmp_path}/c.json" in "".join(terminal.enter(f"/save {tmp_path}/c.json").split())
    assert terminal.enter(" /exit").endswith("\nRhyme.5 messages, 0.5\n\n>")
    assert len(Conversation.read(tmp_path / "c.json").messages) == 4


def test_a_failing_backend_is_a_line_and_can_be_asked_again(chat: Chat) -> None:
    terminal = chat("fail")
    terminal.prompted()
    expected = "so far\nlollms: the backend broke in two lines (/retry asks again)\n>"
    assert terminal.enter("hi").replace("\n\n", "\n").endswith(expected)
    terminal.enter("/model echo")
    assert terminal.enter("/retry").endswith("> /retry\nhi\n\n>")


def test_tools(chat: Chat, installed: Callable[..., Path]) -> None:
    """The call is shown, then the answer."""
    code = 'def weather(city: str) -> str:\n    """The weather."""\n    return "rain in " + city\n'
    installed("acme", "", acme_weather=code)
    terminal = chat("tool", "--tool", "acme_weather:weather")
    terminal.prompted()
    assert terminal.enter("?").endswith('> ?\nweather({"city": "Oslo"})\nIt says rain in Oslo\n\n>')


def test_thinking_is_dimmed(chat: Chat) -> None:
    terminal = chat("think")
    terminal.prompted()
    assert terminal.enter("?").endswith("> ?\nhmm, well\n\nyes\n\n>")
    assert b"\x1b[2mhmm, well\x1b[0m" in terminal.raw
    assert b"\x1b[1myes\x1b[0m" in terminal.raw


def test_a_model_cannot_take_over_the_terminal(chat: Chat) -> None:
    terminal = chat("colours")
    terminal.prompted()
    assert "\n\ufffd[2J\ufffd]0;mine\ufffdred\ufffd1m\n" in terminal.enter("?")
    assert b"\x1b[2J" not in terminal.raw
    assert b"\x1b]" not in terminal.raw


def test_no_color(chat: Chat) -> None:
    """No colours, of ours or of the code's."""
    terminal = chat("echo", NO_COLOR="1")
    terminal.prompted()
    terminal.enter("# Title\\\n\\\n`code`\\\n```python\\\nx = 'a'\\\n```".replace("\n", ENTER))
    assert "\n  x = 'a'\n" in terminal.text
    assert re.findall(rb"\x1b\[[\d;]*\b(?:3[0-8]|4[0-8]|9\d|10\d)[\d;]*m", terminal.raw) == []


def test_long_answers_scroll_as_all_text_does(chat: Chat) -> None:
    """Nothing is missing or there twice, in an answer of twenty screens."""
    terminal = chat("long", size=(60, 20))
    terminal.prompted()
    lines = [line.strip() for line in terminal.enter("?").splitlines()]
    begin = lines.index("> ?") + 1
    items = [f"\u2022 item {number}" for number in range(200)]
    code = [f"line_{number} = {number}" for number in range(200)]
    assert lines[begin:] == [*items, "", *code, "", "The end.", "", ">"]


def test_a_narrow_terminal(chat: Chat) -> None:
    terminal = chat("echo", size=(20, 10))
    terminal.prompted()
    screen = terminal.enter("- a list of words that are many, and a supercalifragilisticexpialidocious one")
    assert "\n \u2022 a list of words\n   that are many," in screen
    assert terminal.enter("/exi").endswith("lollms: there is no\n  command /exi. Did\n  you mean /exit?\n>")


def test_resizing_during_an_answer(chat: Chat, tmp_path: Path) -> None:
    """What comes later fits the new size, and nothing is lost."""
    terminal = chat("halves", size=(80, 24))
    terminal.prompted()
    terminal.type(f"{tmp_path}/go{ENTER}")
    terminal.see("of a paragraph")
    terminal.resize(40, 24)
    (tmp_path / "go").touch()
    screen = terminal.prompted(1)
    wrapped = "\nA long first half of a paragraph that\nfills more than one line of the screen,\nand its end.\n"
    assert screen.count(wrapped) == 1
    assert screen.count("A long first half") == 1
    assert terminal.enter(f"{tmp_path}/go").count(wrapped) == 2


def test_what_is_typed_during_an_answer_waits_for_the_prompt(chat: Chat, tmp_path: Path) -> None:
    """It does not get into the answer, and the terminal is as before afterwards."""
    terminal = chat("halves")
    terminal.prompted()
    terminal.type(f"{tmp_path}/go{ENTER}")
    terminal.see("of a paragraph")
    assert not terminal.echoes()
    terminal.type("typed ahead")
    (tmp_path / "go").touch()
    screen = terminal.see("> typed ahead")
    assert screen.count("typed ahead") == 1
    terminal.type(CTRL_C)
    terminal.see_last(">")
    terminal.type(CTRL_D)
    assert terminal.left() == 0
    assert terminal.echoes()  # as it was left
    assert terminal.raw.rindex(b"\x1b[?25h") > terminal.raw.rindex(b"\x1b[?25l")  # the cursor is there


def test_a_dumb_terminal_gets_the_text_as_it_comes(chat: Chat) -> None:
    terminal = chat("echo", TERM="dumb")
    terminal.see("/help tells more")
    terminal.type("so *it* is" + ENTER)
    terminal.see("so *it* is", times=2)
    terminal.type("/exit" + ENTER)
    assert terminal.left() == 0


def test_continue_goes_on_with_the_last_conversation(chat: Chat, at_home: Path) -> None:
    """With its binding, model, options and system prompt, in the same file."""
    terminal = chat("count", "-s", "S", "-o", "temperature=0.5")
    terminal.prompted()
    terminal.enter("a")
    terminal.type(CTRL_D)
    assert terminal.left() == 0
    terminal = chat(None, "-c")
    assert "using friend, model count" in terminal.prompted()
    assert terminal.enter("b").endswith("> b\nS3 messages, 0.5\n\n>")
    assert len(saved(at_home).messages) == 4


def test_resume_leaves_the_file_as_it_is(chat: Chat, at_home: Path, tmp_path: Path) -> None:
    """Flags win over it; /save writes it."""
    file = tmp_path / "c.json"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    Conversation(messages, "S", "friend", "echo", ("temperature=0.5", "n_predict=3")).write(file)
    before = file.read_bytes()
    terminal = chat(None, "--resume", str(file), "-m", "count", "-o", "temperature=0.1")
    terminal.prompted()
    assert terminal.enter("c").endswith("> c\nS3 messages, 0.1\n\n>")
    assert file.read_bytes() == before
    assert len(saved(at_home).messages) == 4
    terminal.enter("/save")
    assert json.loads(file.read_text())["options"] == ["n_predict=3", "temperature=0.1"]


def test_a_full_disk_is_a_line_and_the_chat_goes_on(chat: Chat, at_home: Path) -> None:
    terminal = chat("echo")
    terminal.prompted()
    terminal.enter("a")
    (file,) = at_home.glob("*.json")
    before = file.read_bytes()
    terminal.enter("/model full")
    screen = "".join(terminal.enter("b").split())
    assert f"cannotsavetheconversationas{file}:Nospaceleftondevice" in screen
    assert file.read_bytes() == before
    assert terminal.enter("c").count("\nc\n") == 1

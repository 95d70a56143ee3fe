"""The slash commands: what is one, what each does, what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from lollms_core.cli.chat.commands import COMMANDS, CommandError, run, split
from lollms_core.cli.chat.session import Session
from lollms_core.cli.functions import function_to_call
from lollms_core.events import Usage
from lollms_core.testing import Reply
from lollms_core.testing.scripts import Scripts

from .pictures import PNG


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def session(scripted: Scripts) -> Session:
    return Session(scripted(["hello"], allow_unused=True, models=["small", "large"]), {})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/exit", ("exit", "")),
        ("/system  Be brief.\nAnd kind. ", ("system", "Be brief.\nAnd kind.")),
        ("/system\nBe brief.", ("system", "Be brief.")),
        ("/", ("", "")),
        ("/etc/hosts says what?", None),
        (" /exit", None),
        ("and/or", None),
        ("hello", None),
        ("//exit", None),
    ],
)
def test_what_is_a_command(text: str, found: tuple[str, str] | None) -> None:
    assert split(text) == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("usge", "there is no command /usge. Did you mean /usage?"),
        ("sav", "there is no command /sav. Did you mean /save?"),
        ("", "there is no command /. /help lists them"),
        ("xyzzy", "there is no command /xyzzy. /help lists them"),
    ],
)
def test_an_unknown_command_is_one_line_with_close_names(session: Session, name: str, said: str) -> None:
    with pytest.raises(CommandError) as raised:
        run(session, name, "")
    assert str(raised.value) == said


def told(session: Session, line: str) -> str:
    command = split(line)
    assert command is not None
    return "\n".join(run(session, *command).lines)


def test_help_names_every_command(session: Session) -> None:
    lines = told(session, "/help").splitlines()
    assert [line.split()[0] for line in lines[: len(COMMANDS)]] == [f"/{name}" for name in COMMANDS]
    assert max(map(len, lines)) < 80


def test_system(session: Session) -> None:
    assert told(session, "/system") == "there is no system prompt"
    told(session, "/system Be brief.")
    assert session.conversation.system == "Be brief."
    assert told(session, "/system") == "system prompt: Be brief."
    told(session, "/system off")
    assert session.conversation.system == ""


def test_model(session: Session) -> None:
    assert told(session, "/model") == "using scripted, model small"
    assert told(session, "/model large") == "using scripted, model large"


def test_image(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "a dot.png"
    file.write_bytes(PNG.data)
    assert told(session, f"/image {file}") == f"with the next message: {file}"
    assert session.images == [(str(file), PNG)]
    assert told(session, "/image off") == "no image goes with the next message"


def test_save_and_load(session: Session, tmp_path: Path) -> None:
    session.ask("hi", lambda _: None)
    assert told(session, f"/save {tmp_path}/c.json") == f"saved as {tmp_path}/c.json"
    session.conversation.messages = []
    assert told(session, f"/load {tmp_path}/c.json") == f"loaded {tmp_path}/c.json, turns: 1"
    assert len(session.conversation.messages) == 2
    with pytest.raises(CommandError, match="/load takes a FILE"):
        told(session, "/load")


def test_files_may_begin_with_the_users_home(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    told(session, "/save ~/c.json")
    assert (tmp_path / "c.json").is_file()


def test_retry_and_exit_are_left_to_who_shows_answers(session: Session) -> None:
    assert run(session, "retry", "").ask_again
    assert run(session, "exit", "").leave


def test_usage(scripted: Scripts) -> None:
    session = Session(scripted([Reply("a", usage=Usage(10, 2, 4)), Reply("b", usage=Usage(20, None))]), {})
    assert told(session, "/usage") == "nothing was asked yet"
    session.ask("x", lambda _: None)
    assert "last turn: 10 prompt tokens (4 of them cached), 2 completion tokens, first token" in told(session, "/usage")
    session.ask("y", lambda _: None)
    last, total = told(session, "/usage").splitlines()
    assert "20 prompt tokens, an unknown number of completion tokens" in last
    assert "turns: 2, at least 30 prompt tokens, 2 completion tokens" in total


# Tools --------------------------------------------------------------------------------------------------

MODULE = '''
def weather(city: str) -> str:
    """The weather of a city."""
    return "rain"

def odd(value: object.__class__.__mro__) -> str: ...

number = 5
'''


@pytest.fixture
def acme(installed: Callable[..., Path]) -> None:
    installed("acme", "", acme_tools=MODULE, acme_broken="raise SystemExit('no')")


@pytest.mark.usefixtures("acme")
def test_tools(session: Session) -> None:
    assert told(session, "/tools") == "the model may call no tools"
    assert told(session, "/tools acme_tools:weather") == "the model may call weather"
    assert [tool.description for tool in session.tools] == ["The weather of a city."]
    assert told(session, "/tools off") == "the model may call no tools"


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("weather", "--tool takes MODULE:FUNCTION"),
        ("acme_tools:", "--tool takes MODULE:FUNCTION"),
        ("acme_tools:wether", "Did you mean weather?"),
        ("acme_missing:f", "acme_missing cannot be imported"),
        ("acme_broken:f", "acme_broken cannot be imported: SystemExit: no"),
        ("acme_tools:number", "a tool is a function"),
        ("acme_tools:odd", "odd"),
    ],
)
def test_a_tool_that_is_none_is_told(name: str, said: str) -> None:
    with pytest.raises((click.UsageError, TypeError, ValueError)) as raised:
        function_to_call(name)
    assert said in str(getattr(raised.value, "message", raised.value))


def test_a_tool_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed program has it not on its path."""
    (tmp_path / "lollms_test_tools_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    assert function_to_call("lollms_test_tools_here:weather").name == "weather"

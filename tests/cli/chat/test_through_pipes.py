"""A chat as a filter: a line in is a turn, answers go out, all else to stderr."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from lollms_core.cli.chat.conversation import Conversation

Lollms = Callable[..., Result]
Program = Callable[..., "subprocess.Popen[bytes]"]

SECONDS = 60


@pytest.fixture
def pipe(lollms: Lollms, friends: Path) -> Lollms:
    """Runs the command with a model, in this process; arguments, and what is piped in."""

    def run(model: str, *arguments: str, piped: str = "") -> Result:
        return lollms("chat", "--bindings-dir", str(friends), "-b", "friend", "-m", model, *arguments, piped=piped)

    return run


def test_each_line_is_a_turn(pipe: Lollms, at_home: Path) -> None:
    """Blank ones are none, and one that begins with a slash is a message like any other; it is saved."""
    result = pipe("echo", piped="one\n\n \n/exit\r\nthree")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "one\n/exit\nthree\n", "")
    (file,) = at_home.glob("*.json")
    assert len(Conversation.read(file).messages) == 6


def test_turns_are_one_conversation(pipe: Lollms) -> None:
    result = pipe("count", "-s", "S ", "-o", "temperature=0.5", piped="a\nb\n")
    assert result.stdout == "S 1 messages, 0.5\nS 3 messages, 0.5\n"
    assert pipe("count", "-c", piped="c\n").stdout == "S 5 messages, 0.5\n"


def test_nothing_in_is_nothing_out(pipe: Lollms, at_home: Path) -> None:
    result = pipe("echo")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert not at_home.exists()


def test_an_error_is_a_line_and_the_next_turn_comes(pipe: Lollms) -> None:
    """The status tells in the end."""
    result = pipe("fail", piped="hi\nwork\n")
    assert (result.exit_code, result.stdout) == (1, "so far\nso far\n")
    assert result.stderr == "lollms: the backend broke in two lines\n"


def test_thinking_is_no_part_of_the_output(pipe: Lollms) -> None:
    result = pipe("think", piped="?\n")
    assert (result.stdout, result.stderr) == ("**yes**\n", "")


def test_tools(pipe: Lollms, installed: Callable[..., Path]) -> None:
    code = 'def weather(city: str) -> str:\n    """The weather."""\n    return "rain in " + city\n'
    installed("acme", "", acme_weather_piped=code)
    result = pipe("tool", "--tool", "acme_weather_piped:weather", piped="?\n")
    assert (result.exit_code, result.stdout) == (0, "It says rain in Oslo\n")
    assert result.stderr == 'lollms: calling weather({"city": "Oslo"})\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume", "/no/such.json"], "there is no file /no/such.json"),
        (["--resume", "a", "-c"], "exclude each other"),
        (["-c"], "no conversation to continue"),
        (["--tool", "nothing"], "MODULE:FUNCTION"),
        (["-i", "/no/such.png"], "/no/such.png"),
        (["-o", "tempratur=1"], "temperature"),
        (["hello"], "hello"),
    ],
)
def test_misuse_is_one_line(pipe: Lollms, arguments: list[str], said: str) -> None:
    result = pipe("echo", *arguments, piped="hi\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_a_full_disk_is_a_line(pipe: Lollms, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers come all the same."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    result = pipe("echo", piped="a\nb\n")
    assert (result.exit_code, result.stdout) == (0, "a\nb\n")
    assert result.stderr.count("No space left on device") == 2


def test_neither_keys_nor_addresses_are_saved(pipe: Lollms, at_home: Path) -> None:
    """What somebody else's file says of a server would get the user's key."""
    options = ("temperature=0.5", "host_address=http://127.0.0.1:1", "service_key=hunter2", 'backend_options={"a": 1}')
    friend = [part for option in options for part in ("-o", option)]
    pipe("count", *friend, piped="a\n")
    (file,) = at_home.glob("*.json")
    assert Conversation.read(file).options == ("temperature=0.5",)
    assert "hunter2" not in file.read_text()


def test_a_file_does_not_say_which_server_gets_the_key(
    lollms: Lollms, friends: Path, tmp_path: Path, at_home: Path
) -> None:
    """It is told what was left out; the parameters count."""
    Conversation([], "", "friend", "count", ("temperature=0.5", "host_address=http://127.0.0.1:1")).write(
        tmp_path / "c.json"
    )
    result = lollms("chat", "--bindings-dir", str(friends), "--resume", str(tmp_path / "c.json"), piped="a\n")
    assert result.stdout == "1 messages, 0.5\n"
    assert result.stderr == "lollms: the saved option host_address is left out: give it with -o, if it is wanted\n"
    (file,) = at_home.glob("*.json")
    assert Conversation.read(file).options == ("temperature=0.5",)


def test_another_binding_takes_nothing_of_the_saved_one_but_what_was_said(
    lollms: Lollms, friends: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOLLMS_PLUGINS", "friend,other")
    (friends / "friend").rename(friends / "other")
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    file = tmp_path / "c.json"
    Conversation(messages, "S", "friend", "x", ("k=v",)).write(file)
    named = ("--bindings-dir", str(friends), "-b", "other", "-m", "count")
    result = lollms("chat", *named, "--resume", str(file), piped="c\n")
    assert (result.stdout, result.stderr) == ("S3 messages, None\n", "")


@pytest.mark.skipif(os.name == "nt", reason="sends signals")
def test_an_interrupt_keeps_the_text(program: Program, friends: Path, at_home: Path, tmp_path: Path) -> None:
    process = program("chat", "--bindings-dir", str(friends), "-b", "friend", "-m", "wait", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    got = process.stdout.read(len(b"first"))
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, got + rest, errors) == (130, b"first\n", b"")
    assert (tmp_path / "mark").read_text() == "closed "
    (file,) = at_home.glob("*.json")
    assert [message["content"] for message in Conversation.read(file).messages] == ["go", "first"]


def test_input_that_is_no_text_is_one_line(program: Program, friends: Path) -> None:
    process = program("chat", "--bindings-dir", str(friends), "-b", "friend", "-m", "echo", stdin=subprocess.PIPE)
    output, errors = process.communicate(b"\xff\xfe\x00\n", timeout=SECONDS)
    assert (process.returncode, output) == (1, b"")
    assert errors.startswith(b"lollms: standard input is not text in utf-8")
    assert errors.count(b"\n") == 1


def test_a_pipe_needs_no_extra(
    program: Program, friends: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither prompt_toolkit nor rich is imported."""
    for name in ("rich", "prompt_toolkit", "pygments"):
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    process = program("chat", "--bindings-dir", str(friends), "-b", "friend", "-m", "echo", stdin=subprocess.PIPE)
    assert process.communicate(b"hi\n", timeout=SECONDS) == (b"hi\n", b"")
    assert process.returncode == 0


def test_a_missing_extra_is_one_line(lollms: Lollms, friends: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a model is loaded."""
    monkeypatch.setattr("lollms_core.cli.chat.command._is_terminal", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = lollms("chat", "--bindings-dir", str(friends), "-b", "nothing")
    assert result.exit_code == 1
    assert result.stderr == (
        'lollms: lollms chat needs prompt_toolkit and rich on a terminal: pip install "lollms-core[cli]"\n'
    )

"""`lollms pull`: how far it is, in lines or as a bar, and what Ctrl-C leaves."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lollms_core import Progress
from lollms_core.cli.fetching import Lines, Meter

from .conftest import GROUP, Lollms, Program
from .knowing import KNOWING, add_knowing
from .test_terminal import SECONDS, posix, read_until

MB = 1_000_000


@pytest.fixture
def pull(lollms: Lollms, bindings: Path, monkeypatch: pytest.MonkeyPatch) -> Lollms:
    monkeypatch.setenv("LOLLMS_PLUGINS", "knowing,closed,talker")
    add_knowing(bindings)
    return lambda *arguments: lollms("pull", "--bindings-dir", str(bindings), *arguments)


@pytest.fixture
def started(program: Program, pull: Lollms, bindings: Path) -> Program:
    return lambda *arguments, **options: program(
        "pull", "--bindings-dir", str(bindings), "-b", "knowing", *arguments, **options
    )


def test_in_a_pipe_there_are_few_lines(pull: Lollms) -> None:
    """Each step, its end, and what came in this try; nothing on stdout, and no model is loaded for it."""
    result = pull("new", "-b", "knowing")
    assert (result.exit_code, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    assert lines[:3] == [
        "lollms: looking up \ufffd[31mnew",
        "lollms: checking what has come: 10.0 MB of 20.0 MB (50%)",
        "lollms: pulling part 1: 20.0 MB of 50.0 MB (40%)",
    ]
    assert lines[3].startswith("lollms: pulling part 1: 50.0 MB of 50.0 MB (100%)")
    assert lines[4].startswith("lollms: pulling part 2: 0 B")
    assert lines[5] == "lollms: success"
    assert re.fullmatch(r"lollms: fetched new: 37\.0 MB in \d+ s", lines[6])


def test_a_model_that_is_there(pull: Lollms) -> None:
    assert pull("there", "-b", "knowing").stderr.splitlines()[-1] == "lollms: there is there"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x", "-b", "talker"], "the binding 'talker' cannot fetch models"),
        ([" ", "-b", "knowing"], "model_name must not be empty"),
        (["x", "-b", "knowing", "-m", "y"], "No such option"),
        (["x", "-b", "knowng"], "Did you mean knowing?"),
        ([], "Missing argument 'NAME'"),
        (["x"], "no binding was named"),
    ],
)
def test_misuse_is_one_line(pull: Lollms, arguments: list[str], said: str) -> None:
    result = pull(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_a_model_that_does_not_exist(lollms: Lollms, pull: Lollms, bindings: Path) -> None:
    """After the lines on how far it came."""
    from click.testing import CliRunner

    from lollms_core.cli.app import lollms as command

    result = CliRunner().invoke(command, ["pull", "--bindings-dir", str(bindings), "-b", "knowing", "absent"])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "lollms: there is no model 'absent'"


def test_without_a_name_the_binding_is_chosen_and_said(
    lollms: Lollms, installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOLLMS_PLUGINS", "acme")
    installed("acme", f"[{GROUP}]\nllamacpp = acme_knowing:Knowing\n", acme_knowing=KNOWING)
    result = lollms("pull", "there")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "lollms: using llamacpp"


@posix
def test_ctrl_c_stops_it_and_says_how_far_it_was(started: Program, tmp_path: Path) -> None:
    process = started("wait")
    assert process.stderr is not None
    read_until(process.stderr.fileno(), b"begun")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, output) == (130, b"")
    assert errors == b"lollms: stopped at 20.0 MB of 50.0 MB (40%); pull it again to go on\n"
    assert (tmp_path / "mark").read_text() == "closed"


@posix
@pytest.mark.parametrize("columns", ["40", "120"])
def test_a_terminal_has_bars(started: Program, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """Bytes and all; Ctrl-C leaves it with its cursor and on a line of its own."""
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    terminal, end = os.openpty()
    process = started("wait", stderr=end)
    os.close(end)
    got = read_until(terminal, b"begun")
    process.send_signal(signal.SIGINT)
    got += read_until(terminal, b"to go on\r\n")
    assert process.wait(timeout=SECONDS) == 130
    os.close(terminal)
    text = got.decode().replace("begun", "")  # which the binding writes, anywhere among the bars
    assert "20.0/50.0 MB" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "\x1b[31mwait" not in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\r\n", text)
    assert max(map(len, re.split(r"[\r\n]+", plain.partition("lollms: stopped")[0]))) <= int(columns)


@posix
def test_a_terminal_that_can_nothing_has_lines(started: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal, end = os.openpty()
    process = started("there", stderr=end)
    os.close(end)
    got = read_until(terminal, b"is there\r\n")
    assert process.wait(timeout=SECONDS) == 0
    os.close(terminal)
    assert b"\x1b" not in got


@posix
def test_without_rich_a_terminal_has_lines(
    started: Program, installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("acme", "", rich="raise ImportError")
    monkeypatch.setenv("TERM", "xterm")
    terminal, end = os.openpty()
    process = started("there", stderr=end)
    os.close(end)
    got = read_until(terminal, b"is there\r\n")
    assert process.wait(timeout=SECONDS) == 0
    os.close(terminal)
    assert b"lollms: success\r\n" in got


# Measuring ----------------------------------------------------------------------------------------------


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_rate_is_that_of_the_last_seconds(clock: Clock) -> None:
    """What an earlier try had fetched is not part of it."""
    meter = Meter(clock)
    meter.take(40 * MB, 100 * MB)
    assert (meter.rate, meter.left, str(meter)) == (None, None, "40.0 MB of 100.0 MB (40%)")
    for _ in range(10):
        clock.now += 1
        meter.take(meter.completed + 1 * MB, 100 * MB)
    assert (meter.rate, meter.left, meter.amount) == (MB, 50, "50.0 MB of 100.0 MB (50%)")
    assert str(meter) == "50.0 MB of 100.0 MB (50%), 1.0 MB/s, 50 s left"
    for _ in range(20):
        clock.now += 1
        meter.take(meter.completed + 2 * MB, 100 * MB)
    assert (meter.rate, meter.left) == (2 * MB, 5)
    assert meter.fetched == 50 * MB


def test_a_file_that_is_begun_anew(clock: Clock) -> None:
    meter = Meter(clock)
    meter.take(40 * MB, 100 * MB)
    clock.now += 1
    meter.take(0, 100 * MB)
    assert (meter.rate, meter.completed, meter.fetched) == (None, 0, 0)


def test_nothing_comes_for_a_while(clock: Clock) -> None:
    meter = Meter(clock)
    for _ in range(3):
        meter.take(5, 10)
        clock.now += 60
    assert (meter.rate, meter.left) == (None, None)


def test_of_a_long_file_a_line_comes_every_few_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """And one for its end, whatever the time."""
    lines = Lines(clock)
    for second in range(13):
        lines(Progress("pulling x", second * MB, 12 * MB, "sha256:1"))
        clock.now += 1
    lines(Progress("success"))
    lines(Progress("success"))
    assert capsys.readouterr().err.splitlines() == [
        "lollms: pulling x: 0 B of 12.0 MB (0%)",
        "lollms: pulling x: 5.0 MB of 12.0 MB (41%), 1.0 MB/s, 7 s left",
        "lollms: pulling x: 10.0 MB of 12.0 MB (83%), 1.0 MB/s, 2 s left",
        "lollms: pulling x: 12.0 MB of 12.0 MB (100%), 1.0 MB/s",
        "lollms: success",
    ]


def test_bytes_that_were_read_again_did_not_come(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(clock)
    for completed in (0, 5 * MB):
        lines(Progress("looking at what has come", completed, 5 * MB))
    assert lines.fetched == 5 * MB
    for completed in (5 * MB, 7 * MB):
        lines(Progress("pulling x", completed, 7 * MB, "sha256:1"))
    assert lines.fetched == 2 * MB

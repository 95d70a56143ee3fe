"""What only a real program shows: signals, closed pipes, terminals, encodings, and what gets imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lollms_core.cli.extras import CLI

from .conftest import Program

SECONDS = 60
posix = pytest.mark.skipif(os.name == "nt", reason="sends signals and uses a pseudo-terminal")


@pytest.fixture
def generate(program: Program, bindings: Path) -> Program:
    return lambda model, *arguments, **options: program(
        "generate", "--bindings-dir", str(bindings), "-b", "talker", "-m", model, *arguments, **options
    )


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """What arrives up to and with `wanted`."""
    got = b""
    while wanted not in got:
        piece = os.read(descriptor, 4096)
        assert piece, f"the output ended with {got!r}"
        got += piece
    return got


@posix
def test_an_interrupt_stops_the_backend_and_keeps_the_text(generate: Program, tmp_path: Path) -> None:
    """Status 130, the partial text on a line of its own, nothing on stderr, the backend's generator closed."""
    process = generate("wait", "hi")
    assert process.stdout is not None
    got = read_until(process.stdout.fileno(), b"first")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert got + rest == b"first\n"
    assert errors == b""
    assert (tmp_path / "mark").read_text() == "closed"


@posix
def test_an_interrupt_leaves_a_whole_json_document(generate: Program, bindings: Path, tmp_path: Path) -> None:
    """The model says on stderr that it has begun, since nothing is printed before the end."""
    source = bindings / "talker" / "__init__.py"
    begun = '            os.write(2, b"begun")\n            threading.Event().wait()\n'
    source.write_text(source.read_text().replace("            threading.Event().wait()\n", begun))
    process = generate("wait", "--json", "hi")
    assert process.stderr is not None
    read_until(process.stderr.fileno(), b"begun")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    document = json.loads(output)
    assert (document["text"], document["finish_reason"]) == ("first", "cancelled")


@posix
def test_an_interrupt_of_an_eight_method_binding(generate: Program, bindings: Path) -> None:
    """It generates in a thread that knows nothing of signals; the program ends all the same."""
    source = bindings / "closed" / "__init__.py"
    source.write_text(
        source.read_text().replace(
            "        return f",
            "        import threading\n        from lollms_core import MSG_TYPE\n"
            "        streaming_callback('first', MSG_TYPE.MSG_TYPE_CHUNK)\n"
            "        threading.Event().wait()\n        return f",
        )
    )
    process = generate("new", "-b", "closed", "-o", "model_identifier=x", "hi")
    assert process.stdout is not None
    got = read_until(process.stdout.fileno(), b"first")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert got + rest == b"first\n"
    assert b"Traceback" not in errors


@posix
def test_a_reader_who_leaves_ends_it_quietly(generate: Program, tmp_path: Path) -> None:
    """As with ``lollms generate ... | head -1``: no message, and the backend is stopped."""
    process = generate("lines", "hi")
    assert process.stdout is not None
    assert process.stderr is not None
    read_until(process.stdout.fileno(), b"a line\n")
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=SECONDS) == 0
    assert errors == b""
    assert (tmp_path / "mark").read_text() == "closed"


@posix
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["bindings", "--json"]])
def test_a_reader_who_was_never_there_is_no_error(program: Program, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = program(*arguments, stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (0, b"")


@posix
def test_a_terminal_gets_no_control_characters(generate: Program) -> None:
    """A model must not be able to colour, clear or retitle the user's terminal."""
    terminal, end = os.openpty()
    process = generate("colours", "hi", stdout=end)
    os.close(end)
    got = read_until(terminal, b"\n")
    assert process.wait(timeout=SECONDS) == 0
    os.close(terminal)
    assert got.decode() == "\ufffd[31mred\ufffd tab\t\r\n"


@posix
def test_thinking_is_shown_on_a_terminal(generate: Program) -> None:
    terminal, end = os.openpty()
    process = generate("think", "hi", stderr=end)
    os.close(end)
    got = read_until(terminal, b"\n")
    assert process.stdout is not None
    assert process.stdout.read() == b"yes\n"
    assert process.wait(timeout=SECONDS) == 0
    os.close(terminal)
    assert got == b"hmm\r\n"


def test_half_a_character_does_not_end_the_answer(generate: Program) -> None:
    process = generate("half", "hi")
    output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, output.strip(), errors) == (0, b"?!", b"")


def test_input_that_is_no_text_is_one_line(generate: Program) -> None:
    process = generate("echo", stdin=subprocess.PIPE)
    output, errors = process.communicate(b"\xff\xfe\x00", timeout=SECONDS)
    assert (process.returncode, output) == (1, b"")
    assert errors.startswith(b"lollms: standard input is not text in utf-8")
    assert errors.count(b"\n") == 1


@posix
def test_closed_streams(generate: Program, bindings: Path) -> None:
    """``<&-`` and ``2>&-`` do no harm; ``>&-`` is an error. Python shows them as None."""
    command = [sys.executable, "-m", "lollms_core", "generate", "--bindings-dir", str(bindings), "-b", "talker", "hi"]
    shell = ["/bin/sh", "-c", '"$@" <&- 2>&-', "sh", *command]
    done = subprocess.run(shell, stdout=subprocess.PIPE, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, b"hi \n")
    shell[2] = '"$@" >&-'
    done = subprocess.run(shell, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (1, b"lollms: standard output is closed\n")


# What is imported ---------------------------------------------------------------------------------------

MODULES_AFTER = """
import sys
from lollms_core.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exc:
    assert exc.code == 0, exc.code
sys.stderr.write(" ".join(sys.modules))
"""


def modules_after(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", MODULES_AFTER, *arguments], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return set(done.stderr.split())


def test_the_version_costs_next_to_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """No click, no metadata of other packages, none of the contract, nothing that it does not need."""
    modules = modules_after("--version")
    assert not modules & {
        "click",
        "importlib_metadata",
        "pluggy",
        "lollms_core.binding",
        "lollms_core.cli.terminal",
        "rich",
    }


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["bindings"], ["bindings", "--json"]])
def test_listing_imports_no_plugin(
    arguments: list[str], installed: Callable[..., Path], tmp_path: Path, bindings: Path
) -> None:
    """Nor rich or prompt_toolkit, nor the modules of the commands that are not run."""
    points = "[lollms.llm_bindings]\nacme = acme_all:Binding\n[lollms.commands]\nacme = acme_all:command\n"
    # Those of the extra, as if they were installed and broken.
    fatal = "raise SystemExit('imported')"
    extra = dict.fromkeys(CLI, fatal)
    installed("acme", points, acme_all=fatal, **extra)
    if "bindings" in arguments:
        arguments = [*arguments, "--bindings-dir", str(bindings)]
    modules = modules_after(*arguments)
    assert not modules & {"acme_all", *CLI, "lollms_core.cli.generate", "lollms_core.cli.models"}
    # Nor what generates, and what finds more than lies in directories.
    assert not modules & {"lollms_core.binding", "lollms_core.events", "importlib_metadata"}
    assert not [name for name in modules if name.endswith("talker")]

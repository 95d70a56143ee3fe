"""`lollms generate` with a schema, tools, thinking and usage."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from .conftest import Lollms, Program
from .test_terminal import SECONDS, posix, read_until

CAPABLE = '''
import json
import os
import threading

from lollms_core import Capability, EventBinding, Finish, TextDelta, ToolCall, Usage

BindingName = "Capable"


class Capable(EventBinding):
    """Can do all; its model's name says what it does."""

    capabilities = frozenset(Capability) - {Capability.PULL, Capability.VISION}
    uses = frozenset({"model"})

    def __init__(self, **defaults):
        super().__init__("capable", **defaults)

    def _events(self, request):
        return getattr(self, "_" + self.model_name)(request)

    def _show(self, request):
        """The request, as JSON."""
        wanted = request.response_format
        yield TextDelta(json.dumps({"think": request.think, "schema": wanted and dict(wanted.schema)}))
        yield Usage(12, 5, 4)
        yield Finish()

    def _uncounted(self, request):
        yield TextDelta("yes")
        yield Finish()

    def _wrong(self, request):
        yield TextDelta('{"name": 3}')
        yield Finish()

    def _call(self, request):
        """Calls the first tool with the prompt's arguments; what it gave is the answer."""
        last = request.messages[-1]
        yield Usage(10, 2)
        if last["role"] == "tool":
            yield TextDelta(f"It gave {last['content']}.")
            yield Finish()
        else:
            yield TextDelta("Let me see.")
            yield ToolCall("c1", request.tools[0].name, last["content"])
            yield Finish("tool_calls")

    def _again(self, request):
        """Never stops to call."""
        assert request.tool_choice in (None, "auto") or len(request.messages) == 1
        yield ToolCall("c1", request.tools[0].name, "{}")
        yield Finish("tool_calls")

    def _wait(self, request):
        """One word, then nothing more until it is interrupted."""
        yield Usage(10, 2)
        yield TextDelta("first")
        os.write(2, b"begun")
        threading.Event().wait()
'''

TOOLS = '''
def weather(city: str, unit: str = "C") -> str:
    """The weather in a city."""
    return f"20 {unit} in {city}"

async def later(city: str) -> str:
    import asyncio
    await asyncio.sleep(0)
    import beside
    return beside.NAME

def fails():
    """Never works."""
    raise RuntimeError("no\\nluck")

def waits():
    import os, threading
    os.write(2, b"begun")
    threading.Event().wait()

def stars(*args): ...

class Group:
    def inside(x: int) -> int:
        return x

definition = {"type": "function", "function": {"name": "nobody"}}
number = 3
'''

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.fixture
def folder(bindings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with modules of the user's."""
    monkeypatch.setenv("LOLLMS_PLUGINS", "capable,talker")
    (bindings / "capable").mkdir()
    (bindings / "capable" / "__init__.py").write_text(CAPABLE)
    here = tmp_path / "here"
    here.mkdir()
    (here / "mytools.py").write_text(TOOLS)
    (here / "beside.py").write_text("NAME = 'beside'")
    (here / "broken_tools.py").write_text("raise SystemExit('two\\nlines')")
    monkeypatch.chdir(here)
    for name in ("mytools", "beside", "broken_tools"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return here


@pytest.fixture
def generate(lollms: Lollms, bindings: Path, folder: Path) -> Lollms:
    def run(model: str, *arguments: str) -> object:
        before = list(sys.path)
        result = lollms("generate", "--bindings-dir", str(bindings), "-b", "capable", "-m", model, *arguments)
        assert sys.path == before
        return result

    return run  # type: ignore[return-value]


@pytest.fixture
def started(program: Program, bindings: Path, folder: Path) -> Program:
    return lambda model, *arguments, **options: program(
        "generate", "--bindings-dir", str(bindings), "-b", "capable", "-m", model, *arguments, **options
    )


# A schema -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [[], ["--no-stream"]])
def test_a_schema_as_json_or_in_a_file(generate: Lollms, folder: Path, how: list[str]) -> None:
    """The answer is the JSON, and nothing else."""
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    for given in (json.dumps(SCHEMA), "schema.json", str(folder / "schema.json")):
        result = generate("show", *how, "--schema", given, "hi")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout)["schema"] == SCHEMA


def test_the_object_is_in_the_document(generate: Lollms) -> None:
    document = json.loads(generate("show", "--json", "--schema", json.dumps(SCHEMA), "hi").stdout)
    assert document["parsed"]["schema"] == SCHEMA
    assert json.loads(document["text"]) == document["parsed"]


def test_an_answer_that_violates_the_schema_is_an_error(generate: Lollms) -> None:
    result = generate("wrong", "--schema", json.dumps(SCHEMA), "hi")
    assert result.exit_code == 1
    assert "3 is not of type 'string'" in result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "--schema: Expecting property name enclosed in double quotes: line 1 column 2"),
        ("{'type': 'object'}", "--schema: Expecting property name"),
        ('{"type": 3}', "no valid JSON schema"),
        ("absent.json", "--schema absent.json: cannot read it: No such file"),
        (".", "--schema .: cannot read it: Is a directory"),
        ("list.json", "--schema list.json: a schema is a JSON object, not list"),
        ("latin.json", "--schema latin.json: 'utf-8' codec can't decode"),
        ("deep.json", "nested deeper than"),
        ('{"type": "text"}', "leave it out"),
    ],
)
def test_what_is_no_schema_is_one_line(generate: Lollms, folder: Path, given: str, said: str) -> None:
    (folder / "list.json").write_text("[1]")
    (folder / "latin.json").write_bytes(b'{"\xe9": 1}')
    (folder / "deep.json").write_text("[" * 100_000)
    result = generate("show", "--schema", given, "hi")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_a_binding_without_schemas_is_one_line(lollms: Lollms, bindings: Path, folder: Path) -> None:
    arguments = "--bindings-dir", str(bindings), "-b", "talker", "hi"
    assert "json_schema" in lollms("generate", "--schema", "{}", *arguments).stderr
    assert "tools" in lollms("generate", "--tool", "mytools:weather", *arguments).stderr
    assert "reasoning" in lollms("generate", "--think", *arguments).stderr
    assert lollms("generate", "--no-think", *arguments).stdout == "hi \n"


# Tools --------------------------------------------------------------------------------------------------


def test_a_tool_is_called_and_its_result_given_back(generate: Lollms) -> None:
    result = generate("call", "--tool", "mytools:weather", '{"city": "Oslo"}')
    assert (result.exit_code, result.stdout) == (0, "Let me see.\nIt gave 20 C in Oslo.\n")
    assert result.stderr == 'lollms: the model calls weather {"city": "Oslo"}\n'


def test_the_whole_answer_is_the_last_text_alone(generate: Lollms) -> None:
    result = generate("call", "--no-stream", "--tool", "mytools:weather", '{"city": "Oslo"}')
    assert result.stdout == "It gave 20 C in Oslo.\n"


def test_a_document_has_the_rounds(generate: Lollms) -> None:
    document = json.loads(generate("call", "--json", "--tool", "mytools:weather", '{"city": "Oslo"}').stdout)
    assert document["text"] == "It gave 20 C in Oslo."
    assert document["usage"]["prompt_tokens"] == 20
    assert [message["role"] for message in document["earlier"]] == ["assistant", "tool"]


def test_several_tools_of_a_class_and_of_asyncio(generate: Lollms) -> None:
    """What they import when they are called may be of the same folder."""
    result = generate("call", "--tool", "mytools:later", "--tool", "mytools:Group.inside", '{"city": ""}')
    assert result.stdout.endswith("It gave beside.\n")
    assert generate("call", "--tool", "mytools:Group.inside", '{"x": 3}').stdout.endswith("It gave 3.\n")


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("fails", "{}", "the call failed, and the model is told so: RuntimeError: no luck"),
        ("weather", '{"town": "Oslo"}', "there is no parameter 'town'"),
        ("weather", "Oslo", "the arguments are no JSON"),
    ],
)
def test_a_call_that_fails_is_told_to_both(generate: Lollms, tool: str, arguments: str, said: str) -> None:
    result = generate("call", "--tool", f"mytools:{tool}", arguments)
    assert result.exit_code == 0
    assert said in result.stderr
    assert "It gave Error: " in result.stdout


def test_rounds_end(generate: Lollms) -> None:
    """Also where the first call was to be one."""
    result = generate("again", "-o", "tool_choice=required", "--tool", "json:detect_encoding", "hi")
    assert result.exit_code == 0
    assert result.stderr.count("the model calls") == 7
    assert "after the last round" in result.stderr
    assert "answered nothing" not in result.stderr


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("weather", "MODULE:FUNCTION"),
        (":weather", "MODULE:FUNCTION"),
        ("mytools:", "MODULE:FUNCTION"),
        ("mytols:weather", "mytols cannot be imported: there is no such module"),
        ("mytools:wether", "mytools has no 'wether'. Did you mean weather?"),
        ("mytools:number", "a tool is a function"),
        ("mytools:stars", "*args"),
        ("mytools:definition", "no function"),
        ("broken_tools:x", "broken_tools cannot be imported: SystemExit: two lines"),
        ("..:x", "cannot be imported"),
    ],
)
def test_what_is_no_tool_is_one_line(generate: Lollms, tool: str, said: str) -> None:
    result = generate("call", "--tool", tool, "{}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"--tool {tool}: " in result.stderr or "--tool takes" in result.stderr
    assert said in result.stderr


def test_a_file_of_the_folder_stands_in_for_no_package(generate: Lollms, folder: Path) -> None:
    """A binding that imports late gets what is installed, though a tool is from here."""
    (folder / "zipapp.py").write_text("raise RuntimeError('the wrong one')")
    (folder / "mytools.py").write_text("def late():\n    import zipapp\n    return zipapp.__name__\n")
    assert generate("call", "--tool", "mytools:late", "{}").stdout.endswith("It gave zipapp.\n")


# Thinking and usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "think"), [(["--think"], True), (["--no-think"], False), ([], None)])
def test_thinking_is_asked_for(generate: Lollms, given: list[str], think: bool | None) -> None:
    assert json.loads(generate("show", *given, "hi").stdout)["think"] is think


@pytest.mark.parametrize("how", [[], ["--no-stream"], ["--json"]])
def test_usage_is_a_line_on_stderr(generate: Lollms, how: list[str]) -> None:
    result = generate("show", *how, "--usage", "hi")
    first = r"\d+\.\d\d s to the first token, " if how != ["--no-stream"] else ""
    assert re.fullmatch(
        rf"lollms: usage: 12 prompt tokens \(4 cached\), 5 completion tokens, {first}"
        r"\d+\.\d\d s in all, \d+\.\d tokens/s\n",
        result.stderr,
    )


def test_usage_that_nobody_knows(generate: Lollms) -> None:
    result = generate("uncounted", "--usage", "hi")
    assert "tokens/s" not in result.stderr
    assert "s in all" in result.stderr


# Ctrl-C -------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("more", [[], ["--schema", "{}"], ["--tool", "mytools:weather"], ["--think", "--usage"]])
def test_an_interrupt_keeps_the_text(started: Program, more: list[str]) -> None:
    process = started("wait", *more, "hi")
    assert process.stdout is not None
    got = read_until(process.stdout.fileno(), b"first")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert got + rest == b"first\n"
    said = errors.removeprefix(b"begun").decode()
    assert re.fullmatch(r"lollms: usage: 10 prompt tokens.*\n" if "--usage" in more else "", said)


@posix
@pytest.mark.parametrize("more", [[], ["--no-stream"], ["--json"]])
def test_an_interrupt_in_a_tool(started: Program, more: list[str]) -> None:
    """What came before it is kept, and the document is one."""
    process = started("call", "--tool", "mytools:waits", *more, "{}")
    assert process.stderr is not None
    read_until(process.stderr.fileno(), b"begun")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    if more == ["--json"]:
        assert json.loads(output)["finish_reason"] == "cancelled"
    else:
        assert output.decode().splitlines() == ([] if more else ["Let me see."])


@posix
def test_a_document_after_an_interrupt_among_tools(started: Program) -> None:
    process = started("wait", "--json", "--tool", "mytools:weather", "hi")
    assert process.stderr is not None
    read_until(process.stderr.fileno(), b"begun")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    document = json.loads(output)
    assert (document["text"], document["finish_reason"]) == ("first", "cancelled")
    assert document["usage"]["prompt_tokens"] == 10

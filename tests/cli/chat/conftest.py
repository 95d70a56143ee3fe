"""A chat of the tests' own binding, in a terminal and through pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from user_terminal import UserTerminal

Chat = Callable[..., UserTerminal]

SCRIPTED = '''
import errno
import os
from pathlib import Path

from lollms_core import (
    BackendError, Capability, EventBinding, Finish, ReasoningDelta, TextDelta, ToolCall, Usage
)

BindingName = "Friend"


class Friend(EventBinding):
    """Answers as its model's name says."""

    capabilities = frozenset(Capability)
    uses = frozenset({"temperature", "n_predict", "tools"})

    def __init__(self, host_address=None, service_key=None, **defaults):
        super().__init__(**defaults)

    def load_model(self, name):
        if not hasattr(self, "_" + name):
            self.last_error = f"there is no model {name!r}"
            return False
        self.model_name = name
        return True

    def listModels(self):
        return [{"model_name": name} for name in ("echo", "count", "wait", "think")]

    def _events(self, request):
        return getattr(self, "_" + (self.model_name or "echo"))(request)

    def _text(self, request):
        content = request.messages[-1]["content"]
        return content if isinstance(content, str) else content[0]["text"]

    def _echo(self, request):
        yield TextDelta(self._text(request))
        yield Usage(prompt_tokens=3, completion_tokens=2)
        yield Finish()

    def _count(self, request):
        yield TextDelta(f"{request.system_prompt}{len(request.messages)} messages, {request.temperature}")
        yield Finish()

    def _fail(self, request):
        yield TextDelta("so far")
        if self._text(request) == "work":
            yield Finish()
            return
        raise BackendError("the backend broke\\nin two lines")

    def _think(self, request):
        yield ReasoningDelta("hmm, well")
        yield TextDelta("**yes**")
        yield Finish()

    def _colours(self, request):
        yield TextDelta("\\x1b[2J\\x1b]0;mine\\x07red\\x9b1m")
        yield Finish()

    def _long(self, request):
        """Two hundred items, a paragraph, and as many lines of code."""
        for number in range(200):
            yield TextDelta(f"- item {number}\\n")
        yield TextDelta("\\n```python\\n")
        for number in range(200):
            yield TextDelta(f"line_{number} = {number}\\n")
        yield TextDelta("```\\n\\nThe *end*.")
        yield Finish()

    def _wait(self, request):
        """One word, then nothing more until it is interrupted."""
        import threading

        try:
            yield TextDelta("first")
            threading.Event().wait()
        finally:
            with open(os.environ["MARK"], "a") as mark:
                mark.write("closed ")

    def _stubborn(self, request):
        """One word, then nothing; to be closed takes it for ever."""
        import sys, threading

        try:
            yield TextDelta("first")
            threading.Event().wait()
        finally:
            print("closing", file=sys.stderr, flush=True)
            threading.Event().wait()

    def _halves(self, request):
        """Half an answer, then the rest when the file is there that the message names."""
        import threading

        yield TextDelta("A long first half of a paragraph that fills more than one line of the screen")
        while not Path(self._text(request)).exists():
            threading.Event().wait(0.01)
        yield TextDelta(", and its end.")
        yield Finish()

    def _full(self, request):
        """From here on the disk is full."""

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        Path.replace = full
        yield from self._echo(request)

    def _tool(self, request):
        if request.messages[-1]["role"] == "tool":
            yield TextDelta("It says " + request.messages[-1]["content"])
            yield Finish()
        else:
            yield ToolCall("1", "weather", '{"city": "Oslo"}')
            yield Finish("tool_calls")
'''


@pytest.fixture
def friends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the binding ``friend``, which alone is allowed."""
    folder = tmp_path / "friends"
    (folder / "friend").mkdir(parents=True)
    (folder / "friend" / "__init__.py").write_text(SCRIPTED, encoding="utf-8")
    monkeypatch.setenv("LOLLMS_PLUGINS", "friend")
    return folder


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where conversations are saved, and what is typed remembered."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "data" / "lollms" / "chats"


@pytest.fixture
def chat(tmp_path: Path, friends: Path) -> Iterator[Chat]:
    """Starts a chat with a model of ``friend`` in a terminal; what is closed leaves its mark in the file ``mark``."""
    with ExitStack() as started:

        def start(
            model: str | None, *arguments: str, size: tuple[int, int] = (80, 24), **environment: str
        ) -> UserTerminal:
            named = [] if model is None else ["-b", "friend", "-m", model]
            command = [sys.executable, "-m", "lollms_core", "chat", "--bindings-dir", str(friends), *named, *arguments]
            inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
            mine = {"MARK": str(tmp_path / "mark"), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
            return started.enter_context(UserTerminal(command, inherited | mine | environment, size))

        yield start

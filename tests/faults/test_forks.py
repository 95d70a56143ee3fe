"""A process that forks: parent and child do not speak on one connection, and each gets its own answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from lollms_core.testing import Asked, Dialect, FaultServer
from lollms_core.testing.fault_server import Step
from lollms_core.testing.playing import Factory, places_of

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")]
Note = Callable[[str, object], None]

# In a process of its own, which has no other thread. The child's status is that of the whole.
FORK = """
import os, sys
from {module} import {name}

def ask(binding, who):
    for number in range(25):
        for stream in (False, True):
            words = f"{{who}} {{number}}"
            answer = binding.chat(words, stream=stream).text
            assert answer == words, (answer, words)

binding = {name}(host_address={address!r}, model_name={model!r}, retries=0)
ask(binding, "before")
child = os.fork()
ask(binding, "parent" if child else "child")
binding.close()
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_parent_and_child(peer: tuple[Dialect, Factory], kind: type, record_property: Note) -> None:
    dialect = peer[0]

    def echo(asked: Asked) -> tuple[Step, ...]:
        return (dialect.answer(asked.body, text=asked.json["messages"][-1]["content"]),)

    with FaultServer() as server:
        places_of(server, dialect)
        server.on(dialect.chat_path, echo)
        code = FORK.format(
            module=kind.__module__, name=kind.__name__, address=server.url + dialect.address, model=dialect.model
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.connections == 2
        asked = server.asked_at(dialect.chat_path)
        assert len(asked) == 150
    record_property("requests", len(asked))

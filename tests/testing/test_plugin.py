"""The pytest plugin, as a project uses it: in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

TESTS = """
import urllib.request
import pytest
from lollms_core import LollmsLLMBindingManager
from lollms_core.testing import response

made = []

def test_followed(scripted):
    binding = scripted(["Hello"])
    made.append(binding)
    assert binding.generate_text("x") == "Hello"

def test_closed_afterwards():
    with pytest.raises(Exception, match="closed"):
        made[0].chat("x")

def test_left(scripted):
    scripted(["Hello", "World"]).generate_text("x")

def test_may_be_left(scripted):
    scripted(["Hello"], allow_unused=True)
    scripted.manager({"ollama": ["Hello"]}, allow_unused=True)

def test_swallowed(scripted):
    binding = scripted([], allow_unused=True)
    try:
        binding.generate_text("x")
    except AssertionError:
        pass

def test_fails_for_its_own_reason(scripted):
    scripted(["Hello"])
    assert False, "my own reason"

def test_manager(scripted):
    manager = scripted.manager({"ollama": ["one"]}, everywhere=True)
    made.append(LollmsLLMBindingManager().open_binding("ollama"))
    assert made[-1].generate_text("x") == "one"
    assert manager.opened[0].name == "ollama"

def test_manager_is_gone():
    assert "one" not in LollmsLLMBindingManager().get_available_bindings()
    with pytest.raises(Exception, match="closed"):
        made[-1].chat("x")

def test_manager_left(scripted):
    scripted.manager({"ollama": ["three"]})

def test_server(fault_server):
    fault_server.on("/", [response(b"hello")])
    with urllib.request.urlopen(fault_server.url) as answer:
        assert answer.read() == b"hello"
"""


def pytest_in(folder: Path, *arguments: str) -> str:
    """What a pytest of its own prints of the tests in `folder`."""
    command = (sys.executable, "-m", "pytest", "-q", "-rA", "-W", "error", "-p", "no:cacheprovider", *arguments)
    # Without the plugins of the environment that these tests run in.
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr


def test_fixtures_make_scripts_and_hold_tests_to_them(tmp_path: Path) -> None:
    """An answer that is left, or a request too many, fails the test itself; each test fails for one reason."""
    (tmp_path / "test_app.py").write_text(TESTS, "utf-8")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["lollms_core.testing.plugin"]\n', "utf-8")
    said = pytest_in(tmp_path)
    found = re.findall(r"^(PASSED|FAILED|ERROR) test_app\.py::(\w+)", said, re.MULTILINE)
    assert {name: outcome for outcome, name in found} == {
        "test_followed": "PASSED",
        "test_closed_afterwards": "PASSED",
        "test_left": "FAILED",
        "test_may_be_left": "PASSED",
        "test_swallowed": "FAILED",
        "test_fails_for_its_own_reason": "FAILED",
        "test_manager": "PASSED",
        "test_manager_is_gone": "PASSED",
        "test_manager_left": "FAILED",
        "test_server": "PASSED",
    }, said
    assert "1 of 2 scripted answers were not used" in said
    assert "my own reason" in said
    assert "error" not in said.splitlines()[-1]


def test_nothing_of_it_is_loaded_unless_asked_for(tmp_path: Path) -> None:
    """No entry point makes pytest load it."""
    assert not [point for point in entry_points(group="pytest11") if "lollms" in point.value]
    (tmp_path / "test_app.py").write_text("def test_it(scripted): ...\n", "utf-8")
    assert "fixture 'scripted' not found" in pytest_in(tmp_path)
    (tmp_path / "test_app.py").write_text("def test_it(scripted): assert scripted(['a']).generate_text('x')\n", "utf-8")
    assert "1 passed" in pytest_in(tmp_path, "-p", "lollms_core.testing.plugin")


def test_importing_what_tests_use_needs_no_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import lollms_core.testing"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)

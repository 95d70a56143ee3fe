"""The kit on bindings that keep every promise, and what it demands of those who use it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conformant import Evented, Plain

from lollms_core.testing.conformance import CHECKS, BindingConformance, HttpConformance, Settings, replaces
from lollms_core.testing.playing import Factory


class TestPlain(BindingConformance):
    """A class of eight methods."""

    @pytest.fixture
    def factory(self) -> Factory:
        return Plain


class TestEvented(BindingConformance):
    """A class with every capability."""

    settings = Settings(pull="parrot")

    @pytest.fixture
    def factory(self) -> Factory:
        return Evented


def test_every_check_has_a_test() -> None:
    """Those that take a server stand in HttpConformance alone."""
    for check in CHECKS.values():
        assert callable(getattr(HttpConformance, f"test_{check.name}"))
        assert hasattr(BindingConformance, f"test_{check.name}") is not check.wire


def test_a_check_is_not_replaced_without_a_reason() -> None:
    """By a method, by None, by a class in between."""
    with pytest.raises(TypeError, match=r"TestX\.test_stop replaces .* without a reason: .*@replaces"):

        class TestX(BindingConformance):
            def test_stop(self) -> None:
                pass

    with pytest.raises(TypeError, match=r"TestY\.test_stop"):
        type("TestY", (BindingConformance,), {"test_stop": None})
    with pytest.raises(TypeError, match=r"TestZ\.test_stop"):
        type("TestZ", (type("Mixin", (), {"test_stop": lambda self: None}), BindingConformance), {})
    with pytest.raises(TypeError, match="reason"):
        replaces(" ")


def run(folder: Path, tests: str, conftest: str = 'pytest_plugins = ["lollms_core.testing.plugin"]') -> str:
    """What pytest prints of these tests, in a project of their own."""
    (folder / "conftest.py").write_text(conftest, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
    (folder / "test_conformance.py").write_text(textwrap.dedent(tests), "utf-8")
    path = str(Path(__file__).parents[1] / "helpers")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", f"pythonpath={path}", "-q", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False).stdout


PROJECT = """
    import pytest
    from conformant import Plain
    from lollms_core.testing.conformance import BindingConformance, replaces

    class TestPlain(BindingConformance):
        @pytest.fixture
        def factory(self):
            return Plain

        @replaces("it has no seeds")
        def test_seed_repeats(self, subject):
            assert "seed" not in subject.new().uses
    """


def test_the_summary_tells_what_was_replaced(tmp_path: Path) -> None:
    """With its reason, after a run that passed."""
    printed = run(tmp_path, PROJECT)
    assert "conformance: checks that were replaced" in printed
    assert "TestPlain.test_seed_repeats: it has no seeds" in printed
    assert " failed" not in printed, printed
    assert " passed" in printed


def test_without_the_plugin_nothing_runs(tmp_path: Path) -> None:
    """A summary that cannot come is no reason to go without."""
    printed = run(tmp_path, PROJECT, conftest="")
    assert 'the conformance kit needs its plugin: pytest_plugins = ["lollms_core.testing.plugin"]' in printed
    assert " passed" not in printed


def test_a_class_without_a_factory_is_told_so(tmp_path: Path) -> None:
    """In one line that names the class."""
    tests = """
        from lollms_core.testing.conformance import BindingConformance
        class TestMine(BindingConformance):
            pass
        """
    printed = run(tmp_path, tests)
    assert "TestMine needs a fixture factory" in printed

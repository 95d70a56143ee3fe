"""What a plugin does to the host while it is imported or made, and what lies about on a real machine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installed import BINDING, FOLDER, GROUP, Site, origin_modules
from samples import WORDS

from lollms_core.errors import BackendError, BindingLoadError
from lollms_core.manager import LollmsLLMBindingManager

pytestmark = pytest.mark.timeout(60, method="thread")

TEXT = "".join(WORDS)

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and mode bits as POSIX has them")


@pytest.fixture
def with_neighbours(site: Site) -> Site:
    """A healthy distribution and a healthy folder, which must keep working."""
    site.binding("healthy", "lollms-healthy")
    site.folder("local")
    return site


def check_neighbours(manager: LollmsLLMBindingManager) -> None:
    """Both work."""
    assert {"healthy", "local"} <= set(manager.get_available_bindings())
    for name in "healthy", "local":
        assert manager.open_binding(name).generate_text("x") == TEXT


def put(site: Site, kind: str, source: str) -> None:
    """The binding called bad, as a distribution or as a folder."""
    if kind == "distribution":
        site.binding("bad", "lollms-bad", source)
    else:
        site.folder("bad", f"BindingName = 'Mine'\n{source}")


# What it raises ---------------------------------------------------------------------------------------------

UNPRINTABLE = """
class Odd(BaseException):
    def __str__(self): raise SystemExit(3)
    __repr__ = __str__
"""

RAISED = {
    "GeneratorExit": "raise GeneratorExit('odd')",
    "CancelledError": "import asyncio; raise asyncio.CancelledError('odd')",
    "Outcome": "class Outcome(BaseException): pass\nraise Outcome('odd')",
    "Odd": f"{UNPRINTABLE}\nraise Odd",
    "Text": "class Text(Exception):\n    def __str__(self): return 5\nraise Text",
    "StopIteration": "raise StopIteration",
    "MemoryError": "raise MemoryError",
    "Group": "class Group(BaseExceptionGroup): pass\nraise Group('odd', [GeneratorExit()])",
    "Cause": """
class Cause(Exception):
    __cause__ = property(lambda self: 1 / 0)
    args = property(lambda self: 1 / 0)
raise Cause
""",
    "LookupError": f"{BINDING}    def __init_subclass__(cls):\n        raise LookupError('odd')\nclass Sub(Mine): pass",
    "KeyError": """
from samples import EightMethods
class Meta(type(EightMethods)):
    def __new__(*args, **kwargs): raise KeyError('odd')
class Mine(EightMethods, metaclass=Meta): pass
""",
    "OSError": """
from samples import EightMethods
class Meta(type(EightMethods)):
    def __getattribute__(cls, name): raise OSError('odd')
class Mine(EightMethods, metaclass=Meta): pass
""",
    "RecursionError": "x = 1\nx = " + "-" * 20_000 + "x",
}


@pytest.mark.parametrize("kind", ["distribution", "folder"])
@pytest.mark.parametrize("raised", list(RAISED))
def test_whatever_an_import_raises_is_its_own_failure(with_neighbours: Site, raised: str, kind: str) -> None:
    """Ctrl-C alone goes through (test_manager_faults.py)."""
    put(with_neighbours, kind, RAISED[raised])
    manager = with_neighbours.manager()
    before = origin_modules()
    assert manager.create_binding("bad") is None
    assert (raised if raised != "RecursionError" else "Error") in manager.errors["bad"]
    assert "\n" not in manager.errors["bad"]
    with pytest.raises(BindingLoadError):
        manager.open_binding("bad")
    assert origin_modules() == before
    assert [record.state for record in manager.records() if record.name == "bad"] == ["failed"]
    check_neighbours(manager)


@pytest.mark.parametrize("where", ["hook", "late hook"])
def test_whatever_the_import_of_a_hook_raises_costs_only_itself(with_neighbours: Site, where: str) -> None:
    for number, source in enumerate(RAISED.values()):
        module = f"odd_hooks_{number}"
        if where == "late hook":  # what cannot be marked or read
            source = "class Odd:\n    def __getattr__(self, name): raise GeneratorExit\nodd = Odd()"  # noqa: PLW2901
        with_neighbours.distribution(
            f"odd-{number}",
            entry_points={"lollms.hooks": {"odd": f"{module}:odd" if where == "late hook" else module}},
            modules={f"{module}.py": source},
        )
    check_neighbours(with_neighbours.manager())


CONSTRUCTORS = f"""
import asyncio
from samples import EightMethods
{UNPRINTABLE}
class Words(ValueError):
    def __str__(self): raise Odd

class Mine(EightMethods):
    def __init__(self, how=None):
        if how is not None:
            raise {{"exit": GeneratorExit, "cancelled": asyncio.CancelledError, "odd": Odd, "words": Words}}[how]
        super().__init__()

    @property
    def binding_name(self):
        raise LookupError("no name")

    @binding_name.setter
    def binding_name(self, name): pass
"""


@pytest.mark.parametrize(("how", "error"), [("exit", BindingLoadError), ("cancelled", BindingLoadError)])
def test_whatever_a_constructor_raises(with_neighbours: Site, how: str, error: type[Exception]) -> None:
    put(with_neighbours, "distribution", CONSTRUCTORS)
    manager = with_neighbours.manager()
    with pytest.raises(error) as caught:
        manager.open_binding("bad", how=how)
    assert isinstance(caught.value.__cause__, (GeneratorExit, asyncio.CancelledError))
    for unprintable in (how, "odd", "words"):
        assert manager.create_binding("bad", how=unprintable) is None
        assert "could not be created" in manager.errors["bad"]
    check_neighbours(manager)


def test_a_binding_whose_name_raises_is_made_and_says_so_when_used(with_neighbours: Site) -> None:
    put(with_neighbours, "folder", CONSTRUCTORS)
    manager = with_neighbours.manager()
    binding = manager.open_binding("bad")
    with pytest.raises(BackendError, match="LookupError: no name"):
        binding.chat("x")
    with pytest.raises(BackendError, match="LookupError: no name"):
        list(binding.stream("x"))
    check_neighbours(manager)


# What it does to the process --------------------------------------------------------------------------------

MEDDLING = {
    "sys.path": "import sys; sys.path[:0] = ['/nowhere']; sys.path.append(5)",
    "environment": "import os; os.environ.clear()",
    "signals": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "warnings": "import warnings; warnings.simplefilter('error'); warnings.showwarning = None",
    "directory": "import os, tempfile; os.chdir(tempfile.gettempdir())",
    "finders": "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'lollms' not in type(f).__module__]",
    "logging": "import logging; logging.disable(logging.CRITICAL); logging.getLogger('lollms_core').handlers.clear()",
    "modules": "import sys; sys.modules.pop('importlib_metadata', None); sys.modules.pop('pluggy', None)",
    "threads": "import threading; threading.stack_size(256 * 1024); threading.Thread(target=int, daemon=True).start()",
    "loop": "import asyncio; asyncio.run(asyncio.sleep(0))",
}


@pytest.fixture
def host() -> Iterator[None]:
    """What a meddling plugin changes is put back."""
    path, finders, environment = list(sys.path), list(sys.meta_path), dict(os.environ)
    modules = {name: sys.modules.get(name) for name in ("importlib_metadata", "pluggy")}
    handler, directory = signal.getsignal(signal.SIGTERM), Path.cwd()
    with warnings.catch_warnings():
        yield
    sys.path[:], sys.meta_path[:] = path, finders
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, handler)
    os.chdir(directory)
    threading.stack_size(0)
    logging.disable(logging.NOTSET)
    sys.modules.update({name: module for name, module in modules.items() if module is not None})


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("what", list(MEDDLING))
def test_a_plugin_that_meddles_with_the_process(with_neighbours: Site, what: str, fails: bool) -> None:
    """It is not undone, but neither does it keep the others from being found and loaded."""
    put(with_neighbours, "folder", MEDDLING[what] + ("\nraise OSError('late')" if fails else f"\n{BINDING}"))
    manager = with_neighbours.manager()
    assert manager.open_binding("local").generate_text("x") == TEXT
    assert (manager.create_binding("bad") is None) == fails
    manager.refresh()
    check_neighbours(manager)


def test_a_plugin_that_takes_its_time_holds_up_nobody_else(
    with_neighbours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is imported, others are listed, made, and looked for anew."""
    inside, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        inside.set()
        go_on.wait(20)

    monkeypatch.setattr("samples.pause", pause, raising=False)
    put(with_neighbours, "folder", f"import samples\nsamples.pause()\n{BINDING}")
    manager = with_neighbours.manager()
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(manager.create_binding("bad")))
    thread.start()
    try:
        assert inside.wait(20)
        assert {record.name: record.state for record in manager.records()}["bad"] == "found"
        check_neighbours(manager)
        manager.refresh()
        check_neighbours(manager)
    finally:
        go_on.set()
        thread.join()
    assert made[0] is not None
    assert manager.create_binding("bad") is not None


# What lies about --------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("place", ["bad/__init__.py", "bad/part.py", "local/part.py", "bad", "data.txt"])
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "socket"])
def test_what_is_no_regular_file_is_never_waited_for(with_neighbours: Site, place: str, what: str) -> None:
    """A pipe that nobody writes would hang whoever opens it."""
    import socket

    path = with_neighbours.bindings / place
    if place.startswith("bad/"):
        with_neighbours.folder("bad", "from .part import *" if place == "bad/part.py" else BINDING)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(os.path.relpath(path))
            except OSError:
                listener.bind(str(path))
    manager = with_neighbours.manager()
    check_neighbours(manager)
    assert manager.create_binding("bad") is None
    manager.refresh()
    check_neighbours(manager)


@pytest.mark.parametrize(
    "source",
    [
        b"\x7fELF" + bytes(range(256)) * 100,
        b"\xff\xfe" + "BindingName = 'Mine'".encode("utf-16-le"),
        b"BindingName = 'Mine'\n" + b"(" * 100_000,
        b"BindingName = 'Mine'\nx = " + b"-" * 100_000 + b"1",
        b"# -*- coding: no-such-code -*-\nBindingName = 'Mine'",
        b"# " + b"x" * 5_000_000,
        b"",
    ],
    ids=["binary", "utf-16", "deep", "deeper", "encoding", "huge", "empty"],
)
def test_a_source_that_is_none(with_neighbours: Site, source: bytes) -> None:
    folder = with_neighbours.folder("bad")
    (folder / "__init__.py").write_bytes(source)
    manager = with_neighbours.manager()
    assert "bad" in manager.get_available_bindings()
    assert manager.create_binding("bad") is None
    assert len(manager.errors["bad"]) < 1000
    check_neighbours(manager)


def test_a_huge_source_that_is_fine_is_loaded(site: Site) -> None:
    """It is only not looked into before."""
    folder = site.folder("big")
    (folder / "__init__.py").write_bytes(FOLDER.encode() + b"# " + b"x" * 5_000_000)
    manager = site.manager()
    assert [record.attribute for record in manager.records()] == [None]
    assert manager.open_binding("big").generate_text("x") == TEXT


@posix
@pytest.mark.skipif(os.name != "nt" and os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("place", ["bad", "bad/__init__.py", "bad/part.py", ""])
def test_what_may_not_be_read(with_neighbours: Site, place: str) -> None:
    """The directory itself, a folder, its source, or a module inside."""
    with_neighbours.folder("bad", f"from .part import *\n{FOLDER}", part="x = 1")
    path = with_neighbours.bindings / place
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        manager = with_neighbours.manager()
        assert manager.create_binding("bad") is None
        assert manager.open_binding("healthy").generate_text("x") == TEXT
        if place:
            check_neighbours(manager)
    finally:
        path.chmod(mode)


@posix
@pytest.mark.parametrize("name", [b"caf\xe9", b"line\nend", b"\x1b[31mred", "\u202egnp".encode()])
def test_a_name_that_cannot_be_printed_is_told_in_one_clean_line(
    with_neighbours: Site, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(os.fsdecode(os.fsencode(with_neighbours.bindings) + b"/" + name))
    folder.mkdir()
    (folder / "__init__.py").write_text(FOLDER)
    manager = with_neighbours.manager()
    check_neighbours(manager)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "not a plain identifier" in line
    assert line.isprintable()
    assert manager.create_binding(os.fsdecode(name)) is None
    assert manager.errors[os.fsdecode(name)].isprintable()


# What others see meanwhile ----------------------------------------------------------------------------------


def test_no_other_thread_sees_the_stand_ins_while_a_folder_is_imported(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by importing nor by looking, before, during and after."""
    import importlib.util

    seen: list[Any] = []

    def look() -> None:
        for name in "lollms_client", "lollms_client.lollms_llm_binding", "lollms_client.lollms_types":
            try:
                __import__(name)
            except ModuleNotFoundError as exc:
                seen.append(exc.name)
        seen.append(importlib.util.find_spec("lollms_client"))
        seen.append([module for module in sys.modules if module.partition(".")[0] == "lollms_client"])

    def meet() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        look()

    monkeypatch.setattr("samples.meet", meet, raising=False)
    site.folder(
        "legacy",
        f"from lollms_client.lollms_types import MSG_TYPE\nimport samples\nsamples.meet()\n{FOLDER}"
        "def late():\n    from lollms_client.lollms_llm_binding import LollmsLLMBinding\n    samples.meet()\n",
    )
    binding = site.manager().open_binding("legacy")
    sys.modules[type(binding).__module__].late()
    assert seen == [*["lollms_client"] * 3, None, []] * 4


def test_one_name_of_many_kinds_at_once(site: Site) -> None:
    """A distribution, a rival, a folder, a module of the same name: one has it, all are told, nobody is shadowed."""
    site.distribution("aaa-json", entry_points={GROUP: {"json": "json_mod:Mine"}}, modules={"json_mod.py": BINDING})
    site.binding("json", "bbb-json", "raise RuntimeError('imported')")
    site.folder("json", "raise RuntimeError('imported')")
    manager = site.manager()
    assert [(record.source, record.state) for record in manager.records()] == [
        ("entry point", "found"),
        ("entry point", "shadowed"),
        ("directory", "shadowed"),
    ]
    assert manager.open_binding("json").generate_text("x") == TEXT
    import json

    assert json.loads("[1]") == [1]

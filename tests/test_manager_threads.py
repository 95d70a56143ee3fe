"""Many threads on one manager: one import, no deadlock."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from installed import BINDING, FOLDER, GROUP, Site
from samples import WORDS

from lollms_core.hookspecs import hookimpl

pytestmark = pytest.mark.timeout(60, method="thread")

THREADS = 32

COUNTED = "import samples\nsamples.imports = getattr(samples, 'imports', 0) + 1\n"


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins count their imports in a module that all can reach, and find the manager of the test there."""
    monkeypatch.setattr("samples.imports", 0, raising=False)
    monkeypatch.setattr("samples.manager", None, raising=False)


def imports() -> Any:
    """How often the plugin was imported."""
    return sys.modules["samples"].imports


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """The results of `work` in `count` threads that start together; an exception is a result too."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except BaseException as exc:  # noqa: BLE001 - the assertion that follows shows it
            results[number] = exc

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("kind", ["distribution", "folder"])
def test_a_cold_manager_imports_once_for_all(site: Site, kind: str) -> None:
    """32 threads, one import, 32 good answers."""
    if kind == "distribution":
        site.binding("shared", "lollms-shared", COUNTED + BINDING)
    else:
        site.folder("shared", COUNTED + "from .part import *", part=FOLDER)
    manager = site.manager()
    answers = at_once(THREADS, lambda _: manager.open_binding("shared").generate_text("x"))
    assert answers == ["".join(WORDS)] * THREADS
    assert imports() == 1


@pytest.mark.parametrize("kind", ["distribution", "folder"])
def test_a_plugin_that_fails_is_tried_once(site: Site, kind: str) -> None:
    source = COUNTED + "raise OSError('broken')"
    if kind == "distribution":
        site.binding("bad", "lollms-bad", source)
    else:
        site.folder("bad", source)
    manager = site.manager()
    assert at_once(THREADS, lambda _: manager.create_binding("bad")) == [None] * THREADS
    assert imports() == 1
    assert "broken" in manager.errors["bad"]


def test_two_names_of_one_module_are_imported_once(site: Site) -> None:
    site.distribution(
        "lollms-two",
        entry_points={GROUP: {"one": "two_names:Mine", "two": "two_names:Mine"}},
        modules={"two_names.py": COUNTED + BINDING},
    )
    manager = site.manager()
    bindings = at_once(THREADS, lambda number: manager.open_binding("one" if number % 2 else "two"))
    assert len({type(binding) for binding in bindings}) == 1
    assert imports() == 1


def test_many_managers_at_once(site: Site) -> None:
    """Each has its own folder modules; an installed one is shared, as all modules are."""
    site.folder("local", COUNTED + FOLDER)
    site.binding("installed_one", "lollms-one", BINDING)
    managers = [site.manager() for _ in range(8)]
    classes = at_once(
        8,
        lambda number: (
            type(managers[number].open_binding("local")),
            type(managers[number].open_binding("installed_one")),
        ),
    )
    assert len({local for local, _ in classes}) == 8
    assert len({installed for _, installed in classes}) == 1
    assert imports() == 8


def test_entry_point_hooks_load_once(site: Site) -> None:
    site.binding("alpha", "lollms-alpha")
    site.distribution(
        "lollms-hooked",
        entry_points={"lollms.hooks": {"hooked": "hooked_mod"}},
        modules={
            "hooked_mod.py": COUNTED
            + "from lollms_core.hookspecs import hookimpl\n@hookimpl\ndef lollms_before_create(name):\n    return None"
        },
    )
    manager = site.manager()
    assert all(at_once(THREADS, lambda _: manager.create_binding("alpha")))
    assert imports() == 1


ASKS_FOR = """
import samples
other = samples.manager().create_binding({name!r})
"""


def test_plugins_that_load_each_other_do_not_deadlock(site: Site) -> None:
    """Each one's import opens the other through the same manager, in two threads at once.

    Python's import locks see the circle and let one of them find the other unfinished; nobody waits forever,
    and afterwards both work.
    """
    manager = site.manager()
    sys.modules["samples"].manager = lambda: manager  # type: ignore[attr-defined]
    meet = threading.Barrier(2)
    sys.modules["samples"].meet = lambda: meet.wait(20)  # type: ignore[attr-defined]
    for mine, other in ("left", "right"), ("right", "left"):
        source = f"import samples\nsamples.meet()\n{ASKS_FOR.format(name=other)}{BINDING}"
        site.binding(mine, f"lollms-{mine}", source)
    results = at_once(2, lambda number: manager.create_binding(["left", "right"][number]))
    assert all(result is not None for result in results)
    assert manager.create_binding("left") is not None
    assert manager.create_binding("right") is not None


def test_a_plain_import_that_opens_what_another_thread_is_loading(site: Site) -> None:
    """One thread holds the module's import lock and asks the manager; the other holds the manager and imports.

    The first must not wait for the second: it is the one that the second waits for.
    """
    manager = site.manager()
    samples: Any = sys.modules["samples"]
    samples.manager = lambda: manager
    inside, waiting = threading.Event(), threading.Event()

    def enter() -> None:
        inside.set()
        waiting.wait(20)

    samples.enter = enter
    source = f"import samples\nsamples.enter()\n{ASKS_FOR.format(name='slow')}{BINDING}"
    site.distribution("lollms-slow", entry_points={GROUP: {"slow": "slow_mod:Mine"}}, modules={"slow_mod.py": source})
    manager.get_available_bindings()

    def work(number: int) -> Any:
        if number == 0:
            return __import__("slow_mod")
        inside.wait(20)
        waiting.set()
        return manager.create_binding("slow")

    module, binding = at_once(2, work)
    assert module.other is None  # it was asked for too early
    assert type(binding) is module.Mine
    assert [record.state for record in manager.records()] == ["loaded"]


@pytest.mark.parametrize("kind", ["distribution", "folder"])
def test_a_plugin_that_asks_for_itself_is_told_so_and_works_afterwards(
    site: Site, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager = site.manager()
    sys.modules["samples"].manager = lambda: manager  # type: ignore[attr-defined]
    source = ASKS_FOR.format(name="selfish") + FOLDER
    if kind == "distribution":
        site.binding("selfish", "lollms-selfish", source)
    else:
        site.folder("selfish", source)
    binding = manager.open_binding("selfish")
    assert sys.modules[type(binding).__module__].other is None
    assert "is asked for while it is still being imported" in caplog.text
    assert [record.state for record in manager.records()] == ["loaded"]


def test_a_plugin_whose_import_makes_a_manager(site: Site) -> None:
    """And opens another binding with it, hooks included."""
    source = f"""
from pathlib import Path
from lollms_core.manager import LollmsLLMBindingManager
inner = LollmsLLMBindingManager({str(site.bindings)!r}, entry_point_group={GROUP!r}).open_binding("base")
{BINDING}
"""
    site.binding("base", "lollms-base")
    site.binding("outer", "lollms-outer", source)
    hooks = "from lollms_core.manager import LollmsLLMBindingManager\nfrom lollms_core.hookspecs import hookimpl\n"
    hooks += f"LollmsLLMBindingManager(entry_point_group={GROUP!r}).create_binding('base')\n"
    hooks += "@hookimpl\ndef lollms_before_create(name):\n    return {'words': ['hooked']}\n"
    site.distribution(
        "lollms-hooked", entry_points={"lollms.hooks": {"hooked": "making_hook"}}, modules={"making_hook.py": hooks}
    )
    manager = site.manager()
    results = at_once(8, lambda _: manager.open_binding("outer").generate_text("x"))
    assert results == ["hooked"] * 8


def test_refresh_beside_creation(site: Site) -> None:
    """Threads that create while others refresh always get an instance."""
    site.binding("alpha", "lollms-alpha")
    site.folder("local")
    manager = site.manager()

    def work(number: int) -> bool:
        for _ in range(5):
            if number % 4 == 0:
                manager.refresh()
            elif manager.create_binding("alpha") is None or manager.create_binding("local") is None:
                return False
        return True

    assert all(at_once(12, work))


def test_a_hook_registered_from_another_thread_applies(site: Site) -> None:
    site.binding("alpha", "lollms-alpha")
    manager = site.manager()

    class Words:
        def __init__(self, number: int) -> None:
            self.number = number

        @hookimpl
        def lollms_before_create(self, name: str) -> dict[str, Any]:
            return {"words": [str(self.number)]}

    at_once(8, lambda number: manager.register_hook(Words(number)))
    assert manager.open_binding("alpha").generate_text("x") in set("01234567")

"""The rules for imports and locks that test_manager_threads.py shows at work."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from installed import Site

from lollms_core.discovery.importing import (
    being_imported,
    forget_modules,
    inside_import,
    one_at_a_time,
    undone_if_it_fails,
)

pytestmark = pytest.mark.timeout(30, method="thread")


def test_inside_import_is_true_only_while_a_module_runs(site: Site) -> None:
    site.module("probe_pkg/__init__.py", "from probe_pkg import probe\nlater = probe.ask")
    site.module(
        "probe_pkg/probe.py",
        """
        from lollms_core.discovery.importing import being_imported, inside_import
        ask = inside_import
        now = inside_import(), being_imported("probe_pkg.probe"), being_imported("probe_pkg.other")
        """,
    )
    assert not inside_import()
    module: Any = __import__("probe_pkg")
    assert module.probe.now == (True, True, True)
    assert module.later() is False
    assert not being_imported("probe_pkg.probe")
    assert not being_imported("never_heard_of")


def test_a_thread_inside_an_import_does_not_wait_for_a_lock(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that holds it may be waiting for that very import."""
    site.module("waiting_mod.py", "import samples\nsamples.probe()")
    lock = threading.Lock()

    def probe() -> None:
        with one_at_a_time(lock):
            passed.append(True)

    passed: list[bool] = []
    monkeypatch.setattr("samples.probe", probe, raising=False)
    with lock:
        thread = threading.Thread(target=__import__, args=("waiting_mod",))
        thread.start()
        thread.join()
    assert passed == [True]


def test_a_thread_that_holds_one_lock_does_not_wait_for_another() -> None:
    first, second = threading.Lock(), threading.Lock()
    with second, one_at_a_time(first), one_at_a_time(second), one_at_a_time(first):
        assert first.locked()
    assert not first.locked()


def test_all_others_wait() -> None:
    lock = threading.Lock()
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            with one_at_a_time(lock):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_a_lock_is_free_after_an_error() -> None:
    lock = threading.Lock()
    with pytest.raises(KeyboardInterrupt), one_at_a_time(lock):
        raise KeyboardInterrupt
    with one_at_a_time(lock):
        assert lock.locked()


def test_a_failed_use_forgets_what_it_brought(site: Site) -> None:
    site.module("brought_pkg/__init__.py", "")
    site.module("brought_pkg/part.py", "")
    site.module("brought_pkg_too.py", "")

    def use(name: str) -> None:
        __import__("brought_pkg.part")
        __import__("brought_pkg_too")
        raise LookupError(name)

    with pytest.raises(LookupError, match="brought_pkg"):
        undone_if_it_fails("brought_pkg.part", use)
    assert "brought_pkg" not in sys.modules
    assert "brought_pkg.part" not in sys.modules
    assert "brought_pkg_too" in sys.modules


def test_what_another_thread_is_importing_is_not_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.module("busy_pkg/__init__.py", "")
    site.module("busy_pkg/slow.py", "import samples\nsamples.probe()")
    site.module("busy_pkg/other.py", "")
    __import__("busy_pkg.other")

    def probe() -> None:
        forget_modules("busy_pkg")
        seen.append({name for name in sys.modules if name.startswith("busy_pkg")})

    seen: list[set[str]] = []
    monkeypatch.setattr("samples.probe", probe, raising=False)
    __import__("busy_pkg.slow")
    assert seen == [{"busy_pkg", "busy_pkg.slow"}]

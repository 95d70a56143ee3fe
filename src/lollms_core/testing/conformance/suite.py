"""The checks as pytest classes: an author subclasses one, gives a factory, and has a test for each check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import pytest

from lollms_core.testing.conformance.check import CHECKS, Check
from lollms_core.testing.conformance.checks import wire
from lollms_core.testing.conformance.subject import NotApplicable, Settings, Subject
from lollms_core.testing.dialect import Dialect
from lollms_core.testing.endings import Ending, When, play_ending
from lollms_core.testing.fault_server import FaultServer
from lollms_core.testing.faults import Fault, How
from lollms_core.testing.playing import Factory, Mode, play, play_cuts
from lollms_core.testing.well_behaved import behave

__all__ = ["PLUGIN", "BindingConformance", "HttpConformance", "replaced", "replaces"]

PLUGIN = "lollms_core.testing.plugin"
"""The pytest plugin that the classes need: it tells which checks were replaced."""

KEY = "a-key-for-the-loopback-server"

_Note = Callable[[str, object], None]
_F = TypeVar("_F", bound=Callable[..., Any])
_REASON = "__lollms_replaces__"


def replaces(reason: str) -> Callable[[_F], _F]:
    """Mark a method that stands in the place of one of the kit's checks; the summary of the run shows `reason`.

    Raises:
        TypeError: there is no reason.
    """
    if not str(reason or "").strip() or callable(reason):
        raise TypeError("replaces() takes the reason for which the kit's check is replaced")

    def decorate(function: _F) -> _F:
        setattr(function, _REASON, " ".join(reason.split()))
        return function

    return decorate


def replaced(function: object) -> str | None:
    """The reason for which a method replaces a check, None if it replaces none."""
    reason = getattr(function, _REASON, None)
    return reason if isinstance(reason, str) else None


class BindingConformance:
    """A test for each promise of the contract; subclass it as ``TestX`` and give the fixture ``factory``.

    ``factory(**options)`` makes a new binding that is ready to generate; the options are request fields and the
    binding's own, and have to reach the constructor. A binding that answers with a key or a model of its own gets
    them in the factory, which then names these keywords in :attr:`given`.

    A check is replaced by a method of its name under :func:`replaces`.

    Attributes:
        settings: what the checks ask with.
        given: the keywords that the factory gives to the constructor itself.
    """

    settings: ClassVar[Settings] = Settings()
    given: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            return  # our own, which has its tests only at the end of this module
        for name in _tests_of(cls):
            test = getattr(cls, name, None)
            if replaced(test) is None and getattr(test, "__lollms_check__", False) is not True:
                raise TypeError(
                    f"{cls.__qualname__}.{name} replaces a check of the kit without a reason: "
                    f'decorate it with @replaces("why")'
                )

    @pytest.fixture
    def factory(self) -> Factory:
        """Makes bindings; to be given by the subclass."""
        pytest.fail(f"{type(self).__qualname__} needs a fixture factory that gives what makes a binding", pytrace=False)

    @pytest.fixture
    def subject(self, factory: Factory, request: pytest.FixtureRequest) -> Iterator[Subject] | Subject:
        """The binding under test."""
        _needs_plugin(request)
        return Subject(factory, self.settings, self.given)


class HttpConformance(BindingConformance):
    """The same for a backend over HTTP, and every row of the fault table; also give :attr:`dialect`.

    No server is needed: one on the loopback interface speaks the dialect, and behaves well, or does what the row
    says. ``factory`` is called with host_address, service_key, model_name and options, among them ``retries``,
    ``retry_budget`` and ``max_response_bytes``; the class itself will do.

    Each play notes what came of it with ``record_property``: "row", "requests", "cuts", "closed after".

    Attributes:
        dialect: how the backend speaks.
        every_byte: whether streams are cut after every byte, which takes minutes; by default at a few places.
    """

    dialect: ClassVar[Dialect]
    every_byte: ClassVar[bool] = False
    given: ClassVar[frozenset[str]] = frozenset({"host_address", "service_key", "model_name"})

    @pytest.fixture(autouse=True)
    def _no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy of the environment does not reach the server that the check starts, and answers in its place."""
        monkeypatch.setenv("NO_PROXY", "*")

    @pytest.fixture
    def subject(self, factory: Factory, request: pytest.FixtureRequest) -> Iterator[Subject]:
        """The binding under test, at a server that behaves well."""
        _needs_plugin(request)
        dialect = self.dialect
        with FaultServer() as server:
            behave(server, dialect)
            at = {"host_address": server.url + dialect.address, "service_key": KEY, "model_name": dialect.model}
            yield Subject(partial(factory, **at), self.settings, self.given, dialect)

    @pytest.fixture
    def wired(self, factory: Factory, request: pytest.FixtureRequest) -> Subject:
        """The binding under test, whose servers the check starts itself."""
        _needs_plugin(request)
        return Subject(factory, self.settings, self.given, self.dialect)

    # The long ones, a test for each play -----------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """The plays that the class's dialect has; pytest calls it for each of the class's tests."""
        plays = _PLAYS.get(metafunc.function.__name__)
        if plays is not None and {"fault", "ending"} & set(metafunc.fixturenames):
            names, cases = plays(self.dialect)
            metafunc.parametrize(names, [pytest.param(*case, id="-".join(map(_shown, case))) for case in cases])

    def test_faults(self, fault: Fault, how: How, mode: Mode, wired: Subject, record_property: _Note) -> None:
        """Every fault of the table comes to what the table says, sync and async, and leaves nothing behind."""
        report = play(fault, self.dialect, wired.factory, how, mode)
        assert report is not None
        record_property("requests", report.requests)
        record_property("row", (fault.name, self.dialect.name, how, mode, report.outcome))

    def test_cuts(self, fault: Fault, mode: Mode, wired: Subject, record_property: _Note) -> None:
        """A stream that breaks off anywhere is told as broken, with the text that had come."""
        places = wire.every if self.every_byte else wire.sample
        report = play_cuts(fault, self.dialect, wired.factory, mode, places)
        assert report is not None
        record_property("requests", report.requests)
        record_property("cuts", report.cuts)

    def test_ended_by_the_caller(
        self, ending: Ending, when: When, mode: Mode, wired: Subject, record_property: _Note
    ) -> None:
        """Whichever way a caller ends a request, the server sees its connection closed, and the text so far stays."""
        report = play_ending(ending, self.dialect, wired.factory, when, mode)
        record_property("requests", report.requests)
        record_property("row", (f"{ending.name}, {when}", self.dialect.name, mode, report.outcome))
        record_property("closed after", report.closed_after)


_PLAYS: Mapping[str, Callable[[Dialect], tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]]] = {
    "test_faults": lambda dialect: (("fault", "how", "mode"), wire.faults_of(dialect)),
    "test_cuts": lambda dialect: (("fault", "mode"), wire.cuts_of(dialect)),
    "test_ended_by_the_caller": lambda _: (("ending", "when", "mode"), wire.endings()),
}
"""Of each test, its parameters and their values."""


def _shown(part: object) -> str:
    return str(getattr(part, "name", part))


def _tests_of(cls: type) -> list[str]:
    return [f"test_{check.name}" for check in CHECKS.values() if not check.wire or issubclass(cls, HttpConformance)]


def _needs_plugin(request: pytest.FixtureRequest) -> None:
    if not request.config.pluginmanager.has_plugin(PLUGIN):
        raise pytest.UsageError(f'the conformance kit needs its plugin: pytest_plugins = ["{PLUGIN}"] in conftest.py')


def _test_of(check: Check) -> Callable[..., None]:
    def run(subject: Subject) -> None:
        try:
            subject.run(check.run, check.needs)
        except NotApplicable as reason:
            pytest.skip(str(reason))

    def at_server(self: BindingConformance, wired: Subject) -> None:
        run(wired)

    def plain(self: BindingConformance, subject: Subject) -> None:
        run(subject)

    test = at_server if check.wire else plain
    test.__name__ = f"test_{check.name}"
    test.__doc__ = check.promise
    return test


def _equip() -> None:
    """Give the classes a test for each check that has none written out."""
    for check in CHECKS.values():
        home = HttpConformance if check.wire else BindingConformance
        name = f"test_{check.name}"
        if name not in vars(home):
            test = _test_of(check)
            test.__qualname__ = f"{home.__qualname__}.{name}"
            setattr(home, name, test)
        vars(home)[name].__lollms_check__ = True


_equip()

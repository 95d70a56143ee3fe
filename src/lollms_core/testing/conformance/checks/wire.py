"""For HTTP backends: what their servers do wrong, played by one that speaks the backend's dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, get_args

from lollms_core.errors import BackendError
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.checks.misuse import check_error_dict
from lollms_core.testing.conformance.subject import Subject
from lollms_core.testing.dialect import Dialect
from lollms_core.testing.endings import ENDINGS, Ending, When, play_ending
from lollms_core.testing.fault_server import FaultServer
from lollms_core.testing.faults import FAULTS, Fault, How
from lollms_core.testing.playing import Mode, places_of, play, play_cuts
from lollms_core.testing.secrets import MARKER, SecretWatch, packages_of
from lollms_core.testing.well_behaved import behave
from lollms_core.testing.wire import response

MODES: tuple[Mode, ...] = get_args(Mode)
HOWS: tuple[How, ...] = get_args(How)
"""Ways of asking."""


def dialect_of(subject: Subject) -> Dialect:
    """The dialect, which every check here needs."""
    assert subject.dialect is not None
    return subject.dialect


def faults_of(dialect: Dialect) -> list[tuple[Fault, How, Mode]]:
    """All plays of all rows that the dialect can play."""
    return [
        (fault, how, mode)
        for fault in FAULTS
        if fault.play(dialect) is not None
        for how in fault.hows
        for mode in MODES
    ]


def cuts_of(dialect: Dialect) -> list[tuple[Fault, Mode]]:
    """All rows with a stream that can be cut in the dialect, sync and async."""
    plays = [(fault, fault.play(dialect)) for fault in FAULTS]
    return [(fault, mode) for fault, one in plays if one is not None and one.wire is not None for mode in MODES]


def endings() -> list[tuple[Ending, When, Mode]]:
    """All ways to end a request, at each moment."""
    return [(ending, when, mode) for ending in ENDINGS for when in ending.whens for mode in MODES if ending.has(mode)]


def _all(plays: Iterable[Callable[[], object]]) -> None:
    """Play all of them.

    Raises:
        AssertionError: some did not come to what they should; the text has their number, and the first in words.
    """
    failed: list[Exception] = []
    count = 0
    for one in plays:
        count += 1
        try:
            one()
        except Exception as error:  # noqa: BLE001 - a binding may raise anything, and the others are played all the same
            failed.append(error)
    if failed:
        first = failed[0]
        said = str(first) if isinstance(first, AssertionError) else f"{expecting.name_of(first)}: {first}"
        raise AssertionError(f"{len(failed)} of {count} plays fail, the first: {said}") from first


@check(wire=True)
def faults(subject: Subject) -> None:
    """Every fault of the table comes to what the table says, sync and async, and leaves nothing behind."""
    dialect = dialect_of(subject)
    _all(partial(play, fault, dialect, subject.factory, how, mode) for fault, how, mode in faults_of(dialect))


@check(wire=True)
def cuts(subject: Subject) -> None:
    """A stream that breaks off anywhere is told as broken, with the text that had come."""
    dialect = dialect_of(subject)
    _all(partial(play_cuts, fault, dialect, subject.factory, mode, sample) for fault, mode in cuts_of(dialect))


def sample(size: int) -> Iterator[int]:
    """A few places of a stream, the last bytes among them."""
    return iter(sorted({*range(0, size, max(1, size // 5)), *range(max(0, size - 4), size)}))


def every(size: int) -> Iterator[int]:
    """Every place; of streams of many records each of the first 2,000 and the last 300 bytes, and every 997th."""
    return iter(place for place in range(size) if size < 5000 or place < 2000 or place > size - 300 or not place % 997)


@check(wire=True)
def ended_by_the_caller(subject: Subject) -> None:
    """Whichever way a caller ends a request, the server sees its connection closed, and the text so far stays."""
    dialect = dialect_of(subject)
    _all(partial(play_ending, ending, dialect, subject.factory, when, mode) for ending, when, mode in endings())


@check(wire=True)
def redirects(subject: Subject) -> None:
    """A redirect to another host is not followed: the key goes to nobody else."""
    dialect = dialect_of(subject)
    for status in (301, 302, 303, 307, 308):
        # Another port is another origin, as another host is.
        with FaultServer() as server, FaultServer() as elsewhere:
            places_of(elsewhere, dialect)
            elsewhere.on(dialect.chat_path, lambda asked: (dialect.answer(asked.body),))
            places_of(server, dialect)
            away = response(dialect.refusal("moved"), f"{status} Moved", Location=elsewhere.url + dialect.chat_path)
            server.on(dialect.chat_path, (away,))
            with _at(subject, server) as binding:
                for name, way in subject.ways(binding).items():
                    expecting.raises(BackendError, partial(way, binding, "Why?"), f"{name}: a redirect with {status}")
            assert elsewhere.connections == 0, f"the redirect with {status} was followed"


@check(wire=True)
def errors_of_the_server(subject: Subject) -> None:
    """A server's failure is returned as a dict by generate_text and its kin, and raised by the others."""
    dialect = dialect_of(subject)
    with FaultServer() as server:
        places_of(server, dialect)
        server.on(dialect.chat_path, (response(dialect.refusal("the disk is full"), "500 Internal Server Error"),))
        with _at(subject, server) as binding:
            returned = {
                "generate_text": binding.generate_text("Why?"),
                "agenerate_text": subject.awaited(binding.agenerate_text("Why?")),
                "generate_from_messages": binding.generate_from_messages([{"role": "user", "content": "Why?"}]),
            }
            for name, value in returned.items():
                check_error_dict(value, "BackendError", name)
                assert "the disk is full" in value["error"], f"{name}: the server's words are lost: {value['error']}"
            for name, way in subject.ways(binding).items():
                error = expecting.raises(BackendError, partial(way, binding, "Why?"), name)
                assert "the disk is full" in str(error), f"{name}: the server's words are lost: {error}"
            subject.awaited(binding.aclose())


@check(wire=True)
def constructor_asks_nothing(subject: Subject) -> None:
    """The constructor sends nothing."""
    dialect = dialect_of(subject)
    with FaultServer() as server:
        behave(server, dialect)
        _at(subject, server).close()
        server.wait_closed()
        assert server.connections == 0, "the constructor connected to the server"


@check(wire=True)
def key_is_sent_and_hidden(subject: Subject) -> None:
    """The key goes to the server with each request, and shows nowhere, whatever is asked and however it ends."""
    dialect = dialect_of(subject)
    refusal = response(dialect.refusal(f"the key {MARKER} is not known"), "401 Unauthorized")
    with FaultServer() as server:
        places_of(server, dialect)
        server.on(dialect.chat_path, (refusal,))
        with _at(subject, server) as first:
            packages = packages_of(first)
        with SecretWatch(*packages) as watch:
            binding = _at(subject, server)
            things: list[Any] = [binding, binding.get_model_info()]
            asking: list[Any] = [binding.listModels, *(partial(ask, "Why?") for ask in (binding.chat, binding.embed))]
            asking += [partial(ask, "x") for ask in (binding.load_model, binding.tokenize, binding.generate_text)]
            things += map(_result, asking)
            things.append(_result(lambda: asyncio.run(binding.achat("Why?"))))
            binding.close()
            shown = watch.found(*things)
        assert not shown, f"the key shows: {shown[0]}"
        asked = server.asked_at(dialect.chat_path)
        carried = [any(MARKER in value for value in request.headers.values()) for request in asked]
        assert asked, "no request came"
        assert all(carried), "a request went without the key"


def _result(ask: Any) -> Any:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at for the key
        return error


def _at(subject: Subject, server: FaultServer) -> Any:
    """A binding to this server."""
    dialect = dialect_of(subject)
    address = f"{server.url}{dialect.address}"
    return subject.factory(host_address=address, service_key=MARKER, model_name=dialect.model, retries=0)

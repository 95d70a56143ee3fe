"""TLS: a certificate that cannot be trusted gets no key; with one that can be, all is as without TLS."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
import trustme

from lollms_core import AsyncStream, BackendTimeout, BackendUnavailable, Completion, LollmsLLMBinding, ProtocolError
from lollms_core.testing import (
    ENDINGS,
    FAULTS,
    MARKER,
    Dialect,
    Ending,
    Fault,
    FaultServer,
    Held,
    SecretWatch,
    play,
    play_ending,
)
from lollms_core.testing.dialect import TEXT
from lollms_core.testing.endings import When
from lollms_core.testing.fault_server import WAIT
from lollms_core.testing.faults import How
from lollms_core.testing.playing import Factory, Mode, places_of

pytestmark = pytest.mark.faults
Note = Callable[[str, object], None]
MODES: tuple[Mode, ...] = ("sync", "async")
FULL = bool(os.environ.get("LOLLMS_FAULTS"))
OVER_TLS = "reliability: plays over TLS"
YEAR_2000 = datetime(2000, 1, 1, tzinfo=UTC)


class Tls(ssl.SSLContext):
    """A server's side with one certificate, which counts how often it is asked for it."""

    greeted: int

    @classmethod
    def with_certificate(cls, certificate: trustme.LeafCert) -> Tls:
        tls = cls(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(tls)
        tls.greeted = 0

        def count(*_: object) -> None:
            tls.greeted += 1

        tls.sni_callback = count
        return tls


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """One that nobody knows."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def no_authorities_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tls(authority: trustme.CA) -> Tls:
    """A good certificate of that authority."""
    return Tls.with_certificate(authority.issue_cert("127.0.0.1", "peer.invalid"))


@pytest.fixture
def known(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the authority is known."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


def bound(peer: tuple[Dialect, Factory], url: str, **more: Any) -> LollmsLLMBinding:
    dialect, factory = peer
    return factory(host_address=url + dialect.address, service_key=MARKER, model_name=dialect.model, **more)


def answering(server: FaultServer, dialect: Dialect) -> None:
    places_of(server, dialect)
    server.on(dialect.chat_path, lambda asked: (dialect.answer(asked.body),))


def ask(binding: LollmsLLMBinding, mode: Mode, **fields: Any) -> str:
    """The answer's text; afterwards the binding is closed."""
    if mode == "sync":
        with binding:
            return binding.chat("Why?", **fields).text

    async def main() -> str:
        async with binding:
            return (await binding.achat("Why?", **fields)).text

    return asyncio.run(main())


def refusal(peer: tuple[Dialect, Factory], mode: Mode, tls: Tls) -> str:
    """The words by which a server with that certificate is refused, once and before it gets a request."""
    with FaultServer(tls=tls) as server:
        answering(server, peer[0])
        before = Held.now()
        binding = bound(peer, server.url)
        with SecretWatch(type(binding).__module__.partition(".")[0]) as watch:
            with pytest.raises(BackendUnavailable) as caught:
                ask(binding, mode)
        assert server.asked == []
        assert (tls.greeted, watch.retries) == (1, 0)
        assert watch.found(caught.value, binding) == []
        assert before.more() == ""
        words = str(caught.value)
        assert server.url in words
    assert "\n" not in words
    return words


@pytest.mark.parametrize("mode", MODES)
def test_an_authority_that_nobody_knows(mode: Mode, peer: tuple[Dialect, Factory], tls: Tls) -> None:
    words = refusal(peer, mode, tls)
    assert "its TLS certificate is not trusted (" in words
    assert "SSL_CERT_FILE" in words
    assert "verify_ssl_certificate=False" in words


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("mode", MODES)
def test_a_certificate_of_another_host(mode: Mode, peer: tuple[Dialect, Factory], authority: trustme.CA) -> None:
    words = refusal(peer, mode, Tls.with_certificate(authority.issue_cert("127.0.0.2", "other.invalid")))
    assert "is not trusted (IP address mismatch, certificate is not valid for '127.0.0.1'): " in words
    assert "verify_ssl_certificate=False" in words


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("mode", MODES)
def test_an_expired_certificate(mode: Mode, peer: tuple[Dialect, Factory], authority: trustme.CA) -> None:
    words = refusal(peer, mode, Tls.with_certificate(authority.issue_cert("127.0.0.1", not_after=YEAR_2000)))
    assert "is not trusted (certificate has expired): " in words
    assert "verify_ssl_certificate=False" in words


@pytest.mark.parametrize("mode", MODES)
def test_without_the_check_it_answers_and_that_is_told(
    mode: Mode, peer: tuple[Dialect, Factory], tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultServer(tls=tls) as server, caplog.at_level(logging.WARNING):
        answering(server, peer[0])
        before = Held.now()
        assert ask(bound(peer, server.url, verify_ssl_certificate=False), mode) == TEXT
        server.wait_closed()
        assert before.more() == ""
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert server.url in warning
    assert "certificate" in warning


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("mode", MODES)
def test_with_its_authority_known_it_answers_without_a_word(
    mode: Mode, peer: tuple[Dialect, Factory], tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultServer(tls=tls) as server, caplog.at_level(logging.WARNING):
        answering(server, peer[0])
        before = Held.now()
        assert ask(bound(peer, server.url), mode) == TEXT
        server.wait_closed()
        assert before.more() == ""
    assert caplog.records == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read(
    mode: Mode,
    content: str | None,
    peer: tuple[Dialect, Factory],
    tls: Tls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SSL_CERT_FILE is mistyped, or names another kind of file."""
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with FaultServer(tls=tls) as server:
        with pytest.raises(BackendUnavailable, match=r"cannot be read \(SSL_CERT_FILE=.*authority.pem\): ") as caught:
            ask(bound(peer, server.url), mode)
        assert server.url in str(caught.value)
        assert tls.greeted == 0
    with FaultServer() as plain:
        answering(plain, peer[0])
        assert ask(bound(peer, plain.url), mode) == TEXT  # where there is no TLS it does not matter


@pytest.mark.parametrize("mode", MODES)
def test_a_server_without_tls(mode: Mode, peer: tuple[Dialect, Factory]) -> None:
    with FaultServer(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        with pytest.raises(ProtocolError, match="does not speak TLS there") as caught:
            ask(bound(peer, server.url.replace("http:", "https:")), mode)
        assert f"https://127.0.0.1:{server.port}" in str(caught.value)


class Mute:
    """A server that takes a connection and the beginning of its TLS handshake, and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self.greeted, self.left = threading.Event(), threading.Event()

    def _serve(self) -> None:
        peer, _ = self._socket.accept()
        with peer:
            while peer.recv(65536):
                self.greeted.set()
        self.left.set()

    def __enter__(self) -> Self:
        self._socket.settimeout(WAIT)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(WAIT)
        self._socket.close()


def read_until_cancelled(binding: LollmsLLMBinding, mode: Mode, mute: Mute) -> Completion:
    """What is left of a stream that another thread cancels during the handshake."""
    stream = binding.stream("Why?") if mode == "sync" else binding.astream("Why?")

    def other() -> None:
        mute.greeted.wait(WAIT)
        stream.cancel()

    async def read() -> None:
        assert isinstance(stream, AsyncStream)
        async with binding:
            assert [event async for event in stream] == []

    thread = threading.Thread(target=other)
    thread.start()
    try:
        if isinstance(stream, AsyncStream):
            asyncio.run(read())
        else:
            with binding:
                assert list(stream) == []
    finally:
        thread.join(WAIT)
    return stream.completion


@pytest.mark.timeout(30, method="thread")
@pytest.mark.parametrize("mode", MODES)
def test_cancel_during_the_handshake(mode: Mode, peer: tuple[Dialect, Factory]) -> None:
    before = Held.now()
    with Mute() as mute:
        completion = read_until_cancelled(bound(peer, mute.url, connect_timeout=600), mode, mute)
        assert completion.finish_reason == "cancelled"
        assert mute.left.wait(WAIT)
    assert before.more() == ""


@pytest.mark.timeout(30, method="thread")
@pytest.mark.parametrize("mode", MODES)
def test_the_deadline_ends_the_handshake(mode: Mode, peer: tuple[Dialect, Factory]) -> None:
    before = Held.now()
    with Mute() as mute:
        with pytest.raises(BackendTimeout, match=r"longer than the deadline of 0\.3 s"):
            ask(bound(peer, mute.url, connect_timeout=600), mode, deadline=0.3)
        assert mute.left.wait(WAIT)
    assert before.more() == ""


ROWS = [pytest.param(fault, how, id=f"{fault.name}-{how}") for fault in FAULTS for how in fault.hows]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("fault", "how"), ROWS if FULL else ROWS[::9])
def test_row(
    fault: Fault, how: How, mode: Mode, peer: tuple[Dialect, Factory], tls: Tls, record_property: Note
) -> None:
    report = play(fault, *peer, how, mode, tls=tls)
    if report is not None:
        record_property("requests", report.requests)
        record_property(OVER_TLS, 1)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("ending", "when", "mode"),
    [
        pytest.param(ending, when, mode, id=f"{ending.name}-{when}-{mode}")
        for ending in ENDINGS
        for when in ending.whens
        for mode in MODES
        if ending.has(mode)
    ],
)
def test_ending(
    ending: Ending, when: When, mode: Mode, peer: tuple[Dialect, Factory], tls: Tls, record_property: Note
) -> None:
    report = play_ending(ending, *peer, when, mode, tls=tls)
    record_property("requests", report.requests)
    record_property("closed after", report.closed_after)
    record_property(OVER_TLS, 1)

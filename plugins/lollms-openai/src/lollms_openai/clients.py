"""The openai package's clients of one binding: one for all threads, and one for each event loop.

The package is imported by the first request. Its own retries are switched off, because
:mod:`lollms_core.retry` does them for every binding alike; redirects are not followed, so that no key travels
to another host.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lollms_core import BackendUnavailable
from lollms_core.failures import no_certificates
from lollms_core.forks import forget_in_child
from lollms_core.redaction import LogGuard
from lollms_openai.server import Server

if TYPE_CHECKING:
    import ssl

    import openai

__all__ = ["Clients", "request_options"]

# Who prints what a server sends; asyncio does not.
_LOGGERS: Final = (
    "openai",
    *(f"openai.{name}" for name in ("_base_client", "_response", "_legacy_response")),
    "httpx2",
    *(f"httpcore2.{name}" for name in ("connection", "http11", "http2", "proxy", "socks")),
)
# The package refuses to work without a key; this one never leaves the process.
_PLACEHOLDER: Final = "no-key-needed"


@dataclass(slots=True)
class _AsyncClient:
    client: openai.AsyncOpenAI
    guard: AsyncGenerator[None, None]


class Clients:
    """The clients for one server, made when they are first needed."""

    def __init__(self, server: Server, who: str) -> None:
        self._server = server
        self._who = who
        self._lock = threading.Lock()
        self._closed = False
        self._guard: LogGuard | None = None
        self._sync: openai.OpenAI | None = None
        self._users = 0
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _AsyncClient] = weakref.WeakKeyDictionary()
        forget_in_child(self)

    def forget_connections(self) -> None:
        """See :class:`~lollms_core.forks.ForgetsInChild`."""
        self._lock = threading.Lock()
        self._sync = None
        self._users = 0
        self._async = weakref.WeakKeyDictionary()

    @contextlib.contextmanager
    def sync(self) -> Iterator[openai.OpenAI]:
        """The client for threads, which stays open inside, also when the binding is closed meanwhile.

        Raises:
            BackendUnavailable: the binding is closed.
        """
        with self._lock:
            self._ensure_open()
            if self._sync is None:
                self._watch_logs()
                self._sync = _sync_client(self._server)
                # For a binding that nobody closes; also at the interpreter's end.
                weakref.finalize(self, self._sync.close)
            client = self._sync
            self._users += 1
        try:
            yield client
        finally:
            with self._lock:
                self._users -= 1
                last = self._closed and not self._users
            if last:
                client.close()
                self._leave_logs()

    async def here(self) -> openai.AsyncOpenAI:
        """The client for the running loop.

        Raises:
            BackendUnavailable: the binding is closed.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._ensure_open()
            found = self._async.get(loop)
            self._watch_logs()
        if found is None:
            client = _async_client(self._server)
            found = _AsyncClient(client, _closes_with_the_loop(client))
            # Nothing below waits, so no other task of this loop comes in between.
            await anext(found.guard)
            with self._lock:
                self._async[loop] = found
        return found.client

    def close(self) -> None:
        """Close all clients; those of other loops by a task there."""
        with self._lock:
            self._closed = True
            # Closing a socket under a thread that reads it would give its number to the next file that is opened.
            client = None if self._users else self._sync
            others = list(self._async.items())
            self._async.clear()
            used = bool(self._users)
        if client is not None:
            client.close()
        if not used:
            self._leave_logs()
        for loop, one in others:
            try:
                loop.call_soon_threadsafe(_close_there, loop, one)
            except RuntimeError:
                # That loop is closed, and what it held with it.
                continue

    async def aclose(self) -> None:
        """:meth:`close`, and wait for what belongs to the running loop."""
        with self._lock:
            self._closed = True
            mine = self._async.pop(asyncio.get_running_loop(), None)
        if mine is not None:
            await mine.guard.aclose()
        self.close()

    def _watch_logs(self) -> None:
        """Keep the keys out of other packages' records from now on; under the lock."""
        if self._guard is None:
            self._guard = LogGuard(self._server.redaction, _LOGGERS)
            weakref.finalize(self, self._guard.close)

    def _leave_logs(self) -> None:
        if self._guard is not None:
            self._guard.close()

    def _ensure_open(self) -> None:
        if self._closed:
            raise BackendUnavailable(f"{self._who} is closed; create a new one")


async def _closes_with_the_loop(client: openai.AsyncOpenAI) -> AsyncGenerator[None, None]:
    """Closes `client` when its loop ends: asyncio.run closes the generators that are still open there."""
    try:
        yield
    finally:
        await client.close()


def _close_there(loop: asyncio.AbstractEventLoop, one: _AsyncClient) -> None:
    task = loop.create_task(one.guard.aclose())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


# A loop holds its tasks weakly.
_closing: set[asyncio.Task[None]] = set()


def request_options(server: Server, *, idle: float, connect: float) -> Any:
    """What the package's ``post`` and ``get`` need to give us the response unread, within these seconds.

    The first header is that of the package's own ``with_streaming_response``.
    """
    import httpx2
    from openai import Omit

    headers: dict[str, Any] = {"X-Stainless-Raw-Response": "stream"}
    if server.key is None and not any(name.lower() == "authorization" for name in server.headers):
        headers["Authorization"] = Omit()
    return {"headers": headers, "timeout": httpx2.Timeout(idle, connect=connect, pool=None)}


@contextlib.contextmanager
def _naming_the_proxy(server: Server) -> Iterator[None]:
    """Say so where the proxy's URL is none, or of a kind that takes a package which is not there (SOCKS)."""
    import httpx2

    try:
        yield
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        if server.proxy is None:
            raise
        why = server.redaction.text(str(error))
        raise BackendUnavailable(f"{server.who}: the proxy that is set for it cannot be used: {why}") from None


def _sync_client(server: Server) -> openai.OpenAI:
    import httpx2
    import openai

    from lollms_openai.refusals import refused
    from lollms_openai.transport import LineTransport

    with _naming_the_proxy(server):
        transport = LineTransport(_context(server), server.proxy)
    http = httpx2.Client(
        transport=transport, follow_redirects=False, event_hooks={"response": [partial(refused, server.redaction)]}
    )
    return openai.OpenAI(**_arguments(server), http_client=http)


def _async_client(server: Server) -> openai.AsyncOpenAI:
    import httpx2
    import openai

    from lollms_openai.async_transport import AsyncTransport
    from lollms_openai.refusals import arefused

    with _naming_the_proxy(server):
        transport = AsyncTransport(_context(server), server.proxy)
    http = httpx2.AsyncClient(
        transport=transport, follow_redirects=False, event_hooks={"response": [partial(arefused, server.redaction)]}
    )
    return openai.AsyncOpenAI(**_arguments(server), http_client=http)


def _arguments(server: Server) -> dict[str, Any]:
    return {
        "api_key": server.key.reveal() if server.key is not None else _PLACEHOLDER,
        "admin_api_key": "",
        "base_url": server.base,
        "organization": server.organization,
        "project": server.project,
        "max_retries": 0,
        "default_headers": _headers(server),
    }


def _headers(server: Server) -> dict[str, Any]:
    """The headers beside the package's own.

    The package reads OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS whatever the address is; what
    is meant for OpenAI must not go to others.
    """
    from openai import Omit

    headers: dict[str, Any] = {}
    if not server.has_openais_headers:
        lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
        headers = {line.partition(":")[0].strip(): Omit() for line in lines if ":" in line}
        if server.organization is None:
            headers["OpenAI-Organization"] = Omit()
        if server.project is None:
            headers["OpenAI-Project"] = Omit()
    return {**headers, **{name: value.reveal() for name, value in server.headers.items()}}


def _context(server: Server) -> ssl.SSLContext | None:
    import httpx2

    if not server.base.startswith("https:"):
        return None
    try:
        return httpx2.create_ssl_context(verify=server.verify)
    except OSError as error:
        raise no_certificates(error, who=server.who) from error

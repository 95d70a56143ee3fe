"""Does what operations ask for, in threads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Self, TypeVar

from lollms_core import BackendTimeout, ProtocolError, StreamInterrupted
from lollms_core.control import Control
from lollms_core.failures import in_answer
from lollms_openai.clients import Clients, request_options
from lollms_openai.exchange import Answer, Ask, Effect, Operation, Pause, Read
from lollms_openai.limits import Limits
from lollms_openai.server import Server

if TYPE_CHECKING:
    import httpx2
    import openai

    from lollms_openai.transport import Line

__all__ = ["SyncSide", "run_all"]

_T = TypeVar("_T")


class SyncSide:
    """One operation, and what is then to be read; a context manager.

    Args:
        clients: where the client comes from.
        server: whom it talks to.
        control: ends it from any thread; None if nothing does.
        limits: what all of it together may take.

    Errors leave it without the server's key, also in the locals of its frames.
    """

    def __init__(self, clients: Clients, server: Server, limits: Limits, control: Control | None = None) -> None:
        from lollms_openai.transport import Line

        self._clients = clients
        self._server = server
        self._limits = limits
        self._line: Line = Line(limits.until)
        self._forget = control.on_cancel(self._line.cut) if control is not None else None
        self._open = contextlib.ExitStack()
        self._client: openai.OpenAI | None = None
        self._response: httpx2.Response | None = None
        self._idle = limits.idle
        self._received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if self._forget is not None:
            self._forget()
        with self._open:
            self._close_response()
        if isinstance(exc, Exception):
            self._server.redaction.error(exc)

    def run(self, operation: Operation[_T]) -> _T:
        """The operation's result.

        Raises:
            LollmsError: what the operation raises.
        """
        try:
            effect = next(operation)
            while True:
                try:
                    result = self._do(effect)
                except Exception as exc:  # noqa: BLE001 - the operation judges it
                    effect = operation.throw(exc)
                else:
                    effect = operation.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            operation.close()

    def pieces(self, who: str) -> Iterator[bytes]:
        """The bytes of the last answer's body as they come.

        Raises:
            BackendTimeout, StreamInterrupted, ProtocolError: reading failed.
        """
        import httpx2

        assert self._response is not None
        try:
            for piece in self._response.iter_bytes():
                self._check()
                self._received += len(piece)
                if self._received > self._limits.size:
                    raise ProtocolError(f"{who} sent more than {self._limits.size} bytes (max_response_bytes)")
                yield piece
        except (httpx2.TransportError, httpx2.DecodingError) as exc:
            self._check()
            raise in_answer(exc, who=who, idle=self._idle) from exc

    def hurry(self, seconds: float) -> None:
        """What is still to be read is worth waiting so long, not longer."""
        until = time.monotonic() + seconds
        self._line.until = until if self._line.until is None else min(self._line.until, until)

    def _do(self, effect: Effect) -> Answer | bytes | None:
        self._check()
        if isinstance(effect, Ask):
            return self._send(effect)
        if isinstance(effect, Read):
            return self._read(effect.limit)
        self._line.wait(self._pause(effect))
        self._check()
        return None

    def _pause(self, pause: Pause) -> float:
        until = self._line.until
        return pause.seconds if until is None else min(pause.seconds, max(0.0, until - time.monotonic()))

    def _send(self, ask: Ask) -> Answer:
        import httpx2
        import openai

        from lollms_openai.refusals import RefusedError, no_answer

        self._close_response()
        self._idle, self._received = min(ask.idle, self._limits.idle), 0
        client = self._client
        if client is None:
            client = self._client = self._open.enter_context(self._clients.sync())
        times = {"idle": self._idle, "connect": self._limits.connect}
        options = request_options(self._server, **times)
        try:
            with self._line.in_use():
                if ask.method == "GET":
                    response = client.get(ask.path, cast_to=httpx2.Response, options=options)
                else:
                    response = client.post(ask.path, cast_to=httpx2.Response, body=ask.body, options=options)
        except RefusedError as exc:
            return exc.answer
        except (openai.OpenAIError, httpx2.TransportError) as exc:
            self._check()
            failure = no_answer(exc, self._server.redaction, who=ask.who(self._server), **times)
            raise failure from failure.__cause__
        self._response = response
        return Answer(response.status_code, self._server.redaction.headers(response.headers))

    def _read(self, limit: int | None) -> bytes:
        body = bytearray()
        for piece in self.pieces(self._server.who):
            body += piece
            if limit is not None and len(body) > limit:
                raise ProtocolError(f"{self._server.who} sent an answer of more than {limit} bytes")
        return bytes(body)

    def _check(self) -> None:
        if self._line.is_cut:
            raise StreamInterrupted(f"the request to {self._server.who} was cancelled")
        if self._limits.deadline is not None and self._line.is_late:
            raise BackendTimeout(f"{self._server.who} took longer than the deadline of {self._limits.deadline:g} s")

    def _close_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            with contextlib.suppress(OSError):
                response.close()


def run_all(
    clients: Clients,
    server: Server,
    limits: Limits,
    control: Control,
    operations: Sequence[Operation[_T]],
    at_once: int,
) -> list[_T]:
    """The operations' results in their order, at most `at_once` of them under way at the same time.

    The first that fails ends the others, and so does `control`.

    Raises:
        LollmsError: what that one raises.
    """
    inner = Control()
    forget = control.on_cancel(inner.cancel)

    def run(operation: Operation[_T]) -> _T:
        with SyncSide(clients, server, limits, inner) as side:
            return side.run(operation)

    try:
        if min(at_once, len(operations)) == 1:
            return [run(operation) for operation in operations]
        with ThreadPoolExecutor(min(at_once, len(operations)), "lollms-openai-embed") as pool:
            futures = [pool.submit(run, operation) for operation in operations]
            try:
                # As they come, so that it is the first failure that is raised.
                for future in as_completed(futures):
                    future.result()
            finally:
                # Also after an interrupt here: the pool waits for its threads.
                inner.cancel()
                for future in futures:
                    future.cancel()
        return [future.result() for future in futures]
    finally:
        forget()

"""Streams of a model that is being fetched: how far it is, for a ``for`` or an ``async for``."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from lollms_core.control import Control
from lollms_core.events import Progress
from lollms_core.generation import as_backend_error, close_events

__all__ = ["AsyncPullStream", "ProgressCallback", "PullStream"]

ProgressCallback = Callable[[Progress], Any]
"""``callback(progress) -> bool | None``; only a returned False stops."""


class _Base:
    """What both kinds have: single use, an end from any thread, and the last news.

    Args:
        control: ends it.
        begins: called when it is first read; raises if it must not be.
        ends: called once, last.
        progress: gets what is read as well.
    """

    def __init__(
        self,
        control: Control,
        begins: Callable[[], object],
        ends: Callable[[], object],
        progress: ProgressCallback | None,
    ) -> None:
        self._control = control
        self._begins = begins
        self._ends = ends
        self._progress = progress
        self._used = False
        self._whole = False  # it was read to its end
        self.last: Progress | None = None
        """What was read last."""

    @property
    def cancelled(self) -> bool:
        """Whether it was ended before its end."""
        return self._control.cancelled

    def cancel(self) -> None:
        """Stop fetching, from any thread; the iterator then ends, without an error."""
        if not self._whole:
            self._control.cancel()

    def _use(self) -> None:
        if self._used:
            raise RuntimeError("a pull can be read only once; call pull() again")
        self._used = True

    def _judge(self, exc: Exception) -> None:
        """Raise what the reader gets for `exc`: nothing, if it broke because the reader ended it."""
        if not self.cancelled:
            raise as_backend_error(exc) from exc.__cause__

    def _take(self, progress: Progress) -> Progress:
        self.last = progress
        return progress


class PullStream(_Base):
    """The progress of one pull. Nothing is fetched before it is read; leaving the loop ends it."""

    def __init__(self, source: Callable[[Control], Iterable[Progress]], *args: Any) -> None:
        super().__init__(*args)
        self._source = source

    def __iter__(self) -> Iterator[Progress]:
        self._use()
        return self._events()

    def _events(self) -> Iterator[Progress]:
        self._begins()
        events: Iterable[Progress] = ()
        over = False
        try:
            events = self._source(self._control)
            for progress in events:
                if self._control.cancelled:
                    break
                yield self._take(progress)
            over = True
            self._whole = not self.cancelled
        except Exception as exc:  # noqa: BLE001 - judged below
            over = True
            self._judge(exc)
        finally:
            if not over:
                self.cancel()  # the reader has left
            close_events(events)
            self._ends()

    def wait(self) -> Self:
        """Read to the end, the callback getting what comes."""
        events = iter(self)
        try:
            for progress in events:
                if self._progress is not None and self._progress(progress) is False:
                    self.cancel()
        finally:
            close_events(events)
        return self

    def close(self) -> None:
        """Stop fetching."""
        self._used = True
        self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncPullStream(_Base):
    """The async twin: ``async for`` to read it, ``await`` to read it to its end."""

    def __init__(self, source: Callable[[Control], AsyncIterable[Progress]], *args: Any) -> None:
        super().__init__(*args)
        self._source = source

    def __aiter__(self) -> AsyncIterator[Progress]:
        self._use()
        return self._events()

    async def _events(self) -> AsyncIterator[Progress]:
        from lollms_core.async_generation import CancellableWait

        self._begins()
        wait = CancellableWait(self._control)
        over = False
        try:
            events = aiter(self._source(self._control))
            try:
                while (progress := await wait.next(events)) is not None:
                    yield self._take(progress)
            finally:
                aclose = getattr(events, "aclose", None)
                if aclose is not None:
                    await aclose()
            over = True
            self._whole = not self.cancelled
        except Exception as exc:  # noqa: BLE001 - judged below
            over = True
            self._judge(exc)
        finally:
            wait.forget()
            if not over:
                self.cancel()
            self._ends()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._wait().__await__()

    async def _wait(self) -> Self:
        import inspect
        from contextlib import aclosing

        async with aclosing(aiter(self)) as events:  # type: ignore[type-var]
            async for progress in events:
                if self._progress is None:
                    continue
                more = self._progress(progress)
                if inspect.isawaitable(more):
                    more = await more
                if more is False:
                    self.cancel()
        return self

    async def aclose(self) -> None:
        """Stop fetching."""
        self._used = True
        self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

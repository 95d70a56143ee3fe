"""Streams: the events of one generation, as they come, for a ``for`` or an ``async for``."""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Self

from lollms_core.events import Completion, Event, TextDelta
from lollms_core.generation import Generation

__all__ = ["AsyncStream", "Stream"]


class _Base:
    """What both kinds have: single use, and the result."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._used = False

    @property
    def completion(self) -> Completion:
        """The result, partial while the stream runs or if it was left, whole afterwards.

        Its ``finish_reason`` is None until the generation has ended.
        """
        return self._generation.completion

    def cancel(self) -> None:
        """End this request, from any thread; its iterator then ends, without an error."""
        self._generation.request.control.cancel()

    def _use(self) -> None:
        if self._used:
            raise RuntimeError("a stream can be read only once; call stream() again for a new answer")
        self._used = True


class Stream(_Base):
    """The events of one generation. It connects at the first event, and is read only once.

    The iterator belongs to the loop that reads it, so leaving the loop closes the backend's stream even
    while the Stream itself is held.
    """

    def __init__(self, generation: Generation, events: Callable[[], Iterator[Event]]) -> None:
        super().__init__(generation)
        self._events = events
        self._iterator: weakref.ref[Iterator[Event]] | None = None

    def __iter__(self) -> Iterator[Event]:
        self._use()
        iterator = self._events()
        self._iterator = weakref.ref(iterator)
        return iterator

    @property
    def text_stream(self) -> Iterator[str]:
        """The pieces of the answer's text alone; reading it uses the stream."""
        return _texts(iter(self))

    def close(self) -> None:
        """End the request, from any thread, and the backend's stream with it; the text so far stays.

        Where another thread reads it, that one's loop ends, without an error, at its next step.
        """
        self._used = True
        self.cancel()
        reader = self._generation.reader
        if reader is not None and reader is not threading.current_thread() and reader.is_alive():
            # Closing the iterator here would be an error there, if it asks for an event meanwhile.
            return
        iterator = self._iterator() if self._iterator is not None else None
        if iterator is not None:
            try:
                iterator.close()  # type: ignore[attr-defined]  # a generator
            except ValueError:
                # It runs in another thread at this moment, and ends there because of the cancel.
                return
        self._generation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _texts(events: Iterator[Event]) -> Iterator[str]:
    try:
        for event in events:
            if isinstance(event, TextDelta):
                yield event.text
    finally:
        events.close()  # type: ignore[attr-defined]  # a generator


class AsyncStream(_Base):
    """The async twin of :class:`Stream`: ``async for``, ``async with``, ``aclose()``."""

    def __init__(self, generation: Generation, events: Callable[[], AsyncIterator[Event]]) -> None:
        super().__init__(generation)
        self._events = events
        self._reading: weakref.ref[_Reading] | None = None

    def __aiter__(self) -> AsyncIterator[Event]:
        self._use()
        reading = _Reading(self._events())
        self._reading = weakref.ref(reading)
        return reading

    @property
    def text_stream(self) -> AsyncIterator[str]:
        """The pieces of the answer's text alone; reading it uses the stream."""
        return _atexts(aiter(self))

    async def aclose(self) -> None:
        """End the request and the backend's stream with it; the text so far stays.

        Where another task reads it, that one's loop ends, without an error, at its next step.
        """
        self._used = True
        self.cancel()
        reading = self._reading() if self._reading is not None else None
        if reading is not None:
            try:
                await reading.aclose()
            except RuntimeError:
                # Another task reads it at this moment, and it ends there because of the cancel.
                return
        self._generation.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class _Reading(AsyncIterator[Event]):
    """The iterator of one reader, who may ask on while another task closes it: it has ended then."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        # apull's generator, typed as what readers see of it
        self._generator: AsyncGenerator[Event, None] = events  # type: ignore[assignment]
        self._closing = False

    def __anext__(self) -> Awaitable[Event]:
        return _ended() if self._closing else self._generator.__anext__()

    async def aclose(self) -> None:
        self._closing = True
        await self._generator.aclose()


async def _ended() -> Event:
    raise StopAsyncIteration


async def _atexts(events: AsyncIterator[Event]) -> AsyncIterator[str]:
    try:
        async for event in events:
            if isinstance(event, TextDelta):
                yield event.text
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # an async generator

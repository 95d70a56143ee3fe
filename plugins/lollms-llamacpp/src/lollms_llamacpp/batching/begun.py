"""An answer that has been begun, and how its reader gets it: in a thread, or in an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import TYPE_CHECKING

from lollms_core import Event, Finish, GenerationRequest
from lollms_llamacpp.batching.answer import Answer
from lollms_llamacpp.batching.scheduler import Scheduler
from lollms_llamacpp.reading import AnswerReader

if TYPE_CHECKING:
    from lollms_llamacpp.batching.waking import Wakeup

__all__ = ["Begun"]


class Begun:
    """An answer in the hands of the scheduler. Whoever has it reads it or calls :meth:`leave`.

    Args:
        scheduler: that computes it.
        answer: that answer, which has been submitted.
        request: ends it when it is cancelled.
        reader: makes the caller's events of its own.
        model_name: stands in the Finish of an answer that was not the caller's to end.
    """

    def __init__(
        self, scheduler: Scheduler, answer: Answer, request: GenerationRequest, reader: AnswerReader, model_name: str
    ) -> None:
        self._scheduler = scheduler
        self._answer = answer
        self._request = request
        self._reader = reader
        self._model_name = model_name

    def leave(self) -> None:
        """It is wanted no more; from any thread, and more than once."""
        self._scheduler.leave(self._answer)

    def events(self) -> Generator[Event, None, None]:
        """The events; each is waited for."""
        forget: Callable[[], object] = _nothing
        try:
            forget = self._request.on_cancel(self.leave)
            while (news := self._answer.read()) is not None:
                yield from self._fed(news)
            yield from self._end()
        finally:
            forget()
            self.leave()

    async def aevents(self, wakeup: Wakeup) -> AsyncGenerator[Event, None]:
        """The same for the event loop that `wakeup` wakes; the answer must have been begun with it."""
        forget: Callable[[], object] = _nothing
        try:
            forget = self._request.on_cancel(self.leave)
            over = False
            while not over:
                await wakeup.wait()
                for news in self._answer.read_all():
                    over = news is None
                    for event in self._end() if news is None else self._fed(news):
                        yield event
        finally:
            forget()
            self.leave()

    def _fed(self, news: list[Event]) -> Iterator[Event]:
        for event in news:
            if self._request.cancelled:
                return
            yield from self._reader.feed(event)

    def _end(self) -> Iterator[Event]:
        answer = self._answer
        if self._request.cancelled:
            return
        if answer.error is not None:
            raise answer.error
        if not answer.finished:
            # Not the caller has ended it, but a change of the model.
            yield from self._reader.feed(Finish("cancelled", model=self._model_name))


def _nothing() -> None:
    """Stands for what a request gives before it is asked to tell of its cancelling."""

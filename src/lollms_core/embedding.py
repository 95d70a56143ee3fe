"""One embedding request without I/O, and its two drivers: the small sister of :mod:`generation`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sized
from typing import Any

from lollms_core.errors import LollmsError, ProtocolError, StreamInterrupted
from lollms_core.generation import MAX_RETRIES
from lollms_core.middleware import Chain, Retry
from lollms_core.request import EmbedRequest

__all__ = ["Embedding", "aembed_through", "embed_keywords", "embed_through", "subject_of", "vectors_of"]

Vectors = list[list[float]]


class Embedding:
    """The state of one embedding request; see :class:`~lollms_core.generation.Generation`."""

    def __init__(
        self,
        request: EmbedRequest,
        begins: Callable[[EmbedRequest], Chain | None],
        *,
        translate: Callable[[Exception], Exception],
        on_end: Callable[[], object],
    ) -> None:
        self.request = request
        self._begins = begins
        self._chain: Chain | None = None
        self._translate = translate
        self._on_end = on_end
        self._answer: Vectors | None = None
        self._begun = self._ended = False
        self._retries = 0

    def begin(self) -> Vectors | None:
        """Start, or start again; the vectors of a middleware that answers in the backend's place, else None."""
        if not self._begun:
            self._begun = True
            self._chain = self._begins(self.request)
            if self._chain is not None:
                self.request, self._answer = self._chain.on_request(self.request)
        return self._answer

    def done(self, vectors: Any) -> Vectors:
        """The vectors, one for each text.

        Raises:
            ProtocolError: the backend gave another number of them, or of another size than was asked for.
        """
        if not isinstance(vectors, list) or len(vectors) != len(self.request.texts):
            got = len(vectors) if isinstance(vectors, list) else type(vectors).__name__
            raise ProtocolError(f"the backend answered {len(self.request.texts)} texts with {got} vectors")
        sizes = {len(vector) if isinstance(vector, Sized) else 0 for vector in vectors}
        if 0 in sizes or len(sizes) > 1:
            raise ProtocolError("the backend answered with vectors of different or no size")
        if sizes and self.request.dimensions not in {None, *sizes}:
            raise ProtocolError(
                f"the backend answered with vectors of {sizes.pop()} numbers, "
                f"where {self.request.dimensions} were asked for (dimensions)"
            )
        self._end(None)
        return vectors

    def failed(self, exc: Exception) -> None:
        """Return to start again, or raise what the caller gets.

        Raises:
            StreamInterrupted: the request was cancelled, whatever broke because of that.
            Exception: what `exc` is for the caller.
        """
        if self.request.cancelled:
            error: Exception = StreamInterrupted("the request was cancelled before its vectors had come")
            self._end(error)
            raise error from exc
        error = self._translate(exc)
        if self._chain is not None:
            try:
                verdict = self._chain.on_error(error, self._retries < MAX_RETRIES)
            except LollmsError as refused:
                verdict = refused
            if isinstance(verdict, Retry):
                self._retries += 1
                if isinstance(verdict.request, EmbedRequest):
                    self.request = verdict.request.replace(control=self.request.control)
                self._answer = None
                return
            error = verdict
        self._end(error)
        raise error

    def close(self) -> None:
        """The caller has left; nothing if the request has ended already."""
        if not self._ended:
            self.request.control.cancel()
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        self._ended = True
        try:
            if self._chain is not None:
                self._chain.on_finish(lambda: None, error)
        finally:
            self._on_end()


def embed_through(embedding: Embedding, compute: Callable[[EmbedRequest], Any]) -> Vectors:
    """The vectors that `compute`, or a middleware in its place, gives."""
    try:
        while True:
            try:
                answer = embedding.begin()
                return embedding.done(compute(embedding.request) if answer is None else answer)
            except Exception as exc:
                embedding.failed(exc)
    finally:
        embedding.close()


async def aembed_through(embedding: Embedding, compute: Callable[[EmbedRequest], Awaitable[Any]]) -> Vectors:
    """The async twin of :func:`embed_through`; cancelling the request ends what `compute` does."""
    from lollms_core.async_generation import CancellableWait

    wait = CancellableWait(embedding.request)
    try:
        while True:
            try:
                answer = embedding.begin()
                if answer is None:
                    answer = await wait.result(compute(embedding.request))
                return embedding.done(answer)
            except Exception as exc:
                embedding.failed(exc)
    finally:
        wait.forget()
        embedding.close()


def subject_of(text: str | list[str], request: EmbedRequest) -> str | list[str]:
    """The texts of `request` in the form in which the caller gave them: one str, or a list."""
    return request.texts[0] if isinstance(text, str) else list(request.texts)


def vectors_of(text: str | list[str], result: Any) -> Any:
    """What a method in the contract's form returned for `text`, as a list of vectors."""
    return [result] if isinstance(text, str) else result


def embed_keywords(request: EmbedRequest) -> dict[str, Any]:
    """The keywords beside the text that ``embed`` is called with."""
    keywords = dict(request.options)
    if request.model is not None:
        keywords["model"] = request.model
    if request.dimensions is not None:
        keywords["dimensions"] = request.dimensions
    return keywords

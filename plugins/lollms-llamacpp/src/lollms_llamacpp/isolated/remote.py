"""The engine in a process of its own, with the surface of the one in this process."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar, Final

from lollms_core import BackendError, BadRequest, EmbedRequest, Event, Finish, GenerationRequest, ProtocolError
from lollms_core.forks import forget_in_child
from lollms_llamacpp.isolated.process import ENDED, PATIENCE, Answer, Call, Child, Ended, Failure, News
from lollms_llamacpp.isolated.wire import embedding_out, request_out, tokens_in, tokens_out, vectors_in
from lollms_llamacpp.model_file import ModelFile
from lollms_llamacpp.native import ClosedError
from lollms_llamacpp.options import LoadOptions

__all__ = ["RemoteEngine"]

_GoOn = Callable[[], bool]

_A_LOOK = 0.05  # seconds between two questions whether a loading is still wanted
_CHECK_SECONDS: Final = 5.0


class _Loading:
    """A model's loading, for all who wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.news: News = ENDED

    def put(self, news: News) -> None:
        self.news = news
        self.done.set()


class RemoteEngine:
    """A model in the memory of a child process; if that dies, the next request starts another.

    Args:
        name: the name that the model is known by.
        file: the model's file.
        options: how to load it.
        chat_template: used in place of the file's own.
        mmproj: a projector, by which the model sees images.
        go_on: asked during the loading; False ends it.

    Raises:
        CapabilityNotSupported: here no child process can be started.
        BackendUnavailable: the system cannot start one, or there is no llama.cpp.
        BackendCrashed: it died while it loaded the model.
        BackendError: the file is none, or llama.cpp cannot load it.
        ValueError: the model cannot have so large a context.
    """

    module: ClassVar[str] = "lollms_llamacpp.isolated.child"
    """What the child runs."""

    def __init__(
        self,
        name: str,
        file: ModelFile,
        options: LoadOptions,
        *,
        chat_template: str | None = None,
        mmproj: Path | None = None,
        go_on: _GoOn | None = None,
    ) -> None:
        self.name = name
        self.file = file
        self.options = options
        self._load: Mapping[str, Any] = {
            "name": name,
            "path": file.path,
            "options": dataclasses.asdict(options),
            "chat_template": chat_template,
            "mmproj": mmproj,
        }
        self._facts: Mapping[str, Any] = {}
        # Reentrant: a generator that the garbage collector ends may come here in the midst of our own bookkeeping.
        self._lock = threading.RLock()
        self._child: Child | None = None
        self._loading = _Loading()
        self._forgotten: weakref.finalize[..., Any] | None = None
        self._uses: set[object] = set()
        self._closed = self._retired = self._failed = False
        forget_in_child(self)
        _engines.add(self)
        try:
            if self._ready(go_on) is None:
                raise BackendError(f"the loading of {file.path} was ended")
        except BaseException:
            self.close()
            raise

    # What it is -----------------------------------------------------------------------------------------------

    @property
    def ctx_size(self) -> int:
        """Tokens of its context."""
        return int(self._facts["ctx_size"])

    @property
    def sampling_defaults(self) -> Mapping[str, float]:
        """The sampling where a request names none."""
        found: Mapping[str, float] = self._facts["sampling_defaults"]
        return found

    @property
    def n_vocab(self) -> int:
        """The number of tokens that the model knows."""
        return int(self._facts["n_vocab"])

    @property
    def size(self) -> int:
        """Bytes of the weights, the projector's with them."""
        return int(self._facts["size"])

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return bool(self._facts["sees"])

    @property
    def pid(self) -> int | None:
        """The child, None if there is none."""
        child = self._child
        return None if child is None or child.over else child.pid

    @property
    def closed(self) -> bool:
        """Whether no request is taken any more."""
        return self._closed

    @property
    def failed(self) -> bool:
        """Whether the engine in the child has failed, and the child lives on."""
        return self._failed

    # Requests -------------------------------------------------------------------------------------------------

    def check(self, request: GenerationRequest) -> None:
        """Whether this model can honour the parameters; nothing is said while there is no child to ask.

        Raises:
            ValueError: it can't; the text names the parameter.
            CapabilityNotSupported: its chat template has no place for what is asked.
        """
        child = self._child
        if child is None or child.over or not child.loaded:
            return
        with self._used():
            call = Call()
            number = _sent(child, "check", *request_out(request), taker=call)
            try:
                _answer(call.next(_CHECK_SECONDS))
            except Empty:
                return  # it is busy; the generation will tell
            finally:
                child.drop(number)

    def generate(self, request: GenerationRequest) -> Generator[Event, None, None]:
        """The events of one answer. It ends at once, without Finish, when the request is cancelled.

        Raises:
            ClosedError: the engine is closed; nothing has been done.
            BackendCrashed: the child has died.
            ProtocolError: it has said what makes no sense.
            BackendUnavailable: it had died earlier, and no other can be started.
            LollmsError: what the engine raises in the child.
        """

        def goes_on(child: Child) -> bool:
            return not (request.cancelled or child.ended)

        with self._used():
            child = self._ready(lambda: not request.cancelled)
            if child is None:
                return
            call = Call()
            with _running(child, "generate", *request_out(request), call=call, request=request):
                while goes_on(child):
                    news = call.next()
                    if isinstance(news, list):
                        yield from takewhile(lambda _: goes_on(child), news)
                    elif isinstance(news, Answer | Failure):
                        _answer(news)
                        return
            if not request.cancelled:
                # Not the caller has ended it, but a change of the model.
                yield Finish("cancelled", model=self.name)

    def embed(self, request: EmbedRequest) -> list[list[float]]:
        """The vectors of the texts, in their order.

        Raises:
            ClosedError: the engine is closed.
            BackendError: the request was cancelled, or what the engine raises in the child.
            BackendCrashed, ProtocolError: see :meth:`generate`.
        """
        vectors: list[list[float]] = []
        with self._used():
            child = self._ready(lambda: not request.cancelled)
            call = Call()
            if child is not None:
                with _running(child, "embed", embedding_out(request), call=call, request=request):
                    while not request.cancelled:
                        news = call.next()
                        if news is None:
                            continue
                        answer = _answer(news)
                        vectors += vectors_in(answer.value["lengths"], answer.data)
                        if answer.value["last"]:
                            return vectors
        raise BackendError("the embedding was cancelled")

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """See :meth:`LlamaCppBinding.tokenize`."""
        value = {"text": text, "add_special": add_special, "parse_special": parse_special}
        return tokens_in(self._ask("tokenize", value).data)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """See :meth:`LlamaCppBinding.detokenize`."""
        return str(self._ask("detokenize", None, tokens_out(tokens)).value)

    def _ask(self, what: str, value: Any, data: bytes = b"") -> Answer:
        with self._used():
            child = self._ready(None)
            assert child is not None
            call = Call()
            number = _sent(child, what, value, data, taker=call)
            try:
                return _answer(call.next())
            finally:
                child.drop(number)

    # The child ------------------------------------------------------------------------------------------------

    def _ready(self, go_on: _GoOn | None) -> Child | None:
        """The child, with its model loaded; None if `go_on` says that it is not wanted any more.

        Raises:
            ClosedError: the engine is closed.
            BackendUnavailable, BackendCrashed, LollmsError: it cannot be started, or cannot load the model. That is the
                error of those who wait for it; the next request tries again.
        """
        with self._lock:
            if self._closed:
                raise ClosedError
            child, loading = self._child, self._loading
            if child is None or child.over:
                child, loading = self._start()
        while not loading.done.wait(_A_LOOK):
            if go_on is not None and not go_on():
                return None
        if child.loaded:
            return child
        news = loading.news
        if isinstance(news, Answer):
            self._facts, child.loaded = news.value, True
            return child
        with self._lock:
            if self._child is child:
                self._child = None
        child.end()
        _answer(news)
        raise ProtocolError(f"the process of the model {self.name!r} gave no answer")

    def _start(self) -> tuple[Child, _Loading]:
        child = Child(self.name, self.module)
        # A forgotten engine's process goes too. No waiting: the garbage collector may be in any thread.
        if self._forgotten is not None:
            self._forgotten.detach()
        self._forgotten = weakref.finalize(self, child.end, patience=0.0)
        self._forgotten.atexit = False
        loading = _Loading()
        child.call("load", self._load, taker=loading)
        self._child, self._loading = child, loading
        return child, loading

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        """While the engine is used it does not retire.

        Raises:
            ClosedError: it is closed.
        """
        use = object()
        with self._lock:
            if self._closed:
                raise ClosedError
            self._uses.add(use)
        try:
            yield
        except ClosedError:
            self._failed = self._failed or not self._closed
            raise
        finally:
            self._uses.discard(use)
            self._retire_if_idle(0.0)

    def retire(self) -> None:
        """Free everything as soon as the requests that run have ended."""
        self._retired = True
        self._retire_if_idle(2 * PATIENCE)

    def _retire_if_idle(self, patience: float) -> None:
        with self._lock:
            if not self._retired or self._uses or self._closed:
                return
            self._closed = True
            child = self._child
        if child is not None:
            child.end(patience)

    def close(self, patience: float = 2 * PATIENCE) -> None:
        """End what runs, at most `patience` seconds long, and free everything."""
        with self._lock:
            self._closed = True
            child = self._child
        if child is not None:
            child.end(patience)

    def forget_connections(self) -> None:
        """In the child of a fork: be as if no child had been started; see :mod:`lollms_core.forks`."""
        self._lock = threading.RLock()
        self._child = None
        self._uses = set()


@contextlib.contextmanager
def _running(
    child: Child,
    what: str,
    value: Any,
    data: bytes = b"",
    *,
    call: Call,
    request: GenerationRequest | EmbedRequest,
) -> Iterator[None]:
    """A call that is ended, in the child too, when `request` is cancelled or the caller leaves."""
    number = _sent(child, what, value, data, taker=call)

    def cancelled() -> None:
        child.cancel(number)
        call.wake()

    forget: Callable[[], object] | None = None
    try:
        forget = request.on_cancel(cancelled)
        yield
    finally:
        if forget is not None:
            forget()
        child.drop(number)


def _sent(child: Child, what: str, value: Any, data: bytes = b"", *, taker: Call) -> int:
    try:
        return child.call(what, value, data, taker=taker)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise BadRequest(f"the request cannot be handed to the model's process: {error}") from error


def _answer(news: News | None) -> Answer:
    """The answer of a call.

    Raises:
        ClosedError: the engine was closed meanwhile.
        Exception: the call has failed.
    """
    if isinstance(news, Answer):
        return news
    if isinstance(news, Failure):
        raise news.error()
    if isinstance(news, Ended):
        raise ClosedError
    raise ProtocolError("the model's process gave events where an answer belongs")


_engines: weakref.WeakSet[RemoteEngine] = weakref.WeakSet()


def _close_all() -> None:
    for engine in list(_engines):
        engine.close()


atexit.register(_close_all)

"""What runs in the child: one engine, and what its parent asks of it.

The thread that reads waits for nobody: each call runs in a thread of its own, and whichever has something to say sends
what the others have to say as well. When the connection ends, so does the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from lollms_core import Overloaded
from lollms_core.control import Control
from lollms_llamacpp.isolated.frames import Unpacker, packed
from lollms_llamacpp.isolated.wire import (
    embedding_in,
    error_out,
    event_out,
    options_in,
    request_in,
    tokens_in,
    tokens_out,
    vectors_out,
)
from lollms_llamacpp.loaded_model import LoadedModel

__all__ = ["main"]

_log = logging.getLogger("lollms_llamacpp.isolated")

_PIECE: Final = 1 << 16
_AT_ONCE: Final = 256  # events in one message
_FIGURES: Final = 1 << 20  # of vectors in one message
_PATIENCE: Final = 2.0  # seconds that what runs has to end
_LAST_SECONDS: Final = 4  # after which the process is ended whatever it does


class Outbox:
    """What goes to the parent, from many threads.

    A thread that has something to say sends it, unless another is just sending: then that one does it next, all that
    has come meanwhile in one message.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._items: deque[tuple[list[Any], bytes]] = deque()
        self._sending = threading.Lock()

    def put(self, item: list[Any], data: bytes = b"") -> None:
        """Send an item, with the bytes beside it."""
        self._items.append((item, data))
        # Looked at again after each sending: what came just then was left to whoever sent.
        while self._items and self._sending.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):  # the parent is gone, as the one who reads will find
                    self._connection.sendall(self._message())
            finally:
                self._sending.release()

    def _message(self) -> bytes:
        items: list[Any] = []
        while self._items and len(items) < _AT_ONCE:
            if self._items[0][1]:
                if not items:
                    item, data = self._items.popleft()
                    return packed([item], data)
                break  # bytes go with one item
            items.append(self._items.popleft()[0])
        return packed(items)


class _ToParent(logging.Handler):
    """The log of this process goes to that of the parent."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._outbox.put(["log", 0, record.name, record.levelno, self.format(record)])
        except Exception:  # noqa: BLE001 - logging's own way with a record that cannot be written
            self.handleError(record)


class Service:
    """The calls, by their names."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._engine: LoadedModel | None = None
        self._controls: dict[int, Control] = {}
        self._ended = False

    def take(self, what: str, number: int, value: Any, data: bytes) -> None:
        """Begin what the parent asks."""
        if what == "cancel":
            control = self._controls.get(number)
            if control is not None:
                control.cancel()
        elif what == "level":
            logging.getLogger().setLevel(value)
        else:
            control = self._controls[number] = Control()
            job = partial(getattr(self, f"_{what}"), number, value, data, control)
            try:
                threading.Thread(target=self._run, args=(number, job), name=what, daemon=True).start()
            except RuntimeError as error:  # the system has no more threads
                self._fail(number, Overloaded(f"the model's process cannot take one more request: {error}"))

    def end(self) -> None:
        """End all that runs."""
        self._ended = True
        engine = self._engine
        if engine is not None:
            engine.close(_PATIENCE)

    @property
    def engine(self) -> LoadedModel:
        assert self._engine is not None
        return self._engine

    def _run(self, number: int, job: Callable[[], tuple[Any, bytes]]) -> None:
        try:
            answer, beside = job()
            self._outbox.put(["answer", number, answer], beside)
            self._controls.pop(number, None)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever has called
            _log.debug("a call has failed", exc_info=True)
            self._fail(number, error)

    def _fail(self, number: int, error: Exception) -> None:
        self._controls.pop(number, None)
        self._outbox.put(["error", number, error_out(error)])

    # What can be called; each gives the answer, and the bytes beside it ---------------------------------------

    def _load(self, number: int, value: Mapping[str, Any], data: bytes, control: Control) -> tuple[Any, bytes]:
        # Imported here: the parent can be heard meanwhile.
        from lollms_llamacpp.engine import Engine
        from lollms_llamacpp.model_file import model_file

        engine = self._engine = Engine(
            value["name"],
            model_file(Path(value["path"])),
            options_in(value["options"]),
            chat_template=value["chat_template"],
            mmproj=None if value["mmproj"] is None else Path(value["mmproj"]),
            go_on=lambda: not self._ended,
        )
        facts = {
            "ctx_size": engine.ctx_size,
            "sampling_defaults": engine.sampling_defaults,
            "n_vocab": engine.n_vocab,
            "size": engine.size,
            "sees": engine.sees,
        }
        return facts, b""

    def _check(self, number: int, value: Mapping[str, Any], data: bytes, control: Control) -> tuple[Any, bytes]:
        self.engine.check(request_in(value, data, control))
        return None, b""

    def _generate(self, number: int, value: Mapping[str, Any], data: bytes, control: Control) -> tuple[Any, bytes]:
        request = request_in(value, data, control)
        put = self._outbox.put
        with contextlib.closing(self.engine.generate(request)) as events:
            for event in events:
                put(["event", number, event_out(event)])
        return None, b""

    def _embed(self, number: int, value: Mapping[str, Any], data: bytes, control: Control) -> tuple[Any, bytes]:
        vectors = self.engine.embed(embedding_in(value, control))
        size = max(1, _FIGURES // max(1, len(vectors[0]) if vectors else 1))
        parts = [vectors[at : at + size] for at in range(0, len(vectors), size)] or [[]]
        for part in parts[:-1]:
            lengths, beside = vectors_out(part)
            self._outbox.put(["part", number, {"lengths": lengths, "last": False}], beside)
        lengths, beside = vectors_out(parts[-1])
        return {"lengths": lengths, "last": True}, beside

    def _tokenize(self, number: int, value: Mapping[str, Any], data: bytes, control: Control) -> tuple[Any, bytes]:
        special = {"add_special": value["add_special"], "parse_special": value["parse_special"]}
        return None, tokens_out(self.engine.tokenize(value["text"], **special))

    def _detokenize(self, number: int, value: Any, data: bytes, control: Control) -> tuple[Any, bytes]:
        return self.engine.detokenize(tokens_in(data)), b""


def main(arguments: Sequence[str]) -> None:
    """Serve until the connection ends.

    Args:
        arguments: the number of its descriptor.
    """
    with socket.socket(fileno=int(arguments[0])) as connection:
        connection.set_inheritable(False)  # whoever starts a process here does not keep the connection open
        outbox = Outbox(connection)
        logging.getLogger().addHandler(_ToParent(outbox))
        logging.captureWarnings(True)
        service = Service(outbox)
        try:
            _serve(connection, service)
        finally:
            # This ends the process also where the interpreter's lock is held by what never ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            faulthandler.dump_traceback_later(_LAST_SECONDS, exit=True, file=nowhere)
            service.end()


def _serve(connection: socket.socket, service: Service) -> None:
    unpacker = Unpacker()
    while True:
        try:
            data = connection.recv(_PIECE)
        except ConnectionError:  # the parent has left something unread
            return
        if not data:
            return
        for items, beside in unpacker.feed(data):
            for what, number, value in items:
                service.take(what, number, value, beside)

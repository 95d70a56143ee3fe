"""Fetching one file into the cache's blobs: going on where an earlier try ended, and checked when it is whole."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from lollms_core import BackendError, Progress, ProtocolError, StreamInterrupted
from lollms_core.control import Control
from lollms_core.retry import RetryBudget, RetryPolicy
from lollms_llamacpp.hub.lookup import RemoteFile
from lollms_llamacpp.hub.session import Hub

__all__ = ["Transfer"]

_log = logging.getLogger(__name__)

RETRIES: Final = RetryPolicy(attempts=5)
"""What is spent on tries that bring no byte; one that does begins a new count."""

_MAGIC: Final = b"GGUF"
_BETWEEN_NEWS: Final = 0.1  # seconds
_BETWEEN_LOOKS: Final = 0.2  # seconds, at a lock that another process holds
_READ_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Transfer:
    """One file on its way.

    Args:
        hub: where it comes from.
        repo: its repository.
        commit: the revision.
        file: what it is.
        repository: the repository's folder in the cache.
        control: ends it; what has come by then stays for the next try.
    """

    hub: Hub
    repo: str
    commit: str
    file: RemoteFile
    repository: Path
    control: Control

    @property
    def blob(self) -> Path:
        """Where it is when it is whole."""
        return self.repository / "blobs" / self.file.checksum

    @property
    def partial(self) -> Path:
        """Where it is before; versions 0 and 1 of huggingface_hub have theirs there too."""
        return self.blob.with_name(f"{self.blob.name}.incomplete")

    @property
    def path(self) -> Path:
        """Its name in the revision: a link to the blob, or, on systems without links, itself."""
        return self.repository / "snapshots" / self.commit / self.file.path

    def missing(self) -> int:
        """Bytes that have still to come."""
        if self._is_there():
            return 0
        return max(self.file.size - max(_size_of(self.partial), 0), 0)

    def run(self) -> Iterator[Progress]:
        """Fetch what is missing; ends early when it is cancelled.

        Raises:
            BackendError: it is no GGUF file, came damaged, or cannot be written.
            StreamInterrupted: the connection broke off again and again; the next try goes on from there.
            LollmsError: the hub refuses it, or cannot be reached.
        """
        if self._is_there():
            yield self._news(self.file.size)
            return
        try:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            yield from self._alone()
        except OSError as error:
            where = error.filename or self.partial
            raise BackendError(f"cannot write {where}: {error.strerror or error}") from None

    def _is_there(self) -> bool:
        return self.file.size in {_size_of(self.blob), _size_of(self.path)}

    def _news(self, completed: int) -> Progress:
        kind = "sha256" if len(self.file.checksum) == 64 else "sha1"
        return Progress(f"pulling {self.file.path}", completed, self.file.size, f"{kind}:{self.file.checksum}")

    def _alone(self) -> Iterator[Progress]:
        """Wait until nobody else fetches this file, then do."""
        from filelock import FileLock, Timeout

        stop = threading.Event()
        forget = self.control.on_cancel(stop.set)
        path = self.repository.parent / ".locks" / self.repository.name / f"{self.file.checksum}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, thread_local=False)  # whoever drops the pull gives it back, in whatever thread
        try:
            while not stop.is_set():
                try:
                    lock.acquire(timeout=0)
                    break
                except Timeout:
                    yield Progress(f"waiting for another download of {self.file.path}")
                    stop.wait(_BETWEEN_LOOKS)
                except NotImplementedError:
                    _log.debug("there are no locks in %s", path.parent)
                    break
            if not stop.is_set():
                if self._is_there():
                    yield self._news(self.file.size)
                else:
                    yield from self._fetch(stop)
        finally:
            forget()
            lock.release()

    def _fetch(self, stop: threading.Event) -> Iterator[Progress]:
        try:
            with self.partial.open("ab+") as target:
                coming = _Coming(target, self.file)
                yield from self._go_on(coming, stop)
                if stop.is_set():
                    return
                coming.check()
                target.flush()
                os.fsync(target.fileno())
        except _WrongError as error:
            self.partial.unlink()
            raise BackendError(f"cannot fetch {self.file.path} of {self.repo}: {error}") from None
        self.partial.replace(self.blob)
        yield self._news(self.file.size)

    def _go_on(self, coming: _Coming, stop: threading.Event) -> Iterator[Progress]:
        """From what an earlier try has left to the end of the file."""
        yield self._news(coming.completed)
        yield from self._read_again(coming, stop)
        budget = RetryBudget(RETRIES, self.hub.host)
        while coming.completed < self.file.size and not stop.is_set():
            before = coming.completed
            cause: Exception | None = None
            try:
                yield from self._receive(coming, stop)
            except self.hub.errors as error:
                cause = error
            if coming.completed > before:
                budget = RetryBudget(RETRIES, self.hub.host)
            if coming.completed < self.file.size and not stop.is_set():
                stop.wait(self._wait(budget, cause, coming.completed))

    def _wait(self, budget: RetryBudget, cause: Exception | None, completed: int) -> float:
        """Seconds until the next try.

        Raises:
            LollmsError: there is none.
        """
        answered = None if cause is None else self.hub.status_of(cause)
        if answered is not None:
            wait = budget.after_status(*answered)
        elif cause is None or self.hub.is_interruption(cause):
            wait = budget.after_failure("the file broke off" if cause is None else type(cause).__name__)
        else:
            wait = None
        if wait is not None:
            return wait
        if completed and answered is None:
            raise StreamInterrupted(
                f"fetching {self.file.path} of {self.repo} broke off after {completed} of {self.file.size} bytes; "
                "pull it again to go on"
            ) from None
        assert cause is not None  # what breaks off without a byte has a cause
        raise self.hub.failure(cause, self.repo, self.commit) from None

    def _read_again(self, coming: _Coming, stop: threading.Event) -> Iterator[Progress]:
        """Take what an earlier try has left into the checksum."""
        if coming.completed > self.file.size:
            coming.begin_anew()
        news = time.monotonic()
        place = 0
        coming.target.seek(0)
        while place < coming.completed and not stop.is_set():
            data = coming.target.read(min(coming.completed - place, _READ_AT_ONCE))
            coming.look_at(data, place)
            place += len(data)
            if not data:  # somebody has cut it
                coming.begin_anew()
            if time.monotonic() - news >= _BETWEEN_NEWS:
                news = time.monotonic()
                yield Progress(f"looking at what has come of {self.file.path}", place, coming.completed)

    def _receive(self, coming: _Coming, stop: threading.Event) -> Iterator[Progress]:
        """What one answer brings."""
        news = time.monotonic()
        start = coming.completed
        with self.hub.opened(self.repo, self.commit, self.file.path, start, self.control) as response:
            if start and not _goes_on_at(response, start):
                coming.begin_anew()
            for chunk in response.iter_raw():
                if stop.is_set():
                    return
                coming.take(chunk)
                if time.monotonic() - news >= _BETWEEN_NEWS:
                    news = time.monotonic()
                    yield self._news(coming.completed)


class _WrongError(Exception):
    """What is wrong with what comes."""


class _Coming:
    """The bytes of a file so far, in `target`, and their checksum."""

    def __init__(self, target: BinaryIO, file: RemoteFile) -> None:
        self.target = target
        self._file = file
        self.completed = os.fstat(target.fileno()).st_size
        self._checksum = self._new_checksum()
        self._head = b""

    def begin_anew(self) -> None:
        """Forget what has come."""
        self.target.truncate(0)
        self.completed = 0
        self._checksum = self._new_checksum()
        self._head = b""

    def take(self, data: bytes) -> None:
        """The next bytes.

        Raises:
            _WrongError: these cannot be the file's.
        """
        if self.completed + len(data) > self._file.size:
            raise _WrongError(f"more comes than its {self._file.size} bytes")
        self.look_at(data, self.completed)
        if not _MAGIC.startswith(self._head):
            raise _WrongError("it is no GGUF file")
        self.target.write(data)
        self.completed += len(data)

    def look_at(self, data: bytes, place: int) -> None:
        """Take `data`, which stand at `place`, into the checksum."""
        if place < len(_MAGIC):
            self._head += data[: len(_MAGIC) - place]
        self._checksum.update(data)

    def check(self) -> None:
        """Raises:
        _WrongError: it is whole, and not the file that the repository has.
        """
        if self._head != _MAGIC:
            raise _WrongError("it is no GGUF file")
        if self._checksum.hexdigest() != self._file.checksum:
            raise _WrongError(f"it came damaged, its checksum is not {self._file.checksum}; pull it again")

    def _new_checksum(self) -> Any:
        if len(self._file.checksum) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False)  # git's name of the content


def _goes_on_at(response: Any, start: int) -> bool:
    """Whether an answer brings what was asked for, the bytes from `start` on; False if it brings all.

    Raises:
        ProtocolError: it brings others.
    """
    if response.status_code != 206:
        return False
    if not str(response.headers.get("content-range", "")).startswith(f"bytes {start}-"):
        raise ProtocolError(f"{response.url.host} was asked for the bytes from {start} on, and sends others")
    return True


def _size_of(path: Path) -> int:
    """Bytes; -1 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return -1

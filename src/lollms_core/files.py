"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["alone_in", "write_whole"]


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put `content` in the place of the file `path`; its folder is made for this user alone if it is not there.

    It is written beside its place and renamed, so that nobody ever reads half a file, and what was there before stays
    where the disk is full.

    Args:
        path: the file.
        content: all of it.
        mode: its permissions; unless told otherwise, others may not read it. Where there are none (Windows) they say
            no more than whether it may be written.

    Raises:
        OSError: it cannot be written; nothing is changed.
    """
    import os
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if mode != 0o600:  # what a temporary file has
            Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have other programs that ask for the same wait, while files in `folder` are read and then written.

    It is made for this user alone if it is not there. Where a folder cannot be locked (on Windows, on some network
    drives) nobody waits.

    Raises:
        OSError: the folder cannot be made or opened.
    """
    import os

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)  # the lock ends with it, also where the program dies
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_whole"]


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
    import contextlib
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

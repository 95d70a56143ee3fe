"""Writing a folder of files: all of them or none, and never over anything."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["check_free", "write_tree"]


def check_free(folder: Path) -> None:
    """Whether `folder` can be written: it is not there, or empty.

    Raises:
        FileExistsError: it can't.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FileExistsError(f"{folder} is there already, and is no folder; nothing was written")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is there already, and is not empty; nothing was written")


def write_tree(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write `files` (path below `folder`, with ``/``, to text) and return their paths.

    They are written into a hidden folder beside it, which is renamed when it is whole: whatever happens on the way, a
    folder of that name has all its files.

    Raises:
        FileExistsError: there is something.
        OSError: it can't be written.
    """
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        for name, text in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        if folder.is_dir():
            folder.rmdir()  # fails if something has come into it by now
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return [folder / name for name in files]

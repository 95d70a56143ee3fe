"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from lollms_core.files import alone_in, write_whole


def test_written(tmp_path: Path) -> None:
    """The folder is made, the content replaces what was there, and nothing else is left."""
    file = tmp_path / "folder" / "file"
    write_whole(file, b"one")
    write_whole(file, b"two")
    assert file.read_bytes() == b"two"
    assert [path.name for path in file.parent.iterdir()] == ["file"]
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays, and no half file does."""
    file = tmp_path / "file"
    write_whole(file, b"one")

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"two")
    assert file.read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_mode_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_whole(file, b"one", 0o640)
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked there")
def test_one_at_a_time(tmp_path: Path) -> None:
    """What several programs read, change and write is what they have changed together."""
    count = (
        "import sys; from pathlib import Path; from lollms_core.files import alone_in, write_whole\n"
        "file = Path(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    with alone_in(file.parent):\n"
        "        write_whole(file, b'%d' % (int(file.read_bytes()) + 1))\n"
    )
    file = tmp_path / "count"
    file.write_bytes(b"0")
    started = [subprocess.Popen([sys.executable, "-c", count, str(file)]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]
    assert file.read_bytes() == b"300"


def test_the_folder_is_made_and_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone_in(tmp_path / "new"):
        raise KeyError
    with alone_in(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()

"""docs/testing.md: its examples are files of one project, and its tests pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
FILE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_project_on_the_page(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    files = FILE.findall(text)
    assert len(files) == text.count("```python"), "each example says which file it is"
    for name, source in files:
        (tmp_path / name).write_text(source, "utf-8")
    tests = sum(source.count("\ndef test_") for _, source in files)
    command = (sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests} passed" in done.stdout

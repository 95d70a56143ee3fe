"""A folder of models, listed: the first time, again, and by the next process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.contestants.serving import Task, serve, versions
from lollms_core import LollmsLLMBindingManager


class Listing:
    """The contestant; its cache directory is empty when it begins."""

    def __init__(self, setting: Task) -> None:
        self.versions = versions("lollms-core", "lollms-llamacpp")
        self._folder: str = setting["folder"]

    def do(self, task: Task) -> dict[str, Any]:
        """Seconds of `listModels`, and how many usable models it gives."""
        with LollmsLLMBindingManager("no_folder_of_bindings").open_binding(
            "llamacpp", models_path=self._folder
        ) as binding:
            begun = time.perf_counter()
            models = binding.listModels()
            cold = time.perf_counter() - begun
            begun = time.perf_counter()
            binding.listModels()
            again = time.perf_counter() - begun
        usable = [model for model in models if model.get("parameters")]
        answer: dict[str, Any] = {"cold": cold, "again": again, "usable": len(usable)}
        if task.get("next"):
            answer["plain"] = self._read_headers()
            command = [sys.executable, "-m", "bench.contestants.listing", self._folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            answer["next"] = float(done.stdout)
        return answer

    def _read_headers(self) -> float:
        """Seconds to read what the files really hold; their weights are holes."""
        begun = time.perf_counter()
        for path in Path(self._folder).rglob("*.gguf"):
            with path.open("rb") as file:
                file.read(os.fstat(file.fileno()).st_blocks * 512)
        return time.perf_counter() - begun


@contextlib.contextmanager
def with_empty_cache(setting: Task) -> Iterator[Listing]:
    """A listing whose cache directory is empty and goes with it."""
    with tempfile.TemporaryDirectory(prefix="lollms-bench-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        yield Listing(setting)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(str(Listing({"folder": sys.argv[1]}).do({})["cold"]))
    else:
        serve(with_empty_cache)

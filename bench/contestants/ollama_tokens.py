"""The number of a text's tokens, by lollms-ollama and by asking the server, each with an Ollama of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from real_servers import HOST, server

from bench.contestants.prompts import passage
from bench.contestants.serving import Task, serve, versions
from lollms_core import LollmsLLMBindingManager

_MODEL: Final = "smollm2"
_CONTEXT: Final = 8192
_SIZE: Final = 10_000
"""Of a text, in characters, which are bytes here."""
_UNSEEN: Final = 1000
"""Numbers of texts that no round has."""


class Counting:
    """The contestant: the setting's ``how`` is ``count`` or ``ask``."""

    def __init__(self, setting: Task, port: int) -> None:
        self.versions = versions("lollms-core", "lollms-ollama")
        self._port = port
        binding = LollmsLLMBindingManager("no_folder_of_bindings").open_binding(
            "ollama", host_address=f"http://{HOST}:{port}", model_name=_MODEL
        )
        self._binding: Any = binding
        self._count = self._by_binding if setting["how"] == "count" else self._by_server
        # Once, so that the vocabulary, or the model, is in memory; and once for both, because they have to agree.
        text = _text(_UNSEEN)
        ours, theirs = self._by_binding(text), self._by_server(text)
        if ours != theirs:
            raise RuntimeError(f"lollms-ollama counts {ours} tokens, and the server {theirs}")

    def do(self, task: Task) -> dict[str, Any]:
        """Seconds to count the tokens of a text that nobody has seen before."""
        text = _text(task["round"])
        begun = time.perf_counter()
        tokens = self._count(text)
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "speed": 1 / seconds, "tokens": tokens}

    def close(self) -> None:
        """Let the binding go."""
        self._binding.close()

    def _by_binding(self, text: str) -> int:
        return int(self._binding.count_tokens(text))

    def _by_server(self, text: str) -> int:
        """What the server says of a prompt that it has read as it stands."""
        body = {
            "model": _MODEL,
            "prompt": text,
            "raw": True,
            "stream": False,
            "options": {"num_predict": 1, "num_ctx": _CONTEXT},
        }
        connection = http.client.HTTPConnection(HOST, self._port)
        try:
            connection.request("POST", "/api/generate", json.dumps(body))
            return int(json.load(connection.getresponse())["prompt_eval_count"])
        finally:
            connection.close()


def _text(number: int) -> str:
    return passage(number, _SIZE // 3)[:_SIZE]


@contextlib.contextmanager
def with_server(setting: Task) -> Iterator[Counting]:
    """One whose server has the model."""
    with tempfile.TemporaryDirectory(prefix="lollms-bench-") as name:
        home = Path(name)
        program = str(Path(setting["ollama"]) / "ollama-lib")
        os.environ["XDG_CACHE_HOME"] = str(home / "cache")
        environment = {
            "HOME": str(home),
            "OLLAMA_MODELS": str(home / "models"),
            "OLLAMA_HOST": f"{HOST}:{{port}}",
            "OLLAMA_NUM_PARALLEL": "1",
            "LD_LIBRARY_PATH": setting["ollama"],
        }
        with server([program, "serve"], "/api/version", home / "ollama.log", environment) as port:
            recipe = home / "Modelfile"
            recipe.write_text(f"FROM {setting['model']}\n", "utf-8")
            client = {**os.environ, **environment, "OLLAMA_HOST": f"{HOST}:{port}"}
            subprocess.run(
                [program, "create", _MODEL, "-f", str(recipe)], env=client, stdout=subprocess.DEVNULL, check=True
            )
            with contextlib.closing(Counting(setting, port)) as counting:
                yield counting


if __name__ == "__main__":
    serve(with_server)

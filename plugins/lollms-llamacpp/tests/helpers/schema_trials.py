"""Schemas and grammars that may kill or stop the process that answers by them, tried in a process of its own.

:class:`SchemaChild` is that process as its parent sees it; run as a program, this module is it: for each line of JSON,
a schema or a text in GBNF, it asks a tiny model for a few tokens and says what came out.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from lollms_core import CapabilityNotSupported, LollmsError
from lollms_llamacpp import LlamaCppBinding

SECONDS = 30
"""Within this time an answer or an error must be there."""
MEMORY = 3 << 30


class SchemaChild:
    """Tries schemas and grammars, as a context manager; a new process takes the place of one that died."""

    def __init__(self, model: Path, output: Path) -> None:
        # What is printed is looked at, and Python's own warnings about strange patterns are not what is looked for.
        self._command = [sys.executable, "-W", "ignore", "-X", "faulthandler", __file__, str(model)]
        self._output = output
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, schema: Any) -> tuple[str, str]:
        """What came of a schema, or of a grammar if it is a text.

        Returns:
            The kind of outcome (``answer``, ``refused``, ``failed``, ``wrong``, ``died``), and its words.
        """
        if self._process is None:
            environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
            with self._output.open("wb") as file:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    env=environment,
                )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(schema) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if line:
            kind, words = json.loads(line)
            said = self._output.read_text("utf-8", "replace")
            return ("wrong", f"this was printed: {said[:3000]}") if said else (kind, words)
        return "died", f"with {self._end()}: {self._output.read_text('utf-8', 'replace')[:3000]}"

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        return process.returncode


def _tried(binding: LlamaCppBinding, schema: Any) -> tuple[str, str]:
    asked = {"grammar": schema} if isinstance(schema, str) else {"response_format": schema}
    try:
        done = binding.chat("x", **asked, n_predict=6, temperature=0)
    except (CapabilityNotSupported, TypeError, ValueError) as error:
        return "refused", f"{type(error).__name__}: {error}"
    except LollmsError as error:
        return "failed", f"{type(error).__name__}: {error}"
    return "answer", done.text


def _serve(model: Path) -> None:
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answers, LlamaCppBinding(model_path=model, ctx_size=64, n_threads=1) as binding:
        for line in sys.stdin:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            found = _tried(binding, json.loads(line))
            if binding.chat("x", n_predict=1).usage.completion_tokens is None:
                found = ("wrong", "the next request got nothing")
            faulthandler.cancel_dump_traceback_later()
            answers.write(json.dumps(found) + "\n")
            answers.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))

"""Files that may kill the process that loads them, loaded in processes of their own.

:func:`run_trials` hands the files one by one to a child process, which this module is too: it has a good model
loaded, is told to change to the file, uses what it got, and says what came out. What kills the child, or stops it
for longer than :data:`SECONDS`, is the outcome of that file, and the next child goes on with the rest.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lollms_core import LollmsError
from lollms_llamacpp import LlamaCppBinding

SECONDS = 40
"""Within this time a file must have been tried."""
MEMORY = 6 << 30
"""Address space that a child may take, in bytes."""

USE: dict[str, Any] = {"n_predict": 2, "temperature": 0, "completion_format": "text", "n_threads": 1}


@dataclass(frozen=True)
class Trial:
    """One file to load.

    Attributes:
        name: what was done to it, with the seed.
        make: writes it to the path that it is given.
    """

    name: str
    make: Callable[[Path], object]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        name: the trial's.
        loaded: whether the file became a model.
        told: the reason why not, or the error that using it gave.
        wrong: what must not be, such as the process's death; "" if all is well.
    """

    name: str
    loaded: bool
    told: str
    wrong: str


def run_trials(
    trials: Iterable[Trial], folder: Path, good: Path, image: Path | None = None, *, adapters: bool = False
) -> list[Outcome]:
    """The outcome of each trial; files are written to `folder`, `good` is the model that must survive them.

    With an `image` the files are projectors of `good`, with `adapters` they are LoRA adapters of it.
    """
    what = "adapters" if adapters else str(image or "")
    child: _Child | None = None
    outcomes = []
    try:
        for trial in trials:
            path = folder / "trial.gguf"
            trial.make(path)
            try:
                if child is None:
                    child = _Child(good, what, folder / "output.txt")
                outcome = child.ask(trial, path)
                if outcome is None:
                    outcome = Outcome(trial.name, False, "", child.end())
                    child = None
                outcomes.append(outcome)
            finally:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    finally:
        if child is not None:
            child.end()
    return outcomes


class _Child:
    """The process, as its parent sees it; all that it prints goes to one file."""

    def __init__(self, good: Path, what: str, output: Path) -> None:
        command = [sys.executable, "-X", "faulthandler", __file__, str(good), what]
        # GGML_NO_BACKTRACE: a dying process is not to call a debugger first.
        environment = {**os.environ, "PYTHONWARNINGS": "error", "GGML_NO_BACKTRACE": "1"}
        self._output = output
        self._read = 0
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, env=environment
            )

    def ask(self, trial: Trial, path: Path) -> Outcome | None:
        """The outcome; None if the child has died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"path": str(path)}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self._process.stdout.readline()
        if not line:
            return None
        outcome = Outcome(trial.name, **json.loads(line))
        said = self._said()
        if said and not outcome.wrong:
            outcome = replace(outcome, wrong=f"this was printed: {said}")
        return outcome

    def end(self) -> str:
        """How it ended, with what it printed last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what is left in the buffer is for nobody
            self._process.stdin.close()
        try:
            code = self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process.stdout.close()
        return f"the process ended with {code}: {self._said()}"

    def _said(self) -> str:
        """What was printed since the last question."""
        with self._output.open("rb") as file:
            file.seek(self._read)
            said = file.read()
        self._read += len(said)
        return " | ".join(said.decode("utf-8", "replace").split("\n"))[:3000]


# In the child -----------------------------------------------------------------------------------------------


def _serve(good: Path, what: str) -> None:
    _bound_memory()
    logging.getLogger().addHandler(logging.NullHandler())  # warnings are meant for the log
    # What C code prints must not stand among our answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answers, LlamaCppBinding(model_path=good, ctx_size=64, n_threads=1) as binding:
        answer = binding.generate_text("the", **USE)
        assert isinstance(answer, str), answer
        for line in sys.stdin:
            path = Path(json.loads(line)["path"])
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            if what == "adapters":
                found = _adapt(binding, path, good, answer)
            elif what:
                found = _project(path, good, Path(what))
            else:
                found = _load(binding, path, good, answer)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(found), file=answers, flush=True)


def _load(binding: LlamaCppBinding, path: Path, good: Path, answer: str) -> dict[str, Any]:
    wrong: list[str] = []
    loaded = binding.load_model(str(path))
    told = "" if loaded else str(binding.last_error)
    if loaded:
        told = _used(binding, wrong)
        if not binding.load_model(str(good)):
            wrong.append(f"the good model does not load afterwards: {binding.last_error}")
    elif path.name not in told:
        wrong.append(f"the error does not name the file: {told}")
    after = binding.generate_text("the", **USE)
    if after != answer:
        wrong.append(f"the good model answers {after!r}, not {answer!r}")
    return {"loaded": loaded, "told": told, "wrong": "; ".join(wrong)}


def _used(binding: LlamaCppBinding, wrong: list[str]) -> str:
    """What using the model gives: nothing, or an error."""
    told = ""
    info = binding.get_model_info()
    for use in (
        lambda: binding.tokenize("the <|im_end|> \u00e9\u4e2d\n", add_special=True, parse_special=True),
        lambda: binding.detokenize(list(range(8))),
        lambda: binding.embed("the"),
        lambda: binding.chat("the", n_predict=2),
        lambda: binding.chat("the", n_predict=2, seed=1, repeat_penalty=1.1, repeat_last_n=8),
        lambda: binding.generate_text("the", n_predict=2, response_format={"type": "boolean"}),
    ):
        try:
            use()
        except LollmsError as error:
            told = told or f"{type(error).__name__}: {error}"
    answer = binding.generate_text("the", **USE) if "text" in info["supports"] else ""
    if isinstance(answer, dict):
        told = told or f"{answer['error_type']}: {answer['error']}"
    return told


def _adapt(binding: LlamaCppBinding, path: Path, good: Path, answer: str) -> dict[str, Any]:
    wrong: list[str] = []
    loaded, told = True, ""
    try:
        with LlamaCppBinding(model_path=good, lora={path: 0.7}, ctx_size=64, n_threads=1) as adapted:
            told = _used(adapted, wrong)
    except LollmsError as error:
        loaded, told = False, str(error)
        if path.name not in told:
            wrong.append(f"the error does not name the file: {told}")
    after = binding.generate_text("the", **USE)
    if after != answer:
        wrong.append(f"the model without the adapter answers {after!r}, not {answer!r}")
    return {"loaded": loaded, "told": told, "wrong": "; ".join(wrong)}


def _project(path: Path, good: Path, image: Path) -> dict[str, Any]:
    wrong = ""
    try:
        with LlamaCppBinding(model_path=good, mmproj=path, ctx_size=128, n_threads=1) as binding:
            loaded, told = True, ""
            try:
                binding.chat("x", images=[str(image)], n_predict=2, temperature=0)
            except LollmsError as error:
                told = f"{type(error).__name__}: {error}"
    except LollmsError as error:
        loaded, told = False, str(error)
        if path.name not in told:
            wrong = f"the error does not name the file: {told}"
    return {"loaded": loaded, "told": told, "wrong": wrong}


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2])

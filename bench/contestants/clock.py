"""Where the engine's time goes: how long llama.cpp's functions take, as the binding calls them.

`llama_decode` is timed twice. A few lines of C stand in its place and take the time around it without the interpreter's
lock; from Python the same call lasts until the lock is back, too. The difference is the wait for the lock. All others
are timed from Python.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from lollms_llamacpp.native import library

__all__ = ["Clock"]

_DECODE: Final = "llama_decode"
# The batch is passed by value, so its shape has to be known (llama.h, struct llama_batch).
_SOURCE: Final = """
#include <stdint.h>
#include <time.h>

typedef struct { int32_t n_tokens; void *token, *embd, *pos, *n_seq_id, *seq_id, *logits; } batch_t;

int32_t (*inner)(void *context, batch_t batch);
int64_t nanoseconds, calls, tokens;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int32_t timed_decode(void *context, batch_t batch) {
    int64_t begun = now();
    int32_t code = inner(context, batch);
    nanoseconds += now() - begun;
    calls += 1;
    tokens += batch.n_tokens;
    return code;
}
"""


class Clock:
    """Stands around the functions of llama.cpp from the block's begin on; models have to be loaded inside it."""

    def __init__(self) -> None:
        self._lib = library()
        self._spent: dict[str, list[int]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="lollms-bench-")

    def __enter__(self) -> Self:
        functions = self._lib.functions
        self._shim = _compiled(Path(self._folder.name))
        decode = functions.llama_decode
        assert ctypes.sizeof(functions.llama_batch) == 56, "llama.h has another llama_batch than clock.py"
        ctypes.c_void_p.in_dll(self._shim, "inner").value = ctypes.cast(decode, ctypes.c_void_p).value
        shim = self._shim.timed_decode
        shim.argtypes, shim.restype = decode.argtypes, decode.restype
        plain = type(decode)
        for name, function in list(vars(self._lib).items()):
            if name.startswith("llama_") and callable(function) and not isinstance(function, type):
                setattr(self._lib, name, self._timed(name, function))
        self._lib.functions = _Timed(functions, lambda name, found: self._timed(name, found, plain))
        setattr(self._lib, _DECODE, self._timed(_DECODE, shim))
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def start(self) -> None:
        """Count from here on."""
        for spent in self._spent.values():
            spent[:] = [0, 0]
        for name in ("nanoseconds", "calls", "tokens"):
            self._number(name).value = 0

    def read(self, seconds: float) -> dict[str, Any]:
        """What was counted.

        Args:
            seconds: that have passed since the start.

        Raises:
            RuntimeError: the engine has not called llama_decode as it stands in the library.
        """
        inside, calls = self._number("nanoseconds").value / 1e9, self._number("calls").value
        if not calls:
            raise RuntimeError("no call of llama_decode was seen: the engine does not take it from native.library()")
        functions = {name: [count, spent / 1e9] for name, (count, spent) in self._spent.items() if count}
        return {
            "outside": 1 - inside / seconds,
            "seconds": seconds,
            "inside": inside,
            "steps": calls,
            "per_step": self._number("tokens").value / calls,
            "functions": functions,
        }

    def _number(self, name: str) -> ctypes.c_int64:
        return ctypes.c_int64.in_dll(self._shim, name)

    def _timed(self, name: str, function: Any, only: type | None = None) -> Any:
        if only is not None and not isinstance(function, only):
            return function
        spent = self._spent.setdefault(name, [0, 0])
        clock = time.perf_counter_ns

        def timed(*arguments: Any) -> Any:
            begun = clock()
            try:
                return function(*arguments)
            finally:
                spent[1] += clock() - begun
                spent[0] += 1

        return timed


class _Timed:
    """The functions that the library looks up later."""

    def __init__(self, functions: Any, wrap: Callable[[str, Any], Any]) -> None:
        self._functions, self._wrap = functions, wrap

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._functions, name)
        return self._wrap(name, found) if name.startswith("llama_") else found


def _compiled(folder: Path) -> ctypes.CDLL:
    compiler = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "")
    if not compiler:
        raise RuntimeError("the profile of the engine needs a C compiler (cc, gcc or clang) for a few lines")
    source, target = folder / "clock.c", folder / "clock.so"
    source.write_text(_SOURCE, "utf-8")
    subprocess.run([*shlex.split(compiler), "-O1", "-shared", "-fPIC", "-o", target, source], check=True)
    return ctypes.CDLL(str(target))

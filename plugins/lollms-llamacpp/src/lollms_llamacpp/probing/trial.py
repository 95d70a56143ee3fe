"""What the child process of a probe does. It speaks to llama.cpp on its own, so that nothing of ours is in the way."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lollms_llamacpp.probing.tiny_model import N_VOCAB

__all__ = ["main"]

# More than the 32 rows that an AMX kernel takes at once, and a rest. A single one would do without AMX
# (ggml/src/ggml-cpu/amx/mmq.cpp).
_PROMPT: Final = 40


def main(arguments: Sequence[str]) -> None:
    """Try llama.cpp.

    Args:
        arguments: the path of the model, and that of the file to write to what has worked so far, a JSON object a line.
    """
    model, report = arguments
    _no_core_file()

    def say(**facts: object) -> None:
        with Path(report).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")

    try:
        package = importlib.import_module("llama_cpp")
        lib = importlib.import_module("llama_cpp.llama_cpp")
    except (ImportError, OSError, RuntimeError) as error:
        # RuntimeError is what llama_cpp makes of a shared library that the system refuses.
        say(error=f"llama-cpp-python cannot be imported ({error})")
        return
    say(version=_version(package, lib), system_info=lib.llama_print_system_info().decode("utf-8", "replace").strip())
    fault = _compute(lib, model)
    say(**({"error": fault} if fault else {"computed": True}))


def _version(package: Any, lib: Any) -> str:
    version = f"llama-cpp-python {package.__version__}"
    own = getattr(lib, "llama_version", None)  # not in older ones
    return f"{version} (llama.cpp {own().decode('utf-8', 'replace')})" if own is not None else version


def _compute(lib: Any, path: str) -> str | None:
    """A prompt and a token; what went wrong, None if nothing did."""
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
    if not model:
        return "llama.cpp cannot load a tiny model"
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 128, 1, 1
    context = lib.llama_init_from_model(model, params)
    if not context:
        return "llama.cpp cannot make room for a tiny context"
    for begin, count in ((0, _PROMPT), (_PROMPT, 1)):
        batch = lib.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        for index in range(count):
            batch.token[index], batch.pos[index] = (begin + index) % N_VOCAB, begin + index
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
            batch.logits[index] = 1  # else the last layer would compute one row
        code = lib.llama_decode(context, batch)
        if code:
            return f"llama.cpp cannot compute (llama_decode returned {code})"
        logits = lib.llama_get_logits_ith(context, -1)
        if not all(math.isfinite(logits[token]) for token in range(N_VOCAB)):
            return "llama.cpp computes what is no number"
    return None


def _no_core_file() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

"""The floor: a bare loop on llama-cpp-python's C-level functions.

It computes what an engine has to compute, all sequences in one batch, and takes the likeliest token of each. There is
no text, no request that comes or goes, and nobody to hand anything to.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.contestants.prompts import listings
from bench.contestants.serving import Task, peak_memory, serve, versions


class Bare:
    """The contestant."""

    def __init__(self, setting: Task) -> None:
        import numpy as np

        self.versions = versions("llama-cpp-python", "numpy")
        # By name, because its types are not checked.
        lib = self._lib = importlib.import_module("llama_cpp.llama_cpp")
        self._quiet = lib.llama_log_callback(lambda *_: None)
        lib.llama_log_set(self._quiet, None)
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(setting["model"].encode(), lib.llama_model_default_params())
        parameters = lib.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max, parameters.kv_unified = setting["ctx_size"], 8, True
        parameters.n_threads = parameters.n_threads_batch = setting["n_threads"]
        self._context = lib.llama_init_from_model(self._model, parameters)
        self._vocab = lib.llama_model_get_vocab(self._model)
        n_vocab = lib.llama_vocab_n_tokens(self._vocab)
        self._batch = lib.llama_batch_init(512, 0, 1)
        as_array: Any = np.ctypeslib.as_array
        self._likeliest: Callable[[Any], int] = lambda values: int(as_array(values, (n_vocab,)).argmax())

    def do(self, task: Task) -> dict[str, Any]:
        """Read the prompts in one batch, then compute a token of each in every step."""
        lib, n_predict = self._lib, int(task["n_predict"])
        begun = time.perf_counter()
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        prompts = [self._tokens(prompt) for prompt in listings(task["round"], task["requests"])]
        places = [len(prompt) for prompt in prompts]
        last = self._compute([(number, prompt, 0) for number, prompt in enumerate(prompts)])
        first = time.perf_counter() - begun
        for step in range(n_predict - 1):
            last = self._compute([(number, [token], places[number] + step) for number, token in enumerate(last)])
        seconds = time.perf_counter() - begun
        tokens = n_predict * len(prompts)
        return {
            "speed": tokens / seconds,
            "tokens": tokens,
            "prompt_tokens": sum(places),
            "first": first,
            "memory": peak_memory(),
        }

    def close(self) -> None:
        """Free all memory."""
        self._lib.llama_batch_free(self._batch)
        self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)

    def _tokens(self, text: str) -> list[int]:
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 1))()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), room, len(room), False, False)
        return list(room[:count])

    def _compute(self, parts: list[tuple[int, list[int], int]]) -> list[int]:
        """Compute tokens of several sequences, from a position on; each one's next."""
        batch, index, ends = self._batch, 0, []
        for sequence, tokens, position in parts:
            for offset, token in enumerate(tokens):
                batch.token[index], batch.pos[index] = token, position + offset
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
                batch.logits[index] = offset == len(tokens) - 1
                index += 1
            ends.append(index - 1)
        batch.n_tokens = index
        code = self._lib.llama_decode(self._context, batch)
        if code:
            raise RuntimeError(f"llama_decode returned {code}")
        return [self._likeliest(self._lib.llama_get_logits_ith(self._context, end)) for end in ends]


@contextlib.contextmanager
def loaded(setting: Task) -> Iterator[Bare]:
    """The model, in memory until the block ends."""
    bare = Bare(setting)
    try:
        yield bare
    finally:
        bare.close()


if __name__ == "__main__":
    serve(loaded)

"""llama.cpp's samplers: a chain of them for each answer, and the grammar that an answer keeps to."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from lollms_llamacpp.context import Context
from lollms_llamacpp.native import Model

__all__ = ["Grammar", "Sampler"]


class Sampler:
    """A chain of llama.cpp's samplers, made by `parts` in the order of their application.

    Args:
        model: whose tokens are chosen.
        parts: makers of the samplers.
        greedy: whether the chain does nothing but take the most likely token, which needs no chain.
    """

    def __init__(self, model: Model, parts: Sequence[Callable[[Any], Any]], *, greedy: bool = False) -> None:
        lib = self._lib = model.lib
        self._most_likely = _most_likely() if greedy else None
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for part in parts:
            lib.llama_sampler_chain_add(self._chain, part(lib))
        self._free = weakref.finalize(self, lib.llama_sampler_free, self._chain)
        self._free.atexit = False

    def accept(self, token: int) -> None:
        """Have the penalties know of a token that was not taken by :meth:`sample`, such as the prompt's."""
        self._lib.llama_sampler_accept(self._chain, token)

    def sample(self, context: Context, index: int) -> int:
        """The next token, by the logits after the batch's token `index`; it is accepted."""
        if self._most_likely is not None:
            return self._most_likely(context.logits(index))
        return int(self._lib.llama_sampler_sample(self._chain, context.pointer, index))

    def choose(self, address: int, count: int) -> int:
        """The next token of `count` candidates, llama_token_data each; their memory is changed. It is not accepted."""
        array = _candidates(self._lib, address, count)
        self._lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def close(self) -> None:
        self._free()


class Grammar:
    """A grammar, and how far an answer has come in it.

    Args:
        model: whose tokens are judged.
        text: GBNF; its first rule is ``root``.

    Raises:
        ValueError: llama.cpp does not take it; why, it writes to stderr.
    """

    def __init__(self, model: Model, text: str) -> None:
        lib = self._lib = model.lib
        pointer = lib.llama_sampler_init_grammar(model.vocab, text.encode(), b"root")
        if not pointer:
            raise ValueError("llama.cpp refuses the grammar that the answer is to keep to")
        self._pointer = pointer
        self._one = lib.llama_token_data()
        self._array_of_one = _candidates(lib, ctypes.addressof(self._one), 1)
        self._free = weakref.finalize(self, lib.llama_sampler_free, pointer)
        self._free.atexit = False

    def allows(self, token: int) -> bool:
        """Whether the answer may go on with `token`."""
        self._one.id, self._one.logit = token, 0.0
        self._lib.llama_sampler_apply(self._pointer, ctypes.byref(self._array_of_one))
        return bool(self._one.logit == 0.0)

    def mask(self, address: int, count: int) -> None:
        """Set the logit of each of `count` candidates that is not allowed to minus infinity."""
        # Some milliseconds, so the interpreter's lock is given up.
        self._lib.functions.llama_sampler_apply(self._pointer, ctypes.byref(_candidates(self._lib, address, count)))

    def accept(self, token: int) -> None:
        """Go on with `token`, which must be allowed: llama.cpp ends the whole process if it isn't."""
        self._lib.llama_sampler_accept(self._pointer, token)

    def close(self) -> None:
        self._free()


def _candidates(lib: Any, address: int, count: int) -> Any:
    """A llama_token_data_array over memory that holds `count` llama_token_data (llama.h: id, logit, p)."""
    array = lib.llama_token_data_array()
    array.data = ctypes.cast(address, lib.llama_token_data_p)
    array.size, array.selected, array.sorted = count, -1, False
    return array


def _most_likely() -> Callable[[memoryview], int]:
    """What finds the highest logit; of equal ones the first, as llama.cpp's greedy sampler does.

    That sampler makes a list of all candidates first, which takes several times as long.
    """
    import numpy as np

    def find(logits: memoryview) -> int:
        return int(np.frombuffer(logits, dtype=np.float32).argmax())

    return find

"""A context of llama.cpp's: a KV cache for several sequences, the batch to compute, and what comes out of it."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from lollms_core import BackendError
from lollms_llamacpp.lora import set_adapters
from lollms_llamacpp.native import Model, StopFlag
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.parameters import set_attention

__all__ = ["ABORTED", "NO_ROOM", "Batch", "Context"]

NO_ROOM: Final = 1
ABORTED: Final = 2
"""What llama_decode returns (llama.h) when the cells of the KV cache are used up, and when the stop flag ended it."""


class Batch:
    """Tokens of one or several sequences that are computed in one go; its memory is allocated once.

    Args:
        lib: llama.cpp.
        capacity: tokens that fit.
        n_sequences: how many sequences there are, numbered from 0.
    """

    def __init__(self, lib: Any, capacity: int, n_sequences: int) -> None:
        self.capacity = capacity
        self._tokens = (ctypes.c_int32 * capacity)()
        self._positions = (ctypes.c_int32 * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*([1] * capacity))
        self._ids = (ctypes.c_int32 * n_sequences)(*range(n_sequences))
        self._sequences = (ctypes.c_void_p * capacity)()
        self._outputs = (ctypes.c_int8 * capacity)()
        whole, pointer = ctypes.c_int32, ctypes.POINTER
        self.struct = lib.llama_batch()
        self.struct.token = ctypes.cast(self._tokens, pointer(whole))
        self.struct.pos = ctypes.cast(self._positions, pointer(whole))
        self.struct.n_seq_id = ctypes.cast(self._counts, pointer(whole))
        self.struct.seq_id = ctypes.cast(self._sequences, pointer(pointer(whole)))
        self.struct.logits = ctypes.cast(self._outputs, pointer(ctypes.c_int8))
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def room(self) -> int:
        """How many tokens fit beside those that are in it."""
        return self.capacity - self._size

    def clear(self) -> None:
        """Begin anew."""
        self._size = self.struct.n_tokens = 0

    def add(self, tokens: Sequence[int], position: int, sequence: int, *, output: bool) -> int:
        """Add tokens that follow each other.

        Args:
            tokens: at least one.
            position: the first one's place in the sequence.
            sequence: its number.
            output: whether the last one's logits are wanted.

        Returns:
            The index of the last one, for :meth:`Context.logits`.
        """
        begin, end = self._size, self._size + len(tokens)
        address = ctypes.addressof(self._ids) + 4 * sequence
        if end - begin == 1:  # the usual case, and the one that has to be quick
            self._tokens[begin], self._positions[begin] = tokens[0], position
            self._sequences[begin] = address
        else:
            self._tokens[begin:end] = list(tokens)
            self._positions[begin:end] = list(range(position, position + end - begin))
            self._sequences[begin:end] = [address] * (end - begin)
            self._outputs[begin:end] = [0] * (end - begin)
        self._outputs[end - 1] = output
        self._size = self.struct.n_tokens = end
        return end - 1

    def all_outputs(self) -> None:
        """Want something of every token, as pooling does."""
        self._outputs[: self._size] = [1] * self._size


class Context:
    """A KV cache and the buffers to compute with, on a model's weights. It belongs to one thread at a time.

    Args:
        model: the model; it must stay open as long as this context.
        options: threads, batch, attention, RoPE.
        n_ctx: tokens that fit, of all sequences together.
        n_sequences: sequences that it holds at once.
        pooling: for embeddings, how one vector is made of many (llama.h, enum llama_pooling_type; -1 as the
            model says); None for generating.

    Raises:
        BackendError: llama.cpp cannot make it, most often for lack of memory.
    """

    def __init__(
        self,
        model: Model,
        options: LoadOptions,
        n_ctx: int,
        *,
        n_sequences: int = 1,
        pooling: int | None = None,
    ) -> None:
        lib = self._lib = model.lib
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_seq_max = n_sequences
        # Without it each sequence has a fixed share of the cells, and copying a part of one ends the process.
        params.kv_unified = True
        params.n_threads, params.n_threads_batch = options.n_threads, options.n_threads_batch
        if pooling is None:
            params.n_batch = max(min(options.n_batch, n_ctx), n_sequences)
            params.n_ubatch = min(params.n_batch, options.n_ubatch or params.n_ubatch)
            # One token a sequence is sampled after; the default makes room for the logits of a whole batch.
            params.n_outputs_max = n_sequences
        else:
            # Vectors are pooled over what is computed in one go, so that must be the whole text.
            # A damaged file may say that it was trained for three tokens: llama.cpp ends the process where its batch,
            # which is no larger than the context, has no row for each sequence.
            params.n_ctx = params.n_batch = params.n_ubatch = max(n_ctx, n_sequences)
            params.embeddings, params.pooling_type = True, pooling
        set_attention(params, options)
        with lib.loading:
            lib.listen()
            pointer = lib.llama_init_from_model(model.pointer, params)
            cause = lib.messages.cause()
        if not pointer:
            raise BackendError(f"llama.cpp cannot make room for a context of {n_ctx} tokens{cause}")
        self.pointer: int = pointer
        self.n_ctx = int(lib.llama_n_ctx(pointer))
        self.n_batch = int(lib.llama_n_batch(pointer))
        self.n_sequences = n_sequences
        self.batch = Batch(lib, self.n_batch, n_sequences)
        self.flag = StopFlag()
        """Raised, it ends what is being computed."""
        self._memory = lib.llama_get_memory(pointer)
        self._logits_type = ctypes.c_float * model.n_vocab
        self._threads: tuple[int, int] | None = None
        # With a GPU the work may still go on when llama_decode is back; on a CPU it is done.
        self._synchronize = bool(lib.llama_supports_gpu_offload())
        lib.llama_set_abort_callback(pointer, lib.stop_if_not_empty, ctypes.addressof(self.flag.buffer))
        self._free = weakref.finalize(self, _free_context, lib.llama_free, pointer, model, self.flag)
        self._free.atexit = False
        set_adapters(lib, pointer, model.adapters)

    # Computing ------------------------------------------------------------------------------------------

    def set_threads(self, single: int, batch: int) -> None:
        """How many CPU threads compute: for single tokens, and for a prompt's."""
        if (single, batch) != self._threads:
            self._threads = (single, batch)
            self._lib.llama_set_n_threads(self.pointer, single, batch)

    def decode(self) -> int:
        """Compute what is in the batch; 0, or llama_decode's error."""
        code = int(self._lib.llama_decode(self.pointer, self.batch.struct))
        if self._synchronize:
            self._lib.llama_synchronize(self.pointer)
        return code

    def logits(self, index: int) -> memoryview:
        """The logits after the batch's token `index`: a 32-bit float for each of the vocabulary, until the next decode.

        Raises:
            BackendError: there are none.
        """
        values = self._lib.llama_get_logits_ith(self.pointer, index)
        if not values:
            raise BackendError("llama.cpp gave no probabilities for the next token")
        return memoryview(self._logits_type.from_address(ctypes.addressof(values.contents)))

    def embedding(self, sequence: int, size: int) -> list[float] | None:
        """The pooled vector of a sequence just computed, None if there is none."""
        vector = self._lib.llama_get_embeddings_seq(self.pointer, sequence)
        return list(vector[:size]) if vector else None

    # What is remembered ---------------------------------------------------------------------------------

    def forget(self, sequence: int | None = None) -> None:
        """Empty one sequence, or all."""
        if not self._memory:
            return
        if sequence is None:
            self._lib.llama_memory_clear(self._memory, False)
        else:
            self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def cut(self, sequence: int, position: int) -> bool:
        """Forget what stands at `position` and after it; False if this memory cannot forget a part."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, position, -1))

    def copy(self, source: int, target: int, position: int | None = None) -> None:
        """Have the empty sequence `target` begin as `source` does, up to `position` or to its end; no cell is used."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1 if position is None else position)

    def first_position(self, sequence: int) -> int:
        """From where on everything is remembered: 0, unless the model's attention is a sliding window."""
        return int(self._lib.llama_memory_seq_pos_min(self._memory, sequence))

    def size(self, sequence: int) -> int:
        """How many bytes :meth:`save` takes for it."""
        return int(self._lib.llama_state_seq_get_size(self.pointer, sequence))

    def save(self, sequence: int) -> Any:
        """What is remembered of a sequence, as bytes."""
        size = self.size(sequence)
        data = (ctypes.c_uint8 * size)()
        written = int(self._lib.llama_state_seq_get_data(self.pointer, data, size, sequence))
        if written != size:
            raise BackendError(f"llama.cpp saved {written} of {size} bytes of a sequence")
        return data

    def restore(self, sequence: int, data: Any) -> bool:
        """Have the empty `sequence` be what :meth:`save` gave; False if there is no room."""
        if self._lib.llama_state_seq_set_data(self.pointer, data, len(data), sequence):
            return True
        self.forget(sequence)
        return False

    def close(self) -> None:
        """Free the memory."""
        self._free()


def _free_context(free: Callable[[int], None], pointer: int, _model: Model, _flag: StopFlag) -> None:
    # The model and the flag stand here to outlive the context where all are left to the garbage collector.
    free(pointer)

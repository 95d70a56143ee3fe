"""llama.cpp: its functions, its log, its weights and vocabularies.

llama-cpp-python is used for its C-level functions alone. They are ctypes functions, which give up the
interpreter's lock at every call. That is right for those that compute, and wrong for those that last less
than the handing over: the latter are called through ``ctypes.PyDLL``, which keeps it.

What a :class:`Model` does with its vocabulary is thread-safe (llama.h says so of the tokenizer).
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from lollms_core import BackendError, BackendUnavailable
from lollms_llamacpp.c_functions import functions_of
from lollms_llamacpp.lora import Adapter, load_adapters
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.parameters import set_placement
from lollms_llamacpp.probing.builds import check_build

__all__ = ["REMEDY", "ClosedError", "Kept", "Model", "StopFlag", "library"]

_log = logging.getLogger("lollms_llamacpp.llama_cpp")

_ERROR_LEVEL: Final = 4  # ggml.h: NONE 0, DEBUG 1, INFO 2, WARN 3, ERROR 4, CONT 5 (goes on with the last line)
_CONTINUED: Final = 5
_CONTROL_OR_UNKNOWN: Final = 1 << 3 | 1 << 0  # llama.h: enum llama_token_attr
_WORDPIECE: Final = 3  # llama.h: enum llama_vocab_type
_LSTRIP: Final = 1 << 7
_RSTRIP: Final = 1 << 8

_SHORT: Final = (
    "llama_get_logits_ith",
    "llama_memory_clear",
    "llama_memory_seq_cp",
    "llama_memory_seq_pos_min",
    "llama_memory_seq_rm",
    "llama_sampler_accept",
    "llama_sampler_apply",
    "llama_sampler_free",
    "llama_sampler_sample",
    "llama_set_abort_callback",
    "llama_set_n_threads",
    "llama_token_to_piece",
    "llama_vocab_get_attr",
    "llama_vocab_get_text",
    "llama_vocab_is_eog",
)

REMEDY: Final = (
    'CMAKE_ARGS="-DGGML_NATIVE=OFF" pip install --no-cache-dir --force-reinstall '
    "--no-binary llama-cpp-python llama-cpp-python"
)


_importing = threading.Lock()


class _Library:
    """llama.cpp's functions, by name: those that compute through CDLL, the short ones through PyDLL."""

    def __init__(self, functions: Any) -> None:
        self.functions = functions
        quick = ctypes.PyDLL(functions._lib._name, handle=functions._lib._handle)
        for name in _SHORT:
            short, known = getattr(quick, name), getattr(functions, name)
            short.argtypes, short.restype = known.argtypes, known.restype
            setattr(self, name, short)
        # llama.cpp asks this function hundreds of times a step whether to stop. Python would be ruinous there, and
        # strlen of a string that is empty, until it isn't, says just that: its result is 0 or 1.
        libc = ctypes.CDLL("msvcrt" if os.name == "nt" else None)
        self.stop_if_not_empty = functions.ggml_abort_callback(ctypes.cast(libc.strlen, ctypes.c_void_p).value)
        self.loading = threading.Lock()
        self.messages = _Messages()
        self._log_callback = functions.llama_log_callback(self.messages.take)
        self.listen()
        functions.llama_backend_init()

    def listen(self) -> None:
        """From now on the errors are those of what comes next; an application's own ``llama_cpp`` may have the log."""
        self.messages.errors = []
        self.functions.llama_log_set(self._log_callback, None)

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.functions, name)
        setattr(self, name, function)
        return function


class _Messages:
    """llama.cpp's own messages: all go to the log at DEBUG; errors are kept for our exceptions."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._level = 0

    def take(
        self,
        level: int,
        text: bytes | None,
        _: object,
        # Bound here, since at the interpreter's end the module's names may be gone before the last message.
        log: logging.Logger = _log,
        debug: int = logging.DEBUG,
        error_level: int = _ERROR_LEVEL,
        continued: int = _CONTINUED,
    ) -> None:
        if level != continued:
            self._level = level
        if self._level != error_level and not log.isEnabledFor(debug):
            return
        line = (text or b"").decode("utf-8", "replace").rstrip()
        if not line:
            return
        log.debug("%s", line)
        if self._level == error_level:
            self.errors = [*self.errors[-4:], line]

    def cause(self) -> str:
        """What went wrong, in llama.cpp's words, as the end of a sentence; "" if it said nothing."""
        return f": {'; '.join(self.errors)}" if self.errors else ""


def library() -> _Library:
    """llama.cpp, loaded at the first call.

    Raises:
        BackendUnavailable: llama-cpp-python is missing, does not load, or dies here (see
            :mod:`lollms_llamacpp.probing.builds`); the text has the remedy.
    """
    # One at a time: of two, the first one's log callback would be freed while llama.cpp still calls it.
    with _importing:
        return _library()


@functools.cache
def _library() -> _Library:
    try:
        functions = functions_of("llama_cpp")
    except (ImportError, OSError, RuntimeError) as error:
        # RuntimeError is what llama_cpp makes of a shared library that the system refuses.
        raise BackendUnavailable(f"llama-cpp-python cannot be imported ({error}); install it with: {REMEDY}") from error
    check_build(functions)
    return _Library(functions)


class StopFlag:
    """Ends a step of llama.cpp that computes on the CPU, from any thread, once raised."""

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(2)

    def set(self) -> None:
        self.buffer[0] = b"\x01"

    def clear(self) -> None:
        self.buffer[0] = b"\0"

    def __bool__(self) -> bool:
        return self.buffer[0] != b"\0"


class ClosedError(Exception):
    """What was to be used is gone; whoever holds its successor may try there."""


class Kept:
    """Memory of llama.cpp's that stays while anybody reads it: ``with kept: ...``, from any thread."""

    def _keep(self, free: weakref.finalize[..., Any]) -> None:
        free.atexit = False
        self._free = free
        self._users = 0
        self._unused = threading.Condition()
        self._open = True

    def __enter__(self) -> Self:
        """Use it: the memory stays until the matching exit.

        Raises:
            ClosedError: it is gone already.
        """
        with self._unused:
            if not self._open:
                raise ClosedError
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._unused:
            self._users -= 1
            if not self._users:
                self._unused.notify_all()

    def close(self) -> None:
        """Free the memory, when the calls that read it have ended."""
        with self._unused:
            self._open = False
            while self._users:
                self._unused.wait()
        self._free()


class Model(Kept):
    """The weights and the vocabulary of one file.

    Args:
        path: the file; of a split model the first one.
        options: how to load it.
        adapters: LoRA adapters that fit it.
        vocabulary_only: leave the weights out.
        go_on: asked again and again during the loading; False ends it.

    Raises:
        BackendUnavailable: no llama.cpp.
        BackendError: llama.cpp refuses the file, or an adapter; the text has its words.
        ValueError: an option is for more GPUs than llama.cpp knows.
    """

    def __init__(
        self,
        path: Path,
        options: LoadOptions,
        *,
        adapters: Sequence[Adapter] = (),
        vocabulary_only: bool = False,
        go_on: Callable[[], bool] | None = None,
    ) -> None:
        lib = self.lib = library()
        params = lib.llama_model_default_params()
        params.vocab_only = vocabulary_only
        set_placement(lib, params, options)
        if go_on is not None:
            params.progress_callback = lib.llama_progress_callback(lambda _progress, _data: go_on())
        # One at a time, so that the errors kept are those of this file.
        with lib.loading:
            lib.listen()
            pointer = lib.llama_model_load_from_file(os.fsencode(path), params)
            cause = lib.messages.cause()
        if not pointer:
            raise BackendError(f"llama.cpp cannot load {path}{cause}")
        self.pointer: int = pointer
        self._pieces: tuple[dict[int, bytes], dict[int, bytes]] = ({}, {})
        # Their memory is a state that the whole text has made, of which no part can be taken back or copied.
        self.whole_sequences = bool(lib.llama_model_is_recurrent(pointer) or lib.llama_model_is_hybrid(pointer))
        self.vector_size = int(lib.llama_model_n_embd_inp(pointer))
        """Numbers that stand for a token at the model's entrance."""
        self.window = int(lib.llama_model_n_swa(pointer))
        """Tokens that sliding-window attention looks back; 0 without."""
        self.vocab: int = lib.llama_model_get_vocab(pointer)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocab))
        self.bos: int | None = _token(lib.llama_vocab_bos(self.vocab))
        self.eos: int | None = _token(lib.llama_vocab_eos(self.vocab))
        self.adds_bos = bool(lib.llama_vocab_get_add_bos(self.vocab)) and self.bos is not None
        self._keep(weakref.finalize(self, lib.llama_model_free, pointer))
        lacking = self._lacking()
        if lacking:
            self.close()
            raise BackendError(f"cannot use the model file {path}: its vocabulary has no token for the {lacking}")
        try:
            self.adapters = load_adapters(lib, pointer, adapters)
        except BackendError:
            self.close()
            raise

    def _lacking(self) -> str | None:
        """Where llama.cpp wants a token that is not there, and would end the process at the first text."""
        lib, vocab = self.lib, self.vocab
        both = lib.llama_vocab_type(vocab) == _WORDPIECE
        if self.bos is None and (both or lib.llama_vocab_get_add_bos(vocab)):
            return "beginning of a text"
        end = lib.llama_vocab_sep(vocab) if both else lib.llama_vocab_eos(vocab)
        if _token(end) is None and (both or lib.llama_vocab_get_add_eos(vocab)):
            return "end of a text"
        return None

    # The vocabulary; called inside `with model` ------------------------------------------------------------

    def tokenize(self, text: bytes, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """The tokens of UTF-8 `text`.

        Raises:
            ValueError: `text` is 2 GiB or longer.
        """
        if len(text) > 2**31 - 1:
            raise ValueError("a text of 2 GiB or more cannot be tokenized")
        room = len(text) + 2
        while True:
            tokens = (ctypes.c_int32 * room)()
            count: int = self.lib.llama_tokenize(self.vocab, text, len(text), tokens, room, add_special, parse_special)
            if count >= 0:
                return list(tokens[:count])
            if -count <= room:
                raise BackendError("llama.cpp cannot tokenize this text")
            room = -count

    def piece(self, token: int, *, special: bool) -> bytes:
        """The bytes that `token` stands for; of control tokens none, unless `special`."""
        known = self._pieces[special]
        found = known.get(token)
        if found is None:
            found = known[token] = self._piece(token, special)
        return found

    def _piece(self, token: int, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count: int = self.lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def ends_generation(self, token: int) -> bool:
        return bool(self.lib.llama_vocab_is_eog(self.vocab, token))

    @functools.cached_property
    def without_text(self) -> frozenset[int]:
        """The tokens that :meth:`piece` gives no bytes for: control tokens, and the one for what is unknown."""
        attributes = self.lib.llama_vocab_get_attr
        return frozenset(token for token in range(self.n_vocab) if attributes(self.vocab, token) & _CONTROL_OR_UNKNOWN)

    @functools.cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a generation."""
        return tuple(token for token in range(self.n_vocab) if self.ends_generation(token))

    def special_tokens(self) -> list[tuple[str, int, bool, bool]]:
        """Text, id, and whether blanks before and after are swallowed, of all control and unknown tokens."""
        attributes, text_of = self.lib.llama_vocab_get_attr, self.lib.llama_vocab_get_text
        found = []
        for token in range(self.n_vocab):
            attribute = attributes(self.vocab, token)
            if attribute & _CONTROL_OR_UNKNOWN:
                text = (text_of(self.vocab, token) or b"").decode("utf-8", "replace")
                if text:
                    found.append((text, token, bool(attribute & _LSTRIP), bool(attribute & _RSTRIP)))
        return found


def _token(number: int) -> int | None:
    return int(number) if number >= 0 else None

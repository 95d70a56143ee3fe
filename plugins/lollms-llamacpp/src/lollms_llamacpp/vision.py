"""Images for the model, through libmtmd, the part of llama.cpp that llama-cpp-python ships as ``llama_cpp.mtmd_cpp``.

A projector (``mmproj-*.gguf``) turns an image into vectors that stand in the prompt like tokens' own. The header
of the C library says what its functions do:
https://github.com/ggml-org/llama.cpp/blob/master/tools/mtmd/mtmd.h and mtmd-helper.h beside it.

libmtmd ends the process (GGML_ASSERT) for some files and images, so both are looked at before they get there.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lollms_core import BackendError, BackendUnavailable, ImageError
from lollms_core.messages import Image
from lollms_llamacpp.image_size import image_size
from lollms_llamacpp.model_file import ModelFile, model_file, shard_of
from lollms_llamacpp.native import ABORTED, Context, Kept, Model, StopFlag, library
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.projector_checks import projector_fault

__all__ = ["ImageContext", "Piece", "Projector", "projector_beside", "projector_file", "sees"]

_MARKER: Final = b"<__media__>"
_TEXT: Final = 0  # mtmd.h, enum mtmd_input_chunk_type
_IMAGE: Final = 1
_NODES_BETWEEN_LOOKS: Final = 16

_MAX_PIXELS: Final = 64_000_000
_MAX_RATIO: Final = 100


# Files ------------------------------------------------------------------------------------------------


def projector_file(path: Path) -> ModelFile:
    """The projector in the file `path`.

    Raises:
        ModelNotFound: there is no such file.
        BackendError: it is damaged, no projector, or one that cannot be.
    """
    file = model_file(path)
    if file.companion != "a vision projector":
        raise BackendError(f"cannot use {path} as mmproj: it is no projector")
    fault = projector_fault(file.header, file.tensors, sees=sees(file))
    if fault is not None:
        raise BackendError(f"cannot use the projector {path}: {fault}")
    return file


def sees(projector: ModelFile) -> bool:
    """Whether a projector is one for images; some are for sounds alone."""
    return projector.header.flag("clip.has_vision_encoder", False)


def projector_beside(model: ModelFile) -> Path | None:
    """The projector that plainly belongs to `model`: the only ``mmproj*.gguf`` in a folder with that model alone.

    It must also make vectors of the model's size.
    """
    try:
        files = sorted(model.path.parent.glob("*.gguf"))
    except OSError:
        return None
    projectors = [file for file in files if file.name.lower().startswith("mmproj")]
    if len(projectors) != 1:
        return None
    for file in files:
        shard = shard_of(file)
        if file not in (projectors[0], model.path) and (shard is None or shard[1] == 1):
            return None
    try:
        found = projector_file(projectors[0])
    except BackendError:
        return None
    fits = found.header.whole("clip.vision.projection_dim") == model.embedding_length
    return projectors[0] if fits and sees(found) else None


# The library ------------------------------------------------------------------------------------------


_callbacks: Final[list[object]] = []  # libmtmd calls them until the process ends


@functools.cache
def _functions() -> Any:
    """The functions of libmtmd.

    Raises:
        BackendUnavailable: this llama-cpp-python has none.
    """
    lib = library()
    try:
        functions = importlib.import_module("llama_cpp.mtmd_cpp")
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendUnavailable(
            f"images need libmtmd, which this llama-cpp-python lacks ({error}); install a newer llama-cpp-python"
        ) from error
    callback = lib.functions.llama_log_callback(lib.messages.take)
    _callbacks.append(callback)
    functions.mtmd_helper_log_set(callback, None)
    return functions


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt.

    Attributes:
        n_tokens: room that it takes in the context.
        tokens: its text; () for an image.
        chunk: libmtmd's part of an image, 0 for text; the memory belongs to `owner`.
    """

    n_tokens: int
    tokens: tuple[int, ...] = ()
    chunk: int = 0
    owner: object = None


class Projector(Kept):
    """A projector in memory, for one model.

    Args:
        path: its file, looked at before (:func:`projector_file`).
        model: the model, which must stay open as long as this.
        options: threads and GPU.

    Raises:
        BackendUnavailable: no libmtmd.
        BackendError: libmtmd refuses the file, or it is for another model; the text has its words.
    """

    def __init__(self, path: Path, model: Model, options: LoadOptions) -> None:
        self._mtmd = _functions()
        self.path = path
        lib = model.lib
        params = self._mtmd.mtmd_context_params_default()
        params.use_gpu = options.n_gpu_layers != 0
        params.print_timings = False
        params.n_threads = options.n_threads_batch
        params.media_marker = _MARKER
        if options.flash_attn is not None:
            params.flash_attn_type = int(options.flash_attn)
        # libmtmd has no way to end the reading of an image but this: it asks after each step of the computation.
        self._flag: StopFlag | None = None
        self._steps = 0
        looks = weakref.WeakMethod(self._goes_on)

        def goes_on(_tensor: object, ask: bool, _data: object) -> bool:
            look = looks()
            return look is None or look(ask)

        self._callback = lib.functions.ggml_backend_sched_eval_callback(goes_on)
        params.cb_eval = self._callback
        with lib.loading:
            lib.messages.errors = []
            pointer = self._mtmd.mtmd_init_from_file(os.fsencode(path), model.pointer, params)
            cause = lib.messages.cause()
        if not pointer:
            raise BackendError(f"llama.cpp cannot load the projector {path} for this model{cause}")
        self._pointer: int = pointer
        self._model = model
        self._keep(weakref.finalize(self, _free_projector, self._mtmd.mtmd_free, pointer, model, self._callback))

    @property
    def sees(self) -> bool:
        """Whether it is one for images."""
        return bool(self._mtmd.mtmd_support_vision(self._pointer))

    def pieces(self, image: Image) -> list[Piece]:
        """What `image` is in a prompt: vectors to come, and the model's own marks around them. From any thread.

        Raises:
            ImageError: it is damaged, of a format that libmtmd doesn't read, too large or too thin.
            ClosedError: the memory is gone.
        """
        _check_image(image)
        mtmd = self._mtmd
        with self:
            data = (ctypes.c_uint8 * len(image.data)).from_buffer_copy(image.data)
            bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(self._pointer, data, len(image.data), False)
            if not bitmap:
                raise ImageError(f"the image ({len(image.data)} bytes, {image.mime}) is damaged and cannot be read")
            chunks = _Chunks(mtmd)
            try:
                text = mtmd.mtmd_input_text(_MARKER, len(_MARKER), False, True)
                bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
                code = mtmd.mtmd_tokenize(self._pointer, chunks.pointer, ctypes.byref(text), bitmaps, 1)
            finally:
                mtmd.mtmd_bitmap_free(bitmap)
            if code:
                raise ImageError(f"llama.cpp cannot prepare this image for the model (mtmd_tokenize returned {code})")
            return chunks.pieces()

    def decode(self, context: Context, piece: Piece, past: int, n_batch: int, flag: StopFlag) -> tuple[int, int]:
        """Compute the vectors of an image's `piece` and have the model read them after `past` positions.

        Returns:
            0, llama_decode's error or ABORTED; and the positions passed then.
        """
        mtmd = self._mtmd
        with self:
            self._flag, self._steps = flag, 0
            code = mtmd.mtmd_encode_chunk(self._pointer, piece.chunk)
            self._flag = None
            if _raised(flag):
                return ABORTED, past
            if code:
                raise BackendError("llama.cpp cannot compute the vectors of an image")
            vectors = mtmd.mtmd_get_output_embd(self._pointer)
            after = ctypes.c_int32(past)
            code = mtmd.mtmd_helper_decode_image_chunk(
                self._pointer,
                context.pointer,
                piece.chunk,
                vectors,
                past,
                0,
                n_batch,
                ctypes.byref(after),
                mtmd.mtmd_helper_post_decode_callback(),
                None,
            )
            return code, after.value

    def _goes_on(self, ask: bool) -> bool:
        """Asked for a step: whether it will be looked at; told of one: whether the next ones shall follow."""
        stopped = self._flag is not None and _raised(self._flag)
        if not ask:
            return not stopped
        self._steps += 1
        return stopped or self._steps % _NODES_BETWEEN_LOOKS == 0


class _Chunks:
    """libmtmd's list of the parts of one image, freed with the last piece that is of it."""

    def __init__(self, mtmd: Any) -> None:
        self._mtmd = mtmd
        self.pointer: int = mtmd.mtmd_input_chunks_init()
        weakref.finalize(self, mtmd.mtmd_input_chunks_free, self.pointer).atexit = False

    def pieces(self) -> list[Piece]:
        mtmd = self._mtmd
        found = []
        for index in range(mtmd.mtmd_input_chunks_size(self.pointer)):
            chunk = mtmd.mtmd_input_chunks_get(self.pointer, index)
            kind, count = mtmd.mtmd_input_chunk_get_type(chunk), int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))
            if kind == _TEXT:
                size = ctypes.c_size_t()
                tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(size))
                text = tuple(tokens[: size.value])
                if any(token < 0 for token in text):
                    raise BackendError(
                        "the projector (mmproj) is for another model: it marks images with tokens that this one lacks"
                    )
                found.append(Piece(size.value, text))
            elif kind == _IMAGE:
                found.append(Piece(count, chunk=chunk, owner=self))
            else:
                raise ImageError("llama.cpp takes this for a sound, not for an image")
        return [piece for piece in found if piece.n_tokens]


class ImageContext:
    """A :class:`Context` for one prompt with images: to an answer it is one whose next batch ends at their edges.

    The prompt's tokens are numbers below 0 where an image stands, as many as it takes.
    """

    def __init__(self, context: Context, projector: Projector, pieces: Sequence[Piece]) -> None:
        self._context = context
        self._projector = projector
        self._pieces = pieces
        self._index = self._done = 0  # the piece that is next, and the tokens of it that are computed
        self._past = 0  # positions, which may be fewer than tokens: an image can have one for a whole row
        self._flag = StopFlag()
        self._batch = library().llama_batch()

    @property
    def pointer(self) -> int:
        return self._context.pointer

    @property
    def prompt(self) -> list[int]:
        """The prompt's tokens."""
        return [token for piece in self._pieces for token in (piece.tokens or (-1,) * piece.n_tokens)]

    @property
    def n_batch(self) -> int:
        """How many tokens the next decode takes at most."""
        if self._index == len(self._pieces):
            return self._context.n_batch
        piece = self._pieces[self._index]
        return piece.n_tokens if piece.chunk else min(self._context.n_batch, piece.n_tokens - self._done)

    def logits(self) -> Any:
        """See :meth:`Context.logits`."""
        return self._context.logits()

    def start(self, flag: StopFlag, n_threads: int, n_threads_batch: int) -> None:
        """See :meth:`Context.start`."""
        self._index = self._done = self._past = 0
        self._flag = flag
        self._context.start(flag, n_threads, n_threads_batch)

    def decode(self, tokens: Any, offset: int, count: int) -> int:
        """See :meth:`Context.decode`; of an image always all of it."""
        piece = self._pieces[self._index] if self._index < len(self._pieces) else None
        if piece is not None and piece.chunk:
            code, past = self._projector.decode(self._context, piece, self._past, self._context.n_batch, self._flag)
            if code == 0:
                self._past, self._index = past, self._index + 1
            return code
        positions = (ctypes.c_int32 * count)(*range(self._past, self._past + count))
        code = self._decode(tokens, offset, count, positions)
        if code == 0:
            self._past += count
            self._done += count
            if piece is not None and self._done == piece.n_tokens:
                self._index, self._done = self._index + 1, 0
        return code

    def _decode(self, tokens: Any, offset: int, count: int, positions: Any) -> int:
        lib, batch = library(), self._batch
        batch.n_tokens = count
        batch.token = ctypes.cast(ctypes.addressof(tokens) + 4 * offset, ctypes.POINTER(ctypes.c_int32))
        batch.pos = ctypes.cast(positions, ctypes.POINTER(ctypes.c_int32))
        code = int(lib.llama_decode(self.pointer, batch))
        lib.llama_synchronize(self.pointer)
        return code


def _check_image(image: Image) -> None:
    size = image_size(image.data)
    if size is None:
        raise ImageError(f"llama.cpp cannot read this image ({image.mime}): it takes PNG, JPEG, GIF and BMP")
    width, height = size
    if not (width and height) or width * height > _MAX_PIXELS:
        raise ImageError(f"the image has {width} x {height} pixels; llama.cpp gets at most {_MAX_PIXELS}")
    if max(width, height) > _MAX_RATIO * min(width, height):
        raise ImageError(f"the image is too thin: {width} x {height} pixels")


def _raised(flag: StopFlag) -> bool:
    return flag.buffer[0] != b"\0"


def _free_projector(free: Any, pointer: int, _model: Model, _callback: object) -> None:
    # The model and the callback stand here to outlive the projector, also where all are left to the collector.
    free(pointer)

"""Images for the model, through libmtmd, the part of llama.cpp that llama-cpp-python ships as ``llama_cpp.mtmd_cpp``.

A projector (``mmproj-*.gguf``) turns an image into vectors that stand in the prompt like tokens' own. The header
of the C library says what its functions do:
https://github.com/ggml-org/llama.cpp/blob/master/tools/mtmd/mtmd.h and mtmd-helper.h beside it.

libmtmd ends the process (GGML_ASSERT) for some files and images, so both are looked at before they get there.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lollms_core import BackendError, BackendUnavailable, ImageError, LollmsError
from lollms_core.messages import Image
from lollms_llamacpp.c_functions import functions_of
from lollms_llamacpp.context import Context
from lollms_llamacpp.image_size import image_size
from lollms_llamacpp.model_file import ModelFile, model_file, shard_of
from lollms_llamacpp.native import Kept, Model, StopFlag, library
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.projector_checks import projector_fault
from lollms_llamacpp.stores.stored import tell_once

__all__ = ["Piece", "Projector", "projector_beside", "projector_file", "projector_if_usable", "sees"]

_MARKER: Final = b"<__media__>"
_TEXT: Final = 0  # mtmd.h, enum mtmd_input_chunk_type
_IMAGE: Final = 1
_NODES_BETWEEN_LOOKS: Final = 16

_MAX_PIXELS: Final = 64_000_000
_MAX_RATIO: Final = 100
_MOST_KEPT: Final = 64 * 2**20  # bytes of images' vectors


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


def projector_if_usable(path: Path | None) -> Path | None:
    """The file `path`, which another program keeps as a model's projector, if it is one for images; else it says why.

    That the model sees nothing then shall not keep anybody from using it for texts.
    """
    if path is None:
        return None
    try:
        return path if sees(projector_file(path)) else None
    except LollmsError as error:
        tell_once(f"images cannot be shown to the model of this projector: {error}")
        return None


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
        functions = functions_of("mtmd_cpp")
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
        n_positions: positions that an image passes: those that see in two dimensions pass fewer than its tokens.
        key: the same number for the same part of the same image, and for no other.
    """

    n_tokens: int
    tokens: tuple[int, ...] = ()
    chunk: int = 0
    owner: object = None
    n_positions: int = 0
    key: int = 0


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
        self._encoding = threading.Lock()
        self._known: OrderedDict[int, Any] = OrderedDict()
        looks = weakref.WeakMethod(self._goes_on)

        def goes_on(_tensor: object, ask: bool, _data: object) -> bool:
            look = looks()
            return look is None or look(ask)

        self._callback = lib.functions.ggml_backend_sched_eval_callback(goes_on)
        params.cb_eval = self._callback
        with lib.loading:
            lib.listen()
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
            digest = hashlib.sha256(image.data).digest()
            return chunks.pieces(int.from_bytes(digest[:16], "little"))

    def vectors(self, piece: Piece, flag: StopFlag) -> Any:
        """The vectors of an image's `piece`; None if `flag` ended it. From any thread, one at a time.

        Those of the last images are kept, since a conversation shows its images again with each turn.

        Raises:
            BackendError: libmtmd failed.
            ClosedError: the memory is gone.
        """
        mtmd = self._mtmd
        with self, self._encoding:
            if piece.key in self._known:
                self._known.move_to_end(piece.key)
                return self._known[piece.key]
            self._flag, self._steps = flag, 0
            code = mtmd.mtmd_encode_chunk(self._pointer, piece.chunk)
            self._flag = None
            if flag:
                return None
            if code:
                raise BackendError("llama.cpp cannot compute the vectors of an image")
            size = piece.n_tokens * self._model.vector_size
            found = (ctypes.c_float * size)()
            ctypes.memmove(found, mtmd.mtmd_get_output_embd(self._pointer), ctypes.sizeof(found))
            self._known[piece.key] = found
            while len(self._known) > 1 and sum(map(ctypes.sizeof, self._known.values())) > _MOST_KEPT:
                self._known.popitem(last=False)
            return found

    def read_by(self, context: Context, piece: Piece, vectors: Any, sequence: int, position: int) -> int:
        """Have the model read an image's vectors in `sequence` at `position`; 0, or llama_decode's error.

        Raises:
            ClosedError: the memory is gone.
        """
        mtmd = self._mtmd
        with self:
            after = ctypes.c_int32(position)
            return int(
                mtmd.mtmd_helper_decode_image_chunk(
                    self._pointer,
                    context.pointer,
                    piece.chunk,
                    vectors,
                    position,
                    sequence,
                    context.n_batch,
                    ctypes.byref(after),
                    mtmd.mtmd_helper_post_decode_callback(),
                    None,
                )
            )

    def _goes_on(self, ask: bool) -> bool:
        """Asked for a step: whether it will be looked at; told of one: whether the next ones shall follow."""
        stopped = bool(self._flag)
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

    def pieces(self, image: int) -> list[Piece]:
        """The parts of the image with the number `image`, below 2**128."""
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
                positions = int(mtmd.mtmd_input_chunk_get_n_pos(chunk))
                found.append(
                    Piece(count, chunk=chunk, owner=self, n_positions=positions, key=image << 14 | index % 2**14)
                )
            else:
                raise ImageError("llama.cpp takes this for a sound, not for an image")
        return [piece for piece in found if piece.n_tokens]


def _check_image(image: Image) -> None:
    size = image_size(image.data)
    if size is None:
        raise ImageError(f"llama.cpp cannot read this image ({image.mime}): it takes PNG, JPEG, GIF and BMP")
    width, height = size
    if not (width and height) or width * height > _MAX_PIXELS:
        raise ImageError(f"the image has {width} x {height} pixels; llama.cpp gets at most {_MAX_PIXELS}")
    if max(width, height) > _MAX_RATIO * min(width, height):
        raise ImageError(f"the image is too thin: {width} x {height} pixels")


def _free_projector(free: Any, pointer: int, _model: Model, _callback: object) -> None:
    # The model and the callback stand here to outlive the projector, also where all are left to the collector.
    free(pointer)

"""What libmtmd does not survive in a projector's file, looked for before it gets there.

libmtmd reads keys without looking at their types, takes most tensors as optional and computes with them all the same,
and lets assertions (GGML_ASSERT) judge their shapes: each of these ends the process. The functions here say what is
wrong, as the rest of a sentence that names the file, or None.

All projectors are looked at for the types of their keys, the types of their tensors, and biases that do not fit their
weights. The whole encoder, tensor by tensor, is looked at where it is of the common kind, a vision transformer; what
comes after it, for LLaVA's and Idefics' projections. Of others libmtmd itself misses what is not there.

Sources: https://github.com/ggml-org/llama.cpp/blob/master/tools/mtmd/clip.cpp (load_hparams, load_tensors), the names
in clip-impl.h beside it, the computing in models/llava.cpp and models/siglip.cpp there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from lollms_llamacpp.gguf import BOOL, FLOAT, INT32, STRING, UINT32, Header, Tensor
from lollms_llamacpp.model_checks import tensor_fault

__all__ = ["projector_fault"]

_SIZES: Final = {
    "image_size": 2**14,
    "patch_size": 2**10,
    "embedding_length": 2**16,
    "attention.head_count": 2**10,
    "projection_dim": 2**20,
    "block_count": 512,
}
"""What every projector has for images, and the most that it can be."""

# The types as which libmtmd reads single values: those of other names below "clip." are whole numbers without a sign.
_KINDS: Final = {
    "general.name": STRING,
    "general.description": STRING,
    "clip.projector_type": STRING,
    "clip.vision.projector_type": STRING,
    "clip.audio.projector_type": STRING,
    "clip.gen.audio.projector_type": STRING,
    "clip.gen.audio.model_variant": STRING,
    "clip.vision.mm_patch_merge_type": STRING,
    "clip.has_vision_encoder": BOOL,
    "clip.has_audio_encoder": BOOL,
    "clip.has_gen_audio_encoder": BOOL,
    "clip.use_gelu": BOOL,
    "clip.use_silu": BOOL,
    "clip.minicpmv_version": INT32,
    "clip.minicpmv_query_num": UINT32,
    "clip.vision.attention.layer_norm_epsilon": FLOAT,
    "clip.audio.attention.layer_norm_epsilon": FLOAT,
    "clip.vision.swiglu_clamp": FLOAT,
}
_NUMBERS: Final = frozenset(
    {
        *("embedding_length", "feed_forward_length", "block_count", "projection_dim", "image_size", "patch_size"),
        *("attention.head_count", "attention.head_count_kv", "attention.head_dim", "image_min_pixels"),
        *("image_max_pixels", "preproc_min_tiles", "preproc_max_tiles", "preproc_image_size"),
        *("projector.scale_factor", "projector.query_side", "projector.window_side", "spatial_merge_size"),
        *("n_wa_pattern", "window_size", "sam.head_count", "sam.block_count", "sam.embedding_length"),
        *("expert_used_count", "num_mel_bins", "projector.stack_factor", "chunk_size", "conv_kernel_size"),
        *("max_pos_emb", "projector.window_size", "projector.downsample_rate", "projector.head_count"),
        *("rvq.num_quantizers", "local_block_count", "local_group_size", "subsampling_factor"),
    }
)
_TYPE_NAMES: Final = {UINT32: "a u32", INT32: "an i32", FLOAT: "an f32", BOOL: "a bool", STRING: "a string"}

# Those whose computing needs the table of positions, as models/llava.cpp and models/siglip.cpp do.
_WITH_POSITIONS: Final = frozenset(
    {
        *("mlp", "ldp", "ldpv2", "adapter", "gemma3", "idefics3", "lfm2", "janus_pro", "phi4", "internvl", "llama4"),
        "resampler",
    }
)
_OWN_POSITIONS: Final = frozenset({"qwen3vl_merger", "kimivl", "cogvlm"})  # the same, in shapes of their own
_TRANSFORMERS: Final = (
    _WITH_POSITIONS | _OWN_POSITIONS | {"qwen2vl_merger", "qwen2.5vl_merger", "pixtral", "lightonocr"}
)
# Those that cut an image into patches by a plain convolution, and those that have a position for each patch, no more.
_CONVOLUTIONS: Final = _WITH_POSITIONS - {"llama4", "lfm2", "resampler", "phi4"}
_ONE_GRID: Final = frozenset({"mlp", "ldp", "ldpv2", "gemma3", "idefics3"})
_MOST_MERGED: Final = 16


def projector_fault(header: Header, tensors: Mapping[str, Tensor], *, sees: bool) -> str | None:
    """What is wrong with a projector; `sees` tells whether it is one for images."""
    return (
        _kind_fault(header)
        or (_vision_fault(header, tensors) if sees else None)
        or tensor_fault(tensors)
        or _bias_fault(tensors)
    )


def _kind_fault(header: Header) -> str | None:
    for key, kind in header.kinds.items():
        wanted = _KINDS.get(key)
        modality, _, fact = key.removeprefix("clip.").partition(".")
        if wanted is None and key.startswith("clip.") and modality in {"vision", "audio"} and fact in _NUMBERS:
            wanted = UINT32
        if wanted is not None and kind != wanted:
            return f"its {key} is not {_TYPE_NAMES[wanted]}"
        value = header.number(key)
        if kind == FLOAT and value is not None and not math.isfinite(value):
            return f"its {key} is {value}"
    for key in ("clip.vision.image_mean", "clip.vision.image_std"):
        array = header.arrays.get(key)
        if array is not None and array.length < 3:
            return f"its {key} has {array.length} elements instead of 3"
    return None


def _bias_fault(tensors: Mapping[str, Tensor]) -> str | None:
    """A bias that is not as long as what it is added to."""
    for name, (shape, _) in tensors.items():
        if not (name.endswith(".bias") and name.startswith(("v.", "mm."))):
            continue
        weight = tensors.get(name.removesuffix("bias") + "weight")
        if weight is not None and _plain(shape) not in {_plain(weight.shape)[-1:], _plain(weight.shape[-1:])}:
            return f"its tensor {name!r} has the shape {list(shape)}, and the weight of it {list(weight.shape)}"
    return None


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` without the last dimensions of 1, which mean nothing to ggml."""
    while shape[-1:] == (1,):
        shape = shape[:-1]
    return shape


# Vision transformers -----------------------------------------------------------------------------------------


def _vision_fault(header: Header, tensors: Mapping[str, Tensor]) -> str | None:
    facts = {}
    for fact, most in _SIZES.items():
        value = header.whole(f"clip.vision.{fact}")
        if value is None or not 1 <= value <= most:
            return f"its clip.vision.{fact} is {value}"
        facts[fact] = value
    epsilon = header.number("clip.vision.attention.layer_norm_epsilon")
    if epsilon is not None and epsilon < 0:
        return f"its clip.vision.attention.layer_norm_epsilon is {epsilon}"
    if facts["image_size"] < facts["patch_size"]:
        return f"its clip.vision.image_size is {facts['image_size']}, and a patch {facts['patch_size']}"
    kind = header.text("clip.projector_type") or header.text("clip.vision.projector_type") or ""
    return next(_Wanted(kind, header, facts, tensors).faults(), None) if kind in _TRANSFORMERS else None


class _Wanted:
    """The tensors of one vision transformer, looked at one by one."""

    def __init__(self, kind: str, header: Header, facts: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        self._kind, self._header, self._facts, self._tensors = kind, header, facts, tensors
        self._width = facts["embedding_length"]
        self._head = header.whole("clip.vision.attention.head_dim") or self._width // facts["attention.head_count"]

    def faults(self) -> Iterator[str]:
        yield from self._patches()
        yield from self._vector("v.pre_ln.weight")
        yield from self._vector("v.post_ln.weight")
        for layer in range(self._facts["block_count"]):
            yield from self._block(f"v.blk.{layer}")
        if self._kind == "mlp":
            yield from self._llava()
        elif self._kind == "idefics3":
            yield from self._idefics()

    def _shape(self, name: str) -> tuple[int, ...] | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else _plain(tensor.shape)

    def _missing(self, *names: str) -> Iterator[str]:
        for name in names:
            if name not in self._tensors:
                yield f"its tensor {name!r} is missing"

    def _wrong(self, name: str) -> str:
        return f"its tensor {name!r} has the shape {list(self._tensors[name].shape)}, which does not fit the others"

    def _vector(self, name: str) -> Iterator[str]:
        if self._shape(name) not in {None, (self._width,)}:
            yield self._wrong(name)

    def _matrix(self, name: str, rows: int | None, columns: int | None = None) -> Iterator[str]:
        """Its rows must be as long as what it is multiplied with; as many as what comes out."""
        shape = self._shape(name)
        if shape is not None and (
            len(shape) != 2 or rows not in {None, shape[0]} or columns not in {None, shape[1]} or 0 in shape
        ):
            yield self._wrong(name)

    def _patches(self) -> Iterator[str]:
        yield from self._missing("v.patch_embd.weight")
        shape, side = self._shape("v.patch_embd.weight"), self._facts["patch_size"]
        convolution, unrolled = (side, side, 3, self._width), (side * side * 3, self._width)
        if shape != convolution and (self._kind in _CONVOLUTIONS or shape != unrolled):
            yield self._wrong("v.patch_embd.weight")
        name = "v.position_embd.weight"
        if self._kind in _WITH_POSITIONS | _OWN_POSITIONS:
            yield from self._missing(name)
        if self._kind not in _WITH_POSITIONS:
            return
        shape = self._shape(name)
        if shape is None or len(shape) != 2 or shape[0] != self._width:
            yield self._wrong(name)
        elif self._kind in _ONE_GRID:
            patches = (self._facts["image_size"] // side) ** 2
            if shape[1] not in {patches, patches + 1}:
                yield self._wrong(name)

    def _block(self, block: str) -> Iterator[str]:
        width, heads = self._width, self._facts["attention.head_count"]
        if f"{block}.attn_qkv.weight" in self._tensors:
            yield from self._matrix(f"{block}.attn_qkv.weight", width)
        else:
            names = [f"{block}.attn_{one}.weight" for one in "qkv"]
            yield from self._missing(*names)
            yield from self._matrix(names[0], width, heads * self._head)
            shared = self._header.whole("clip.vision.attention.head_count_kv") or heads
            for name in names[1:]:
                yield from self._matrix(name, width, shared * self._head)
        yield from self._matrix(f"{block}.attn_out.weight", heads * self._head, width)
        yield from self._vector(f"{block}.ln1.weight")
        yield from self._vector(f"{block}.ln2.weight")
        up, down = self._shape(f"{block}.ffn_up.weight"), self._shape(f"{block}.ffn_down.weight")
        if up is not None and down is not None:
            # Older files have their names the other way round.
            first, second = (down, up) if down[:1] == (width,) != up[:1] else (up, down)
            if len(first) != 2 or second != (first[1], width) or first[0] != width or 0 in first:
                yield self._wrong(f"{block}.ffn_up.weight")

    def _llava(self) -> Iterator[str]:
        """models/llava.cpp: mm.0 and mm.2, or with norms between them mm.0, mm.1, mm.3 and mm.4 (Yi)."""
        yi = "mm.3.weight" in self._tensors
        for number in (0, 1, 3, 4) if yi else (0, 2):
            yield from self._missing(f"mm.{number}.weight", f"mm.{number}.bias")
        layers = self._header.arrays.get("clip.vision.feature_layer")
        inner = self._shape("mm.0.weight")
        yield from self._matrix("mm.0.weight", None if layers else self._width)
        if not yi:
            yield from self._matrix("mm.2.weight", inner[1] if inner else None)

    def _idefics(self) -> Iterator[str]:
        """models/siglip.cpp: squares of patches side by side, then one matrix."""
        merged = self._header.whole("clip.vision.projector.scale_factor")
        if merged is None or not 2 <= merged <= _MOST_MERGED:
            yield f"its clip.vision.projector.scale_factor is {merged}"
            return
        name = "mm.model.fc.weight"
        yield from self._missing(name)
        yield from self._matrix(name, self._width * merged * merged)

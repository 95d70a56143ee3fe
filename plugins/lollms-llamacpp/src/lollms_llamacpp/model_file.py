"""What a GGUF file says about the model in it: one set of facts for loading, listing and capabilities.

A model may be split over several files (``name-00001-of-00003.gguf``); it is then known by its first file,
and its facts are those of all files together.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final, TypeAlias

from lollms_core import BackendError, Capability, ModelNotFound
from lollms_llamacpp.gguf import Header, Tensor, read_header
from lollms_llamacpp.gguf_strings import SeenStrings
from lollms_llamacpp.gguf_tables import FILE_TYPES
from lollms_llamacpp.model_checks import key_fault, tensor_fault, vocabulary_fault

__all__ = [
    "CAPABILITIES",
    "POOLING_NONE",
    "ModelFile",
    "Stamp",
    "model_file",
    "read_model_file",
    "shard_of",
    "stamp_of",
]

CAPABILITIES: Final = frozenset(
    {
        Capability.TEXT,
        Capability.CHAT,
        Capability.STREAM,
        Capability.VISION,
        Capability.TOOLS,
        Capability.JSON_SCHEMA,
        Capability.REASONING,
        Capability.LOGPROBS,
        Capability.EMBED,
        Capability.TOKENIZE,
    }
)
"""What a model can do at most."""

POOLING_NONE: Final = 0
_POOLING_RANK: Final = 4  # llama.h: a reranker's classification head

# Files that accompany a model and are none themselves (general.type of gguf.md, and clip for older projectors).
_COMPANIONS: Final = {"adapter": "a LoRA adapter", "mmproj": "a vision projector", "imatrix": "an importance matrix"}
_ENCODER_DECODERS: Final = frozenset({"t5"})

_SHARD: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
_MAX_SHARDS: Final = 1000
_MAX_CACHED: Final = 256

# general.sampling.* of llama.cpp's src/llama-arch.cpp: the sampling that a model's author recommends.
_SAMPLING: Final = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repeat_penalty",
    "penalty_last_n": "repeat_last_n",
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model on disk.

    Attributes:
        path: its file; of a split model the first one.
        header: that file's header.
        size: bytes of all its files.
        tensors: the tensors in all its files, by name; none if only the vocabulary is there.
    """

    path: Path
    header: Header
    size: int
    tensors: Mapping[str, Tensor]

    @property
    def n_params(self) -> int:
        """The elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def architecture(self) -> str:
        """As llama.cpp calls it: ``llama``, ``qwen2``, ``bert``, ..."""
        return self.header.text("general.architecture") or "unknown"

    @property
    def title(self) -> str | None:
        """The name that the model's author gave it."""
        return self.header.text("general.name")

    @property
    def quantization(self) -> str:
        """The file's type, such as ``Q4_K_M``; if it does not tell, the type of most of its tensors."""
        declared = self.header.whole("general.file_type")
        if declared in FILE_TYPES:
            return FILE_TYPES[declared]
        kinds = Counter(tensor.kind for tensor in self.tensors.values())
        return kinds.most_common(1)[0][0] if kinds else "none"

    @property
    def trained_context(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self._own("context_length")

    @property
    def embedding_length(self) -> int | None:
        """Dimensions of the vectors inside the model."""
        return self._own("embedding_length")

    @property
    def output_length(self) -> int | None:
        """Dimensions of its embeddings where they differ from those inside, else the same."""
        return self._own("embedding_length_out") or self.embedding_length

    @property
    def n_layers(self) -> int | None:
        return self._own("block_count")

    def head_size(self, fact: str) -> int | None:
        """Numbers in one attention head's keys (``key_length``) or values (``value_length``); None if unknown."""
        size, heads = self.embedding_length, self._own("attention.head_count")
        return self._own(f"attention.{fact}") or (size // heads if size and heads else None)

    @property
    def chat_template(self) -> str | None:
        """The Jinja template for conversations, None if there is none."""
        return self.header.text("tokenizer.chat_template") or None

    @property
    def companion(self) -> str | None:
        """What it is if it only accompanies a model: a LoRA adapter, a projector; else None."""
        if self.architecture == "clip":
            return _COMPANIONS["mmproj"]
        return _COMPANIONS.get(self.header.text("general.type") or "")

    @property
    def vocabulary_only(self) -> bool:
        """Whether the file has a tokenizer but no weights."""
        return not self.tensors

    @property
    def pooling(self) -> int | None:
        """The model's own way to make one vector of many (llama.h, enum llama_pooling_type), if it has one."""
        return self._own("pooling_type")

    @property
    def generates(self) -> bool:
        """Whether it continues text; embedding models see text in both directions and don't."""
        causal = self.header.flag(f"{self.architecture}.attention.causal", True)
        return causal and not self.vocabulary_only and self.architecture not in _ENCODER_DECODERS

    @property
    def embeds(self) -> bool:
        if self.vocabulary_only or self.architecture in _ENCODER_DECODERS:
            return False
        return self.pooling != _POOLING_RANK

    def capabilities(self, chat_template: str | None = None) -> frozenset[Capability]:
        """What the model can do with `chat_template`, by default its own."""
        able = {Capability.TOKENIZE}
        if self.embeds:
            able.add(Capability.EMBED)
        if self.generates:
            able |= {Capability.TEXT, Capability.STREAM, Capability.JSON_SCHEMA, Capability.LOGPROBS}
            source = chat_template or self.chat_template
            if source is not None:
                able.add(Capability.CHAT)
                # What is in a template is imported here: a list of models needs none.
                from lollms_llamacpp.thinking import thinks
                from lollms_llamacpp.tool_format import understood

                if understood(source):
                    able.add(Capability.TOOLS)
                if thinks(source):
                    able.add(Capability.REASONING)
        return frozenset(able)

    @property
    def sampling(self) -> dict[str, float]:
        """The sampling that the file recommends, under our names."""
        found = {ours: self.header.number(f"general.sampling.{theirs}") for theirs, ours in _SAMPLING.items()}
        return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}

    def facts(self) -> dict[str, Any]:
        """What lists and ``get_model_info`` show."""
        return {
            "path": str(self.path),
            "title": self.title,
            "size": self.size,
            "architecture": self.architecture,
            "parameters": self.n_params,
            "quantization": self.quantization,
            "ctx_size": self.trained_context,
            "embedding_length": self.embedding_length,
            "layers": self.n_layers,
            "tokenizer": self.header.text("tokenizer.ggml.pre") or self.header.text("tokenizer.ggml.model"),
            "chat_template": self.chat_template is not None,
        }

    def check(self, *, tokens: bool = False) -> None:
        """Raise if llama.cpp cannot have any use for this file as a model, or would not survive it.

        Args:
            tokens: whether the vocabulary is looked at too, which takes a tenth of a second where it is large.

        Raises:
            ModelNotFound: the file is gone.
            BackendError: what it is instead, or what it lacks.
        """
        fault = self._fault()
        if fault is None and tokens:
            fault = vocabulary_fault(self.path, self.header)
        if fault is not None:
            raise BackendError(f"cannot use the model file {self.path}: {fault}")

    def _fault(self) -> str | None:
        if self.companion is not None:
            return f"it is {self.companion}, not a language model"
        if self.header.text("general.architecture") is None:
            return "it does not name its architecture"
        if self.header.text("tokenizer.ggml.model") is None:
            return "it has no tokenizer"
        if self.vocabulary_only:
            return None
        return key_fault(self.architecture, self.header, self.tensors) or tensor_fault(self.tensors)

    def _own(self, fact: str) -> int | None:
        return self.header.whole(f"{self.architecture}.{fact}")


def shard_of(path: PurePath) -> tuple[str, int, int] | None:
    """Of a split model's file: the common name, its number (from 1), the number of files; else None."""
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return None
    return match["stem"], int(match["number"]), int(match["count"])


Stamp: TypeAlias = tuple[tuple[int, int, int], ...]
"""Of each file of a model: when it was changed, in ns, its size in bytes, its inode."""

_cache: dict[Path, tuple[Stamp, ModelFile]] = {}
_cache_lock = threading.Lock()


def model_file(path: Path) -> ModelFile:
    """The facts of the model in `path` (any of its files); read again only when a file has changed.

    Raises:
        ModelNotFound: a file is missing.
        BackendError: a file is damaged, cut short or no GGUF file.
    """
    first, stamp = _all_files(path)[0], stamp_of(path)
    with _cache_lock:
        known = _cache.get(first)
    if known is not None and known[0] == stamp:
        return known[1]
    found = read_model_file(path, stamp)
    with _cache_lock:
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        _cache[first] = (stamp, found)
    return found


def read_model_file(path: Path, stamp: Stamp, seen: SeenStrings | None = None) -> ModelFile:
    """The same, read now; `stamp` is that of `path`, and `seen` helps where many are read.

    Raises:
        ModelNotFound, BackendError: as :func:`model_file`.
    """
    paths = _all_files(path)
    headers = [read_header(one, seen) for one in paths]
    declared = headers[0].whole("split.count")
    if declared is not None and declared > 1 and declared != len(paths):
        raise BackendError(
            f"cannot use the model file {path}: it is one of {declared} files, but its name does not end in "
            f"-00001-of-{declared:05d}.gguf, by which the others are found"
        )
    return ModelFile(
        path=paths[0],
        header=headers[0],
        size=sum(size for _, size, _ in stamp),
        tensors={name: tensor for header in headers for name, tensor in header.tensors.items()},
    )


def stamp_of(path: Path) -> Stamp:
    """By what one sees whether a file of the model in `path` has changed.

    Raises:
        ModelNotFound: a file is missing.
        BackendError: a file cannot be looked at.
    """
    return tuple(_stamp(one) for one in _all_files(path))


def _all_files(path: Path) -> list[Path]:
    shard = shard_of(path)
    if shard is None or not 1 <= shard[1] <= shard[2] <= _MAX_SHARDS:
        return [path]
    stem, _, count = shard
    return [path.with_name(f"{stem}-{number:05d}-of-{count:05d}{path.suffix}") for number in range(1, count + 1)]


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ModelNotFound(f"there is no model file {path}") from error
    except OSError as error:
        raise BackendError(f"cannot read the model file {path}: {error.strerror or error}") from error
    return status.st_mtime_ns, status.st_size, status.st_ino

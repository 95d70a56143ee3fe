"""Damaged LoRA adapters, each with a name; see gguf_mutations.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gguf_files import Tensor, gguf, llama_parts, lora_parts
from gguf_mutations import counts, cuts, data, flips, offsets, tables, texts, types, values, written
from model_trials import Trial

_FURTHER = ("adapter.alora.invocation_tokens", "general.alignment", "general.name")


def adapters() -> Iterator[Trial]:
    """All damage to LoRA adapters, and adapters for what cannot be adapted."""
    model = llama_parts()[1]
    parts = lora_parts(model)
    content = gguf(*parts)
    yield written("an adapter", content)
    yield from flips(content, 60)
    yield from cuts(content, 10)
    yield from counts(content)
    yield from types(content)
    yield from texts(content)
    yield from values(parts, _FURTHER)
    yield from tables(parts)
    yield from offsets(content)
    yield from data(parts)
    for name, shape, *_ in model:
        if len(shape) > 1:
            yield written(f"an adapter of {name}", gguf(*lora_parts(model, [name])))
    yield from _strange_pairs(parts)


def _strange_pairs(parts: tuple[Mapping[str, Any], Sequence[Tensor]]) -> Iterator[Trial]:
    """Matrices that are alone, exchanged, of further dimensions, or another's."""
    metadata, tensors = parts
    first, second = tensors[0], tensors[1]
    yield written("A and B exchanged", gguf(metadata, [(first[0], *second[1:]), (second[0], *first[1:])]))
    yield written("only A", gguf(metadata, [first]))
    yield written("only B", gguf(metadata, [second]))
    for count in (2, 3):
        more = [(name, (*shape, count), kind, content * count) for name, shape, kind, content in tensors]
        yield written(f"{count} matrices in each", gguf(metadata, more))
        yield written(f"{count} matrices in A", gguf(metadata, [more[0], second]))
        yield written(f"{count} matrices in B", gguf(metadata, [first, more[1]]))
    for rank in (1, 31, 33, 300):
        yield written(f"rank {rank}", gguf(*lora_parts(llama_parts()[1], rank=rank)))
    for old, new in ((".weight", ""), ("blk.0", "blk.1"), (".lora", ".lora_a.lora"), (".lora_", ".lorb_")):
        renamed = [(name.replace(old, new), *rest) for name, *rest in tensors]
        yield written(f"{old} is {new or 'missing'}", gguf(metadata, renamed))  # type: ignore[arg-type]

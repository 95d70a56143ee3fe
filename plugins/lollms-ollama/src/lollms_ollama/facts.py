"""What a server says about a model, and what follows from it for us; without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lollms_core import Capability
from lollms_ollama.kinds import is_supported

__all__ = ["CAPABILITIES", "ModelFacts", "listed", "loaded_entry", "newest", "same_model"]

CAPABILITIES: Final = frozenset(
    {
        Capability.TEXT,
        Capability.CHAT,
        Capability.STREAM,
        Capability.VISION,
        Capability.REASONING,
        Capability.EMBED,
        Capability.TOKENIZE,
        Capability.ASYNC,
    }
)
"""What the binding can do with a model that can."""

_GENERATING: Final = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM})
_NUM_CTX: Final = re.compile(r"^\s*num_ctx\s+(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The answer of /api/show, without the vocabulary.

    Attributes:
        name: the model's name.
        answer: the answer as it came.
        digest: of the model's manifest, as in /api/tags; None if it was not asked for.
    """

    name: str
    answer: Mapping[str, Any] = field(repr=False)
    digest: str | None = None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The keys of the model's GGUF file."""
        found = self.answer.get("model_info")
        return found if isinstance(found, Mapping) else {}

    @property
    def details(self) -> Mapping[str, Any]:
        """Family, size and quantization as Ollama shows them."""
        found = self.answer.get("details")
        return found if isinstance(found, Mapping) else {}

    @property
    def architecture(self) -> str:
        """Of the model, as in its GGUF file; "" if unknown."""
        return str(self.metadata.get("general.architecture") or self.details.get("family") or "")

    @property
    def trained_ctx_size(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self._whole(f"{self.architecture}.context_length")

    @property
    def asked_ctx_size(self) -> int | None:
        """Tokens of context that the model's Modelfile asks for."""
        parameters = self.answer.get("parameters")
        found = _NUM_CTX.findall(parameters) if isinstance(parameters, str) else []
        return int(found[-1]) if found else None

    @property
    def n_params(self) -> int | None:
        """Number of parameters."""
        return self._whole("general.parameter_count")

    @property
    def only_embeds(self) -> bool:
        """Whether the model makes vectors and no text."""
        told = self.answer.get("capabilities")
        if isinstance(told, list):
            return "completion" not in told and "embedding" in told
        # Encoders. Servers that don't tell capabilities (before 0.6.4) know no other embedding models.
        return "bert" in self.architecture or f"{self.architecture}.pooling_type" in self.metadata

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the binding can do with this model."""
        able = {Capability.ASYNC, Capability.EMBED}
        if is_supported(self.metadata):
            able.add(Capability.TOKENIZE)
        if self.only_embeds:
            return frozenset(able)
        able |= _GENERATING
        told = self.answer.get("capabilities")
        if isinstance(told, list):
            if "vision" in told:
                able.add(Capability.VISION)
            if "thinking" in told:
                able.add(Capability.REASONING)
        elif self.answer.get("projector_info") or any(".vision." in key for key in self.metadata):
            able.add(Capability.VISION)
        return frozenset(able)

    def _whole(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if type(value) is int and value > 0 else None


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same model: ``:latest`` may be left out, case doesn't count."""
    return _whole_name(one) == _whole_name(other)


def _whole_name(name: str) -> str:
    name = name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _models(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = answer.get("models")
    models = found if isinstance(found, Sequence) and not isinstance(found, str) else []
    return [model for model in models if isinstance(model, Mapping) and _name(model)]


def _name(model: Mapping[str, Any]) -> str:
    return str(model.get("name") or model.get("model") or "")


def loaded_entry(answer: Mapping[str, Any], model: str | None) -> Mapping[str, Any] | None:
    """The entry of `model` (None: of any that makes text) in an answer of /api/ps or /api/tags."""
    for entry in _models(answer):
        if same_model(_name(entry), model) if model is not None else not _is_encoder(entry):
            return entry
    return None


def newest(answer: Mapping[str, Any]) -> str | None:
    """The model of /api/tags that was changed last; one that only embeds, if there is no other."""
    models = _models(answer)
    candidates = [model for model in models if not _is_encoder(model)] or models
    if not candidates:
        return None
    # Times are in RFC 3339 with differing offsets, as the machine's clock was set when they were pulled.
    return _name(max(candidates, key=lambda model: _instant(model.get("modified_at"))))


def _instant(text: object) -> float:
    from datetime import UTC, datetime

    # Go writes up to nine digits of a second; datetime takes six.
    shown = re.sub(r"(\.\d{6})\d+", r"\1", text) if isinstance(text, str) else ""
    try:
        when = datetime.fromisoformat(shown)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _is_encoder(entry: Mapping[str, Any]) -> bool:
    details = entry.get("details")
    return "bert" in str(details.get("family", "")) if isinstance(details, Mapping) else False


def listed(tags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The models of /api/tags as ``listModels`` gives them, the one changed last first."""
    models = sorted(_models(tags), key=lambda model: -_instant(model.get("modified_at")))
    return [_listed(model) for model in models]


def _listed(model: Mapping[str, Any]) -> dict[str, Any]:
    details = model.get("details")
    if not isinstance(details, Mapping):
        details = {}
    return {
        "model_name": _name(model),
        "size": model.get("size"),
        "digest": model.get("digest"),
        "modified_at": model.get("modified_at"),
        "family": details.get("family"),
        "parameter_size": details.get("parameter_size"),
        "quantization": details.get("quantization_level"),
        "format": details.get("format"),
    }

"""What a server says about a model, and what follows from it for us; without I/O.

Source: /api/show in docs/api.md and docs/openapi.yaml, and server/images.go (Capabilities) of
https://github.com/ollama/ollama.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias

from lollms_core import Capability
from lollms_ollama.kinds import is_supported

__all__ = [
    "CAPABILITIES",
    "ModelFacts",
    "Version",
    "in_memory",
    "listed",
    "loaded_entry",
    "newest",
    "same_model",
    "version_of",
]

Version: TypeAlias = tuple[int, int, int]


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
        Capability.PULL,
        Capability.ASYNC,
    }
)
"""What the binding can do with a model that can."""

_GENERATING: Final = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM})
# The servers that brought a feature which older ones ignore without a word, or have another form of.
_TOOLS_SINCE: Final = (0, 3, 0)
_SCHEMAS_SINCE: Final = (0, 5, 0)
_LOGPROBS_SINCE: Final = (0, 12, 11)
_NUM_CTX: Final = re.compile(r"^\s*num_ctx\s+(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class ModelFacts:
    """The answer of /api/show, without the vocabulary.

    Attributes:
        name: the model's name.
        answer: the answer as it came.
        digest: of the model's manifest, as in /api/tags; None if it was not asked for.
        version: of the server; None if it does not tell, as one that was built from source. Then it counts as new.
    """

    name: str
    answer: Mapping[str, Any] = field(repr=False)
    digest: str | None = None
    version: Version | None = None

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

    @cached_property
    def told(self) -> frozenset[str] | None:
        """The server's own list of what the model can do; None from servers before 0.6.4, which tell none."""
        found = self.answer.get("capabilities")
        return frozenset(filter(lambda name: isinstance(name, str), found)) if isinstance(found, list) else None

    @property
    def writes(self) -> bool:
        """Whether the model makes text, and not only vectors or pictures."""
        if self.told is not None:
            return "completion" in self.told or not self.told & {"embedding", "image"}
        # Encoders. Servers that don't tell capabilities know no other models that make no text.
        return "bert" not in self.architecture and f"{self.architecture}.pooling_type" not in self.metadata

    @property
    def fills_in(self) -> bool:
        """Whether the model can write what stands before a ``suffix``."""
        return "insert" in self.told if self.told is not None else self._in_template("Suffix")

    @cached_property
    def capabilities(self) -> frozenset[Capability]:
        """What the binding can do with this model."""
        able = {Capability.ASYNC, Capability.EMBED, Capability.PULL}
        if is_supported(self.metadata):
            able.add(Capability.TOKENIZE)
        if not self.writes:
            return frozenset(able)
        able |= _GENERATING
        if self._since(_SCHEMAS_SINCE):
            able.add(Capability.JSON_SCHEMA)
        if self._since(_LOGPROBS_SINCE):
            able.add(Capability.LOGPROBS)
        told = self.told
        if told is not None:
            if "vision" in told:
                able.add(Capability.VISION)
            if "tools" in told:
                able.add(Capability.TOOLS)
            if "thinking" in told and self._think_values != [False]:
                able.add(Capability.REASONING)
            return frozenset(able)
        if self.answer.get("projector_info") or any(".vision." in key for key in self.metadata):
            able.add(Capability.VISION)
        if self._in_template("Tools") and self._since(_TOOLS_SINCE):
            able.add(Capability.TOOLS)
        return frozenset(able)

    def think(self, wanted: bool | str | None) -> bool | str | None:
        """What to send as ``think``; None for nothing.

        A level goes to models that have levels; for others each of them means: think. That a model shall not think is
        only said to one that does: of servers that know thinking some refuse it for others, and older ones ignore it.

        Source: docs/capabilities/thinking.mdx of https://github.com/ollama/ollama.
        """
        if wanted is None or Capability.REASONING not in self.capabilities:
            return None
        if isinstance(wanted, bool):
            return wanted
        levels = self._think_values
        if levels is None:
            # Servers that don't tell them take levels for gpt-oss, and refuse them for all other models.
            return wanted if self.architecture.replace("-", "") == "gptoss" else True
        return wanted if wanted in levels else True

    @property
    def _think_values(self) -> list[Any] | None:
        """The values of ``think`` that the model takes, where the server tells them."""
        thinking = self.answer.get("thinking")
        values = thinking.get("values") if isinstance(thinking, Mapping) else None
        return values if isinstance(values, list) else None

    def _in_template(self, variable: str) -> bool:
        template = self.answer.get("template")
        return isinstance(template, str) and re.search(rf"\.{variable}\b", template) is not None

    def _since(self, version: Version) -> bool:
        return self.version is None or self.version >= version

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


_FOR_EVER: Final = 50 * 365 * 24 * 3600.0
"""Seconds ahead from which a time means never: a server says 292 years."""


def in_memory(ps: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    """The models of /api/ps as ``ps`` gives them.

    Args:
        ps: the answer.
        now: seconds since 1970.
    """
    return [_in_memory(model, now) for model in _models(ps)]


def _in_memory(model: Mapping[str, Any], now: float) -> dict[str, Any]:
    expires = model.get("expires_at")
    entry = {
        "model_name": _name(model),
        "size": model.get("size"),
        "expires_at": None if _instant(expires) > now + _FOR_EVER else expires,
        "size_vram": model.get("size_vram"),
        "digest": model.get("digest"),
    }
    if type(model.get("context_length")) is int:
        entry["ctx_size"] = model["context_length"]
    return entry


def version_of(answer: Mapping[str, Any]) -> Version | None:
    """The version in an answer of /api/version; None if it is none, or that of a build from source."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", str(answer.get("version", "")))
    if found is None or found.groups() == ("0", "0", "0"):
        return None
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


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

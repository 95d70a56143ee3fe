"""What is the same in all of Ollama's answers, without I/O: its counts, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lollms_core import CapabilityNotSupported, LollmsError, ModelNotFound

__all__ = ["known_error", "whole_number"]

# "does not support tools", "think value \"low\" is not supported for this model", and what a server says that
# cannot make a grammar of a schema: routes.go and llm/server.go of https://github.com/ollama/ollama.
_UNSUPPORTED: Final = re.compile(r"does not support|is not supported for this model|invalid JSON schema in format")
_UNKNOWN_MODEL: Final = re.compile(r"model is required|not found, try pulling it")


def known_error(error: LollmsError, model: str | None) -> LollmsError:
    """`error`, or a more telling one where Ollama's words are known to mean something particular."""
    words = str(error)
    if type(error).__name__ in {"BadRequest", "BackendError"}:
        if _UNSUPPORTED.search(words):
            return CapabilityNotSupported(f"{words} (model {model!r})" if repr(model) not in words else words)
        if _UNKNOWN_MODEL.search(words):
            return ModelNotFound(words)
    return error


def whole_number(record: Mapping[str, Any], name: str) -> int | None:
    """A count in `record`, None if it has none."""
    value = record.get(name)
    return value if type(value) is int and value >= 0 else None

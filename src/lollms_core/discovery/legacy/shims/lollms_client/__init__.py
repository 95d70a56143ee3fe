"""Stands for ``lollms_client``."""

from __future__ import annotations

from lollms_core.discovery.legacy.shims.lollms_client import (
    lollms_discussion,
    lollms_llm_binding,
    lollms_types,
    lollms_utilities,
)
from lollms_core.discovery.legacy.shims.lollms_client.lollms_types import ELF_COMPLETION_FORMAT, MSG_TYPE

__all__ = [
    "ELF_COMPLETION_FORMAT",
    "MSG_TYPE",
    "lollms_discussion",
    "lollms_llm_binding",
    "lollms_types",
    "lollms_utilities",
]

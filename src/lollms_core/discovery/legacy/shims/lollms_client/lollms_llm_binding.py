"""Stands for ``lollms_client.lollms_llm_binding``."""

from __future__ import annotations

from lollms_core import binding
from lollms_core.discovery.legacy.shims.lollms_client.lollms_types import ELF_COMPLETION_FORMAT, MSG_TYPE

__all__ = ["ELF_COMPLETION_FORMAT", "MSG_TYPE", "LollmsLLMBinding"]


class LollmsLLMBinding(binding.LollmsLLMBinding):
    """The base class of legacy bindings: ours."""

"""lollms-llamacpp: GGUF models in your own process, through llama.cpp.

Importing this package is cheap: llama.cpp and what it needs are imported when a model is loaded.
"""

from __future__ import annotations

from lollms_llamacpp.binding import LlamaCppBinding
from lollms_llamacpp.options import LlamaCppOptions
from lollms_llamacpp.probing import Probe, probe

__all__ = ["LlamaCppBinding", "LlamaCppOptions", "Probe", "probe"]

__version__ = "0.1.0"

"""lollms-ollama: the models of an Ollama server.

Importing this package is cheap: httpcore is imported with the first request, tokenizers with the first tokens.
"""

from __future__ import annotations

from lollms_ollama.binding import OllamaBinding
from lollms_ollama.options import OllamaOptions

__all__ = ["OllamaBinding", "OllamaOptions"]

__version__ = "0.1.0"

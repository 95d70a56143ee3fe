"""lollms-openai: OpenAI and every server that speaks its protocol.

Importing this package is cheap: the openai package and what it stands on are imported by the first request.
"""

from __future__ import annotations

from lollms_openai.binding import OpenAIBinding
from lollms_openai.options import OpenAIOptions

__all__ = ["OpenAIBinding", "OpenAIOptions"]

__version__ = "0.1.0"

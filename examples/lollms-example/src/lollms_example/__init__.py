"""lollms-example: a small language model as a lollms-core binding in a package of its own."""

from __future__ import annotations

from lollms_example.binding import ExampleBinding, ExampleOptions

__all__ = ["ExampleBinding", "ExampleOptions"]

__version__ = "0.1.0"

"""The checks, one idea a module; each is a function that puts one promise of the contract to the test."""

from __future__ import annotations

from lollms_core.testing.conformance.checks import (
    answers,
    callbacks,
    construction,
    features,
    many,
    misuse,
    models,
    text,
    tokens,
    wire,
)

__all__ = ["answers", "callbacks", "construction", "features", "many", "misuse", "models", "text", "tokens", "wire"]

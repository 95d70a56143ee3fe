"""Bindings with one defect each, by the name of the check that has to find it."""

from __future__ import annotations

from mutants import answering, asking, ending
from mutants.ending import close_what_is_left
from mutants.registry import MUTANTS

__all__ = ["MUTANTS", "answering", "asking", "close_what_is_left", "ending"]

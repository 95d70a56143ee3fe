"""The conformance kit: an author subclasses one class, gives one fixture, and gets every check of the contract.

``BindingConformance`` and ``HttpConformance`` are pytest classes and need pytest (``lollms-core[testing]``); the
checks themselves, which ``lollms check`` runs too, need nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lollms_core.testing.conformance import checks as _checks  # their modules fill CHECKS
from lollms_core.testing.conformance.check import CHECKS, Check, Outcome, run_check
from lollms_core.testing.conformance.subject import NotApplicable, Settings, Subject

if TYPE_CHECKING:
    from lollms_core.testing.conformance.suite import BindingConformance as BindingConformance
    from lollms_core.testing.conformance.suite import HttpConformance as HttpConformance
    from lollms_core.testing.conformance.suite import replaces as replaces

__all__ = [
    "CHECKS",
    "BindingConformance",
    "Check",
    "HttpConformance",
    "NotApplicable",
    "Outcome",
    "Settings",
    "Subject",
    "replaces",
    "run_check",
]

del _checks


def __getattr__(name: str) -> object:
    if name not in ("BindingConformance", "HttpConformance", "replaces"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lollms_core.testing.conformance import suite

    return getattr(suite, name)

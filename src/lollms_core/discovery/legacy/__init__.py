"""Folders written for lollms_client, without lollms_client.

The modules of such a folder run with builtins of their own, whose ``__import__`` gives our stand-ins for a
few exact names and does all else as usual. So late imports inside functions work too, and no other module
and no other thread sees the stand-ins: neither ``sys.modules`` nor ``sys.meta_path`` knows the names.
"""

from __future__ import annotations

from lollms_core.discovery.legacy.folder import STAND_INS, LegacyFolder, is_mentioned

__all__ = ["STAND_INS", "LegacyFolder", "is_mentioned"]

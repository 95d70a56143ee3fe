"""Whether llama.cpp computes on this machine, found out in a process that may die of it.

``run`` is the question, ``trial`` what runs in the other process, on the model that ``tiny_model`` writes; ``builds``
asks by itself where a build is known to die on machines like this one.
"""

from __future__ import annotations

from lollms_llamacpp.probing.run import Probe, probe

__all__ = ["Probe", "probe"]

"""A process that has imported a module: how many modules there are then, and how much memory it has."""

from __future__ import annotations

import sys

if len(sys.argv) > 1:
    module = __import__(sys.argv[1])
    for name in module.__all__ if len(sys.argv) > 2 else ():
        getattr(module, name)

modules = len(sys.modules)
with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - pathlib would be a module more
    resident = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
print(f'{{"modules": {modules}, "resident": {resident}}}')

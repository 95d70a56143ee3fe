"""``python -m lollms_core`` is the command ``lollms``."""

from __future__ import annotations

from lollms_core.cli import main

if __name__ == "__main__":
    main()

"""The command ``lollms``; each command is a module of its own here, imported when it is run."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, then exit: 0, 1 after an error (told in one line on stderr), 130 after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from lollms_core.cli.leaving import leave

        if given == ["--version"]:
            # The most frequent question of scripts: answered without the time that importing click takes.
            from lollms_core import __version__

            leave(0, f"lollms {__version__}\n")
        from lollms_core.cli.app import lollms

        lollms.main(given, prog_name="lollms")
    except KeyboardInterrupt:  # while this program is still being imported
        sys.exit(130)

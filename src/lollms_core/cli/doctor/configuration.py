"""The configuration file: where it is and whether it can be read.

Profiles and keys are for ``lollms_core.settings`` to tell; :func:`configuration` is the one place to ask it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from lollms_core.findings import Finding

__all__ = ["config_file", "configuration"]

VARIABLE = "LOLLMS_CONFIG"


def config_file() -> Path:
    """The file that is read: ``LOLLMS_CONFIG``, else ``config.toml`` in the user's configuration directory."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    import platformdirs

    return platformdirs.user_config_path("lollms", appauthor=False) / "config.toml"


def configuration() -> Iterator[Finding]:
    """Whether the configuration can be read; a mistake in it with its line and column."""
    file = config_file()
    facts = {"path": str(file)}
    try:
        tomllib.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        if VARIABLE in os.environ:
            yield Finding("problem", f"there is no {file}, which {VARIABLE} names", f"unset {VARIABLE}", facts=facts)
        else:
            yield Finding("absent", f"there is no {file}", facts=facts)
    except OSError as exc:
        text = f"{file} cannot be read: {exc.strerror or exc}"
        yield Finding("problem", text, "let yourself read it", facts=facts)
    except UnicodeDecodeError as exc:
        text = f"{file} is not UTF-8: {exc.reason} at byte {exc.start}"
        yield Finding("problem", text, "save it as UTF-8", facts=facts)
    except tomllib.TOMLDecodeError as exc:
        # Its message ends with "(at line 3, column 7)".
        yield Finding("problem", f"{file} is not TOML: {exc}", "correct that line, or remove the file", facts=facts)
    else:
        yield Finding("ok", str(file), facts=facts)

"""The manager that a command looks with; apart from opening bindings, which takes much more to import."""

from __future__ import annotations

from pathlib import Path

import click

from lollms_core.cli.options import no_plugins
from lollms_core.manager import LollmsLLMBindingManager

__all__ = ["new_manager"]


def new_manager(bindings_dir: str | None) -> LollmsLLMBindingManager:
    """The manager over what is installed and over `bindings_dir`, or the folder beside the configuration.

    With ``lollms --no-plugins`` it blocks all of it.

    Raises:
        click.UsageError: `bindings_dir` was given and is no folder.
    """
    allowed = () if no_plugins() else None
    if bindings_dir is not None:
        if not Path(bindings_dir).is_dir():
            raise click.UsageError(f"--bindings-dir: there is no folder {bindings_dir}")
        return LollmsLLMBindingManager(bindings_dir, allow=allowed)
    import platformdirs

    folder = platformdirs.user_config_path("lollms", appauthor=False) / "llm_bindings"
    return LollmsLLMBindingManager(folder, allow=allowed)

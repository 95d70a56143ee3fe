"""Stands for ``pipmaster``: says what is installed, and notes what is not in place of installing it."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lollms_core.discovery.legacy.requirements import Requirements, installed_version, wanted_of

if TYPE_CHECKING:
    from lollms_core.discovery.legacy.folder import LegacyFolder

__all__ = ["stand_in"]


def stand_in(folder: LegacyFolder) -> ModuleType:
    """The module that `folder` gets."""

    def ensure_packages(requirements: Any, *_: Any, **__: Any) -> bool:
        """Whether all of them are there; the rest is noted as missing."""
        found = [folder.requirements.need(wanted) for wanted in wanted_of(requirements)]
        if not all(found):
            folder.say(logging.INFO, folder.requirements)
        return all(found)

    def is_installed(package_name: str, version_specifier: str | None = None) -> bool:
        """Whether the distribution is there, in one of these versions."""
        return Requirements().need(f"{package_name}{version_specifier or ''}")

    def get_installed_version(package_name: str) -> str | None:
        """The distribution's version, None if it is not there."""
        return installed_version(package_name) or None

    module = ModuleType("pipmaster", __doc__)
    vars(module).update(
        # Whatever the name promises, nothing is installed, updated or removed.
        **dict.fromkeys(
            (
                *("ensure_packages", "install", "install_if_missing", "install_multiple"),
                *("install_multiple_if_not_installed", "install_or_update", "install_or_update_multiple"),
            ),
            ensure_packages,
        ),
        is_installed=is_installed,
        get_installed_version=get_installed_version,
    )
    return module

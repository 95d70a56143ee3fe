"""Wheels and sdists of every distribution."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nox

from tooling.checkout import EXAMPLES, PLUGINS, ROOT

__all__ = ["build_archives", "build_example"]

# The version that the example is upgraded to.
LATER = "99.1"


def build_archives(session: nox.Session, folder: Path) -> tuple[list[Path], Path]:
    """Every distribution's sdist and, from that sdist, its wheel, in `folder`; and a wheel of the tree beside it."""
    from_tree = folder.with_name(f"{folder.name}-from-tree")
    build = ("python", "-m", "build", "--no-isolation")
    for project in (ROOT, *PLUGINS):
        session.run(*build, "--outdir", str(folder), str(project), silent=True)
        session.run(*build, "--wheel", "--outdir", str(from_tree), str(project), silent=True)
    wheels = sorted(folder.glob("*.whl"))
    session.log("built: " + ", ".join(path.name for path in sorted(folder.iterdir())))
    return wheels, from_tree


def build_example(session: nox.Session, folder: Path) -> Path:
    """The example's sdist and wheel in `folder`; the folder beside it with the wheel of a later version."""
    (project,) = EXAMPLES
    build = ("python", "-m", "build", "--no-isolation")
    session.run(*build, "--outdir", str(folder), str(project), silent=True)
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("__pycache__", "dist", "build"))
    module = copy / "src" / project.name.replace("-", "_") / "__init__.py"
    source, changed = re.subn(r"(?m)^__version__ = .*$", f'__version__ = "{LATER}"', module.read_text("utf-8"))
    if changed != 1:
        session.error(f"{module} should set __version__ once and does so {changed} times")
    module.write_text(source, "utf-8")
    later = folder.with_name(f"{folder.name}-later")
    session.run(*build, "--wheel", "--outdir", str(later), str(copy), silent=True)
    return later

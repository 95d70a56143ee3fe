"""Distributions that nobody has written: they fill an environment as years of use do."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["GROUP", "OTHERS", "add_others", "add_plugins"]

OTHERS: Final = 1000
"""So many are beside those that are looked for."""

GROUP: Final = "bench.plugins"
"""The group of entry points of :func:`add_plugins`."""

_WORDS_TEXT: Final = (
    "async flask django plot data frame query http auth token cache queue task graph image audio video text parse lint "
    "test mock schema model tensor array sparse geo map time zone date calendar mail log trace metric cloud store "
    "bucket table sheet pdf html css xml yaml toml json proto grpc socket serial usb cli term color prompt shell path "
    "watch sync lock pool event signal hook plugin core utils tools client server proxy router admin form field"
)
_WORDS: Final = _WORDS_TEXT.split()

# Of a hundred distributions in a large environment about so many have an entry_points.txt, and a top_level.txt.
_WITH_ENTRY_POINTS: Final = 30
_WITH_TOP_LEVEL: Final = 50
_GROUPS: Final = (
    "console_scripts",
    "console_scripts",
    "console_scripts",
    "pytest11",
    "sphinx.html_themes",
    "babel.checkers",
)


def add_others(site: Path, count: int = OTHERS) -> None:
    """Fill a ``site-packages`` with what pip leaves of `count` packages, the same each time."""
    chance = random.Random(count)  # noqa: S311 - the same each time is what is wanted
    names: set[str] = set()
    while len(names) < count:
        names.add("-".join(chance.choices(_WORDS, k=chance.choice((1, 2, 2, 2, 3)))))
        names.add(f"{chance.choice(_WORDS)}{len(names)}")
    for name in sorted(names)[:count]:
        _add(site, f"other-{name}", chance)


def add_plugins(site: Path) -> None:
    """Three small distributions, each with an entry point in :data:`GROUP` and the module that it names."""
    for name in ("first", "second", "third"):
        module = f"bench_plugin_{name}"
        (site / f"{module}.py").write_text("class Plugin:\n    pass\n", "utf-8")
        metadata = f"Metadata-Version: 2.1\nName: bench-plugin-{name}\nVersion: 1.0\n"
        files = {"METADATA": metadata, "entry_points.txt": f"[{GROUP}]\n{name} = {module}:Plugin\n"}
        _write(site, f"{module}-1.0.dist-info", files, [f"{module}.py"])


def _add(site: Path, name: str, chance: random.Random) -> None:
    package = name.replace("-", "_")
    version = f"{chance.randint(0, 9)}.{chance.randint(0, 30)}.{chance.randint(0, 9)}"
    (site / package).mkdir()
    (site / package / "__init__.py").write_text(f'__version__ = "{version}"\n', "utf-8")
    files = {"METADATA": _metadata(name, version, chance)}
    if chance.randrange(100) < _WITH_ENTRY_POINTS:
        points = [f"{package}{number} = {package}.cli:main{number}" for number in range(chance.choice((1, 1, 1, 2, 4)))]
        files["entry_points.txt"] = "\n".join((f"[{chance.choice(_GROUPS)}]", *points, ""))
    if chance.randrange(100) < _WITH_TOP_LEVEL:
        files["top_level.txt"] = f"{package}\n"
    modules = [f"{package}/module_{number}.py" for number in range(chance.randint(3, 120))]
    _write(site, f"{package}-{version}.dist-info", files, [f"{package}/__init__.py", *modules])


def _metadata(name: str, version: str, chance: random.Random) -> str:
    needs = [f"Requires-Dist: {'-'.join(chance.choices(_WORDS, k=2))}>=1.{one}" for one in range(chance.randint(0, 15))]
    head = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        "Summary: " + " ".join(chance.choices(_WORDS, k=8)),
        "License: MIT",
        *(f"Classifier: Programming Language :: Python :: 3.{minor}" for minor in range(8, 15)),
        "Requires-Python: >=3.8",
        *needs,
    ]
    lines = (" ".join(chance.choices(_WORDS, k=14)) for _ in range(chance.randint(10, 150)))
    return "\n".join((*head, "", *lines, ""))


def _write(site: Path, folder: str, files: Mapping[str, str], installed: list[str]) -> None:
    """A ``.dist-info`` folder as pip leaves it."""
    info = site / folder
    info.mkdir()
    whole = {"INSTALLER": "pip\n", "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n", **files}
    record = [f"{folder}/{name},{_digest(text)},{len(text.encode())}" for name, text in whole.items()]
    record += [f"{path},{_digest(path)},{len(path) * 40}" for path in installed]
    whole["RECORD"] = "\n".join((*record, f"{folder}/RECORD,,", ""))
    for name, text in whole.items():
        (info / name).write_text(text, "utf-8")


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")

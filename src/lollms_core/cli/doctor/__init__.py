"""``lollms doctor``: what is installed, what of it works, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from lollms_core.cli.doctor.report import Section, document, write
from lollms_core.cli.help import examples
from lollms_core.cli.options import bindings_dir_option, json_option, no_plugins
from lollms_core.cli.terminal import print_json, quiet_log

if TYPE_CHECKING:
    from lollms_core.findings import Finding

__all__ = ["doctor"]

SECONDS = 30.0
"""How long each distribution's process may take; llama.cpp, for one, is loaded and computes in it."""

_SUBJECTS = {"binding": "Bindings", "server": "Servers", "models": "Models", "key": "Keys"}


@click.command(
    epilog=examples(
        "lollms doctor",
        "lollms doctor --json | jq '.findings[] | select(.state == \"problem\")'",
        "lollms --no-plugins doctor",
    )
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=SECONDS,
    show_default=True,
    help="How long the plugins of one package may take.",
)
@json_option
@bindings_dir_option
def doctor(timeout: float, as_json: bool, bindings_dir: str | None) -> None:
    """Look at Python, packages, bindings, servers, models, keys and configuration.

    Each package's plugins are imported and asked in a process of their own, which may hang or die of it. Services whose
    key is set are asked for their models. The status is 1 if there is a problem; warnings leave it at 0.
    """
    found: list[Section] = []
    with quiet_log():
        for section in _sections(bindings_dir, timeout):
            found.append(section)
            if not as_json:
                write(section)
    summary = document(found)
    if as_json:
        print_json(summary)
    if count := summary["problems"]:
        raise click.ClickException(f"{count} problem{'' if count == 1 else 's'} found")


def _sections(bindings_dir: str | None, seconds: float) -> Iterator[Section]:
    from lollms_core.cli.doctor import configuration, machine, packages, plugins
    from lollms_core.cli.managing import new_manager
    from lollms_core.discovery.entry_points import scan
    from lollms_core.discovery.lists import Lists

    yield Section("Python", [*_guarded(machine.python), *_guarded(machine.core), *_guarded(machine.extras)])
    manager = new_manager(bindings_dir)
    usable = [record.name for record in manager.records() if record.state in ("found", "loaded")]
    yield Section("Configuration", _guarded(lambda: configuration.configuration(usable)))
    installed = scan(packages.groups(manager.entry_point_group))
    found = packages.packages_of(installed)
    lists = Lists.read(() if no_plugins() else None)
    declared = _guarded(lambda: packages.packages(found, installed.problems, lists))
    yield Section("Packages", [*declared, *_guarded(lambda: packages.required_hooks(installed, lists))])
    asked = _guarded(configuration.kept_keys)
    asked += _guarded(lambda: plugins.plugins(manager, found, lists, seconds))
    for subject, title in _SUBJECTS.items():
        about = [finding for finding in asked if finding.about == subject]
        if about:
            yield Section(title, about)


def _guarded(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check finds; one that fails is itself a finding, and the others go on."""
    from lollms_core.discovery.reports import one_line
    from lollms_core.findings import Finding

    found: list[Finding] = []
    try:
        found += check()
    except Exception as exc:  # noqa: BLE001 - a doctor has to say something of every patient
        text = f"this could not be looked at: {one_line(exc)}"
        found.append(Finding("problem", text, "report it, with this line, to the authors of lollms-core"))
    return found

"""``lollms check``: an installed binding put to the conformance kit's checks, and a report card of it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import bindings_dir_option, complete_bindings, complete_models, json_option, option_option
from lollms_core.cli.terminal import one_line, print_json, quiet_log, standard_output

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.discovery.records import BindingRecord
    from lollms_core.manager import LollmsLLMBindingManager
    from lollms_core.testing.conformance import Check, Outcome, Subject
    from lollms_core.testing.dialect import Dialect

__all__ = ["DIALECTS", "check"]

DIALECTS = "lollms.dialects"
"""The entry-point group in which distributions say how their HTTP bindings' backends speak, by the binding's name."""

_SIGNS = {"passed": "ok", "failed": "FAIL", "none": "-"}


@click.command(
    epilog=examples(
        "lollms check ollama",
        "lollms check ollama -o host_address=http://127.0.0.1:11434 -m llama3.2",
        "lollms check llamacpp -m smollm2 --only stop --only tools",
    )
)
@click.argument("name", shell_complete=complete_bindings)
@click.option("-m", "--model", metavar="MODEL", shell_complete=complete_models, help="The model to check with.")
@option_option
@click.option("--only", metavar="CHECK", multiple=True, help="This check alone; may be repeated.")
@click.option("--dialect", metavar="MODULE:CLASS", help="How the backend speaks, in place of what is declared.")
@click.option("--no-faults", is_flag=True, help="Leave out what the loopback server plays, which takes a minute.")
@click.option("--prompt", help="What the model is asked.")
@json_option
@bindings_dir_option
def check(
    name: str,
    model: str | None,
    options: tuple[str, ...],
    only: tuple[str, ...],
    dialect: str | None,
    no_faults: bool,
    prompt: str | None,
    as_json: bool,
    bindings_dir: str | None,
) -> None:
    """Check whether a binding keeps the contract, and print a report card.

    A backend over HTTP whose dialect is known needs no server: one on the loopback interface speaks it, and plays every
    fault. With -o host_address=... the other checks ask the server there.
    """
    if not __debug__:
        raise click.ClickException("the checks are assertions, which Python leaves out under -O: run it without")
    from lollms_core.cli.managing import new_manager

    manager = new_manager(bindings_dir)
    with quiet_log():
        card = _Card(manager, name, model, options, dialect, prompt, as_json)
        with card.subjects() as (subject, wired):
            outcomes = card.run(subject, None if no_faults else wired, only)
    if as_json:
        print_json(card.document(outcomes))
    failed = sum(outcome.verdict == "failed" for outcome in outcomes)
    if failed:
        raise click.ClickException(f"{name} fails {failed} of {len(outcomes)} checks")


@dataclass
class _Card:
    """One report card.

    Attributes:
        manager: where the binding comes from.
        name: of the binding.
        model: to check with, None to find one.
        options: for the binding, as given.
        declared: a dialect in place of the declared one.
        prompt: what is asked, None for the kit's own.
        silent: whether nothing is printed on the way.
    """

    manager: LollmsLLMBindingManager
    name: str
    model: str | None
    options: Sequence[str]
    declared: str | None
    prompt: str | None
    silent: bool

    @contextmanager
    def subjects(self) -> Iterator[tuple[Subject, Subject | None]]:
        """The binding for the contract's checks, and for those that are played by servers of their own.

        Raises:
            LollmsError, TypeError, ValueError: the binding cannot be made.
            click.ClickException: an option or the dialect is none.
        """
        from lollms_core.cli.values import sort_options, split_pairs
        from lollms_core.testing import FaultServer, behave
        from lollms_core.testing.conformance import Settings, Subject

        sorted_options = sort_options(self.manager.binding_class(self.name), split_pairs(self.options))
        given = {**sorted_options.construct, **sorted_options.parameters}
        settings = Settings(prompt=self.prompt) if self.prompt else Settings()
        dialect = _dialect(self.name, self.declared)
        wired = None if dialect is None else Subject(self._factory(given), settings, (), dialect)
        if self.model is not None:
            given["model_name"] = self.model
        if dialect is None or "host_address" in given:
            if self.model is None:
                given |= self._found_model(given)
            self._say_what(given.get("model_name"), given.get("host_address"))
            yield Subject(self._factory(given), settings, frozenset(given)), wired
            return
        with FaultServer() as server:
            behave(server, dialect)
            given |= {"host_address": server.url + dialect.address, "service_key": "a-key", "model_name": dialect.model}
            settings = replace(settings, pull=dialect.model)
            self._say_what(dialect.model, f"a loopback server that speaks as {dialect.name}")
            yield Subject(self._factory(given), settings, frozenset(given), dialect), wired

    def run(self, subject: Subject, wired: Subject | None, only: Sequence[str]) -> list[Outcome]:
        """Run the checks, and print each as it is done.

        Raises:
            click.UsageError: one of `only` is no check.
        """
        from lollms_core.testing.conformance import run_check

        outcomes: list[Outcome] = []
        group = ""
        for one in _chosen(only):
            asked = wired if one.wire else subject
            if asked is None:
                continue
            if one.group != group:
                group = one.group
                self._print(f"\n{group}\n")
            with _without_proxy(asked.dialect is not None):
                outcome = run_check(one, asked)
            outcomes.append(outcome)
            self._print(f"  {_SIGNS[outcome.verdict]:4}  {one.name:28}  {one_line(outcome.reason or one.promise)}\n")
        counts = [sum(outcome.verdict == verdict for outcome in outcomes) for verdict in _SIGNS]
        self._print("\n{} passed, {} failed, {} say nothing about it\n".format(*counts))
        return outcomes

    def document(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """All of it, for JSON."""
        record = self._record()
        return {
            "binding": self.name,
            "distribution": record.distribution,
            "version": record.version,
            "checks": [
                {
                    "name": one.check.name,
                    "group": one.check.group,
                    "promise": one.check.promise,
                    "verdict": one.verdict,
                    "reason": one.reason or None,
                }
                for one in outcomes
            ],
        }

    def _factory(self, given: dict[str, Any]) -> Any:
        def factory(**options: Any) -> LollmsLLMBinding:
            return self.manager.open_binding(self.name, **{**given, **options})

        return factory

    def _found_model(self, given: dict[str, Any]) -> dict[str, Any]:
        """The newest model that the binding lists, where it has none in use."""
        from lollms_core.cli.opening import newest_first

        with self._factory(given)() as binding:
            if binding.model_name is not None:
                return {}
            try:
                names = newest_first(binding.listModels())
            except Exception:  # noqa: BLE001 - it may need none; if it does, the checks tell
                return {}
        return {"model_name": names[0]} if names else {}

    def _record(self) -> BindingRecord:
        return next(one for one in self.manager.records() if one.name == self.name and one.state != "shadowed")

    def _say_what(self, model: object, where: object) -> None:
        parts = [f"{self.name} of {self._record().origin}"]
        parts += [f"model {model}"] if model else []
        parts += [str(where)] if where else []
        self._print(one_line(", ".join(parts)) + "\n")

    def _print(self, text: str) -> None:
        if not self.silent:
            standard_output().write(text)
            standard_output().flush()


@contextmanager
def _without_proxy(on_loopback: bool) -> Iterator[None]:
    """For servers on the loopback interface, which a proxy of the environment does not reach."""
    before = os.environ.get("NO_PROXY")
    if on_loopback:
        os.environ["NO_PROXY"] = "*"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("NO_PROXY", None)
        else:
            os.environ["NO_PROXY"] = before


def _chosen(only: Sequence[str]) -> list[Check]:
    from lollms_core.errors import close_names
    from lollms_core.testing.conformance import CHECKS

    for name in only:
        if name not in CHECKS:
            raise click.UsageError(f"--only: there is no check {name!r}.{close_names(name, CHECKS)}")
    checks = [one for one in CHECKS.values() if not only or one.name in only]
    return sorted(checks, key=lambda one: one.wire)


def _dialect(name: str, given: str | None) -> Dialect | None:
    """How the backend of the binding `name` speaks; None where nobody says.

    Raises:
        click.ClickException: what is given or declared is no dialect.
    """
    from lollms_core.discovery.entry_points import scan
    from lollms_core.discovery.reports import one_line as told
    from lollms_core.testing.dialect import Dialect

    if given is None:
        declared = [one for one in scan({DIALECTS}).group(DIALECTS) if one.name == name and not one.broken]
        if not declared:
            return None
        given = f"{declared[0].module}:{declared[0].attribute}"
    module, _, attribute = given.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise click.ClickException(f"the dialect {given} cannot be had: {told(error)}") from error
    if not isinstance(made, Dialect):
        raise click.ClickException(f"the dialect {given} is a {type(made).__name__}, no Dialect")
    return made

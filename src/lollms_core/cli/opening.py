"""Which binding and model a command uses, and opening it with the options given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lollms_core.cli.choices import choose
from lollms_core.cli.handing import give_key, has_key
from lollms_core.cli.managing import new_manager
from lollms_core.cli.terminal import say
from lollms_core.cli.values import NOTHING_KEPT, Kept, constructor_keywords, sort_options
from lollms_core.errors import BindingNotFound, CapabilityNotSupported, ModelNotFound

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.cli.options import Wanted
    from lollms_core.manager import LollmsLLMBindingManager

__all__ = ["Opened", "open_for_use", "open_named", "open_without_model"]

_log = logging.getLogger(__name__)

EMBEDDED = ("llamacpp", "smollm2")
"""The binding and the model that need neither a server nor a key."""


class Opened(NamedTuple):
    """A binding, and the fields to give to its call."""

    binding: LollmsLLMBinding
    fields: dict[str, Any]


@contextmanager
def open_for_use(wanted: Wanted, tell: Callable[[str], object] = say) -> Iterator[Opened]:
    """A binding with a model in use: those named, else ones that can be used as things are, said on stderr.

    Args:
        wanted: what the flags say.
        tell: gets the line with what was chosen.

    Raises:
        LollmsError, TypeError, ValueError: it can't be opened.
        click.UsageError: an option that is none.
    """
    choice = choose(wanted)
    manager = new_manager(wanted.bindings_dir)
    for note in choice.notes:
        say(note)
    name, model = choice.binding.value, choice.model.value
    if name is None:
        opened = _chosen(manager, model, choice.pairs, choice.kept, tell)
    else:
        opened = open_named(manager, name, model, choice.pairs, choice.kept)
    with opened.binding:
        if name is not None and model is None:
            _take_a_model(name, opened.binding, tell)
        if choice.system.value is not None:
            opened.fields["system_prompt"] = choice.system.value
        yield opened


@contextmanager
def open_without_model(wanted: Wanted) -> Iterator[LollmsLLMBinding]:
    """A binding to care for models with, none of them loaded: the one named, else one as for use, said on stderr.

    Raises:
        LollmsError, TypeError, ValueError: it can't be opened.
        click.UsageError: an option that is none.
    """
    choice = choose(wanted)
    manager = new_manager(wanted.bindings_dir)
    for note in choice.notes:
        say(note)
    name = choice.binding.value
    if name is None:
        name = _name_of_choice(manager)
        say(f"using {name}")
    with open_named(manager, name, None, choice.pairs, choice.kept).binding as binding:
        yield binding


def open_named(
    manager: LollmsLLMBindingManager,
    name: str,
    model: str | None,
    pairs: Sequence[tuple[str, str]],
    kept: Kept = NOTHING_KEPT,
) -> Opened:
    """The binding `name`, with `model` in use if one is given, and with its key if one is kept.

    Raises:
        LollmsError, TypeError, ValueError: it can't be opened, or has no such model.
        click.UsageError: an option that is none.
    """
    cls = manager.binding_class(name)
    construct, parameters, as_defaults = sort_options(cls, pairs, kept)
    keywords = constructor_keywords(cls)[0]
    if as_defaults:
        construct |= parameters
    if model is not None and "model_name" in keywords:
        construct["model_name"] = model
    give_key(construct, cls, name, "service_key" in keywords, kept)
    binding = manager.open_binding(name, **construct)
    # A constructor that keeps its **kwargs to itself has set no defaults: then they go with the call.
    fields = {key: value for key, value in parameters.items() if key not in binding.defaults}
    if model is not None and binding.model_name != model and "model_name" not in construct:
        _load(binding, model)
    return Opened(binding, fields)


def _load(binding: LollmsLLMBinding, model: str) -> None:
    if binding.load_model(model) is False:
        binding.close()
        raise ModelNotFound(binding.last_error or f"{binding.binding_name} could not load the model {model!r}")


# Choosing ---------------------------------------------------------------------------------------------


def _chosen(
    manager: LollmsLLMBindingManager,
    model: str | None,
    pairs: Sequence[tuple[str, str]],
    kept: Kept,
    tell: Callable[[str], object],
) -> Opened:
    """What can answer with nothing configured; never a folder's binding.

    The order is: a local server that answers, the embedded model, a remote service whose key is set.

    Raises:
        BindingNotFound: nothing can; the text says what to do.
        LollmsError, TypeError, ValueError: what there is refuses what was asked.
    """
    name = _name_of_choice(manager)
    given = model is not None or any(key in ("model_path", "model_name") for key, _ in pairs)
    opened = open_named(manager, name, EMBEDDED[1] if name == EMBEDDED[0] and not given else model, pairs, kept)
    binding = opened.binding
    if binding.model_name is None:
        # Its server may have one loaded; else the newest is.
        _take_a_model(name, binding, _log.debug)
    shown = _model_of(binding)
    tell(f"using {name}" + (f", model {shown}" if shown else ""))
    return opened


def _model_of(binding: LollmsLLMBinding) -> str | None:
    """The model in use, as the binding or its server knows it."""
    return binding.model_name or binding.get_model_info().get("model_name")


def _name_of_choice(manager: LollmsLLMBindingManager) -> str:
    usable = {r.name for r in manager.records() if r.source == "entry point" and r.state in ("found", "loaded")}
    remote: str | None = None
    for name in sorted(usable - {EMBEDDED[0]}):
        place = _place_of(manager, name)
        if place == "local":
            return name
        remote = remote or (name if place == "remote" else None)
    if EMBEDDED[0] in usable:
        return EMBEDDED[0]
    remote = remote or next(filter(has_key, sorted(usable)), None)
    if remote is not None:
        return remote
    others = ", ".join(manager.get_available_bindings())
    raise BindingNotFound(
        "no binding was named with -b, and there is none to choose. "
        + (f"Available: {others}" if others else 'Get one with: pip install "lollms-llamacpp[smollm2]"')
    )


def _place_of(manager: LollmsLLMBindingManager, name: str) -> str | None:
    try:
        return manager.binding_class(name).unconfigured()
    except Exception as exc:  # noqa: BLE001 - one that cannot be asked is not chosen, and nobody has asked for it
        _log.debug("the binding %r cannot be chosen: %s", name, exc)
        return None


def _take_a_model(name: str, binding: LollmsLLMBinding, tell: Callable[[str], object]) -> None:
    """Where a binding has no model in use, load the newest that it lists, and tell so.

    One that does not list or load models, or lists none, is left as it is: it may need no model, or will say what
    it misses when the request is sent.

    Raises:
        ModelNotFound: the newest model can't be loaded.
    """
    if binding.model_name is not None:
        return
    try:
        models = newest_first(binding.listModels()) if binding.get_model_info().get("loaded") is False else []
    except Exception:  # noqa: BLE001 - an author's listing may fail in any way, and it was not asked for
        return
    if models and _can_load(binding, models[0]):
        tell(f"using {name}, model {models[0]}")


def _can_load(binding: LollmsLLMBinding, model: str) -> bool:
    """Load `model`; False for a binding that does not load models."""
    try:
        _load(binding, model)
    except CapabilityNotSupported:
        return False
    return True


def newest_first(entries: Sequence[Any]) -> list[str]:
    """The names of the usable models among those listed, the one whose file changed last first."""
    dicts = [entry if isinstance(entry, dict) else {"model_name": entry} for entry in entries]
    usable = [entry for entry in dicts if entry.get("model_name") and not entry.get("error")]
    return [str(entry["model_name"]) for entry in sorted(usable, key=_changed, reverse=True)]


def _changed(entry: dict[str, Any]) -> float:
    """When a model came, in seconds; 0 where nothing tells."""
    try:
        return Path(entry["path"]).stat().st_mtime
    except (KeyError, TypeError, OSError):
        return 0.0

"""What stands on a class, and what its constructor makes of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lollms_core.arguments import COMMON_NAMES
from lollms_core.binding import LollmsLLMBinding
from lollms_core.capabilities import Capability
from lollms_core.request import PARAMETERS
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.expecting import raises
from lollms_core.testing.conformance.subject import NotApplicable, Subject
from lollms_core.testing.secrets import MARKER, SecretWatch, packages_of


@check()
def is_a_binding(subject: Subject) -> None:
    """The factory makes new LollmsLLMBindings with a name and a model."""
    one, other = subject.new(), subject.new()
    assert isinstance(one, LollmsLLMBinding), f"the factory made a {type(one).__name__}"
    assert one is not other, "the factory gives the same instance twice"
    assert isinstance(one.binding_name, str), "binding_name is no str"
    assert one.binding_name, "binding_name is empty"
    assert one.model_name is None or isinstance(one.model_name, str), "model_name is neither None nor a str"


@check()
def declarations(subject: Subject) -> None:
    """What the class declares is of the right kind, and a model narrows its capabilities, never widens them."""
    binding = subject.new()
    able = binding.capabilities
    assert isinstance(able, frozenset), "capabilities is no frozenset"
    assert all(isinstance(one, Capability) for one in able), "capabilities holds something else than Capability"
    assert Capability.TEXT in able or Capability.EMBED in able, "neither TEXT nor EMBED is declared"
    for model in (None, binding.model_name, subject.settings.unknown_model):
        more = binding.capabilities_of(model) - able
        assert not more, f"capabilities_of({model!r}) has {_named(more)} beyond those of the class"
    unknown = binding.uses - PARAMETERS
    assert not unknown, f"uses names {_named(unknown)}, which are no parameters of the contract"
    assert isinstance(binding.options, type), "options is no TypedDict"


@check()
def unknown_keyword(subject: Subject) -> None:
    """An unknown keyword of the constructor is a TypeError that names it."""
    error = raises(TypeError, lambda: subject.new(no_such_option_0=1), "the constructor with an unknown keyword")
    assert "no_such_option_0" in str(error), f"the error does not name the keyword: {error}"


@check()
def common_names(subject: Subject) -> None:
    """The five common names are accepted, where they say nothing."""
    subject.new(**dict.fromkeys(COMMON_NAMES - set(subject.given)))


@check()
def defaults(subject: Subject) -> None:
    """Request fields given to the constructor are the instance's defaults: checked, kept and shown."""
    binding = subject.new(temperature=0.25, n_predict=5)
    assert dict(binding.defaults).get("temperature") == 0.25, "defaults lacks the constructor's temperature"
    assert dict(binding.get_model_info()["parameters"]).get("n_predict") == 5, "get_model_info hides a default"
    try:
        binding.defaults["temperature"] = 1.0  # type: ignore[index]
    except TypeError:
        pass
    else:
        raise AssertionError("defaults can be changed")
    raises((TypeError, ValueError), lambda: subject.new(temperature="hot"), "the constructor with temperature='hot'")


@check()
def no_key_shows(subject: Subject) -> None:
    """A key stands in no repr, log record or get_model_info, and in no frame of an error."""
    if "service_key" in subject.given:
        raise NotApplicable("the factory gives the key")
    with SecretWatch(*packages_of(subject.new())) as watch:
        try:
            binding = subject.new(service_key=MARKER)
        except (TypeError, ValueError) as error:
            # A binding that has no use for a key says so, and does not repeat it.
            shown = [word for word in (str(error),) if MARKER in word] + watch.found()
        else:
            shown = watch.found(binding, binding.get_model_info(), _answer(subject, binding))
    assert not shown, f"the key shows: {shown[0]}"


def _answer(subject: Subject, binding: LollmsLLMBinding) -> object:
    try:
        return subject.chat(binding)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at for the key
        return error


def _named(things: Any) -> str:
    return ", ".join(sorted(map(str, things if not isinstance(things, Mapping) else things.keys())))

"""Misuse is raised, by every method, before anything is sent; what the backend meets is returned or raised."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lollms_core.capabilities import Capability
from lollms_core.errors import CapabilityNotSupported, ImageError, LollmsError, Refused, UnsupportedParameter
from lollms_core.middleware import Middleware
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import NotApplicable, Subject, hooked

_MISUSE = (TypeError, ValueError)

WRONG: dict[str, tuple[Any, ...]] = {
    "temperature": ("hot", -1.0, float("nan")),
    "n_predict": (0, 1.5),
    "top_k": (-1,),
    "top_p": (2.0,),
    "repeat_penalty": (0.0,),
    "seed": ("seven",),
    "images": ("picture.png",),
    "stream": ("yes",),
}


def _callers(subject: Subject, binding: Any) -> dict[str, Callable[..., Any]]:
    """What asks for a text, by name: the methods that return errors of the backend, and those that raise them."""
    callers: dict[str, Callable[..., Any]] = {
        "generate_text": binding.generate_text,
        "agenerate_text": lambda prompt, **fields: subject.awaited(binding.agenerate_text(prompt, **fields)),
        "generate_from_messages": lambda prompt, **fields: binding.generate_from_messages(
            [{"role": "user", "content": prompt}], **fields
        ),
    }
    return callers | {name: partial(way, binding) for name, way in subject.ways(binding).items()}


@check(Capability.TEXT, Capability.CHAT)
def wrong_values(subject: Subject) -> None:
    """Values of the wrong type or out of range are a TypeError or ValueError of every method, never returned."""
    binding = subject.new()
    for name, call in _callers(subject, binding).items():
        taken = binding._signature.names if name == "generate_text" and binding._signature is not None else None
        open_ended = binding._signature is not None and not binding._signature.left_out({"logprobs": None})
        expecting.raises(_MISUSE, partial(call, None), f"{name}(None)")
        for parameter, values in WRONG.items():
            if parameter == "stream" and name in ("stream", "astream"):
                continue  # there it is settled
            if taken is not None and parameter not in taken and open_ended:
                continue  # what goes into an author's **kwargs is passed on as it is
            for value in values:
                what = f"{name} with {parameter}={value!r}"
                expecting.raises(_MISUSE, partial(call, "Hi", **{parameter: value}), what)


@check(Capability.CHAT)
def unknown_parameter(subject: Subject) -> None:
    """An unknown parameter of a call is an UnsupportedParameter that names it."""
    binding = subject.new()
    for name, way in subject.ways(binding).items():
        what = f"{name} with an unknown parameter"
        error = expecting.raises(UnsupportedParameter, partial(way, binding, "Hi", no_such_field_0=1), what)
        assert "no_such_field_0" in str(error), f"{name}: the error does not name the parameter: {error}"


@check(Capability.TEXT, Capability.CHAT)
def images_that_are_none(subject: Subject) -> None:
    """An image that cannot be read is an ImageError before anything is sent."""
    binding = subject.new()
    subject.require(binding, Capability.VISION)
    with tempfile.TemporaryDirectory() as folder:
        for image in (str(Path(folder) / "missing.png"), folder, "data:image/png;base64,%%%"):
            for name, call in _callers(subject, binding).items():
                what = f"{name} with the image {image!r}"
                expecting.raises(ImageError, partial(call, "Hi", images=[image]), what)


@check(Capability.TEXT, Capability.CHAT)
def undeclared_raises(subject: Subject) -> None:
    """What is not declared raises CapabilityNotSupported, also from the methods that return errors."""
    binding = subject.new()
    able = subject.able(binding)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    asked: dict[Capability, dict[str, Any]] = {
        Capability.VISION: {"images": [subject.settings.image]},
        Capability.TOOLS: {"tools": [tool]},
        Capability.JSON_SCHEMA: {"response_format": {"type": "object"}},
        Capability.REASONING: {"think": True},
        Capability.LOGPROBS: {"logprobs": True},
    }
    for capability, fields in asked.items():
        if capability in able:
            continue
        for name, call in _callers(subject, binding).items():
            if name == "generate_text" and binding._signature is not None and not binding._signature.left_out(fields):
                continue  # its own signature takes it
            what = f"{name} with {next(iter(fields))}"
            expecting.raises(CapabilityNotSupported, partial(call, "Hi", **fields), what)
    calls: dict[Capability, tuple[str, Callable[[], Any]]] = {
        Capability.EMBED: ("embed", lambda: binding.embed("text")),
        Capability.TOKENIZE: ("tokenize", lambda: binding.tokenize("text")),
        Capability.PULL: ("pull", lambda: list(binding.pull("model"))),
        Capability.STREAM: ("stream", lambda: binding.stream("Hi")),
    }
    for capability, (name, ask) in calls.items():
        if capability not in able:
            expecting.raises(CapabilityNotSupported, ask, name)


class _Guard(Middleware):
    required = True

    def on_request(self, request: Any) -> Any:
        raise Refused("the guard of the kit refuses")


@check(Capability.TEXT, Capability.CHAT)
def return_or_raise(subject: Subject) -> None:
    """What a request meets on its way is returned as a dict by generate_text and its kin, and raised by the others."""
    binding = hooked(subject.new(), _Guard)
    raising = subject.ways(binding)
    for name, call in _callers(subject, binding).items():
        if name in raising:
            expecting.raises(Refused, partial(call, "Hi"), name)
        else:
            check_error_dict(call("Hi"), "Refused", name)


def check_error_dict(returned: Any, error_type: str, what: str) -> None:
    """Whether `returned` is the dict that stands for an error.

    Raises:
        AssertionError: it is not.
    """
    assert isinstance(returned, dict), f"{what} returned {returned!r} for an error"
    assert returned.get("status") is False, f"{what}: status is {returned.get('status')!r}"
    assert returned.get("error_type") == error_type, (
        f"{what}: error_type {returned.get('error_type')!r}, not {error_type}"
    )
    assert isinstance(returned.get("error"), str), f"{what}: error is {returned.get('error')!r}"
    assert returned["error"], f"{what}: the error has no words"
    assert isinstance(returned.get("partial"), str), f"{what}: partial is {returned.get('partial')!r}"


@check(Capability.CHAT)
def unknown_model(subject: Subject) -> None:
    """A model that is not there is one clear error of the tree, raised or returned, and the next request works."""
    binding = subject.new()
    subject.use(binding, "model")
    fields = subject.fields(binding, model=subject.settings.unknown_model)
    try:
        binding.chat(subject.settings.prompt, **fields)
    except LollmsError as error:
        kind = expecting.name_of(error)
        assert not isinstance(error, _MISUSE), f"{kind} is for misuse"
        assert "\n" not in str(error), f"the error has several lines: {error}"
    else:
        raise NotApplicable("the backend takes any name of a model")
    messages = [{"role": "user", "content": subject.settings.prompt}]
    check_error_dict(binding.generate_from_messages(messages, **fields), kind, "generate_from_messages")
    expecting.text(subject.chat(binding).text, "the next request")

"""What a binding tells of its models, and loading them."""

from __future__ import annotations

import json

from lollms_core.capabilities import Capability
from lollms_core.errors import CapabilityNotSupported
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import NotApplicable, Subject

_KEYS = {"binding_name", "model_name", "loaded", "ctx_size", "supports", "parameters"}


@check()
def model_info(subject: Subject) -> None:
    """What get_model_info gives has the contract's keys, as values that JSON can carry."""
    binding = subject.new()
    info = binding.get_model_info()
    assert isinstance(info, dict), f"get_model_info gives a {type(info).__name__}"
    assert info.keys() >= _KEYS, f"get_model_info lacks {', '.join(sorted(_KEYS - info.keys()))}"
    assert info["binding_name"] == binding.binding_name, f"binding_name is {info['binding_name']!r}"
    assert type(info["loaded"]) is bool, f"loaded is {info['loaded']!r}"
    assert info["ctx_size"] is None or (type(info["ctx_size"]) is int and info["ctx_size"] > 0), "ctx_size is no size"
    unknown = {str(name) for name in info["supports"]} - {able.value for able in Capability}
    assert not unknown, f"supports names {', '.join(sorted(unknown))}, which are no capabilities"
    wider = set(map(str, info["supports"])) - {able.value for able in binding.capabilities}
    assert not wider, f"supports names {', '.join(sorted(wider))}, which the class does not declare"
    json.dumps(info)


@check()
def model_list(subject: Subject) -> None:
    """The models are listed as dicts with model_name, by list_models as by listModels."""
    binding = subject.new()
    try:
        models = binding.listModels()
    except CapabilityNotSupported as reason:
        raise NotApplicable(str(reason)) from None
    assert isinstance(models, list), f"listModels gives a {type(models).__name__}"
    for model in models:
        assert isinstance(model, dict), f"listModels lists {model!r}, which is no dict"
        assert isinstance(model.get("model_name"), str), f"an entry has no model_name: {model!r}"
    names = [model["model_name"] for model in models]
    assert [model["model_name"] for model in binding.list_models()] == names, "list_models gives something else"


@check(Capability.CHAT)
def load_model(subject: Subject) -> None:
    """Loading takes a model that is there; one that is not is False with the reason, and the old one stays."""
    binding = subject.new()
    try:
        names = [binding.model_name] if binding.model_name else [one["model_name"] for one in binding.listModels()[:1]]
        loaded = [binding.load_model(name) for name in names]
    except CapabilityNotSupported as reason:
        raise NotApplicable(str(reason)) from None
    assert loaded == [True] * len(names), f"load_model({names[0]!r}) is {loaded[0]!r}: {binding.last_error}"
    before = binding.model_name
    unknown = subject.settings.unknown_model
    answer = binding.load_model(unknown)
    assert type(answer) is bool, f"load_model of a model that is not there gives {answer!r}"
    if answer is False:
        assert binding.last_error, "load_model gave False, and last_error does not say why"
        assert binding.model_name == before, "a model that could not be loaded took the place of the old one"
        expecting.text(subject.chat(binding).text, "the old model")

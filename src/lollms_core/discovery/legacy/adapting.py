"""What a legacy class is changed into when it is made, so that it fulfils the contract.

Its methods stay its own; those that the contract calls are wrapped: they get of the contract's parameters what
they take, a callback that is as they know it, and their error dicts are understood.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from lollms_core.capabilities import Capability
from lollms_core.discovery.reports import hide_in, scrub
from lollms_core.errors import LollmsError, error_from_dict, error_to_dict
from lollms_core.events import MSG_TYPE
from lollms_core.redaction import Redaction
from lollms_core.request import PARAMETERS
from lollms_core.text_calls import CONTRACT

__all__ = ["adapt", "began", "now"]

_Method = Callable[..., Any]

_N_PREDICT = 4096
"""LollmsClient 0.17 gave this number of tokens wherever nothing was said, and folders count up to it."""

_EIGHT = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM, Capability.EMBED, Capability.TOKENIZE})
_VALUES = {kind.value: kind for kind in MSG_TYPE}

_numbers = itertools.count(1)
_running: ContextVar[Mapping[int, int]] = ContextVar("lollms_legacy_running", default={})  # noqa: B039 - never changed


def now() -> int:
    """A number that is larger than all before: generations and cancels are put in order by it."""
    return next(_numbers)


def began(binding: object) -> int | None:
    """When the generation in which this code runs began; None if it runs in none, or in a thread of the author's."""
    return _running.get().get(id(binding))


def adapt(cls: Any) -> None:
    """Wrap what `cls` itself defines."""
    own: dict[str, _Method] = {
        name: value
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and not getattr(value, "__isabstractmethod__", False)
    }
    if "list_models" in own and "listModels" not in own:
        own["listModels"] = _list_models
    if "generate_text" in own:
        taken = _Taken(own["generate_text"])
        _declare(cls, taken)
        # What the newer abstract method is missing from was written for the older client.
        cls.generate_text = _generating(own["generate_text"], taken, older="list_models" not in own)
    if "generate_from_messages" in own:
        taken = _Taken(own["generate_from_messages"])
        cls.generate_from_messages = _generating(own["generate_from_messages"], taken, older=False)
    if "chat" in own and _Taken(own["chat"]).subject == "discussion":
        del cls.chat  # takes an object of lollms_client's; ours takes messages
    for name in ("listModels", "list_models", "tokenize", "detokenize", "count_tokens", "embed"):
        if name in own:
            setattr(cls, name, _understood(own[name]))
    if "get_model_info" in own:
        cls.get_model_info = _without_keys(own["get_model_info"])
    if "__del__" in own:
        cls.__del__ = _quiet(own["__del__"])


class _Taken:
    """What a generating method takes.

    Attributes:
        subject: its first parameter after ``self``.
        order: its parameters, without ``*args`` and ``**kwargs``.
        names: the same, for looking up.
        refused: the contract's parameters that it does not take.
        everything: whether nothing but the subject and ``**kwargs`` stands there, so that it gets all that is set.
    """

    def __init__(self, function: _Method) -> None:
        self._parameters = list(inspect.signature(function).parameters.values())
        self.order = [
            each.name for each in self._parameters[1:] if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        self.subject = self.order[0] if self.order else ""
        self.names = frozenset(self.order)
        self._any = any(each.kind is each.VAR_KEYWORD for each in self._parameters)
        self.everything = self._any and not self.names & CONTRACT - {self.subject}
        self.refused = frozenset() if self.everything else CONTRACT - self.names

    def signature(self) -> inspect.Signature:
        """The same with all of the contract's parameters, so that a caller may give any."""
        parameters = [each for each in self._parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        more = sorted(CONTRACT - self.names - {"prompt"})
        parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in more]
        parameters += [each for each in self._parameters if each.kind is each.VAR_KEYWORD]
        return inspect.Signature(parameters)


def _declare(cls: Any, taken: _Taken) -> None:
    """Its capabilities and what it uses, as its own signature has them; what it declares itself stays."""
    declared = vars(cls)
    if "uses" not in declared:
        cls.uses = PARAMETERS if taken.everything else PARAMETERS & taken.names
    if "capabilities" not in declared:
        more = {"images": Capability.VISION, "think": Capability.REASONING}
        cls.capabilities = _EIGHT | {more[name] for name in more if taken.everything or name in taken.names}


def _generating(own: _Method, taken: _Taken, *, older: bool) -> _Method:
    counts = older and "n_predict" in taken.names

    @functools.wraps(own)
    def generate(self: Any, *args: Any, **keywords: Any) -> Any:
        keywords = {name: value for name, value in keywords.items() if name not in taken.refused}
        if taken.everything:
            # A request's mappings are empty where nothing is set.
            keywords = {name: value for name, value in keywords.items() if value is not None and value != {}}
        callback = keywords.get("streaming_callback")
        if callback is not None:
            keywords["streaming_callback"] = _Callback(callback)
        if counts and keywords.get("stream") and "n_predict" not in taken.order[: len(args)]:
            keywords["n_predict"] = keywords.get("n_predict") or _N_PREDICT
        running = _running.get()
        if id(self) in running:
            return own(self, *args, **keywords)  # called by the author's own code
        self._began_at = now()
        token = _running.set({**running, id(self): self._began_at})
        try:
            result = own(self, *args, **keywords)
        except Exception as exc:
            hide_in(exc, self._secrets)
            raise
        finally:
            _running.reset(token)
        failure = _failure(self, result)
        return result if failure is None else error_to_dict(failure)

    generate.__signature__ = taken.signature()  # type: ignore[attr-defined]
    return generate


class _Callback:
    """A streaming callback as legacy code calls it, in front of one that is called as the contract says.

    That code stops where the callback gives nothing back, may pass on a piece that is None, and may name the
    kind or leave it out.
    """

    def __init__(self, callback: _Method) -> None:
        self._callback = callback

    def __call__(self, chunk: Any = None, kind: Any = MSG_TYPE.MSG_TYPE_CHUNK, *_: Any, **__: Any) -> bool:
        if chunk is None or chunk == "":
            return True
        if not isinstance(kind, MSG_TYPE):
            kind = MSG_TYPE.__members__.get(kind) if isinstance(kind, str) else _VALUES.get(kind)
        return self._callback(chunk, kind or MSG_TYPE.MSG_TYPE_CHUNK) is not False


def _list_models(self: Any) -> Any:
    return self.list_models()


def _failure(binding: Any, result: Any) -> LollmsError | None:
    """The error that an error dict stands for, without keys; None for what is none."""
    if not isinstance(result, Mapping) or result.get("status") not in (False, "error"):
        return None
    text = result.get("error") or result.get("message")
    return error_from_dict({**result, "error": scrub(str(text), binding._secrets) if text else None})


def _understood(own: _Method) -> _Method:
    """`own`, which raises what an error dict stands for in place of returning it."""

    @functools.wraps(own)
    def call(self: Any, *args: Any, **keywords: Any) -> Any:
        result = own(self, *args, **keywords)
        failure = _failure(self, result)
        if failure is not None:
            raise failure
        return result

    return call


def _without_keys(own: _Method) -> _Method:
    @functools.wraps(own)
    def call(self: Any, *args: Any, **keywords: Any) -> Any:
        return Redaction(self._secrets).value(own(self, *args, **keywords))

    return call


def _quiet(own: _Method) -> _Method:
    """A ``__del__`` that says nothing where the constructor had failed: it looks for what was never set."""

    @functools.wraps(own)
    def finish(self: Any) -> None:
        try:
            own(self)
        except Exception:
            if self._constructed:
                raise

    return finish

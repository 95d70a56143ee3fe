"""Making an instance of a legacy class: which arguments its constructor gets, and what its failure says."""

from __future__ import annotations

import inspect
import logging
from abc import ABCMeta
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lollms_core.arguments import COMMON_NAMES
from lollms_core.discovery.reports import one_line, printable, secrets_in
from lollms_core.errors import BindingLoadError, LollmsError
from lollms_core.redaction import Hidden
from lollms_core.request import REQUEST_FIELDS, GenerationRequest

if TYPE_CHECKING:
    from lollms_core.discovery.legacy.folder import LegacyFolder

__all__ = ["LegacyType"]

_OTHER_NAMES = {"model_name": ("model_path", "model_name_or_id"), "models_path": ("models_folder",)}
"""A common name, and what legacy constructors call the same; the first that a constructor spells out is taken."""


class LegacyType(ABCMeta):
    """The class of legacy binding classes: it makes their instances.

    Attributes:
        _folder: where the class comes from, None if from no folder.
    """

    _folder: LegacyFolder | None

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """An instance, its constructor called with what it takes of the arguments.

        Raises:
            TypeError: the arguments do not fit.
            BindingLoadError: the constructor failed, and requirements of the folder are missing.
            Exception: what else the constructor raises.
        """
        folder = cls._folder
        if folder is not None:
            folder.hide(secrets_in(kwargs))
        model = kwargs.get("model_name")
        given: _Given | None = None
        try:
            given = _Given(cls, len(args), kwargs)
            binding: Any = super().__call__(*args, **given.arguments)
        except LollmsError:
            raise
        except Exception as exc:
            if folder is not None:
                folder.requirements.note(exc)
            if folder is None or not folder.requirements or given is None or not given.fit(args):
                raise
            origin = f"the binding {folder.path.name!r} (folder {printable(str(folder.path))})"
            reason = folder.explain(one_line(exc, folder.secrets))
            raise BindingLoadError(f"{origin} could not be created: {reason}") from exc
        finally:
            kwargs.clear()  # a traceback shows what its frames hold
        if hasattr(binding, "_constructed"):  # else its __new__ gave something that is no binding
            # Past any __setattr__ of the author's.
            object.__setattr__(binding, "_constructed", True)
            if given.defaults:
                object.__setattr__(binding, "defaults", MappingProxyType(dict(given.defaults)))
            if binding.model_name is None and isinstance(model, str):
                object.__setattr__(binding, "model_name", model)
        return binding


class _Given:
    """What a caller gave, sorted.

    A constructor that takes nothing but ``**kwargs`` gets all of it. Where ``**kwargs`` stands beside named
    parameters, the common names are kept out of it: some pass it on to an engine.

    Attributes:
        arguments: for the constructor.
        defaults: request fields that every call of the instance gets where it gives none.
    """

    def __init__(self, cls: LegacyType, positional: int, kwargs: Mapping[str, Any]) -> None:
        self._signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        parameters = list(self._signature.parameters.values())[1:]
        named = {
            parameter.name
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }
        self._takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self.arguments = Hidden(kwargs)
        # A class without a constructor of its own has the base's, which spells out what is no caller's business.
        if named and not (self._takes_any and _is_inherited(cls)):
            self._rename(named - {parameter.name for parameter in parameters[:positional]})
            self._leave_out(cls, named)
        uses: frozenset[str] = cls.uses  # type: ignore[attr-defined]
        wanted = (uses | {"stream", "system_prompt"} if self._takes_any else REQUEST_FIELDS) - named
        self.defaults = Hidden(self._checked({n: v for n, v in kwargs.items() if n in wanted and v is not None}))
        if not self._takes_any:
            for name in self.defaults:
                del self.arguments[name]

    def fit(self, args: tuple[Any, ...]) -> bool:
        """Whether the constructor can be called with `args` and what was given by name."""
        try:
            self._signature.bind(None, *args, **self.arguments)
        except TypeError:
            return False
        return True

    def _rename(self, free: set[str]) -> None:
        given = self.arguments
        for name, others in _OTHER_NAMES.items():
            other = next((each for each in others if each in free and given.get(each) is None), None)
            if name not in free and other is not None and given.get(name) is not None:
                given[other] = given.pop(name)
                if other == "model_path" and given.get("models_path") is not None:
                    path = Path(given["models_path"], given[other])
                    if path.exists():
                        given[other] = str(path)
                        if "models_path" not in free:
                            del given["models_path"]

    def _leave_out(self, cls: LegacyType, named: set[str]) -> None:
        """Drop the common names that have no place, and those that are None, which stands for a default."""
        for name in sorted(COMMON_NAMES & self.arguments.keys()):
            if self.arguments[name] is None and (
                name not in named or self._signature.parameters[name].default is not inspect.Parameter.empty
            ):
                del self.arguments[name]
            elif name not in named:
                del self.arguments[name]
                if cls._folder is not None:
                    cls._folder.say(logging.WARNING, f"{cls.__name__} has no use for {name} and does not get it")

    def _checked(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`fields` as a request holds them.

        Raises:
            TypeError, ValueError: one of the wrong type or range, which the constructor does not get either.
        """
        checked = {}
        for name, value in fields.items():
            try:
                checked[name] = getattr(GenerationRequest(prompt="", **{name: value}), name)
            except (TypeError, ValueError):
                if not self._takes_any:
                    raise
                # The constructor has it in its ``**kwargs`` and may mean something else by it.
        return checked


def _is_inherited(cls: LegacyType) -> bool:
    from lollms_core.discovery.legacy.shims.lollms_client.lollms_llm_binding import LollmsLLMBinding

    return cls.__init__ is LollmsLLMBinding.__init__  # type: ignore[misc]

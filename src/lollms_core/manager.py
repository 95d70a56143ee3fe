"""LollmsLLMBindingManager: finds bindings, imports their classes when they are used, makes instances."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lollms_core.discovery.catalog import PACKAGES, Catalog, discover
from lollms_core.discovery.importing import one_at_a_time
from lollms_core.discovery.lists import Lists
from lollms_core.discovery.records import BindingRecord
from lollms_core.discovery.reports import NO_SECRETS, Secrets, bounded, hide_in, one_line, scrub, secrets_in
from lollms_core.errors import BindingBlocked, BindingLoadError, BindingNotFound, LollmsError, Refused, close_names
from lollms_core.hooks import BindingHooks, Hooks

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.discovery.candidates import Candidate

__all__ = ["LollmsLLMBindingManager"]

_log = logging.getLogger(__name__)

_OWN_WORDS = (BindingNotFound, BindingBlocked, BindingLoadError)


class LollmsLLMBindingManager:
    """Bindings by name: those that are installed, then the folders of a directory.

    Making one reads nothing but three environment variables; the first listing or creating looks at what
    is installed. A binding's class is imported when it is first used.

    Args:
        llm_bindings_dir: the directory with a folder for each local binding; a missing one is empty.
        entry_point_group: where distributions register their bindings.
        hooks: objects or modules with hook implementations; see :mod:`lollms_core.hookspecs`.
        allow: the only distributions or names that may be used; None takes ``LOLLMS_PLUGINS``.
        deny: distributions or names that may not; None takes ``LOLLMS_DISABLE_PLUGINS``.
        required_hooks: distributions, or names of entry points in the group ``lollms.hooks``, without which no
            binding is created, and which fail closed; None takes ``LOLLMS_REQUIRED_HOOKS``. A hook that cannot
            even be imported cannot say itself that it was meant as a guard.

    Attributes:
        available_bindings: the classes that are loaded so far, by name.
        errors: of each name that could not be loaded or created the last time, one line on why; no keys in it.

    Raises:
        TypeError, ValueError: a hook that cannot be registered.
    """

    def __init__(
        self,
        llm_bindings_dir: str | os.PathLike[str] = "llm_bindings",
        *,
        entry_point_group: str = "lollms.llm_bindings",
        hooks: Iterable[object] = (),
        allow: str | Iterable[str] | None = None,
        deny: str | Iterable[str] | None = None,
        required_hooks: str | Iterable[str] | None = None,
    ) -> None:
        self.llm_bindings_dir = Path(llm_bindings_dir)
        self.entry_point_group = entry_point_group
        self.available_bindings: dict[str, type[LollmsLLMBinding]] = {}
        self.errors: dict[str, str] = {}
        self._given_lists = [
            given if given is None or isinstance(given, str) else tuple(given)
            for given in (allow, deny, required_hooks)
        ]
        self._lists = Lists.read(*self._given_lists)
        self._hooks = Hooks()
        for hook in hooks:
            self._hooks.register(hook)
        self._catalog: Catalog | None = None
        self._looking = threading.Lock()
        self._swapping = threading.Lock()

    # Looking --------------------------------------------------------------------------------------------

    def get_available_bindings(self) -> list[str]:
        """The names of all bindings that are not blocked, sorted. No plugin is imported."""
        return list(self._found().available)

    def records(self) -> list[BindingRecord]:
        """All that is known of every place that a name comes from, sorted by name. No plugin is imported."""
        records = [candidate.record for candidate in self._found().candidates]
        if all(record.description_file is None for record in records):
            return records
        from lollms_core.discovery.descriptions import described

        return [record if record.description_file is None else described(record) for record in records]

    def refresh(self) -> None:
        """Look anew: at what is installed, at the directory, at the allow and deny lists.

        What has failed may be tried again, and a folder whose modules have changed is loaded anew; what is
        loaded and unchanged stays.
        """
        import importlib

        importlib.invalidate_caches()
        self._lists = Lists.read(*self._given_lists)
        catalog = self._look()
        with self._swapping:
            if self._catalog is not None:
                catalog.keep_loaded(self._catalog)
            self._catalog = catalog
            self.errors.clear()
            self.available_bindings.clear()
            for name, candidate in catalog.by_name.items():
                if candidate.cls is not None:
                    self.available_bindings[name] = candidate.cls

    def _found(self) -> Catalog:
        if self._catalog is None:
            with one_at_a_time(self._looking):
                if self._catalog is None:
                    catalog = self._look()
                    with self._swapping:
                        if self._catalog is None:
                            self._catalog = catalog
        return self._catalog

    def _look(self) -> Catalog:
        return discover(self.llm_bindings_dir, self.entry_point_group, self._lists)

    # Creating -------------------------------------------------------------------------------------------

    def create_binding(self, name: str, **kwargs: Any) -> LollmsLLMBinding | None:
        """A new instance of the binding `name`; None if that fails, with one line in the log and in ``errors``."""
        try:
            binding = self._open(name, kwargs)
        except Exception as exc:  # noqa: BLE001 - the cause is logged
            self._note(name, exc, secrets_in(kwargs))
            return None
        except BaseException:
            kwargs.clear()  # a traceback shows what its frames hold
            raise
        if self.errors:
            self.errors.pop(name, None)
        return binding

    def open_binding(self, name: str, **kwargs: Any) -> LollmsLLMBinding:
        """A new instance of the binding `name`.

        Raises:
            BindingNotFound: there is none of that name; the text has close names or the pip command.
            BindingBlocked: the operator's lists or the state of its folder forbid it.
            BindingLoadError: it could not be imported, or its constructor failed (``__cause__``).
            Refused: a hook refused it, or one that the operator requires is not in force.
            LollmsError, TypeError, ValueError: what its constructor says of its arguments.
        """
        try:
            return self._open(name, kwargs)
        except BaseException:
            kwargs.clear()  # a traceback shows what its frames hold
            raise

    def binding_class(self, name: str) -> type[LollmsLLMBinding]:
        """The class of the binding `name`, imported if it is not yet: what it declares, without an instance.

        Raises:
            BindingNotFound, BindingBlocked, BindingLoadError: as :meth:`open_binding`.
        """
        catalog = self._found()
        return self._loaded(catalog, name, self._candidate(catalog, name))

    def register_hook(self, hook: object) -> None:
        """Add a module or object with hook implementations; bindings that exist already have it too.

        Raises:
            TypeError, ValueError: it has none, or they cannot work; see :mod:`lollms_core.hookspecs`.
        """
        self._hooks.register(hook)

    def _load_binding(self, name: str) -> type[LollmsLLMBinding] | None:
        """The class of the binding `name`; None if that fails, with one line in the log and in ``errors``."""
        try:
            return self.binding_class(name)
        except Exception as exc:  # noqa: BLE001 - the cause is logged
            self._note(name, exc, NO_SECRETS)
            return None

    def _candidate(self, catalog: Catalog, name: str) -> Candidate:
        if not isinstance(name, str):
            raise TypeError(f"a binding's name is a str, not {type(name).__name__}")
        candidate = catalog.by_name.get(name)
        if candidate is None:
            hint = (
                f" Install it with: pip install {PACKAGES[name]}"
                if name in PACKAGES
                else close_names(name, {*catalog.available, *PACKAGES})
            )
            raise BindingNotFound(
                f"no binding {name!r} is installed, and there is none in {self.llm_bindings_dir}.{hint}"
            )
        return candidate

    def _loaded(self, catalog: Catalog, name: str, candidate: Candidate) -> type[LollmsLLMBinding]:
        cls = candidate.load()
        with self._swapping:
            # A refresh may have come in between; then this class is no longer what the name stands for.
            if catalog is self._catalog:
                self.available_bindings[name] = cls
        return cls

    def _open(self, name: str, kwargs: dict[str, Any]) -> LollmsLLMBinding:
        catalog = self._found()
        candidate = self._candidate(catalog, name)
        cls = candidate.cls
        if cls is None or name not in self.available_bindings:
            cls = self._loaded(catalog, name, candidate)
        hooks = self._hooks
        hooks.load(catalog.hooks.usable)
        if self._lists.required_hooks and (lacking := [*catalog.hooks.lacking, *hooks.lacking(catalog.hooks.usable)]):
            raise Refused(
                f"the binding {name!r} is not created, because a required hook is not in force: {'; '.join(lacking)}"
            )
        arguments = hooks.before_create(name, kwargs) if hooks.any_for_creation else dict(kwargs)
        try:
            binding = _constructed(cls, candidate, arguments)
            # Past any __setattr__ of the author's, and without what a forgotten super().__init__() would have set.
            object.__setattr__(binding, "_hooks", BindingHooks(hooks, name))
            if hooks.any_for_creation:
                self._show(name, binding, secrets_in(arguments))
        except BaseException as exc:
            hide_in(exc, secrets_in(arguments))
            arguments.clear()  # a traceback shows what its frames hold
            raise
        return binding

    def _show(self, name: str, binding: LollmsLLMBinding, secrets: Secrets) -> None:
        try:
            self._hooks.after_create(name, binding, secrets)
        except BaseException:
            # Nobody gets this one, so nobody else would close it.
            try:
                binding.close()
            except KeyboardInterrupt:
                raise
            except BaseException as exc:  # noqa: BLE001 - what refused it is what its caller must hear of
                _log.warning("closing the refused binding %r failed: %s", name, one_line(exc, secrets))
            raise

    def _note(self, name: str, error: Exception, secrets: Secrets) -> None:
        if isinstance(error, _OWN_WORDS):
            line = scrub(" ".join(str(error).split()), secrets)
        else:
            line = f"the binding {name!r} could not be created: {one_line(error, secrets)}"
        line = bounded(line)
        self.errors[str(name)] = line
        _log.error("%s", line)


def _constructed(cls: type[LollmsLLMBinding], candidate: Candidate, arguments: dict[str, Any]) -> LollmsLLMBinding:
    from lollms_core.binding import LollmsLLMBinding

    origin = candidate.record.origin
    try:
        binding = cls(**arguments)
    except (LollmsError, TypeError, ValueError):
        raise  # these say in their own words what is wrong with the arguments
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        # Whatever it is called (GeneratorExit, CancelledError, ...): nothing but Ctrl-C comes from outside here.
        line = one_line(exc, secrets_in(arguments))
        raise BindingLoadError(
            f"the binding {candidate.record.name!r} ({origin}) could not be created: {line}"
        ) from exc
    if not isinstance(binding, LollmsLLMBinding):
        raise BindingLoadError(
            f"the binding {candidate.record.name!r} ({origin}) made a {type(binding).__name__}, which is no binding"
        )
    return binding

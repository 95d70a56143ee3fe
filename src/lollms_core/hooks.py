"""The hooks of one manager: registered through pluggy, called one by one, each behind a guard.

pluggy stops at the first implementation that raises, and its entry-point loader has no guard at all; so it
serves for marking, checking and telling the implementations here, and the calls are ours. It is imported
when there is a first hook to register.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from lollms_core.discovery.importing import being_imported, one_at_a_time, undone_if_it_fails
from lollms_core.discovery.reports import NO_SECRETS, Secrets, hide_in, one_line, secrets_in
from lollms_core.errors import Refused, close_names

if TYPE_CHECKING:
    import pluggy

    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.discovery.entry_points import Declared
    from lollms_core.middleware import Attached
    from lollms_core.request import EmbedRequest, GenerationRequest

__all__ = ["BindingHooks", "Hooks"]

_log = logging.getLogger(__name__)

BEFORE_CREATE = "lollms_before_create"
AFTER_CREATE = "lollms_after_create"
MIDDLEWARE = "lollms_middleware"

_MIDDLEWARE_METHODS = ("on_request", "on_event", "on_error", "on_finish")


@dataclass(frozen=True, slots=True, eq=False)
class _Implementation:
    """One function that implements a hook."""

    hook: str
    function: Any
    parameters: tuple[str, ...]
    plugin: object
    origin: str
    order: tuple[int, int]
    required: bool


_EMPTY: Mapping[str, tuple[_Implementation, ...]] = MappingProxyType(
    {BEFORE_CREATE: (), AFTER_CREATE: (), MIDDLEWARE: ()}
)


class Hooks:
    """The hooks that apply to one manager's bindings, also to those created before a hook was registered."""

    def __init__(self) -> None:
        self._implementations = _EMPTY
        self._pluggy: pluggy.PluginManager | None = None
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._loading = threading.Lock()
        self._loaded: Sequence[Declared] | None = None
        self._from_entry_points: dict[Declared, object] = {}
        self._failures: dict[Declared, str] = {}
        self._told: set[tuple[int, type[BaseException]]] = set()

    # Registering ----------------------------------------------------------------------------------------

    def register(self, plugin: object, origin: str | None = None) -> None:
        """Add a module or an object that has implementations.

        Raises:
            TypeError: it has none, one is a wrapper or a coroutine or names an unknown hook, or its
                parameters are not the hook's.
            ValueError: it is registered already.
        """
        if origin is None:
            shown = plugin.__name__ if isinstance(plugin, ModuleType) else repr(type(plugin))
            origin = f"application hook {shown}"
        with self._lock:
            self._set([*self._all(), *self._add(plugin, origin)])

    def load(self, declared: Sequence[Declared]) -> None:
        """Import and register what distributions declare; once for one `declared`, each guarded by itself.

        One that fails is left out, with a warning; :meth:`lacking` tells whether the operator requires it.
        """
        if self._loaded is declared:
            return
        if not declared and not self._from_entry_points:
            self._loaded = declared
            return
        with one_at_a_time(self._loading):
            if self._loaded is declared:
                return
            # Those that are being imported at this moment, and create a binding meanwhile, come the next time.
            ready = [entry for entry in declared if not being_imported(entry.module)]
            known = self._from_entry_points
            self._failures.clear()
            imported = {entry: known[entry] if entry in known else self._imported(entry) for entry in ready}
            with self._lock:
                self._replace({entry: plugin for entry, plugin in imported.items() if plugin is not None})
                if len(ready) == len(declared):
                    self._loaded = declared

    def _replace(self, wanted: Mapping[Declared, object]) -> None:
        gone = [self._from_entry_points.pop(entry) for entry in set(self._from_entry_points) - set(wanted)]
        for plugin in gone:
            self._manager().unregister(plugin)
        implementations = [item for item in self._all() if not any(item.plugin is plugin for plugin in gone)]
        for entry, plugin in wanted.items():
            if entry not in self._from_entry_points:
                try:
                    implementations += self._add(plugin, entry.origin, required=entry.required)
                except KeyboardInterrupt:
                    raise
                except BaseException as exc:  # noqa: BLE001 - one distribution's fault is its own
                    self._left_out(entry, "are left out", exc)
                else:
                    self._from_entry_points[entry] = plugin
        # In one step, so that no request slips between an old guard and the new one.
        self._set(implementations)

    def lacking(self, declared: Sequence[Declared]) -> list[str]:
        """Of each hook in `declared` that the operator requires and that is not in force, one line on why."""
        return [
            self._failures.get(entry, f"the hooks of {entry.origin} ({entry.name}) are still being imported")
            for entry in declared
            if entry.required and entry not in self._from_entry_points
        ]

    def _imported(self, entry: Declared) -> object:
        """What the entry point names, None (and a report) if that fails."""

        def use(module: str) -> Any:
            return reduce(getattr, (entry.attribute or "").split(".") if entry.attribute else (), _import(module))

        try:
            return undone_if_it_fails(entry.module, use)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - one distribution's fault is its own
            self._left_out(entry, "cannot be imported", exc)
            return None

    def _left_out(self, entry: Declared, how: str, exc: BaseException) -> None:
        line = f"the hooks of {entry.origin} ({entry.name}) {how}: {one_line(exc)}"
        self._failures[entry] = line
        _log.warning("%s", line)

    def _add(self, plugin: object, origin: str, *, required: bool = False) -> list[_Implementation]:
        manager = self._manager()
        _check(manager, plugin)
        number = next(self._numbers)
        try:
            manager.register(plugin, name=f"{number}")
        except ValueError:
            raise ValueError(f"{origin} is registered already") from None
        except Exception as exc:  # pluggy's PluginValidationError, which only pluggy's users should know
            raise TypeError(f"{origin}: {' '.join(str(exc).split())}") from exc
        return _implementations_of(manager, plugin, origin, number, required=required)

    def _all(self) -> Iterable[_Implementation]:
        return itertools.chain(*self._implementations.values())

    def _manager(self) -> pluggy.PluginManager:
        if self._pluggy is None:
            import pluggy

            from lollms_core import hookspecs

            self._pluggy = pluggy.PluginManager("lollms")
            self._pluggy.add_hookspecs(hookspecs)
        return self._pluggy

    def _set(self, implementations: Iterable[_Implementation]) -> None:
        by_hook: dict[str, list[_Implementation]] = {hook: [] for hook in _EMPTY}
        for item in sorted(implementations, key=lambda item: item.order):
            by_hook[item.hook].append(item)
        # Replaced as a whole: calls that run at this moment have their own.
        self._implementations = MappingProxyType({hook: tuple(items) for hook, items in by_hook.items()})

    # Calling --------------------------------------------------------------------------------------------

    def before_create(self, name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's keywords as the hooks want them.

        Raises:
            Refused: a hook refused, or a required one failed.
        """
        merged = dict(kwargs)
        try:
            for item in self._implementations[BEFORE_CREATE]:
                try:
                    merged.update(self._changes(item, name, merged))
                except BaseException as exc:  # noqa: BLE001 - a hook must not break what it hangs on
                    self._failed(item, exc, secrets_in(merged))
        except BaseException as exc:
            hide_in(exc, secrets_in(merged))
            merged.clear()  # a traceback shows what its frames hold
            raise
        return merged

    def _changes(self, item: _Implementation, name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = {"name": name, "kwargs": dict(kwargs)}
        try:
            changes = self._call(item, given)
        finally:
            given.clear()  # a traceback shows what its frames hold
        if changes is None:
            return {}
        if not isinstance(changes, dict) or not all(isinstance(key, str) for key in changes):
            raise TypeError(f"it returned {_shown(changes)}, not a dict of str to values, or None")
        return changes

    def after_create(self, name: str, binding: LollmsLLMBinding, secrets: Secrets = NO_SECRETS) -> None:
        """Show `binding` to the hooks.

        Raises:
            Refused: a hook refused, or a required one failed.
        """
        for item in self._implementations[AFTER_CREATE]:
            try:
                self._call(item, {"name": name, "binding": binding})
            except BaseException as exc:  # noqa: BLE001 - a hook must not break what it hangs on
                self._failed(item, exc, secrets)

    def middlewares(self, name: str, request: GenerationRequest | EmbedRequest) -> Sequence[Attached]:
        """The middlewares of one request of the binding `name`, in the order of their hooks.

        Raises:
            Refused: a hook refused, or a required one failed.
        """
        implementations = self._implementations[MIDDLEWARE]
        if not implementations:
            return ()
        # A "from" with a name costs three times as much, and this runs for every request.
        import lollms_core.middleware as around

        attached = []
        for item in implementations:
            try:
                middleware = self._call(item, {"name": name, "request": request})
                if middleware is None:
                    continue
                if not (isinstance(middleware, around.Middleware) or _is_middleware(middleware)):
                    raise TypeError(f"it returned {_shown(middleware)}, not a Middleware or None")
            except BaseException as exc:  # noqa: BLE001 - a hook must not break what it hangs on
                self._failed(item, exc)
            else:
                attached.append(around.Attached(middleware, item.origin, item.required))
        return attached

    @property
    def any_for_creation(self) -> bool:
        """Whether a hook wants to see bindings created."""
        return bool(self._implementations[BEFORE_CREATE] or self._implementations[AFTER_CREATE])

    @staticmethod
    def _call(item: _Implementation, given: Mapping[str, Any]) -> Any:
        return item.function(*[given[parameter] for parameter in item.parameters])

    def _failed(self, item: _Implementation, exc: BaseException, secrets: Secrets = NO_SECRETS) -> None:
        if isinstance(exc, (Refused, KeyboardInterrupt)):
            raise exc
        from lollms_core.middleware import is_required

        line = one_line(exc, secrets)
        if item.required or is_required(item.plugin):
            raise Refused(f"refused, because a required hook failed: {item.hook} of {item.origin}: {line}") from exc
        # Told once: a hook that fails at every request would fill the log.
        told = (id(item), type(exc))
        level = logging.DEBUG if told in self._told else logging.WARNING
        self._told.add(told)
        _log.log(level, "the hook %s of %s failed and is left out: %s", item.hook, item.origin, line)


class BindingHooks:
    """What one binding knows of its manager's hooks."""

    __slots__ = ("_hooks", "_name")

    def __init__(self, hooks: Hooks, name: str) -> None:
        self._hooks = hooks
        self._name = name

    def __bool__(self) -> bool:
        """Whether any hook stands around requests at this moment."""
        return bool(self._hooks._implementations[MIDDLEWARE])

    def middlewares(self, request: GenerationRequest | EmbedRequest) -> Sequence[Attached]:
        """See :meth:`Hooks.middlewares`."""
        return self._hooks.middlewares(self._name, request)


def _check(manager: pluggy.PluginManager, plugin: object) -> None:
    marked = 0
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        marked += 1
        hook = options.get("specname") or name
        if options.get("wrapper") or options.get("hookwrapper"):
            raise TypeError(f"{hook}: a wrapper cannot stand around a hook here; return a Middleware instead")
        function = getattr(plugin, name)
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"{hook} must be a plain function, which returns its result")
        if hook not in _EMPTY and not options.get("optionalhook"):
            raise TypeError(f"there is no hook {hook!r}.{close_names(hook, _EMPTY)}")
    if not marked:
        shown = plugin.__name__ if isinstance(plugin, (ModuleType, type)) else type(plugin).__name__
        raise TypeError(f"{shown} has no function that is marked with lollms_core.hookspecs.hookimpl")


def _implementations_of(
    manager: pluggy.PluginManager, plugin: object, origin: str, number: int, *, required: bool
) -> list[_Implementation]:
    return [
        _Implementation(
            hook=caller.name,
            function=found.function,
            parameters=tuple(found.argnames),
            plugin=plugin,
            origin=origin,
            order=(0 if found.tryfirst else 2 if found.trylast else 1, number),
            required=required,
        )
        for caller in manager.get_hookcallers(plugin) or ()
        for found in caller.get_hookimpls()
        if found.plugin is plugin and caller.name in _EMPTY
    ]


def _import(module: str) -> Any:
    return importlib.import_module(module)


def _is_middleware(found: Any) -> bool:
    """Whether an object that does not derive from Middleware can serve as one."""
    return not isinstance(found, type) and all(callable(getattr(found, name, None)) for name in _MIDDLEWARE_METHODS)


def _shown(value: Any) -> str:
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that nobody awaits it
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"

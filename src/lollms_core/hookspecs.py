"""What other packages and applications can hook into.

An implementation is marked with :data:`hookimpl`, and stands in a module or in an object::

    from lollms_core.hookspecs import Middleware, hookimpl

    class Vault:
        @hookimpl
        def lollms_before_create(self, name, kwargs):
            return {"service_key": read_key(name)}

A distribution names it in the entry-point group ``lollms.hooks``; an application gives it to the manager's
``hooks=`` or ``register_hook``. Implementations are called one by one: those marked ``tryfirst``, then in the
order of registration, then those marked ``trylast``. One that fails is reported with its origin and breaks
nothing else; one whose object has a true attribute ``required`` fails closed, and so does one that the operator
names in ``LOLLMS_REQUIRED_HOOKS``, without which no binding is created; a raised
:class:`~lollms_core.errors.Refused` is obeyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from lollms_core.middleware import Middleware, Retry

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.request import EmbedRequest, GenerationRequest

__all__ = [
    "Middleware",
    "Retry",
    "hookimpl",
    "hookspec",
    "lollms_after_create",
    "lollms_before_create",
    "lollms_middleware",
]

hookspec = pluggy.HookspecMarker("lollms")
hookimpl = pluggy.HookimplMarker("lollms")


@hookspec
def lollms_before_create(name: str, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Changes to the constructor's keywords, a key from a vault say; None for none.

    `kwargs` is a copy: changing it changes nothing. Later hooks see what earlier ones have changed.
    """


@hookspec
def lollms_after_create(name: str, binding: LollmsLLMBinding) -> None:
    """Called with every new binding before its caller gets it."""


@hookspec
def lollms_middleware(name: str, request: GenerationRequest | EmbedRequest) -> Middleware | None:
    """A middleware for this one request of the binding `name`, or None."""

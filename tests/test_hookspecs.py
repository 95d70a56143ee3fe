"""The hook specifications, as other packages see them."""

from __future__ import annotations

import inspect

import pluggy

from lollms_core import hookspecs, middleware


def test_the_three_hooks_and_their_parameters() -> None:
    """They only grow: a parameter that is taken away breaks every implementation that has it."""
    manager = pluggy.PluginManager("lollms")
    manager.add_hookspecs(hookspecs)
    parameters = {
        name: list(inspect.signature(getattr(hookspecs, name)).parameters)
        for name in vars(manager.hook)
        if name.startswith("lollms_")
    }
    assert parameters == {
        "lollms_before_create": ["name", "kwargs"],
        "lollms_after_create": ["name", "binding"],
        "lollms_middleware": ["name", "request"],
    }


def test_what_an_author_of_hooks_needs_is_here() -> None:
    assert hookspecs.Middleware is middleware.Middleware
    assert hookspecs.Retry is middleware.Retry
    assert set(hookspecs.__all__) == {
        "Middleware",
        "Retry",
        "hookimpl",
        "hookspec",
        "lollms_after_create",
        "lollms_before_create",
        "lollms_middleware",
    }

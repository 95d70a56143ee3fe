"""Hooks: who is called, in which order, and what a broken one may cost."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from installed import BINDING, Site
from samples import Recorder

from lollms_core.errors import Refused
from lollms_core.hooks import BindingHooks, Hooks
from lollms_core.hookspecs import Middleware, hookimpl
from lollms_core.request import GenerationRequest

REQUEST = GenerationRequest(prompt="x")


def before(function: Callable[..., Any], required: bool = False, **options: Any) -> object:
    """An object whose lollms_before_create is `function`."""

    class Plugin:
        @hookimpl(**options)  # type: ignore[untyped-decorator]
        def lollms_before_create(self, name: str, kwargs: dict[str, Any]) -> Any:
            return function(name, kwargs)

    plugin = Plugin()
    plugin.required = required  # type: ignore[attr-defined]
    return plugin


def attach(function: Callable[..., Any], **options: Any) -> object:
    """An object whose lollms_middleware is `function`."""

    class Plugin:
        @hookimpl(**options)  # type: ignore[untyped-decorator]
        def lollms_middleware(self, request: Any) -> Any:
            return function(request)

    return Plugin()


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        raise error

    return function


def hooks_of(*plugins: object) -> Hooks:
    hooks = Hooks()
    for plugin in plugins:
        hooks.register(plugin)
    return hooks


# Creation ---------------------------------------------------------------------------------------------------


def test_before_create_merges_and_later_hooks_see_earlier_changes() -> None:
    seen: list[dict[str, Any]] = []

    def second(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(kwargs))
        kwargs["lost"] = "a copy was changed"
        return {"b": 3}

    given = {"a": 1}
    hooks = hooks_of(before(lambda name, kwargs: {"b": 2, "name": name}), before(second), before(lambda *_: None))
    assert hooks.before_create("alpha", given) == {"a": 1, "b": 3, "name": "alpha"}
    assert seen == [{"a": 1, "b": 2, "name": "alpha"}]
    assert given == {"a": 1}


def test_the_order_is_tryfirst_then_registration_then_trylast() -> None:
    calls: list[str] = []

    def noting(word: str, **options: Any) -> object:
        def note(*args: Any) -> None:
            calls.append(word)

        return before(note, **options)

    hooks = hooks_of(
        noting("last", trylast=True),
        noting("one"),
        noting("first", tryfirst=True),
        noting("two"),
        noting("first too", tryfirst=True),
        noting("last too", trylast=True),
    )
    hooks.before_create("alpha", {})
    assert calls == ["first", "first too", "one", "two", "last", "last too"]


def test_a_module_an_object_and_a_class_with_static_methods_can_be_registered() -> None:
    module = ModuleType("hook_module")

    @hookimpl
    def lollms_before_create(name: str) -> dict[str, Any]:
        return {"module": name}

    module.lollms_before_create = lollms_before_create  # type: ignore[attr-defined]

    class Static:
        @staticmethod
        @hookimpl
        def lollms_before_create(kwargs: dict[str, Any]) -> dict[str, Any]:
            return {"static": len(kwargs)}

    assert hooks_of(module, Static).before_create("alpha", {}) == {"module": "alpha", "static": 1}


def test_after_create_sees_the_binding(site: Site) -> None:
    seen: list[Any] = []

    class After:
        @hookimpl
        def lollms_after_create(self, name: str, binding: Any) -> None:
            seen.append((name, binding))

    site.binding("alpha", "lollms-alpha")
    binding = site.manager(hooks=[After()]).open_binding("alpha")
    assert seen == [("alpha", binding)]


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit(3), KeyError("x")])
def test_a_hook_that_fails_is_reported_once_and_breaks_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = hooks_of(before(lambda *_: {"a": 1}), before(raising(error)), before(lambda *_: {"b": 2}))
    with caplog.at_level(logging.INFO, "lollms_core"):
        for _ in range(3):
            assert hooks.before_create("alpha", {}) == {"a": 1, "b": 2}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert type(error).__name__ in record.getMessage()
    assert "lollms_before_create of application hook <class '" in record.getMessage()


@pytest.mark.parametrize("result", [5, "text", [("a", 1)], {1: "a"}, True, {"a"}, object()])
def test_a_result_that_is_no_dict_is_reported_and_left_out(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    hooks = hooks_of(before(lambda *_: result), before(lambda *_: {"b": 2}))
    assert hooks.before_create("alpha", {"a": 1}) == {"a": 1, "b": 2}
    assert f"a {type(result).__name__}" in caplog.text


def test_an_interrupt_in_a_hook_reaches_the_user() -> None:
    hooks = hooks_of(before(raising(KeyboardInterrupt())), attach(raising(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        hooks.before_create("alpha", {})
    with pytest.raises(KeyboardInterrupt):
        hooks.middlewares("alpha", REQUEST)


def test_refused_is_obeyed(site: Site) -> None:
    """Nothing is constructed; create_binding tells why."""
    site.binding("alpha", "lollms-alpha", "raise SystemExit")
    manager = site.manager(hooks=[before(raising(Refused("not at night")))])
    site.binding("beta", "lollms-beta")
    with pytest.raises(Refused, match="not at night"):
        manager.open_binding("beta")
    assert manager.create_binding("beta") is None
    assert "Refused: not at night" in manager.errors["beta"]


def test_a_required_hook_that_fails_closes_the_door() -> None:
    for function in raising(RuntimeError("broken")), lambda *_: "no dict":
        with pytest.raises(Refused, match=r"a required hook failed: lollms_before_create of application hook"):
            hooks_of(before(function, required=True)).before_create("alpha", {})
    guard: Any = attach(raising(RuntimeError("broken")))
    guard.required = True
    with pytest.raises(Refused, match="a required hook failed: lollms_middleware"):
        hooks_of(guard).middlewares("alpha", REQUEST)


def test_a_binding_that_after_create_refuses_is_closed(site: Site) -> None:
    closed: list[Any] = []

    class After:
        @hookimpl
        def lollms_after_create(self, binding: Any) -> None:
            closed.append(binding)
            raise Refused("not this one")

    site.binding("alpha", "lollms-alpha")
    with pytest.raises(Refused, match="not this one"):
        site.manager(hooks=[After()]).open_binding("alpha")
    assert [binding._closed for binding in closed] == [True]


def test_a_refused_binding_that_does_not_close_is_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What its caller hears of is the refusal."""

    class After:
        @hookimpl
        def lollms_after_create(self, name: str) -> None:
            raise Refused("not this one")

    site.binding("alpha", "lollms-alpha", f"{BINDING}    def close(self):\n        raise OSError('stuck')\n")
    with pytest.raises(Refused, match="not this one"):
        site.manager(hooks=[After()]).open_binding("alpha")
    assert "closing the refused binding 'alpha' failed: OSError: stuck" in caplog.text


def test_a_key_from_a_hook_is_hidden_when_a_later_hook_fails(caplog: pytest.LogCaptureFixture) -> None:
    key = "marker-0123456789-MARKER"
    hooks = hooks_of(
        before(lambda *_: {"service_key": key}), before(lambda _, kwargs: raising(ValueError(f"bad: {kwargs}"))())
    )
    assert hooks.before_create("alpha", {}) == {"service_key": key}
    assert key not in caplog.text
    assert "***" in caplog.text


# Middlewares ------------------------------------------------------------------------------------------------


def test_without_hooks_a_request_costs_an_empty_tuple() -> None:
    assert BindingHooks(Hooks(), "alpha").middlewares(REQUEST) == ()


def test_middlewares_come_in_registration_order_with_their_origin() -> None:
    log: list[Any] = []
    one, two = Recorder(log), Recorder(log)
    hooks = hooks_of(attach(lambda _: one), attach(lambda _: None), attach(lambda _: two))
    attached = hooks.middlewares("alpha", REQUEST)
    assert [item.middleware for item in attached] == [one, two]
    assert all(item.origin.startswith("application hook <class '") for item in attached)


def test_a_hook_gets_the_name_and_the_request() -> None:
    seen: list[Any] = []

    class Both:
        @hookimpl
        def lollms_middleware(self, request: Any, name: str) -> None:
            seen.append((name, request))

    BindingHooks(hooks_of(Both()), "alpha").middlewares(REQUEST)
    assert seen == [("alpha", REQUEST)]


class Partly:
    """Lacks on_finish."""

    on_request = on_event = on_error = staticmethod(lambda x: x)


@pytest.mark.parametrize("result", [5, "text", Middleware, Partly(), [], False])
def test_a_result_that_is_no_middleware_is_reported_and_left_out(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    good = Middleware()
    hooks = hooks_of(attach(lambda _: result), attach(raising(OSError("broken"))), attach(lambda _: good))
    for _ in range(2):
        assert [item.middleware for item in hooks.middlewares("alpha", REQUEST)] == [good]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "not a Middleware" in warnings[0]


def test_an_object_with_the_four_methods_will_do() -> None:
    class Alike:
        def on_request(self, request: Any) -> Any: ...
        def on_event(self, event: Any) -> Any: ...
        def on_error(self, exc: Any) -> Any: ...
        def on_finish(self, completion: Any, error: Any) -> Any: ...

    alike: Any = Alike()
    assert [item.middleware for item in hooks_of(attach(lambda _: alike)).middlewares("a", REQUEST)] == [alike]


# Registering ------------------------------------------------------------------------------------------------


class NoHooks:
    def lollms_before_create(self) -> None: ...


class Unknown:
    @hookimpl
    def lollms_before_creat(self) -> None: ...


class Wrapper:
    @hookimpl(wrapper=True)
    def lollms_middleware(self, request: Any) -> Any:
        return (yield)


class OldWrapper:
    @hookimpl(hookwrapper=True)
    def lollms_middleware(self, request: Any) -> Any:
        yield


class Coroutine:
    @hookimpl
    async def lollms_before_create(self, name: str) -> None: ...


class Generator:
    @hookimpl
    def lollms_middleware(self, request: Any) -> Any:
        yield


class WrongParameters:
    @hookimpl
    def lollms_before_create(self, name: str, keywords: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (NoHooks(), "NoHooks has no function that is marked with lollms_core.hookspecs.hookimpl"),
        (object(), "has no function"),
        (None, "has no function"),
        (Unknown(), "there is no hook 'lollms_before_creat'. Did you mean lollms_before_create"),
        (Wrapper(), "a wrapper cannot stand around a hook here; return a Middleware instead"),
        (OldWrapper(), "a wrapper cannot stand around a hook here"),
        (Coroutine(), "must be a plain function"),
        (Generator(), "must be a plain function"),
        (WrongParameters(), "keywords.*declared in the hookimpl"),
    ],
)
def test_what_cannot_work_is_refused_at_registration(site: Site, plugin: object, message: str) -> None:
    manager = site.manager()
    with pytest.raises(TypeError, match=message):
        manager.register_hook(plugin)
    with pytest.raises(TypeError, match=message):
        site.manager(hooks=[plugin])
    good = before(lambda *_: {"words": ["ok"]})
    manager.register_hook(good)
    with pytest.raises(ValueError, match="is registered already"):
        manager.register_hook(good)


def test_an_optional_unknown_hook_is_passed_over() -> None:
    class Newer:
        @hookimpl(optionalhook=True)
        def lollms_of_the_future(self) -> None: ...

    hooks = hooks_of(Newer())
    assert hooks.middlewares("alpha", REQUEST) == ()


# Entry points -----------------------------------------------------------------------------------------------

VAULT = """
from lollms_core.hookspecs import hookimpl
@hookimpl
def lollms_before_create(name, kwargs):
    return {"words": ["from ", "a ", "hook"]}
"""


def install_hook(site: Site, name: str, source: str, target: str | None = None, **more: Any) -> None:
    module = f"hooks_{name}".replace("-", "_")
    site.distribution(
        name, entry_points={"lollms.hooks": {name: target or module}}, modules={f"{module}.py": source}, **more
    )


def test_entry_point_hooks_load_at_the_first_create(site: Site) -> None:
    site.binding("alpha", "lollms-alpha")
    install_hook(site, "vault", VAULT)
    manager = site.manager()
    manager.records()
    assert "hooks_vault" not in sys.modules
    assert manager.open_binding("alpha").generate_text("x") == "from a hook"


def test_an_entry_point_may_name_an_object(site: Site) -> None:
    site.binding("alpha", "lollms-alpha")
    source = """
    from lollms_core.hookspecs import hookimpl
    class Vault:
        @hookimpl
        def lollms_before_create(self):
            return {"words": ["from ", "a ", "hook"]}
    instance = Vault()
    """
    install_hook(site, "vault", source, "hooks_vault:instance")
    assert site.manager().open_binding("alpha").generate_text("x") == "from a hook"


def test_middlewares_of_a_distribution_name_it(site: Site) -> None:
    site.binding("alpha", "lollms-alpha")
    source = "from lollms_core.hookspecs import Middleware, hookimpl\n"
    source += "@hookimpl\ndef lollms_middleware(request):\n    return Middleware()\n"
    install_hook(site, "lollms-cache", source, version="1.2")
    binding = site.manager().open_binding("alpha")
    assert binding._hooks is not None
    assert [item.origin for item in binding._hooks.middlewares(REQUEST)] == ["distribution lollms-cache 1.2"]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("raise OSError('broken')", None, "cannot be imported: OSError: broken"),
        ("import sys; sys.exit(3)", None, "cannot be imported: SystemExit"),
        ("x = 1", None, "left out: TypeError: hooks_broken has no function that is marked"),
        ("x = 1", "hooks_broken:missing", "cannot be imported: AttributeError"),
        ("x = 1", "no module!", "names no module"),
        (VAULT.replace("@hookimpl", "@hookimpl(wrapper=True)").replace("return", "yield"), None, "a wrapper cannot"),
        (VAULT.replace("name, kwargs", "nam"), None, "left out: TypeError"),
    ],
)
def test_a_broken_distribution_costs_the_others_nothing(
    site: Site, source: str, target: str | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.binding("alpha", "lollms-alpha")
    install_hook(site, "broken", source, target)
    install_hook(site, "vault", VAULT)
    manager = site.manager()
    for _ in range(2):
        assert manager.open_binding("alpha").generate_text("x") == "from a hook"
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "distribution broken 1.0" in warning
    assert message in warning


def test_an_interrupt_while_hooks_load_can_be_followed_by_another_try(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.binding("alpha", "lollms-alpha")
    install_hook(site, "vault", "import os\nif os.environ['LOLLMS_TEST_STOP']: raise KeyboardInterrupt\n" + VAULT)
    manager = site.manager()
    monkeypatch.setenv("LOLLMS_TEST_STOP", "yes")
    with pytest.raises(KeyboardInterrupt):
        manager.create_binding("alpha")
    monkeypatch.setenv("LOLLMS_TEST_STOP", "")
    assert manager.open_binding("alpha").generate_text("x") == "from a hook"


def test_hooks_obey_the_lists_and_their_requirement(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.binding("alpha", "lollms-alpha")
    install_hook(site, "vault", VAULT)
    install_hook(site, "too-new", "raise RuntimeError('imported')", requires=["lollms-core>=99"])
    plain = "The sky is blue."
    assert site.manager(deny="vault").open_binding("alpha").generate_text("x") == plain
    assert site.manager(allow="lollms-alpha").open_binding("alpha").generate_text("x") == plain
    assert site.manager(allow="lollms-alpha,vault").open_binding("alpha").generate_text("x") == "from a hook"
    assert "the hooks of distribution too-new 1.0 cannot be used: it requires lollms-core>=99" in caplog.text
    assert "hooks_too_new" not in sys.modules


def test_refresh_brings_new_hooks_and_takes_away_old_ones(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.binding("alpha", "lollms-alpha")
    manager = site.manager()
    plain = manager.open_binding("alpha").generate_text("x")
    install_hook(site, "vault", VAULT)
    manager.refresh()
    assert manager.open_binding("alpha").generate_text("x") == "from a hook"
    manager.refresh()
    assert manager.open_binding("alpha").generate_text("x") == "from a hook"
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "vault")
    manager.refresh()
    assert manager.open_binding("alpha").generate_text("x") == plain


def test_application_hooks_come_before_those_of_distributions(site: Site) -> None:
    site.binding("alpha", "lollms-alpha")
    install_hook(site, "vault", VAULT)
    manager = site.manager(hooks=[before(lambda *_: {"words": ["mine"]})])
    assert manager.open_binding("alpha").generate_text("x") == "from a hook"

"""What the operator requires: a hook that is not in force, or that fails, lets nothing through."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from installed import Site

from lollms_core.errors import Refused
from lollms_core.manager import LollmsLLMBindingManager

HEAD = "from lollms_core.hookspecs import Middleware, hookimpl\n"
GUARD = (
    HEAD
    + """
class Guard(Middleware):
    def on_request(self, request):
        if "secret" in str(request.prompt):
            raise LookupError("no dictionary")
        return request

@hookimpl
def lollms_middleware(request):
    return Guard()
"""
)


def install(site: Site, name: str, source: str = GUARD, requires: Sequence[str] = ()) -> None:
    module = f"guard_{name}".replace("-", "_")
    points = {"lollms.hooks": {"guard": module}}
    site.distribution(name, entry_points=points, modules={f"{module}.py": source}, requires=requires)


def check_refused(manager: LollmsLLMBindingManager, said: str) -> None:
    """Neither way gives a binding; both say why in one line."""
    with pytest.raises(
        Refused, match=f"'alpha' is not created, because a required hook is not in force: .*{said}"
    ) as caught:
        manager.open_binding("alpha")
    assert "\n" not in str(caught.value)
    assert manager.create_binding("alpha") is None
    assert said in manager.errors["alpha"]


@pytest.fixture
def site_with_binding(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("LOLLMS_REQUIRED_HOOKS", raising=False)
    site.binding("alpha", "lollms-alpha")
    return site


BROKEN: dict[str, tuple[str, list[str], str]] = {
    "import": ("raise OSError('broken')", [], "cannot be imported: OSError: broken"),
    "nothing in it": ("x = 1", [], "are left out: TypeError"),
    "core": (GUARD, ["lollms-core>=99"], "cannot be used: it requires lollms-core>=99"),
}


@pytest.mark.parametrize("entry", ["lollms-guard", "Lollms_Guard", "guard"])
@pytest.mark.parametrize("case", list(BROKEN))
def test_one_that_cannot_be_loaded_refuses_every_creation(site_with_binding: Site, case: str, entry: str) -> None:
    """Named by its distribution, in any spelling, or by its entry point; without the setting it is left out."""
    source, requires, said = BROKEN[case]
    install(site_with_binding, "lollms-guard", source, requires)
    assert site_with_binding.manager().create_binding("alpha") is not None
    check_refused(site_with_binding.manager(required_hooks=[entry]), said)


def test_one_that_is_not_installed_or_blocked(site_with_binding: Site) -> None:
    check_refused(
        site_with_binding.manager(required_hooks="guard"), "no installed distribution has hooks named 'guard'"
    )
    install(site_with_binding, "lollms-guard")
    assert site_with_binding.manager(required_hooks="guard").create_binding("alpha") is not None
    blocked = site_with_binding.manager(required_hooks="guard", deny="lollms-guard")
    check_refused(blocked, "the hooks of distribution lollms-guard 1.0 are blocked")


def test_all_that_one_word_names_must_be_in_force(site_with_binding: Site) -> None:
    install(site_with_binding, "guard-a")
    install(site_with_binding, "guard-b", "raise OSError('broken')")
    check_refused(site_with_binding.manager(required_hooks="guard"), "distribution guard-b 1.0")
    assert site_with_binding.manager(required_hooks="guard-a").create_binding("alpha") is not None


def test_the_variable_is_read_like_the_lists(site_with_binding: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again at a refresh; an argument wins over it."""
    install(site_with_binding, "lollms-guard", "raise OSError('broken')")
    monkeypatch.setenv("LOLLMS_REQUIRED_HOOKS", " guard, ")
    manager = site_with_binding.manager()
    check_refused(manager, "OSError: broken")
    assert site_with_binding.manager(required_hooks=()).create_binding("alpha") is not None
    monkeypatch.setenv("LOLLMS_REQUIRED_HOOKS", "")
    check_refused(manager, "OSError: broken")
    manager.refresh()
    assert manager.create_binding("alpha") is not None


def test_a_refresh_after_the_fix_lets_it_through(site_with_binding: Site) -> None:
    install(site_with_binding, "lollms-guard", "raise OSError('broken')")
    manager = site_with_binding.manager(required_hooks="guard")
    check_refused(manager, "OSError: broken")
    site_with_binding.module("guard_lollms_guard.py", GUARD)
    check_refused(manager, "OSError: broken")
    manager.refresh()
    assert manager.create_binding("alpha") is not None


@pytest.mark.parametrize("required", [False, True])
def test_one_that_fails_at_a_request_fails_closed(site_with_binding: Site, required: bool) -> None:
    """Whatever it says of itself."""
    install(site_with_binding, "lollms-guard")
    binding = site_with_binding.manager(required_hooks="guard" if required else ()).open_binding("alpha")
    assert binding.generate_text("hello") == "The sky is blue."
    result = binding.generate_text("a secret")
    if not required:
        assert result == "The sky is blue."
        return
    assert isinstance(result, dict)
    assert result["error_type"] == "Refused"
    assert "no dictionary" in result["error"]


@pytest.mark.parametrize("hook", ["lollms_before_create", "lollms_after_create", "lollms_middleware"])
def test_one_whose_hooks_fail_fails_closed(site_with_binding: Site, hook: str) -> None:
    install(site_with_binding, "lollms-guard", f"{HEAD}@hookimpl\ndef {hook}(name):\n    raise LookupError('lost')\n")
    assert site_with_binding.manager().open_binding("alpha").generate_text("x") == "The sky is blue."
    manager = site_with_binding.manager(required_hooks="lollms-guard")
    with pytest.raises(Refused, match="LookupError: lost"):
        manager.open_binding("alpha").chat("x")


def test_its_own_import_cannot_create_a_binding_past_it(site_with_binding: Site) -> None:
    source = "import samples\nsamples.made = samples.manager.create_binding('alpha')\n" + GUARD
    install(site_with_binding, "lollms-guard", source)
    manager = site_with_binding.manager(required_hooks="guard")
    import samples

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "manager", manager, raising=False)
        patch.setattr(samples, "made", "nothing yet", raising=False)
        assert manager.create_binding("alpha") is not None
        assert samples.made is None  # type: ignore[attr-defined]

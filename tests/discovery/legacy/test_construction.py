"""Constructors of legacy classes get what they take of the arguments, and their failures say what is missing."""

from __future__ import annotations

import gc
import logging
import traceback
from typing import Any

import pytest
from installed import Site
from legacy_folders import newer, older

from lollms_core.errors import BindingLoadError

COMMON = {
    "host_address": "http://there",
    "models_path": "/models",
    "model_name": "m",
    "service_key": "a-key-of-mine",
    "verify_ssl_certificate": False,
}


def opened(site: Site, source: str, **keywords: Any) -> Any:
    site.folder("old", source)
    return site.manager().open_binding("old", **keywords)


def taking(parameters: str) -> str:
    """A folder whose constructor has these parameters and keeps what it got."""
    return older(
        f"""
        def __init__(self, {parameters}):
            got = dict(locals())
            super().__init__(BindingName)
            self.got = {{name: value for name, value in got.items() if name not in ("self", "__class__")}}
        """
    )


def test_named_parameters_get_the_common_names(site: Site) -> None:
    binding = opened(site, older(), **COMMON)
    assert binding.host_address == "http://there"
    assert (binding.model_name, binding.service_key, binding.verify_ssl_certificate) == ("m", "a-key-of-mine", False)


def test_what_has_no_place_is_left_out_and_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    binding = opened(site, older(), **COMMON)
    assert binding.rest == {}
    assert [record.getMessage() for record in caplog.records if record.name == "lollms_core.folders.old"] == [
        "OlderBinding has no use for models_path and does not get it"
    ]


def test_none_is_the_constructor_s_own_default(site: Site) -> None:
    binding = opened(site, older(), host_address=None, verify_ssl_certificate=None, models_path=None)
    assert (binding.host_address, binding.verify_ssl_certificate, binding.rest) == ("http://here", True, {})


def test_the_common_names_are_not_poured_into_kwargs_beside_named_parameters(site: Site) -> None:
    """Other names are: they are the author's own."""
    binding = opened(site, taking("config=None, **kwargs"), **COMMON, gpu_layers=3)
    assert binding.got == {"config": None, "kwargs": {"gpu_layers": 3}}


def test_a_constructor_with_nothing_but_kwargs_gets_whatever_was_passed(site: Site) -> None:
    binding = opened(site, newer(), **COMMON, gpu_layers=3, temperature=None)
    assert binding.given == {**COMMON, "gpu_layers": 3, "temperature": None}
    assert binding.config == binding.given


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("model_path", {"model_path": "m"}),
        ("model_name_or_id, models_path", {"model_name_or_id": "m", "models_path": "/models"}),
        ("model_name='', models_folder=None", {"model_name": "m", "models_folder": "/models"}),
        ("model_path=None, models_folder=None", {"model_path": "m", "models_folder": "/models"}),
    ],
)
def test_other_names_for_the_same(site: Site, parameters: str, expected: dict[str, str]) -> None:
    assert opened(site, taking(parameters), model_name="m", models_path="/models").got == expected


def test_the_author_s_own_name_wins(site: Site) -> None:
    binding = opened(site, taking("model_path=None"), model_name="m", model_path="other")
    assert binding.got == {"model_path": "other"}


def test_a_path_is_looked_for_in_the_models_folder(site: Site) -> None:
    (site.path / "m.gguf").touch()
    binding = opened(site, taking("model_path"), model_name="m.gguf", models_path=str(site.path))
    assert binding.got == {"model_path": str(site.path / "m.gguf")}


def test_the_model_s_name_is_known_where_the_class_does_not_keep_it(site: Site) -> None:
    assert opened(site, taking("model_path"), model_name="m").model_name == "m"


def test_request_fields_become_the_instance_s_defaults(site: Site) -> None:
    """Where the constructor takes them too, it gets them as well."""
    binding = opened(site, older(), temperature=0.25, gpu_layers=3)
    assert binding.rest == {"temperature": 0.25, "gpu_layers": 3}
    binding.generate_text("x")
    assert binding.seen["temperature"] == 0.25
    plain = opened(site, taking("model_name=''"), temperature=0.5)
    assert plain.got == {"model_name": ""}
    plain.generate_text("x")
    assert plain.seen["temperature"] == 0.5


def test_a_wrong_default_is_misuse_unless_the_constructor_has_a_use_for_it(site: Site) -> None:
    with pytest.raises(ValueError, match="temperature"):
        opened(site, taking("model_name=''"), temperature=-1)
    assert opened(site, older(), temperature=-1).rest == {"temperature": -1}


def test_an_unknown_argument_is_a_type_error(site: Site) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
        opened(site, taking("model_name=''"), modle="m")


def test_a_class_without_a_constructor_gets_all(site: Site) -> None:
    binding = opened(site, newer(constructor=""), model_name="m", host_address="http://there", ctx_size=99)
    assert (binding.model_name, binding.config["host_address"]) == ("m", "http://there")
    assert binding.get_ctx_size() == 99


def test_a_constructor_that_lacks_its_requirements_names_them_and_the_command(site: Site) -> None:
    source = older(
        """
        def __init__(self, model_name=""):
            raise ImportError("the engine is not there")
        """
    ).replace('["packaging"]', '["no-such-engine>=2", "packaging"]')
    with pytest.raises(BindingLoadError) as caught:
        opened(site, source)
    assert str(caught.value) == (
        f"the binding 'old' (folder {site.bindings / 'old'}) could not be created: missing requirements: "
        "no-such-engine; install them with: pip install 'no-such-engine>=2'; ImportError: the engine is not there"
    )
    manager = site.manager()
    assert manager.create_binding("old") is None
    assert manager.errors["old"] == str(caught.value)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        manager.open_binding("old", modle="m")


def test_without_anything_missing_the_constructor_s_own_error_is_told(site: Site) -> None:
    source = older("def __init__(self, model_name=''):\n    raise ValueError('no such model')")
    with pytest.raises(ValueError, match=r"^no such model$"):
        opened(site, source)


def test_the_error_of_a_constructor_shows_no_key(site: Site) -> None:
    source = older("def __init__(self, service_key):\n    raise ImportError(f'refused with {service_key}')").replace(
        '["packaging"]', '["no-such-engine"]'
    )
    with pytest.raises(BindingLoadError, match=r"ImportError: refused with \*\*\*") as caught:
        opened(site, source, service_key="a-key-of-mine")
    assert "a-key-of-mine" not in repr(caught.value.__cause__)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame.f_locals for frame in frames if frame.f_globals["__name__"].startswith("lollms_core")]
    assert "a-key-of-mine" not in repr(ours)


DEL = """
def __del__(self):
    ASCIIColors.info("unloading")
    self.engine.close()
"""


def test_the_del_of_a_failed_constructor_is_quiet(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Pytest makes an error of what Python would print of it."""
    caplog.set_level(logging.INFO)
    source = older("def __init__(self, model_name=''):\n    raise OSError('no engine')", more=DEL)
    site.folder("old", source)
    assert site.manager().create_binding("old") is None
    gc.collect()
    assert "unloading" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_del_of_one_that_was_made_is_heard(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", heard.append)
    binding = opened(site, older(more=DEL))
    del binding
    gc.collect()
    assert [type(each.exc_value) for each in heard] == [AttributeError]

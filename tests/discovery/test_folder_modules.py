"""Folders are imported under private names that meet nobody."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from installed import FOLDER, GROUP, Site, origin_modules

from lollms_core.discovery.folder_modules import PREFIX
from lollms_core.errors import BindingLoadError
from lollms_core.manager import LollmsLLMBindingManager


def module_of(binding: object) -> Any:
    return sys.modules[type(binding).__module__]


@pytest.mark.parametrize("name", ["json", "openai", "ollama", "sys", "lollms_core", "site", "tests"])
def test_a_folder_named_as_another_module_shadows_nobody(site: Site, name: str) -> None:
    """Neither for the others nor for itself: `import json` in a folder called json is the usual one."""
    before = sys.modules.get(name)
    site.folder(name, "import json\nfrom . import part\n" + FOLDER, part="import json")
    path = list(sys.path)
    binding = site.manager().open_binding(name)
    assert module_of(binding).json is json
    assert module_of(binding).part.json is json
    assert sys.modules.get(name) is before
    assert sys.path == path


def test_two_managers_do_not_meet(site: Site) -> None:
    site.folder("local")
    one, two = site.manager().open_binding("local"), site.manager().open_binding("local")
    assert type(one) is not type(two)
    assert module_of(one) is not module_of(two)


def test_relative_imports_early_late_and_nested(site: Site) -> None:
    """In the package, in its packages, upwards, and inside functions long after loading."""
    site.folder(
        "local",
        FOLDER + "from .words import WORD\nfrom . import words\nfrom .sub.deep import UP\n"
        "def later():\n    from .late import WORD\n    from .sub import late\n    return WORD, late.WORD\n",
        words="WORD = 'early'",
        late="WORD = 'late'",
        sub__deep="from ..words import WORD as UP",
        sub__late="WORD = 'nested'",
    )
    module = module_of(site.manager().open_binding("local"))
    assert (module.WORD, module.UP) == ("early", "early")
    assert module.later() == ("late", "nested")


def test_an_absolute_import_of_the_folder_itself_does_not_work(site: Site) -> None:
    """Nothing is on sys.path; the error says what is missing."""
    site.folder("local", "from local.words import WORD\n" + FOLDER, words="WORD = 1")
    with pytest.raises(BindingLoadError, match="No module named 'local'"):
        site.manager().open_binding("local")


def test_a_missing_submodule_is_an_ordinary_import_error(site: Site) -> None:
    site.folder("local", "from .missing import x")
    with pytest.raises(
        BindingLoadError, match=r"ModuleNotFoundError: No module named '_lollms_folder_\d+_local.missing'"
    ):
        site.manager().open_binding("local")


def test_a_failure_leaves_no_private_module(site: Site) -> None:
    before = origin_modules()
    site.folder("local", "from . import one, two", one="", two="raise OSError")
    assert site.manager().create_binding("local") is None
    assert origin_modules() == before


def test_nothing_is_written_into_the_folder_nor_stale_bytecode_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    folder = site.folder("local", FOLDER + "from .part import WORD", part="WORD = 'one'")
    manager = site.manager()
    manager.open_binding("local")
    assert sorted(path.name for path in folder.iterdir()) == ["__init__.py", "part.py"]


def test_modules_know_their_file(site: Site) -> None:
    """So that tracebacks show the source and data files can be found."""
    folder = site.folder("local", FOLDER + "from . import part", part="from importlib import resources")
    (folder / "data.txt").write_text("data")
    module = module_of(site.manager().open_binding("local"))
    assert module.__file__ == str(folder / "__init__.py")
    assert module.part.__file__ == str(folder / "part.py")
    assert module.part.resources.files(module).joinpath("data.txt").read_text() == "data"
    assert module.__package__ == module.__name__
    assert module.__name__.startswith(PREFIX)


def test_instances_can_be_pickled_within_the_process(site: Site) -> None:
    site.folder("local", FOLDER + "class Data:\n    pass\n")
    data = module_of(site.manager().open_binding("local")).Data()
    assert type(pickle.loads(pickle.dumps(data))) is type(data)  # noqa: S301 - our own


def test_the_finder_answers_for_private_names_alone(site: Site) -> None:
    site.folder("local")
    site.manager().open_binding("local")
    (finder,) = [
        finder for finder in sys.meta_path if type(finder).__module__ == "lollms_core.discovery.folder_modules"
    ]
    assert finder.find_spec("json", None) is None
    assert finder.find_spec(f"{PREFIX}0_unknown", None) is None
    assert finder.find_spec(f"{PREFIX}0_unknown.part", []) is None


def test_the_working_directory_may_change_afterwards(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither loading nor a late import follows it."""
    site.folder("local", FOLDER + "def later():\n    from .late import WORD\n    return WORD\n", late="WORD = 'late'")
    monkeypatch.chdir(site.bindings.parent)
    manager = LollmsLLMBindingManager("llm_bindings", entry_point_group=GROUP)
    assert manager.get_available_bindings() == ["local"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert module_of(manager.open_binding("local")).later() == "late"

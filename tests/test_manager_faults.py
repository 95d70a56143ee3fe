"""One broken plugin costs nobody else anything."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import BINDING, FOLDER, GROUP, Site, origin_modules

from lollms_core.errors import BindingBlocked, BindingLoadError
from lollms_core.manager import LollmsLLMBindingManager

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def _counted(record_property: Callable[[str, object], None]) -> None:
    record_property("reliability: broken plugins, declarations and metadata of others, each told and no harm", 1)


BROKEN = {
    "import error": (
        "import a_package_that_nobody_has",
        r"ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
    ),
    "syntax error": ("def broken(:\n    pass", r"SyntaxError: .*line 1"),
    "any exception": ("raise RuntimeError('two\\nlines')", r"RuntimeError: two lines"),
    "system exit": ("import sys; sys.exit('no GPU')", r"SystemExit: no GPU"),
    "null byte": ("x = 1\0", r"SyntaxError|ValueError"),
    "endless": ("def f(): f()\nf()", r"RecursionError"),
    "missing": ("Other = 1", r"has no Mine"),
    "no class": ("Mine = 'Mine'", r"is no class but a str"),
    "instance": (f"{BINDING}Mine = Mine()", r"is no class but a Mine"),
    "other class": ("class Mine: pass", r"is no subclass of lollms_core.LollmsLLMBinding"),
    "methods missing": (
        """
from lollms_core import LollmsLLMBinding
class Mine(LollmsLLMBinding):
    def generate_text(self, prompt): return ""
    def tokenize(self, text): return []
""",
        r"Mine lacks count_tokens, detokenize, embed, get_model_info, listModels, load_model",
    ),
    "lazy attribute": ("def __getattr__(name): raise RuntimeError('lazy ' + name)", r"RuntimeError: lazy "),
    "unprintable": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        r"Odd: \(its message cannot be shown: ValueError\)",
    ),
}


@pytest.fixture
def with_neighbours(site: Site) -> Site:
    """A healthy distribution and a healthy folder, which must keep working."""
    site.binding("healthy", "lollms-healthy")
    site.folder("local")
    return site


def check_neighbours(manager: LollmsLLMBindingManager) -> None:
    """Both work."""
    assert {"healthy", "local"} <= set(manager.get_available_bindings())
    assert manager.create_binding("healthy") is not None
    assert manager.create_binding("local") is not None
    assert not {"healthy", "local"} & set(manager.errors)


@pytest.mark.parametrize("kind", ["distribution", "folder"])
@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_plugin(with_neighbours: Site, case: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is listed, fails in one clear line, stays failed, and leaves no module behind."""
    site = with_neighbours
    source, message = BROKEN[case]
    if kind == "distribution":
        site.binding("bad", "lollms-bad", source, version="2.0")
        origin = r"\(distribution lollms-bad 2.0\)"
    else:
        site.folder("bad", f"BindingName = 'Mine'\n{source}")
        message = message.replace("line 1", "line 2")
        origin = r"\(folder .*bad\)"
    manager = site.manager()
    before = set(sys.modules)
    assert "bad" in manager.get_available_bindings()
    with caplog.at_level(logging.INFO, "lollms_core"):
        assert manager.create_binding("bad") is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == manager.errors["bad"]
    with pytest.raises(BindingLoadError, match=f"{origin} could not be loaded: .*{message}"):
        manager.open_binding("bad")
    assert "\n" not in manager.errors["bad"]
    (bad,) = [record for record in manager.records() if record.name == "bad"]
    assert bad.state == "failed"
    assert bad.error is not None
    assert bad.error in manager.errors["bad"]
    assert "bad" not in manager.available_bindings
    assert not {name for name in set(sys.modules) - before if "bad" in name}
    check_neighbours(manager)


def test_the_cause_is_there_the_second_time_too(site: Site) -> None:
    site.binding("bad", "lollms-bad", "raise RuntimeError('why')")
    manager = site.manager()
    for _ in range(2):
        with pytest.raises(BindingLoadError) as caught:
            manager.open_binding("bad")
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_failure_is_final_until_refresh(site: Site) -> None:
    """A broken plugin is imported once, not once a call."""
    source = "import os\nos.environ['LOLLMS_TEST_COUNT'] = os.environ.get('LOLLMS_TEST_COUNT', '') + 'x'\nraise OSError"
    site.binding("bad", "lollms-bad", source)
    manager = site.manager()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOLLMS_TEST_COUNT", "")
        for _ in range(3):
            assert manager.create_binding("bad") is None
        assert os.environ["LOLLMS_TEST_COUNT"] == "x"
        manager.refresh()
        assert manager.errors == {}
        assert [record.state for record in manager.records()] == ["found"]
        assert manager.create_binding("bad") is None
        assert os.environ["LOLLMS_TEST_COUNT"] == "xx"


def test_a_half_imported_package_is_retried_whole_after_the_fix(site: Site) -> None:
    """Python keeps the submodules of a package whose import failed; the next try must not find them."""
    site.distribution(
        "lollms-half",
        entry_points={GROUP: {"half": "half_pkg:Mine"}},
        modules={
            "half_pkg/__init__.py": "from half_pkg import first\nfrom half_pkg.second import Mine",
            "half_pkg/first.py": "VALUE = 'old'",
            "half_pkg/second.py": "raise RuntimeError('not yet')",
        },
    )
    manager = site.manager()
    assert manager.create_binding("half") is None
    assert not [name for name in sys.modules if name.startswith("half_pkg")]
    site.module("half_pkg/first.py", "VALUE = 'mended'")
    site.module("half_pkg/second.py", f"import half_pkg.first\nword = half_pkg.first.VALUE\n{BINDING}")
    assert manager.create_binding("half") is None
    manager.refresh()
    assert manager.create_binding("half") is not None
    assert sys.modules["half_pkg.second"].word == "mended"


def test_a_half_imported_folder_is_retried_whole_after_the_fix(site: Site) -> None:
    site.folder(
        "half", "from . import first\nfrom .second import *", first="VALUE = 'old'", second="raise OSError('x')"
    )
    manager = site.manager()
    before = origin_modules()
    assert manager.create_binding("half") is None
    assert origin_modules() == before
    site.folder(
        "half", first="VALUE = 'mended'", second=f"from .first import VALUE\n{FOLDER}", source="from .second import *"
    )
    manager.refresh()
    binding = manager.open_binding("half")
    assert sys.modules[type(binding).__module__].VALUE == "mended"


def test_modules_that_others_had_loaded_survive_a_failure(site: Site) -> None:
    """A failed plugin takes away what it brought, not what was there, nor what other packages are."""
    site.distribution(
        "lollms-shared",
        entry_points={GROUP: {"good": "shared_pkg.good:Mine", "bad": "shared_pkg.bad:Mine"}},
        modules={
            "shared_pkg/__init__.py": "",
            "shared_pkg/good.py": BINDING,
            "shared_pkg/bad.py": "import a_third_party\nimport shared_pkg.helper\nraise OSError",
            "shared_pkg/helper.py": "",
            "a_third_party.py": "",
        },
    )
    manager = site.manager()
    good = manager.open_binding("good")
    module = sys.modules["shared_pkg.good"]
    assert manager.create_binding("bad") is None
    assert sys.modules["shared_pkg.good"] is module
    assert "a_third_party" in sys.modules
    assert "shared_pkg.helper" not in sys.modules
    assert type(manager.open_binding("good")) is type(good)


def test_a_failure_in_a_namespace_package_leaves_the_other_portions(site: Site) -> None:
    """Distributions may share a namespace; one's failure is not the others'."""
    site.module("shared_ns/other/__init__.py", "")
    site.distribution(
        "lollms-ns",
        entry_points={GROUP: {"bad": "shared_ns.mine.binding:Mine"}},
        modules={
            "shared_ns/mine/__init__.py": "import shared_ns.other",
            "shared_ns/mine/binding.py": "raise OSError",
        },
    )
    assert site.manager().create_binding("bad") is None
    assert "shared_ns.other" in sys.modules
    assert "shared_ns.mine" not in sys.modules


@pytest.mark.parametrize("kind", ["distribution", "folder"])
def test_an_interrupted_import_can_be_tried_again_at_once(site: Site, kind: str) -> None:
    """KeyboardInterrupt goes through to the user and is no failure of the plugin."""
    source = "import os\nif os.environ['LOLLMS_TEST_INTERRUPT']: raise KeyboardInterrupt\n" + FOLDER
    if kind == "distribution":
        site.binding("slow", "lollms-slow", source)
    else:
        site.folder("slow", "from .part import *", part=source)
    manager = site.manager()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOLLMS_TEST_INTERRUPT", "yes")
        before = set(sys.modules)
        for create in manager.create_binding, manager.open_binding, manager._load_binding:
            with pytest.raises(KeyboardInterrupt):
                create("slow")
        assert not {name for name in set(sys.modules) - before if "slow" in name}
        assert [record.state for record in manager.records()] == ["found"]
        assert manager.errors == {}
        patch.setenv("LOLLMS_TEST_INTERRUPT", "")
        assert manager.create_binding("slow") is not None


# Declarations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "no such thing!", "a:b:c", "1abc x", "mod:", ":Mine", "../evil", "a-b"])
def test_a_value_that_names_no_module(with_neighbours: Site, value: str) -> None:
    with_neighbours.distribution("lollms-bad", entry_points={GROUP: {"bad": value}})
    manager = with_neighbours.manager()
    if value:
        (bad,) = [record for record in manager.records() if record.name == "bad"]
        assert bad.state == "failed"
        assert "names no module" in (bad.error or "")
    assert manager.create_binding("bad") is None
    check_neighbours(manager)


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "../up", "a.b", "1st", "x:y"])
def test_a_declared_name_that_is_no_name(with_neighbours: Site, name: str) -> None:
    with_neighbours.distribution(
        "lollms-odd", entry_points={GROUP: {name: "odd_mod:Mine"}}, modules={"odd_mod.py": BINDING}
    )
    manager = with_neighbours.manager()
    assert name not in manager.get_available_bindings()
    with pytest.raises(BindingBlocked, match="not a plain identifier"):
        manager.open_binding(name)
    check_neighbours(manager)


def test_a_hyphen_in_an_installed_name_is_fine(site: Site) -> None:
    site.binding("my-backend", "lollms-hyphen")
    assert site.manager().create_binding("my-backend") is not None


@pytest.mark.parametrize(
    ("requirement", "state"),
    [
        ("lollms-core", "found"),
        ("lollms-core>=0.0.1,<1", "found"),
        ("LoLLMs.Core >= 99", "incompatible"),
        ("lollms_core<0.0.1", "incompatible"),
        ("lollms-core>=99; python_version < '3'", "found"),
        ("lollms-core>=99; extra == 'new'", "found"),
        ("lollms-core-extras>=99", "found"),
    ],
)
def test_compatibility_comes_from_the_requirement(with_neighbours: Site, requirement: str, state: str) -> None:
    """Read from metadata; an incompatible plugin is never imported."""
    source = BINDING if state == "found" else "raise RuntimeError('imported')"
    with_neighbours.binding("other", "lollms-other", source, requires=["httpx>=0", requirement], version="3.1")
    manager = with_neighbours.manager()
    (record,) = [record for record in manager.records() if record.name == "other"]
    assert record.state == state
    if state == "found":
        assert manager.create_binding("other") is not None
    else:
        with pytest.raises(BindingLoadError, match=r"distribution lollms-other 3.1\) cannot be used: it requires"):
            manager.open_binding("other")
        assert "lollms_other_other" not in sys.modules
    check_neighbours(manager)


def test_an_unreadable_requirement_is_told(site: Site) -> None:
    site.binding("other", "lollms-other", requires=["lollms-core >= banana"])
    with pytest.raises(BindingLoadError, match="its requirement 'lollms-core >= banana' cannot be read"):
        site.manager().open_binding("other")


# Metadata of others -----------------------------------------------------------------------------------------


def test_corrupt_metadata_of_other_distributions(with_neighbours: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Undecodable, malformed, missing: of unrelated distributions it is not even worth a warning."""
    site = with_neighbours
    site.distribution("latin", entry_points=b"[console_scripts]\nd\xe9mo = mod:main\n")
    site.distribution("binary", entry_points=bytes(range(256)))
    site.distribution("malformed", entry_points=b"no section\n[half\n= =\n[]\nx\n")
    site.distribution("nothing", metadata=False)
    site.distribution("garbage", metadata=b"\xff\xfe\x00garbage", entry_points={"console_scripts": {"x": "y:z"}})
    site.distribution("empty", metadata=b"")
    (site.path / "file.dist-info").write_text("a file, not a folder")
    (site.path / "odd-name.dist-info").mkdir()
    (site.path / ".dist-info").mkdir()
    folder = site.distribution("folder")
    (folder / "entry_points.txt").mkdir()
    with caplog.at_level(logging.INFO, "lollms_core"):
        manager = site.manager()
        assert manager.get_available_bindings() == ["healthy", "local"]
    assert not caplog.records
    check_neighbours(manager)


def test_a_corrupt_declaration_in_our_group_is_reported_by_name(
    with_neighbours: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """What can be known of it stands in the records; it is not loaded."""
    raw = f"[{GROUP}]\ncorrupt = corrupt_mod:Mine\n# caf\xe9\n".encode("latin-1")
    with_neighbours.distribution("lollms-corrupt", "1.5", entry_points=raw, modules={"corrupt_mod.py": BINDING})
    manager = with_neighbours.manager()
    (record,) = [record for record in manager.records() if record.name == "corrupt"]
    assert record.state == "failed"
    assert record.distribution == "lollms-corrupt"
    assert record.error == "the entry_points.txt of distribution lollms-corrupt 1.5 is not UTF-8"
    assert record.error in caplog.text
    assert manager.create_binding("corrupt") is None
    check_neighbours(manager)


def test_a_line_that_is_no_entry_point_costs_only_itself(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    raw = (
        f"\ufeff; comment\n[other]\nbroken\n[{GROUP}]\nthis is none\n= x\ny =\ngood = good_mod:Mine [extra]\n".encode()
    )
    site.distribution("lollms-lines", entry_points=raw, modules={"good_mod.py": BINDING})
    manager = site.manager()
    assert manager.get_available_bindings() == ["good"]
    assert "distribution lollms-lines 1.0 has a line that is no entry point: 'this is none'" in caplog.text
    assert manager.create_binding("good") is not None


@pytest.mark.parametrize("metadata", [False, b"\xff\xfe\xfa", b"", b"nonsense"])
def test_missing_metadata_of_a_plugin_itself(
    with_neighbours: Site, metadata: bytes | bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Name and version come from the folder's name then; the operator's lists still apply."""
    with_neighbours.binding("bare", "lollms-bare", version="0.7", metadata=metadata)
    manager = with_neighbours.manager()
    (record,) = [record for record in manager.records() if record.name == "bare"]
    assert (record.distribution, record.version, record.state) == ("lollms_bare", "0.7", "found")
    assert "the METADATA of distribution lollms_bare 0.7 is missing or cannot be read" in caplog.text
    assert manager.create_binding("bare") is not None
    assert with_neighbours.manager(deny="lollms-bare").create_binding("bare") is None
    check_neighbours(manager)


def test_the_first_of_two_installations_counts(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for imports; also if the first declares nothing."""
    site.binding("both", "lollms-both", version="1.0")
    site.binding("only_second", "lollms-hidden", version="1.0")
    first = tmp_path / "first"
    site.binding("both", "lollms-both", version="2.0", site=first)
    site.distribution("Lollms.Hidden", "2.0", site=first)
    monkeypatch.syspath_prepend(str(first))
    manager = site.manager()
    assert [(record.name, record.version, record.state) for record in manager.records()] == [("both", "2.0", "found")]


def test_the_remains_of_an_uninstalled_first_one_hide_nobody(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.binding("both", "lollms-both", version="1.0")
    first = tmp_path / "first"
    site.distribution("lollms-both", "2.0", metadata=False, site=first)
    monkeypatch.syspath_prepend(str(first))
    assert [record.version for record in site.manager().records()] == ["1.0"]


def test_two_versions_side_by_side_in_one_place(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """An interrupted upgrade: the newer one counts, and it is told."""
    site.binding("both", "lollms-both", version="1.9")
    site.binding("both", "lollms-both", version="1.10")
    assert [record.version for record in site.manager().records()] == ["1.10"]
    assert "lollms-both is installed more than once (1.10, 1.9); 1.10 is used" in caplog.text


def test_a_path_entry_that_is_no_directory(
    with_neighbours: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    for entry in tmp_path / "file", tmp_path / "missing":
        monkeypatch.syspath_prepend(str(entry))
    check_neighbours(with_neighbours.manager())


def test_a_finder_of_others_that_raises(
    with_neighbours: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the finders before it have found stays found."""

    class Broken:
        @staticmethod
        def find_spec(*args: object) -> None:
            return None

        @staticmethod
        def find_distributions(context: object) -> list[object]:
            raise RuntimeError("broken finder")

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Broken()])
    manager = with_neighbours.manager()
    check_neighbours(manager)
    assert "broke off: RuntimeError: broken finder" in caplog.text

"""`lollms bindings` and `lollms models`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import GROUP, TALKER, Lollms

BROKEN = "raise RuntimeError('not today')"


@pytest.fixture
def run(lollms: Lollms, bindings: Path) -> Lollms:
    return lambda command, *arguments: lollms(command, "--bindings-dir", str(bindings), *arguments)


@pytest.fixture
def broken(bindings: Path) -> None:
    (bindings / "broken").mkdir()
    (bindings / "broken" / "__init__.py").write_text(f"BindingName = 'Broken'\n{BROKEN}\n")


# Bindings -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("broken")
def test_bindings_are_an_aligned_table(run: Lollms) -> None:
    """A broken one is listed like the others: nothing of it has run."""
    result = run("bindings")
    assert (result.exit_code, result.stderr) == (0, "")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["NAME", "STATE", "SOURCE", "DISTRIBUTION", "VERSION", "ERROR"]
    assert [line.split()[:3] for line in lines] == [[n, "found", "directory"] for n in ("broken", "closed", "talker")]
    assert {line.index("found") for line in lines} == {head.index("STATE")}


def test_bindings_as_json(run: Lollms, installed: Callable[..., Path]) -> None:
    installed("acme", f"[{GROUP}]\nacme = acme_talker:Talker\n")
    result = run("bindings", "--json")
    records = {record["name"]: record for record in json.loads(result.stdout)}
    assert sorted(records) == ["acme", "closed", "talker"]
    assert records["acme"] == {
        "name": "acme",
        "source": "entry point",
        "state": "found",
        "distribution": "acme",
        "version": "1.0",
        "module": "acme_talker",
        "path": None,
        "attribute": "Talker",
        "description_file": None,
        "description": None,
        "error": None,
    }
    assert records["talker"]["path"].endswith("talker")


def test_a_damaged_distribution_hides_nobody(run: Lollms, installed: Callable[..., Path]) -> None:
    site = installed("acme", f"[{GROUP}]\nacme = not a module\n")
    (site / "acme-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe")
    result = run("bindings")
    assert result.exit_code == 0
    assert {"acme", "closed", "talker"} <= {line.split()[0] for line in result.stdout.splitlines()}


def test_blocked_bindings_are_listed_as_such(run: Lollms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "closed")
    records = {record["name"]: record for record in json.loads(run("bindings", "--json").stdout)}
    assert records["closed"]["state"] == "blocked"
    assert "LOLLMS_DISABLE_PLUGINS" in records["closed"]["error"]


def test_no_bindings_is_no_error(lollms: Lollms) -> None:
    result = lollms("bindings")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no binding is installed" in result.stderr
    assert json.loads(lollms("bindings", "--json").stdout) == []


def test_metadata_cannot_write_to_the_terminal(run: Lollms, installed: Callable[..., Path]) -> None:
    installed("acme", f"[{GROUP}]\nac\x1b[31mme = acme_talker:Talker\n")
    assert "\x1b" not in run("bindings").stdout


# Models -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("broken")
def test_models_of_all_that_can_be_opened(run: Lollms) -> None:
    """Each that can't costs one line on stderr: here one is broken, and one wants an argument."""
    result = run("models")
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["BINDING", "MODEL", "SIZE", "PARAMS", "QUANT", "CONTEXT", "CAN", "NOTE"]
    assert [line.split() for line in lines] == [
        ["talker", "echo", "1.5", "MB", "-", "-", "4096", "chat,vision", "-"],
        ["talker", "bad", "-", "-", "-", "-", "-", "damaged"],
    ]
    said = result.stderr.splitlines()
    assert len(said) == 2
    assert "not today" in said[0]
    assert "model_identifier" in said[1]


def test_models_of_one(run: Lollms) -> None:
    result = run("models", "-b", "closed", "-o", "model_identifier=x", "--json")
    supports = ["chat", "embed", "stream", "text", "tokenize"]
    assert json.loads(result.stdout) == [
        {"binding": "closed", "model_name": "old", "supports": supports},
        {"binding": "closed", "model_name": "new", "supports": supports},
    ]


def test_models_as_three_backends_tell_them(run: Lollms, bindings: Path) -> None:
    """Each with its own names for the same."""
    listed = [
        {"model_name": "a", "parameters": 134_515_008, "quantization": "Q4_1", "supports": ["text"]},
        {"model_name": "b", "parameter_size": "8.0B", "quantization": None},
        {"model_name": "c", "n_params": 7_000_000_000, "parameters": {"temperature": 1}},
    ]
    source = bindings / "talker" / "__init__.py"
    source.write_text(
        source.read_text() + f"    listModels = lambda self: {listed}\n"
        "    def capabilities_of(self, model=None):\n"
        "        return self.capabilities if model != 'c' else 1 / 0\n"
    )
    result = run("models", "-b", "talker")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split()[1:] for line in result.stdout.splitlines()[1:]] == [
        ["a", "-", "134.5M", "Q4_1", "-", "text", "-"],
        ["b", "-", "8.0B", "-", "-", "chat,vision", "-"],
        ["c", "-", "7.0B", "-", "-", "-", "-"],
    ]


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", ["broken", "closed", "absent"])
def test_the_one_asked_for_must_open(run: Lollms, name: str) -> None:
    assert run("models", "-b", name).exit_code == 1


@pytest.mark.parametrize("error", ["BackendUnavailable", "BackendTimeout"])
def test_one_that_cannot_be_reached_is_no_failure(run: Lollms, bindings: Path, error: str) -> None:
    """Also where it was asked for: a line on stderr, and no models."""
    source = bindings / "talker" / "__init__.py"
    raising = (
        f"\n    def listModels(self):\n        import lollms_core\n        raise lollms_core.{error}('nobody there')\n"
    )
    source.write_text(source.read_text() + raising)
    result = run("models", "-b", "talker")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "lollms: talker: nobody there\n")
    assert json.loads(run("models", "-b", "talker", "--json").stdout) == []
    assert run("models").exit_code == 0


SILENT = """
    asked = None

    @classmethod
    def unconfigured(cls):
        return cls.asked
"""


def test_those_that_nobody_answers_for_are_not_asked(
    run: Lollms, installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says so itself: it has no server and no key. Asked for by its name, or with a key kept, it is."""
    points = f"[{GROUP}]\nacme = acme_talker:Talker\nother = other_talker:Talker\n"
    installed("acme", points, acme_talker=TALKER + SILENT, other_talker=TALKER + SILENT)
    result = run("models")
    assert result.exit_code == 0
    assert {line.split()[0] for line in result.stdout.splitlines()[1:]} == {"talker"}
    (line,) = [line for line in result.stderr.splitlines() if "acme" in line]
    assert "no key is set: acme, other (-b NAME" in line
    assert [entry["binding"] for entry in json.loads(run("models", "-b", "acme", "--json").stdout)] == ["acme"] * 2
    monkeypatch.setenv("LOLLMS_KEY_ACME", "sk-1")
    said = run("models").stderr
    assert "acme: the binding 'talker' has no use for service_key" in said
    assert "no key is set: other (-b NAME" in said


def test_two_names_of_one_class_are_listed_once(run: Lollms, installed: Callable[..., Path]) -> None:
    points = f"[{GROUP}]\nacme = acme_talker:Talker\nolder = acme_talker:Talker\n"
    installed("acme", points, acme_talker=TALKER)
    listed = json.loads(run("models", "--json").stdout)
    assert [entry["binding"] for entry in listed if entry["model_name"] == "echo"] == ["acme", "talker"]


def test_of_many_each_is_asked_once(run: Lollms, installed: Callable[..., Path]) -> None:
    """A binding that would try again is told not to; one that is asked for by its name does as it likes."""
    source = TALKER.replace("loudness: int", "retries: int").replace(
        '"model_name": "echo"', '"model_name": str(dict(self.defaults))'
    )
    installed("acme", f"[{GROUP}]\nacme = acme_talker:Talker\n", acme_talker=source)
    models = {entry["binding"]: entry["model_name"] for entry in json.loads(run("models", "--json").stdout)[:1]}
    assert models == {"acme": "{'retries': 0}"}
    assert json.loads(run("models", "-b", "acme", "--json").stdout)[0]["model_name"] == "{}"


def test_options_without_a_binding_are_refused(run: Lollms) -> None:
    result = run("models", "-o", "host_address=x")
    assert result.exit_code == 1
    assert "-b" in result.stderr

"""`lollms doctor`: each thing that may be wrong is found, named and given a remedy, whatever plugins do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lollms_core.cli.doctor import asking, machine

from .conftest import GROUP, TALKER, Lollms, Program

SECONDS = 60
posix = pytest.mark.skipif(os.name == "nt", reason="sends signals and uses a pseudo-terminal")

Doctor = Callable[..., dict[str, Any]]
Installed = Callable[..., Path]


@pytest.fixture
def doctor(lollms: Lollms, bindings: Path) -> Doctor:
    """Runs it with ``--json``; every problem has a remedy, and decides on the status."""

    def run(*arguments: str) -> dict[str, Any]:
        result = lollms("doctor", "--json", "--bindings-dir", str(bindings), *arguments)
        document: dict[str, Any] = json.loads(result.stdout)
        problems = [finding for finding in document["findings"] if finding["state"] == "problem"]
        assert all(finding["remedy"] for finding in problems)
        assert (result.exit_code, document["ok"], document["problems"]) == (bool(problems), not problems, len(problems))
        return document

    return run


def about(document: dict[str, Any], text: str) -> dict[str, Any]:
    """The one finding whose text has `text`."""
    (found,) = [finding for finding in document["findings"] if text in finding["text"]]
    assert isinstance(found, dict)
    return found


def broken(bindings: Path, source: str) -> None:
    (bindings / "broken").mkdir()
    (bindings / "broken" / "__init__.py").write_text(f"BindingName = 'Broken'\n{source}\n", "utf-8")


def talker(bindings: Path, *changes: tuple[str, str]) -> None:
    """The binding `talker`, changed."""
    source = TALKER
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    (bindings / "talker" / "__init__.py").write_text(source, "utf-8")


def diagnosing(body: str) -> tuple[str, str]:
    """A change of the talker: a ``diagnose`` with this body."""
    method = f"    @classmethod\n    def diagnose(cls, timeout):\n        {body}\n\n    def listModels"
    return "    def listModels", method


# What is well -------------------------------------------------------------------------------------------


def test_all_is_well(lollms: Lollms, bindings: Path) -> None:
    result = lollms("doctor", "--bindings-dir", str(bindings))
    assert (result.exit_code, result.stderr) == (0, "")
    sections = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert sections == ["Python", "Configuration", "Packages", "Bindings", "Models"]
    assert f"  ok       talker (folder {bindings / 'talker'})" in result.stdout
    assert "PROBLEM" not in result.stdout


def test_models_are_counted_by_their_source(doctor: Doctor, bindings: Path) -> None:
    """One that needs arguments lists none, and that is no fault of its."""
    listed = [
        {"model_name": "a", "source": "ollama"},
        {"model_name": "b", "source": "ollama"},
        {"model_name": "c"},
        "d",
    ]
    talker(bindings, ('return [{"model_name": "echo"', f'return {listed}\n        return [{{"model_name": "echo"'))
    document = doctor()
    found = about(document, "talker: 4 models")
    assert (found["section"], found["state"], found["text"]) == ("Models", "ok", "talker: 4 models (ollama 2)")
    assert found["facts"] == {"binding": "talker", "count": 4, "sources": {"ollama": 2}, "broken": 0}
    needy = about(document, "needs arguments")
    assert (needy["state"], "model_identifier" in needy["text"]) == ("absent", True)


def test_models_that_cannot_be_used_are_told(doctor: Doctor) -> None:
    assert about(doctor(), "talker: 2 models, of which 1 cannot be used")["state"] == "warning"


def test_a_binding_says_of_itself_what_it_finds(doctor: Doctor, bindings: Path) -> None:
    """Each finding goes to the section that it is about, and its models are not asked for where its server is away."""
    body = (
        "from lollms_core import Finding\n"
        "        yield Finding('ok', 'computes')\n"
        "        yield Finding('absent', 'no key', about='key')\n"
        "        yield Finding('warning', 'no answer', 'start it', 'server', {'address': 'x'})"
    )
    talker(bindings, diagnosing(body))
    document = doctor()
    assert about(document, "talker: computes")["section"] == "Bindings"
    assert about(document, "talker: no key")["section"] == "Keys"
    server = about(document, "talker: no answer")
    assert (server["section"], server["remedy"]) == ("Servers", "start it")
    assert server["facts"] == {"binding": "talker", "address": "x"}
    assert not [
        finding for finding in document["findings"] if "model" in finding["text"] and "talker" in finding["text"]
    ]
    assert document["warnings"] == 1


@pytest.mark.parametrize(("place", "said"), [("local", "talker: a server"), ("remote", "talker: its key is set")])
def test_what_a_class_says_unconfigured_is_enough(doctor: Doctor, bindings: Path, place: str, said: str) -> None:
    method = f"    @classmethod\n    def unconfigured(cls):\n        return {place!r}\n\n    def listModels"
    talker(bindings, ("    def listModels", method))
    assert about(doctor(), said)["state"] == "ok"


# Plugins that misbehave ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import absent_package", "absent_package"),
        ("import os; os._exit(7)", "importing it ended the process with status 7"),
        ("import os; print('last words', flush=True); os._exit(7)", "saying: last words"),
        ("class Broken: pass", "subclass"),
        ("", "Broken"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_a_plugin_that_cannot_be_imported(doctor: Doctor, bindings: Path, source: str, said: str) -> None:
    """It is a problem with the cause and what to do, and the others are looked at all the same."""
    broken(bindings, source)
    document = doctor()
    found = about(document, "broken (folder")
    assert found["state"] == "problem"
    assert said in found["text"]
    assert str(bindings / "broken") in found["remedy"]
    assert about(document, "talker (folder")["state"] == "ok"


@posix
def test_a_plugin_that_crashes(doctor: Doctor, bindings: Path) -> None:
    broken(bindings, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "importing it ended the process by SIGSEGV" in about(doctor(), "broken (folder")["text"]


@pytest.mark.parametrize("where", ["import", "question"])
def test_a_plugin_that_hangs(doctor: Doctor, bindings: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(asking, "_GRACE", 0.5)
    endless = "import threading; threading.Event().wait()"
    if where == "import":
        broken(bindings, endless)
        found = about(doctor("--timeout", "2"), "broken (folder")
    else:
        talker(bindings, diagnosing(endless))
        found = about(doctor("--timeout", "2"), "talker (folder")
    assert (found["state"], "took more than 2 s" in found["text"]) == ("problem", True)


def test_one_that_ends_the_process_while_it_is_asked(doctor: Doctor, bindings: Path) -> None:
    talker(bindings, diagnosing("import os; os._exit(4)"))
    found = about(doctor(), "talker (folder")
    assert "asking it ended the process with status 4" in found["text"]


def test_of_one_package_the_rest_is_named_when_one_ends_the_process(doctor: Doctor, installed: Installed) -> None:
    points = f"[{GROUP}]\nacme = acme_talker:Talker\nbroken = acme_exit:Broken\nclosed = acme_talker2:Talker\n"
    installed("acme", points, acme_talker=TALKER, acme_talker2=TALKER, acme_exit="import os; os._exit(5)")
    document = doctor()
    assert "importing it ended the process" in about(document, "broken (distribution")["text"]
    assert "importing broken ended the process with status 5" in about(document, "closed (distribution")["text"]


@pytest.mark.parametrize(
    "body",
    [
        "return [3]",
        "from lollms_core import Finding; return [Finding('bad', 'x')]",
        "return None",
        "raise KeyError('x')",
        "raise SystemExit",
    ],
)
def test_one_that_answers_nonsense(doctor: Doctor, bindings: Path, body: str) -> None:
    talker(bindings, diagnosing(body))
    found = about(doctor(), "talker: asking it failed")
    assert found["state"] == "problem"


def test_what_a_plugin_prints_is_not_seen(doctor: Doctor, bindings: Path) -> None:
    broken(bindings, "import os, sys\nprint('{')\nprint('x', file=sys.stderr)\nos.write(1, b'raw')\nraise ValueError")
    assert about(doctor(), "broken (folder")["state"] == "problem"


def test_a_key_in_an_error_is_not_shown(doctor: Doctor, bindings: Path) -> None:
    broken(bindings, "raise RuntimeError('refused: sk-abcdefghijklmnop')")
    assert "sk-abcdef" not in json.dumps(doctor())


# Packages -----------------------------------------------------------------------------------------------


def test_a_package_for_another_lollms_core(doctor: Doctor, installed: Installed) -> None:
    site = installed("acme", f"[{GROUP}]\nacme = acme_all:Talker\n", acme_all=TALKER)
    metadata = site / "acme-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: lollms-core>=99\n")
    document = doctor()
    found = about(document, "acme 1.0: it requires lollms-core>=99")
    assert (found["section"], found["state"]) == ("Packages", "problem")
    assert found["remedy"] == "pip install --upgrade lollms-core acme"
    assert about(document, "acme (distribution acme 1.0)")["state"] == "problem"


def test_a_package_whose_metadata_is_damaged(doctor: Doctor, installed: Installed) -> None:
    site = installed("acme", f"[{GROUP}]\nacme = not a module\n")
    (site / "acme-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe")
    document = doctor()
    assert "names no module" in about(document, "acme 1.0: ")["text"]
    assert about(document, "the METADATA of distribution acme 1.0")["state"] == "warning"


@pytest.mark.parametrize("group", ["lollms.hooks", "lollms.commands"])
def test_a_hook_or_command_that_cannot_be_imported(doctor: Doctor, installed: Installed, group: str) -> None:
    installed("acme", f"[{group}]\nacme = acme_hooks:it\n", acme_hooks="raise SystemExit(9)")
    document = doctor()
    assert about(document, "acme 1.0: ")["state"] == "ok"
    found = about(document, f"acme (distribution acme 1.0, {group})")
    assert (found["state"], "SystemExit" in found["text"]) == ("problem", True)


def test_what_the_operator_blocks_is_no_problem(
    doctor: Doctor, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "acme,talker")
    installed("acme", f"[{GROUP}]\nacme = acme_all:Talker\n[lollms.hooks]\nacme = acme_all\n", acme_all="1 / 0")
    document = doctor()
    assert about(document, "acme 1.0 is blocked")["state"] == "absent"
    assert about(document, "talker (folder")["state"] == "absent"


def test_no_plugins_runs_nothing_of_anybody(
    lollms: Lollms, installed: Installed, bindings: Path, tmp_path: Path
) -> None:
    """`lollms --no-plugins doctor`, and the other commands that help when something is wrong."""
    source = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n1 / 0\n"
    points = f"[{GROUP}]\nacme = acme_all:X\n[lollms.hooks]\nacme = acme_all\n[lollms.commands]\nacme = acme_all:c\n"
    installed("acme", points, acme_all=source)
    broken(bindings, source)
    place = ("--bindings-dir", str(bindings))
    done = lollms("--no-plugins", "doctor", *place, "--json")
    assert (done.exit_code, json.loads(done.stdout)["problems"]) == (0, 0)
    listed = json.loads(lollms("--no-plugins", "bindings", "--json", *place).stdout)
    assert {record["state"] for record in listed} == {"blocked"}
    assert "acme" not in lollms("--no-plugins", "--help").stdout
    refused = lollms("--no-plugins", "acme")
    assert (refused.exit_code, "--no-plugins" in refused.stderr) == (1, True)
    assert lollms("--no-plugins", "generate", "-b", "talker", "hi", *place).exit_code == 1
    assert not (tmp_path / "ran").exists()


def test_a_required_hook_that_is_not_in_force(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOLLMS_REQUIRED_HOOKS", "acme-guard")
    found = about(doctor(), "acme-guard")
    assert (found["section"], found["state"]) == ("Packages", "problem")
    assert "LOLLMS_REQUIRED_HOOKS" in found["remedy"]


def test_without_a_python_to_start_the_rest_is_told(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no_python"))
    document = doctor()
    assert about(document, "were not tried")["state"] == "warning"
    assert about(document, "talker (folder")["state"] == "ok"


# Configuration, Python ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = 1\nb = = 2\n", "line 2, column 5"),
        (b"\xff", "line 1, column 1: a byte that is not UTF-8"),
        (b"[profiles.a]\nmodle = 'x'\n", "profiles.a.modle is not known. Did you mean model?"),
    ],
)
def test_a_broken_configuration(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    """The place in the file, and the file as it was."""
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    monkeypatch.setenv("LOLLMS_CONFIG", str(file))
    found = about(doctor(), str(file))
    assert (found["section"], found["state"]) == ("Configuration", "problem")
    assert said in found["text"]
    assert file.read_bytes() == content


def test_a_configuration_that_is_not_there(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No problem, unless it is named."""
    assert about(doctor(), "config.toml")["state"] == "absent"
    monkeypatch.setenv("LOLLMS_CONFIG", str(tmp_path / "none.toml"))
    assert about(doctor(), "none.toml")["state"] == "problem"
    (tmp_path / "none.toml").write_text("[profiles]\n")
    assert about(doctor(), "none.toml")["state"] == "ok"


def test_profiles_that_cannot_be_used(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A binding that is not there, a key that is not set, a default that is none: each with what to do."""
    file = tmp_path / "config.toml"
    file.write_text(
        'default = "hme"\n[profiles.home]\nbinding = "talkr"\n[profiles.work]\nbinding = "talker"\nkey = "acme"\n'
    )
    monkeypatch.setenv("LOLLMS_CONFIG", str(file))
    document = doctor()
    binding = about(document, "the binding 'talkr'")
    assert (binding["state"], "Did you mean talker?" in binding["text"]) == ("problem", True)
    assert "lollms profiles set home -b NAME" in binding["remedy"]
    key = about(document, "needs the key 'acme'")
    assert (key["state"], key["remedy"]) == ("problem", "lollms keys set acme")
    default = about(document, "the default profile 'hme'")
    assert (default["state"], "Did you mean home?" in default["text"]) == ("problem", True)
    monkeypatch.setenv("LOLLMS_KEY_ACME", "k-4711-a-secret-of-ours")
    document = doctor()
    assert not [one for one in document["findings"] if "needs the key" in one["text"]]
    assert about(document, "acme, in LOLLMS_KEY_ACME")["state"] == "ok"
    assert "4711" not in str(document)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_keys_that_others_may_read(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not used, and the doctor says how to close the file."""
    monkeypatch.setenv("LOLLMS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "keys.json").write_text('{"acme": "k-4711-a-secret-of-ours"}')
    (tmp_path / "keys.json").chmod(0o644)
    document = doctor()
    found = about(document, "chmod 600")
    assert (found["section"], found["state"]) == ("Keys", "problem")
    assert "4711" not in str(document)


def test_missing_extras_are_told(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CLI", ("json", "no_such_module"))
    found = about(doctor(), "not installed: no_such_module;")
    assert (found["state"], found["remedy"]) == ("absent", 'pip install "lollms-core[cli]"')


def test_a_check_that_fails_is_a_finding(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "python", lambda: 1 / 0)
    assert about(doctor(), "ZeroDivisionError")["state"] == "problem"


@posix
def test_an_interrupt_ends_what_was_started(
    program: Program, bindings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 130, and no process of a plugin is left."""
    monkeypatch.setenv("LOLLMS_PLUGINS", "broken")
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    broken(
        bindings, f"import os, threading\nopen({str(pipe)!r}, 'w').write(str(os.getpid()))\nthreading.Event().wait()"
    )
    process = program("doctor", "--bindings-dir", str(bindings))
    child = int(pipe.read_text())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (130, b"")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


# In a terminal ------------------------------------------------------------------------------------------


def screen(program: Program, bindings: Path, columns: int) -> str:
    """What a terminal of that width is sent."""
    from fcntl import ioctl
    from struct import pack
    from termios import TIOCSWINSZ

    terminal, end = os.openpty()
    ioctl(end, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
    process = program("doctor", "--bindings-dir", str(bindings), stdout=end, stderr=subprocess.PIPE)
    os.close(end)
    got = b""
    try:
        while piece := os.read(terminal, 65536):
            got += piece
    except OSError:  # what Linux says at the end
        pass
    os.close(terminal)
    assert process.wait(timeout=SECONDS) == 1
    return got.decode().replace("\r\n", "\n")


@posix
def test_a_narrow_terminal_without_colours(program: Program, bindings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are broken where they end; with colours, the marks alone have some."""
    monkeypatch.setenv("LOLLMS_PLUGINS", "broken")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    broken(bindings, "raise RuntimeError('one two three four five six seven eight nine ten')")
    plain = screen(program, bindings, 40)
    assert "\x1b" not in plain
    words = [line for line in plain.splitlines() if "/" not in line]
    assert max(map(len, words)) <= 40
    assert "-> correct, rename or remove" in plain
    monkeypatch.delenv("NO_COLOR")
    coloured = screen(program, bindings, 40)
    assert "\x1b[31m\x1b[1mPROBLEM\x1b[0m" in coloured

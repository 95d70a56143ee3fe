"""`lollms profiles`, `-p`, and which of flags, environment and profile is used."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

from lollms_core.cli.choices import Choice, choose
from lollms_core.cli.options import Wanted
from lollms_core.errors import SettingsError

from .conftest import Lollms

CONFIG = """\
default = "local"

[profiles.local]
binding = "talker"
model = "show"
system = "Be brief."

[profiles.local.options]
temperature = 0.2
loudness = 4
flavour = "sweet"
stop = ["A"]

[profiles.other]
binding = "closed"
model = "new"

[profiles.loose.options]
temperature = 0.5
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, not yet there."""
    file = tmp_path / "settings" / "config.toml"
    monkeypatch.setenv("LOLLMS_CONFIG", str(file))
    return file


@pytest.fixture
def filled(config: Path) -> Path:
    config.parent.mkdir()
    config.write_text(CONFIG)
    return config


@pytest.fixture
def generate(lollms: Lollms, bindings: Path) -> Lollms:
    return lambda *arguments, **options: lollms("generate", "--bindings-dir", str(bindings), *arguments, **options)


@pytest.fixture
def put(lollms: Lollms, bindings: Path) -> Lollms:
    return lambda *arguments: lollms("profiles", "set", "--bindings-dir", str(bindings), *arguments)


def shown(generate: Lollms, *arguments: str) -> dict[str, Any]:
    result = generate(*arguments, "hi")
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def choice(*options: str, environ: dict[str, str] | None = None, **wanted: str) -> Choice:
    known = {"binding": None, "model": None, "bindings_dir": None} | wanted
    return choose(Wanted(options=options, **known), environ or {})


# Setting and showing ------------------------------------------------------------------------------------


def test_a_profile_is_set_used_and_removed(lollms: Lollms, put: Lollms, generate: Lollms, config: Path) -> None:
    result = put("local", "-b", "talker", "-m", "show", "-s", "Be brief.", "-o", "temperature=0.2", "-o", "loudness=4")
    assert (result.exit_code, result.stdout) == (0, "")
    assert shown(generate, "-p", "local")["temperature"] == 0.2
    assert lollms("profiles", "default", "local").exit_code == 0
    assert lollms("profiles", "default").stdout == "local\n"
    answer = shown(generate)
    assert (answer["system_prompt"], answer["options"]) == ("Be brief.", {"loudness": 4})
    assert lollms("profiles", "remove", "local").exit_code == 0
    assert config.read_text().strip() == ""


def test_values_are_stored_typed(put: Lollms, config: Path) -> None:
    options = "temperature=1", "n_predict=3", "stop=A", "stop=B", 'logit_bias={"7": -1}', "loudness=4", "flavour=1"
    assert put("local", "-b", "talker", *(part for each in options for part in ("-o", each))).exit_code == 0
    text = config.read_text()
    assert "temperature = 1.0\n" in text
    assert "n_predict = 3\n" in text
    assert 'stop = ["A", "B"]\n' in text
    assert "loudness = 4\n" in text
    assert 'flavour = "1"\n' in text


def test_a_change_keeps_the_rest(put: Lollms, filled: Path) -> None:
    filled.write_text("# mine\n" + CONFIG)
    assert put("local", "-m", "echo", "-o", "seed=7").exit_code == 0
    text = CONFIG.replace('"show"', '"echo"').replace('stop = ["A"]\n', 'stop = ["A"]\nseed = 7\n')
    assert filled.read_text() == "# mine\n" + text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x", "-b", "talkr"], "Did you mean talker?"),
        (["x", "-b", "ollama"], "pip install lollms-ollama"),
        (["x", "-b", "talker", "-o", "tempratur=1"], "temperature"),
        (["x", "-o", "tempratur=1"], "temperature"),
        (["x", "-b", "talker", "-o", "temperature=hot"], "temperature must be a number"),
        (["x", "-b", "talker", "-o", "temperature=-1"], "temperature must be at least 0"),
        (["x", "-b", "talker", "-o", "seed=none"], "lollms profiles unset x seed"),
        (["x", "-b", "talker", "-o", "model=y"], "use -m"),
        (["x", "-b", "talker", "-o", "service_key=sk-0123456789"], "lollms keys set NAME"),
        (["x", "-b", "talker", "--key", "sk-0123456789"], "looks like a key"),
        (["x", "-b", ""], "''"),
        (["local", "-b", "closed"], "has no option 'loudness' (profile local)"),
        (["x"], "nothing to set"),
        (["-x-", "-b", "talker"], "-x"),
        (["two words", "-b", "talker"], "a profile's name"),
    ],
)
def test_what_cannot_be_set_is_one_line(put: Lollms, filled: Path, arguments: list[str], said: str) -> None:
    """And the file is as before."""
    result = put(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert "0123456789" not in result.stderr
    assert filled.read_text() == CONFIG


@pytest.mark.parametrize("arguments", [["set", "local", "-m", "x"], ["remove", "local"], ["default", "other"]])
def test_a_full_disk_is_one_line(
    lollms: Lollms, filled: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    result = lollms("profiles", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No space left" in result.stderr
    assert filled.read_text() == CONFIG
    assert list(filled.parent.iterdir()) == [filled]


@pytest.mark.parametrize(
    "arguments", [["list"], ["set", "a", "-m", "x"], ["remove", "a"], ["default", "a"], ["unset", "a", "model"]]
)
def test_a_broken_file_is_one_line(lollms: Lollms, generate: Lollms, filled: Path, arguments: list[str]) -> None:
    filled.write_text("default = \n")
    for result in (lollms("profiles", *arguments), generate("hi"), generate("-p", "a", "hi")):
        assert result.exit_code == 1
        assert f"{filled}, line 1, column 11: " in result.stderr
    assert filled.read_text() == "default = \n"


def test_a_broken_file_does_not_matter_where_no_profile_can_apply(generate: Lollms, filled: Path) -> None:
    filled.write_text("default = \n")
    assert generate("-b", "talker", "-m", "echo", "hi").stdout == "hi \n"


def test_the_list(lollms: Lollms, filled: Path) -> None:
    result = lollms("profiles")
    assert result.stdout == lollms("profiles", "list").stdout
    head, local, *_ = result.stdout.splitlines()
    assert head.split() == ["NAME", "BINDING", "MODEL", "KEY", "OPTIONS", "DEFAULT"]
    assert local.split()[:3] == ["local", "talker", "show"]
    assert local.endswith("default")
    first, second, third = json.loads(lollms("profiles", "list", "--json").stdout)
    assert first["options"] == {"temperature": 0.2, "loudness": 4, "flavour": "sweet", "stop": ["A"]}
    assert (first["default"], second["default"], third["binding"]) == (True, False, None)


def test_no_profiles(lollms: Lollms, config: Path) -> None:
    assert "lollms profiles set NAME" in lollms("profiles").stderr
    assert json.loads(lollms("profiles", "list", "--json").stdout) == []
    assert "there is no default profile" in lollms("profiles", "show").stderr
    assert "there is no default profile" in lollms("profiles", "default").stderr
    assert not config.exists()


def test_unset(lollms: Lollms, filled: Path) -> None:
    assert lollms("profiles", "unset", "local", "model", "temperature", "options.stop").exit_code == 0
    text = filled.read_text()
    assert "model" not in text.partition("[profiles.other]")[0]
    assert "temperature = 0.2" not in text
    assert "stop" not in text
    result = lollms("profiles", "unset", "local", "flavor")
    assert (result.exit_code, filled.read_text()) == (1, text)
    assert "Did you mean flavour" in result.stderr


def test_the_default_can_be_taken_back(lollms: Lollms, filled: Path) -> None:
    assert lollms("profiles", "default", "--none").exit_code == 0
    assert filled.read_text() == CONFIG.replace('default = "local"\n', "", 1)
    assert "not both" in lollms("profiles", "default", "local", "--none").stderr
    assert "Did you mean local?" in lollms("profiles", "default", "locl").stderr


def test_a_default_that_is_gone(lollms: Lollms, generate: Lollms, filled: Path) -> None:
    """Using it is an error that tells the way out, and the way works."""
    filled.write_text(CONFIG.replace('default = "local"', 'default = "locale"'))
    result = generate("hi")
    assert result.exit_code == 1
    assert "Did you mean local?" in result.stderr
    assert lollms("profiles", "default", "local").exit_code == 0
    assert filled.read_text() == CONFIG


def test_show(lollms: Lollms, filled: Path) -> None:
    lines = [line.split(maxsplit=1) for line in lollms("profiles", "show", "local").stdout.splitlines()]
    assert ["binding", "talker"] in lines
    assert ["options.temperature", "0.2"] in lines
    assert lollms("profiles", "show").stdout == lollms("profiles", "show", "local").stdout
    assert json.loads(lollms("profiles", "show", "other", "--json").stdout)["model"] == "new"
    assert "Did you mean other?" in lollms("profiles", "show", "othr").stderr


def test_show_hides_what_is_a_key_by_its_name(lollms: Lollms, filled: Path) -> None:
    filled.write_text(
        '[profiles.a]\nbinding = "x"\noptions = {api_key = "0123456789", extra = {Authorization = "9876543"}}'
    )
    for arguments in (["list"], ["list", "--json"], ["show", "a"], ["show", "a", "--json"], ["show", "a", "--origin"]):
        result = lollms("profiles", *arguments)
        assert result.exit_code == 0
        assert "0123456789" not in result.stdout
        assert "9876543" not in result.stdout


def test_show_tells_where_each_value_comes_from(lollms: Lollms, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOLLMS_MODEL", "echo")
    monkeypatch.setenv("LOLLMS_OPTIONS", "loudness=9 seed=3")
    monkeypatch.setenv("LOLLMS_KEY_TALKER", "0123456789abcdefghijklmnop")
    arguments = "profiles", "show", "--origin", "-o", "seed=7"
    assert json.loads(lollms(*arguments, "--json").stdout) == {
        "profile": {"value": "local", "origin": "default in config.toml"},
        "binding": {"value": "talker", "origin": "profile local"},
        "model": {"value": "echo", "origin": "environment LOLLMS_MODEL"},
        "system": {"value": "Be brief.", "origin": "profile local"},
        "key": {"value": None, "origin": "default"},
        "service_key": {"value": "***mnop", "origin": "environment LOLLMS_KEY_TALKER"},
        "options.flavour": {"value": "sweet", "origin": "profile local"},
        "options.loudness": {"value": "9", "origin": "environment LOLLMS_OPTIONS"},
        "options.seed": {"value": "7", "origin": "flag -o"},
        "options.stop": {"value": ["A"], "origin": "profile local"},
        "options.temperature": {"value": 0.2, "origin": "profile local"},
    }
    table = lollms(*arguments).stdout
    assert table.splitlines()[0].split() == ["NAME", "VALUE", "ORIGIN"]
    assert "environment LOLLMS_MODEL" in table


def test_without_anything_said_all_is_default(lollms: Lollms, config: Path) -> None:
    found = json.loads(lollms("profiles", "show", "--origin", "--json").stdout)
    assert {each["origin"] for each in found.values()} == {"default"}


@pytest.mark.parametrize(("word", "close"), [("lst", "list"), ("sets", "set"), ("xyz", "")])
def test_a_wrong_command_is_one_line(lollms: Lollms, word: str, close: str) -> None:
    result = lollms("profiles", word)
    assert result.exit_code == 1
    assert "profiles has no command" in result.stderr
    assert close in result.stderr


# Which of them is used ----------------------------------------------------------------------------------


def test_a_profile_reaches_the_binding(generate: Lollms, filled: Path) -> None:
    """Options, keywords of the constructor, model and system prompt."""
    assert shown(generate) == {
        "flavour": "sweet",
        "images": 0,
        "options": {"loudness": 4},
        "system_prompt": "Be brief.",
        "stream": True,
        "temperature": 0.2,
        "n_predict": None,
        "stop": ["A"],
        "seed": None,
    }


def test_flags_come_before_the_environment_and_that_before_a_profile(
    generate: Lollms, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options one by one."""
    monkeypatch.setenv("LOLLMS_OPTIONS", "temperature=0.5 loudness=5 seed=5")
    monkeypatch.setenv("LOLLMS_SYSTEM", "Be kind.")
    answer = shown(generate, "-o", "loudness=6", "-o", "n_predict=6")
    assert (answer["temperature"], answer["seed"], answer["n_predict"]) == (0.5, 5, 6)
    assert (answer["flavour"], answer["options"]) == ("sweet", {"loudness": 6})
    assert answer["system_prompt"] == "Be kind."
    assert shown(generate, "-s", "Be loud.")["system_prompt"] == "Be loud."
    assert shown(generate, "-s", "")["system_prompt"] == ""


def test_the_environment_alone(generate: Lollms, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BINDING": "talker", "MODEL": "show", "OPTIONS": 'stop="END OF" flavour=a\\b'}.items():
        monkeypatch.setenv(f"LOLLMS_{name}", value)
    answer = shown(generate)
    assert (answer["stop"], answer["flavour"]) == (["END OF"], "a\\b")


def test_the_default_profile_applies_where_no_binding_is_named(filled: Path) -> None:
    assert choice().profile == ("local", "default in config.toml")
    assert choice(binding="closed").profile.value is None
    assert choice(environ={"LOLLMS_BINDING": "closed"}).profile.value is None
    assert choice(profile="other").profile == ("other", "flag -p")
    assert choice(environ={"LOLLMS_PROFILE": "other"}).profile == ("other", "environment LOLLMS_PROFILE")
    assert choice(profile="local", environ={"LOLLMS_PROFILE": "other"}).profile.value == "local"
    assert choice(environ={"LOLLMS_PROFILE": ""}).profile.value == "local"


def test_another_binding_leaves_behind_what_is_the_profiles_bindings_own(filled: Path) -> None:
    found = choice(profile="local", binding="closed")
    assert (found.binding, found.model.value) == (("closed", "flag -b"), None)
    assert found.system.value == "Be brief."
    assert found.stored == {"temperature": 0.2, "stop": ["A"]}
    assert found.notes == ("the profile 'local' is for talker: model, loudness, flavour left out",)
    assert choice(profile="local", binding="talker").notes == ()


def test_a_profile_without_a_binding(generate: Lollms, filled: Path) -> None:
    """It goes with one that is named; without, it is an error."""
    assert shown(generate, "-p", "loose", "-b", "talker", "-m", "show")["temperature"] == 0.5
    result = generate("-p", "loose", "hi")
    assert result.exit_code == 1
    assert "the profile 'loose' names no binding: give one with -b, or add it with: " in result.stderr
    assert "lollms profiles set loose -b NAME" in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.a]\nbinding = "talkr"', "Did you mean talker?"),
        ('[profiles.a]\nbinding = "ollama"', "pip install lollms-ollama"),
        ('[profiles.a]\nbinding = "talker"\noptions = {loudnes = 3}', "'loudnes'. Did you mean loudness?"),
        ('[profiles.a]\nbinding = "closed"\noptions = {temp = 3}', "Closed has no option 'temp' (profile a)"),
        ('[profiles.a]\nbinding = "talker"\noptions = {temperature = "hot"}', "temperature must be a number"),
        ('[profiles.a]\nbinding = "talker"\noptions = {temperature = -1}', "temperature must be at least 0"),
        ('[profiles.a]\nbinding = "talker"\nkey = "k"', "needs the key 'k', which is not set"),
        ('[profiles.a]\nbinding = "closed"\nkey = "k"\noptions = {model_identifier = "x"}', "takes no key"),
        ('[profiles.b]\nbinding = "talker"', "there is no profile 'a'"),
    ],
)
def test_a_profile_that_cannot_be_used_is_one_line(generate: Lollms, filled: Path, text: str, said: str) -> None:
    filled.write_text(text)
    result = generate("-p", "a", "hi")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("temperature", "LOLLMS_OPTIONS takes KEY=VALUE"),
        ("temperature=hot", "LOLLMS_OPTIONS temperature=hot: temperature must be a number"),
        ("tempratur=1", "'tempratur'. Did you mean temperature?"),
        ("model=x", "LOLLMS_OPTIONS model: use -m"),
        ('stop="', "a quote that is not closed"),
    ],
)
def test_the_environment_is_blamed_for_what_it_says(
    generate: Lollms, config: Path, monkeypatch: pytest.MonkeyPatch, options: str, said: str
) -> None:
    monkeypatch.setenv("LOLLMS_OPTIONS", options)
    result = generate("-b", "talker", "hi")
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_key_is_not_sent_to_another_address(filled: Path) -> None:
    """Than the one that stands beside it."""
    filled.write_text('[profiles.a]\nbinding = "x"\nkey = "k"\noptions = {host_address = "http://a"}')
    assert choice(profile="a").key.value == "k"
    assert choice("host_address=http://a", profile="a").key.value == "k"
    for other in (
        choice("host_address=http://b", profile="a"),
        choice(profile="a", environ={"LOLLMS_OPTIONS": "host_address=http://b"}),
    ):
        assert other.key.value is None
        assert "not sent to another address" in other.notes[0]
    assert choice(profile="a", binding="y").key.value is None


def test_a_profile_by_a_name_that_is_not_there(filled: Path) -> None:
    with pytest.raises(SettingsError, match=r"Did you mean local\?"):
        choice(profile="locl")
    with pytest.raises(click.UsageError, match="KEY=VALUE"):
        choice("x")


# What it costs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["--version", "--help", "bindings", "profiles --help", "keys --help"])
def test_settings_are_imported_only_where_they_are_needed(filled: Path, command: str) -> None:
    code = (
        "import sys, atexit\n"
        "names = {'tomllib', 'tomlkit', 'keyring', 'lollms_core.settings', 'lollms_core.settings.keys'}\n"
        "atexit.register(lambda: print('IMPORTED', *sorted(names & set(sys.modules))))\n"
        "from lollms_core.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "IMPORTED"


def test_using_a_profile_imports_neither_keyring_nor_tomlkit(filled: Path, bindings: Path) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('IMPORTED', *sorted({'tomlkit', 'keyring'} & set(sys.modules))))\n"
        "from lollms_core.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "generate", "--bindings-dir", str(bindings), "hi"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert '"temperature": 0.2' in done.stdout
    assert done.stdout.splitlines()[-1] == "IMPORTED"


@pytest.mark.parametrize(
    ("group", "commands"), [("profiles", "list show set unset remove default"), ("keys", "list set remove path")]
)
def test_every_command_has_help(lollms: Lollms, config: Path, group: str, commands: str) -> None:
    whole = lollms(group, "--help").stdout
    assert f"\n    lollms {group} set" in whole  # an example on a line of its own
    for command in commands.split():
        assert command in whole
        result = lollms(group, command, "-h")
        assert (result.exit_code, result.stdout.startswith(f"Usage: lollms {group} {command}")) == (0, True)

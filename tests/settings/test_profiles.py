"""`config.toml` read: what it may say, and one clear line for everything else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lollms_core.errors import SettingsError
from lollms_core.settings.profiles import FIELDS, LARGEST, Profile, Settings, config_path, parse_settings, read_settings

WHOLE = """
default = "local"

[profiles.local]
binding = "llamacpp"
model = "smollm2"
system = "Be brief."
key = "work"

[profiles.local.options]
temperature = 0.2
stop = ["A", "B"]
logit_bias = { "7" = -1.0 }

[profiles.bare]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(file: Path, text: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return read_settings(file)


def test_a_whole_file(file: Path) -> None:
    found = read(file, WHOLE)
    assert found.default == "local"
    assert list(found.profiles) == ["local", "bare"]
    options = {"temperature": 0.2, "stop": ["A", "B"], "logit_bias": {"7": -1.0}}
    assert found.profile("local") == Profile("local", "llamacpp", "smollm2", "Be brief.", "work", options)
    assert found.profile("bare") == Profile("bare")
    with pytest.raises(TypeError):
        found.profile("local").options["temperature"] = 1  # type: ignore[index]


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf# nothing\r\n"])
def test_a_file_that_says_nothing(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert read_settings(file) == Settings(file)


def test_a_missing_file_says_nothing(file: Path) -> None:
    assert read_settings(file) == Settings(file)
    assert not file.exists()


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOLLMS_CONFIG", str(tmp_path / "mine.toml"))
    assert config_path() == tmp_path / "mine.toml"
    monkeypatch.setenv("LOLLMS_CONFIG", "")
    assert (config_path().parent.name, config_path().name) == ("lollms", "config.toml")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("default = \n", 1, 11),
        ('default = "a"\n[profiles.a\n', 2, 12),
        ('a = "one', 1, 9),
        ('# ä\nx = "ä" y', 2, 9),
        ("a = 1\na = 2\n", 2, 6),
        ("a = '''\nnever closed\n", 3, 1),
    ],
)
def test_broken_toml_is_told_with_line_and_column(file: Path, text: str, line: int, column: int) -> None:
    with pytest.raises(SettingsError) as caught:
        read(file, text)
    assert str(caught.value).startswith(f"{file}, line {line}, column {column}: ")


def test_a_byte_that_is_no_text_is_told_with_its_place(file: Path) -> None:
    file.write_bytes("# ä\n# é\xff".encode("latin-1").replace(b"\xe4", "ä".encode()))
    with pytest.raises(SettingsError, match="line 2, column 3: a byte that is not UTF-8"):
        read_settings(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defualt = 'a'", "defualt is not known. Did you mean default?"),
        ("[profile.a]", "profile is not known. Did you mean profiles?"),
        ("default = 3", "default must be a text"),
        ("profiles = 3", "profiles must be a table"),
        ("[profiles]\na = 3", "profiles.a must be a table, [profiles.a]"),
        ("[profiles.a]\nbindin = 'x'", "profiles.a.bindin is not known. Did you mean binding?"),
        ("[profiles.a]\nbinding = 3", "profiles.a.binding must be a text"),
        ("[profiles.a]\nbinding = ' '", "profiles.a.binding is empty"),
        ("[profiles.a]\ntemperature = 3", "belongs into the table [profiles.a.options]"),
        ("[profiles.a]\nsystem_prompt = 'x'", "profiles.a.system_prompt is not known. Did you mean system"),
        ("[profiles.a]\noptions = 3", "profiles.a.options must be a table"),
        ("[profiles.a.options]\nmodel = 'x'", "profiles.a.options.model is no option: use profiles.a.model"),
        ("[profiles.a.options]\nservice_key = 'x'", "lollms keys set NAME"),
        ("[profiles.a.options]\nstream = true", "--no-stream"),
        ("[profiles.a.options]\nt = 2020-01-01", "profiles.a.options.t must be a text, a number"),
        ("[profiles.a.options]\nt = [1, {u = 10:00:00}]", "profiles.a.options.t.u must be"),
        ("[profiles.a]\nkey = 'two words'", "profiles.a.key: a key's name"),
        ('[profiles."a b\\n"]\nx = 1', "profiles.'a b\\n'.x is not known"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("[profiles.a.options]\n" + ".".join("a" * 500) + " = 1", "nested too deeply"),
        ("a = " + "9" * 5000, "cannot be read"),
        ("x" * 5000 + " = 1", "is not known"),
    ],
)
def test_what_cannot_be_is_one_clear_line(file: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(file, text)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 600


def test_a_key_in_the_place_of_its_name_is_not_repeated(file: Path) -> None:
    with pytest.raises(SettingsError, match="looks like a key") as caught:
        read(file, "[profiles.a]\nkey = 'sk-0123456789abcdef'")
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize(("name", "said"), [("locl", "Did you mean local?"), ("xyz", "lollms profiles list")])
def test_a_profile_that_is_not_there(file: Path, name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"there is no profile '{name}'") as caught:
        read(file, WHOLE).profile(name)
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path, file: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)
    file.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(SettingsError, match="larger than"):
        read_settings(file)


@pytest.mark.skipif(sys.platform == "win32" or not Path("/dev/zero").exists(), reason="a file without end")
def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(SettingsError, match="larger than"):
        read_settings(Path("/dev/zero"))


# Anything at all ----------------------------------------------------------------------------------------

many = settings(
    max_examples=2000 if os.environ.get("LOLLMS_FAULTS") else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WORDS = ("default", "profiles", "local", "options", "stop", "temperature", "service_key", *FIELDS)
NAMES = st.sampled_from(WORDS) | st.text(max_size=5)
SCALARS = st.text(max_size=8) | st.integers() | st.floats() | st.booleans() | st.dates() | st.times() | st.datetimes()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
PIECES = st.sampled_from(
    [*WORDS, "[", "]", "[[", "]]", "=", ".", '"', "'", '"""', "'''", "{", "}", ",", "#", "\n", "\r\n", "\\", "1", " "]
)


def settings_or_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        found = read_settings(file)
    except SettingsError as error:
        said = str(error)
        assert said.startswith(str(file))
        assert "\n" not in said
        assert len(said) <= 600
    else:
        assert all(isinstance(profile, Profile) for profile in found.profiles.values())


@pytest.mark.faults
@many
@given(content=st.binary(max_size=60) | st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode()))
def test_any_bytes_are_settings_or_one_line(file: Path, content: bytes) -> None:
    settings_or_one_line(file, content)


@pytest.mark.faults
@many
@given(profiles=st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=5), max_size=3), more=VALUES, name=NAMES)
def test_any_toml_is_settings_or_one_line(file: Path, profiles: dict[str, Any], more: object, name: str) -> None:
    data = {"profiles": profiles, name: more}
    settings_or_one_line(file, tomlkit.dumps(data).encode())


@pytest.mark.faults
@many
@given(data=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_data_is_settings_or_one_line(data: dict[str, Any]) -> None:
    path = Path("config.toml")
    said = ""
    try:
        parse_settings(data, path)
    except SettingsError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) <= 600

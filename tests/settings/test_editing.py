"""`config.toml` edited: what was not changed stays as it stood, and a broken file stays whole."""

from __future__ import annotations

import errno
import os
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lollms_core.errors import SettingsError
from lollms_core.settings import editing
from lollms_core.settings.editing import REMOVED, Place, change_settings

LOCAL = ("profiles", "local")
MINE = """\
# settings of mine

default = "local"  # what I use

# the local one
[profiles.local] # here
binding = "llamacpp"   # fast
# model = "other"

[profiles.local.options]
temperature = 0.20

# my work
[profiles.work]
binding = 'openai'

# the end
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def change(file: Path, text: str, changes: dict[Place, Any]) -> str:
    file.write_text(text, encoding="utf-8", newline="")
    change_settings(file, changes)
    return file.read_bytes().decode()


def test_a_new_file(tmp_path: Path) -> None:
    """Its folder is made, and it is its user's alone."""
    file = tmp_path / "folder" / "config.toml"
    found = change_settings(
        file, {("default",): "local", (*LOCAL, "binding"): "llamacpp", (*LOCAL, "options", "temperature"): 0.2}
    )
    assert file.read_text() == (
        'default = "local"\n\n[profiles.local]\nbinding = "llamacpp"\n\n[profiles.local.options]\ntemperature = 0.2\n'
    )
    assert found.profile("local").options == {"temperature": 0.2}
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({("default",): "work"}, 'default = "local"', 'default = "work"'),
        ({(*LOCAL, "binding"): "ollama"}, '"llamacpp"', '"ollama"'),
        ({(*LOCAL, "model"): "m"}, '# model = "other"\n', '# model = "other"\nmodel = "m"\n'),
        ({(*LOCAL, "options", "seed"): 7}, "0.20\n", "0.20\nseed = 7\n"),
        ({(*LOCAL, "options", "temperature"): REMOVED}, "temperature = 0.20\n", ""),
        ({(*LOCAL, "options"): REMOVED}, "[profiles.local.options]\ntemperature = 0.20\n", ""),
        (
            {("profiles", "work", "options", "seed"): 7},
            "'openai'\n",
            "'openai'\n\n[profiles.work.options]\nseed = 7\n",
        ),
        ({("profiles", "new", "binding"): "b"}, "# the end\n", '# the end\n\n[profiles.new]\nbinding = "b"\n'),
        ({("profiles", "a b", "binding"): "b"}, "# the end\n", '# the end\n\n[profiles."a b"]\nbinding = "b"\n'),
        ({("profiles", "work"): REMOVED}, "[profiles.work]\nbinding = 'openai'\n", ""),
        ({("profiles", "none"): REMOVED}, "", ""),
        ({("profiles", "none", "options", "x"): REMOVED}, "", ""),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_what_is_changed_changes(file: Path, changes: dict[Place, Any], old: str, new: str, newline: str) -> None:
    """Every other byte stays, whatever the ends of lines."""
    expected = MINE.replace(old, new, 1).replace("\n", newline)
    assert change(file, MINE.replace("\n", newline), changes) == expected


def test_a_comment_above_a_table_stays_with_it(file: Path) -> None:
    """Though the table before it goes."""
    text = change(file, MINE, {LOCAL: REMOVED, ("default",): REMOVED})
    assert "# my work\n[profiles.work]" in text
    assert "# the end\n" in text


def test_the_last_of_everything_can_be_removed(file: Path) -> None:
    text = '# mine\n\n[profiles.a]\nbinding = "x"\n\n[profiles.a.options]\nt = 1\n'
    assert change(file, text, {("profiles", "a", "options", "t"): REMOVED}) == text.replace("t = 1\n", "")
    assert change(file, text, {("profiles", "a"): REMOVED}).strip() == "# mine"


@pytest.mark.parametrize(
    "text",
    [
        'profiles.local.binding = "x" # c\n',
        'profiles = {local = {binding = "x"}} # c\n',
        '[profiles]\nlocal = {binding = "x"} # c\n',
        '[profiles.local]\nbinding = "x"\n[profiles.b]\nbinding = "y" # c\n[profiles.local.options]\nt = 1\n',
        '[profiles.local]\nsystem = """\n[profiles.b]\n# no comment\n""" # c\n',
        "[profiles.local]\noptions = {t = 1} # c",
        '[ profiles . "local" ] # c',
        "[profiles.b.options] # c\n[profiles.local]",
    ],
)
@pytest.mark.parametrize(
    "changes",
    [
        {("default",): "local"},
        {(*LOCAL, "model"): "m"},
        {(*LOCAL, "options", "t"): 2},
        {("profiles", "b", "model"): "n"},
        {LOCAL: REMOVED},
        {("profiles", "b"): REMOVED},
        {(*LOCAL, "options"): REMOVED},
    ],
)
def test_other_layouts_are_edited_right_or_not_at_all(file: Path, text: str, changes: dict[Place, Any]) -> None:
    file.write_text(text)
    wanted = _applied(tomllib.loads(text), changes)
    try:
        change_settings(file, changes)
    except SettingsError as error:
        assert "edit it by hand" in str(error)  # noqa: PT017
        assert file.read_text() == text
    else:
        found = tomllib.loads(file.read_text())
        assert _meant(found) == _meant(wanted)


def _meant(data: dict[str, Any]) -> dict[str, Any]:
    """Without empty tables, which say nothing, but for a profile's own."""
    profiles = {name: {k: v for k, v in one.items() if v != {}} for name, one in data.pop("profiles", {}).items()}
    return data | ({"profiles": profiles} if profiles else {})


def _applied(data: dict[str, Any], changes: dict[Place, Any]) -> dict[str, Any]:
    for (*way, last), value in changes.items():
        table = data
        for name in way:
            if value is REMOVED and name not in table:
                break
            table = table.setdefault(name, {})
        else:
            table[last] = value
            if value is REMOVED:
                del table[last]
    return data


@pytest.mark.parametrize("text", ["default = ", "[profiles.a]\nbindin = 1", "\x00", "profiles = 3"])
def test_a_file_that_cannot_be_used_is_not_overwritten(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"config\.toml"):
        change_settings(file, {("default",): "a"})
    assert file.read_text() == text


@pytest.mark.parametrize(
    "changes",
    [{(*LOCAL, "binding"): ""}, {(*LOCAL, "binding"): 3}, {(*LOCAL, "system"): "\udcff"}, {("defult",): "a"}],
)
def test_a_change_that_would_break_it_is_refused(file: Path, changes: dict[Place, Any]) -> None:
    file.write_text(MINE)
    with pytest.raises(SettingsError, match=r"config\.toml"):
        change_settings(file, changes)
    assert file.read_text() == MINE


def test_a_full_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as before, and nothing lies beside it."""
    file.write_text(MINE)

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        change_settings(file, {("default",): "work"})
    assert file.read_text() == MINE
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")
def test_mode_and_link_stay(tmp_path: Path, file: Path) -> None:
    real = tmp_path / "dotfiles" / "lollms.toml"
    real.parent.mkdir()
    real.write_text(MINE)
    real.chmod(0o640)
    file.symlink_to(real)
    change_settings(file, {("default",): "work"})
    assert file.is_symlink()
    assert 'default = "work"' in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


def test_nothing_to_change_writes_nothing(file: Path) -> None:
    file.write_text(MINE)
    before = file.stat()
    change_settings(file, {("default",): "local"})
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert file.stat().st_ino == before.st_ino


def test_what_another_program_writes_meanwhile_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(MINE)
    changed = editing._changed
    others = iter(["# theirs\n"])

    def meanwhile(*arguments: Any) -> Any:
        result = changed(*arguments)
        for other in others:
            file.write_text(file.read_text() + other)
            break
        return result

    monkeypatch.setattr(editing, "_changed", meanwhile)
    change_settings(file, {("default",): "work"})
    assert file.read_text() == MINE.replace('"local"', '"work"', 1) + "# theirs\n"


def test_without_tomlkit_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    with pytest.raises(SettingsError, match=r'pip install "lollms-core\[cli\]"'):
        change_settings(file, {("default",): "a"})
    assert not file.exists()


# Any file, any change -----------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "two words", "ä", 'q"'])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(str.strip)
COMMENTS = ["# one", "  # two", ""]
FIELDS = ['binding = "x" # bound', "model = '#m'", 'system = """\n[profiles.b]\n# three"""', 'key="k"', *COMMENTS]
OPTIONS = ["temperature = 1", "stop = ['#', # a\n  '[']", '"x" = { y = 1 }', *COMMENTS]


def section(head: str, lines: list[str]) -> st.SearchStrategy[str]:
    """A table with some of `lines` below its head."""
    return st.lists(st.sampled_from(lines), unique=True, max_size=5).map(lambda some: "\n".join([head, *some]))


PROFILES = ("[profiles.a]", "[profiles.b] # b", '[ profiles . "two words" ]', "[profiles]\n[profiles.c]")
TABLES = ("[profiles.a.options]", "[profiles.b.options]", '[profiles."two words".options]', "[profiles.d.options]")
SECTIONS = [section(head, FIELDS) for head in PROFILES] + [section(head, OPTIONS) for head in TABLES]
TOP = section("", ['default = "a" # mine', *COMMENTS])
ODD = st.sampled_from(["profiles.a.binding = 'x'", "profiles = {a = {}}", "[[profiles]]", 'x = """', "[profiles"])
FILES = st.tuples(TOP, st.lists(st.sampled_from(range(len(SECTIONS))), unique=True)).flatmap(
    lambda drawn: st.tuples(st.just(drawn[0]), *(SECTIONS[index] for index in drawn[1])).map("\n".join)
) | st.lists(ODD | st.sampled_from([*FIELDS, *OPTIONS, *PROFILES]), max_size=6).map("\n".join)
CHANGES = st.dictionaries(
    st.tuples(st.just("profiles"), NAMES, st.sampled_from(["binding", "model", "system"]))
    | st.tuples(st.just("profiles"), NAMES, st.just("options"), st.sampled_from(["stop", "x"]))
    | st.just(("default",)),
    TEXTS | st.just(REMOVED),
    max_size=3,
)


@pytest.mark.faults
@settings(
    max_examples=2000 if os.environ.get("LOLLMS_FAULTS") else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(text=FILES, changes=CHANGES)
def test_any_file_says_what_it_said_and_the_changes_or_is_as_before(
    file: Path, text: str, changes: dict[Place, Any]
) -> None:
    """Its comments stay too, but for one behind a value that was taken out."""
    file.write_text(text, encoding="utf-8")
    try:
        change_settings(file, changes)
    except SettingsError:
        assert file.read_bytes() == text.encode()
        return
    after = file.read_bytes().decode()
    assert _meant(tomllib.loads(after)) == _meant(_applied(tomllib.loads(text), changes))
    for comment in ("# one", "# two"):
        assert after.count(comment) >= text.count(comment)

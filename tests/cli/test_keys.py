"""`lollms keys`, and the way of a key to its binding: nothing that anybody sees shows it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import Result
from keyrings import MemoryKeyring, in_use

from .conftest import GROUP, Lollms, Program

KEY = "sk-a-key-of-many-characters-1234"
OTHER = "another-key-of-many-characters-5678"

ACME = '''
import json, logging, os
from pathlib import Path
from typing import Literal

from lollms_core import BackendError, Capability, EventBinding, Finish, TextDelta

BindingName = "Acme"


class Acme(EventBinding):
    """Notes the key that it was given, and is careless with it."""

    capabilities = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM})
    uses = frozenset({"model"})

    def __init__(self, host_address=None, service_key=None, model_name=None, **defaults):
        super().__init__("acme", **defaults)
        self.model_name = model_name
        self.key = service_key
        Path(os.environ["MARK"]).write_text(str(service_key))
        if model_name == "refuse":
            raise ValueError(f"bad key {service_key}")

    @classmethod
    def unconfigured(cls):
        return "remote" if os.environ.get("ACME_API_KEY") else None

    def _events(self, request):
        if self.model_name == "fail":
            raise BackendError(f"the server says: {self.key} is not welcome")
        logging.getLogger("acme").warning("the key is %s", self.key)
        yield TextDelta("done")
        yield Finish()

    def listModels(self):
        return [{"model_name": "m", "error": f"not for {self.key}"}]
'''


Given = Callable[..., str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, bindings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of settings."""
    (bindings / "acme").mkdir()
    (bindings / "acme" / "__init__.py").write_text(ACME)
    folder = tmp_path / "settings"
    monkeypatch.setenv("LOLLMS_CONFIG", str(folder / "config.toml"))
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    monkeypatch.delenv("ACME_API_KEY", raising=False)
    return folder


@pytest.fixture
def lollms(lollms: Lollms) -> Lollms:
    """As everywhere, and it shows no key, whatever it does."""

    def run(*arguments: str, piped: str = "") -> Result:
        result = lollms(*arguments, piped=piped)
        assert KEY not in result.output
        assert OTHER not in result.output
        return result

    return run


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    backend = MemoryKeyring()
    with in_use(backend):
        yield backend


@pytest.fixture
def given(lollms: Lollms, bindings: Path, tmp_path: Path) -> Given:
    """Runs generate, and gives the key that the binding got."""

    def run(*arguments: str) -> str:
        result = lollms("generate", "--bindings-dir", str(bindings), *arguments, "hi")
        assert result.exit_code == 0, result.stderr
        return (tmp_path / "mark").read_text()

    return run


# The command --------------------------------------------------------------------------------------------


def test_a_key_is_piped_in_listed_and_removed(lollms: Lollms, folder: Path) -> None:
    result = lollms("keys", "set", "work", piped=f"{KEY}\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert str(folder / "keys.json") in result.stderr
    assert lollms("keys", "path").stdout == f"{folder / 'keys.json'}\n"
    listing = lollms("keys").stdout
    assert listing == lollms("keys", "list").stdout
    assert [line.split() for line in listing.splitlines()] == [
        ["NAME", "KEY", "WHERE", "VARIABLE"],
        ["work", "***1234", "file", "LOLLMS_KEY_WORK"],
    ]
    assert '"key": "***1234"' in lollms("keys", "list", "--json").stdout
    assert lollms("keys", "remove", "work").exit_code == 0
    assert "no keys are kept" in lollms("keys", "list").stderr


def test_a_key_goes_to_the_keyring(lollms: Lollms, folder: Path, ring: MemoryKeyring) -> None:
    assert "in the system keyring" in lollms("keys", "set", "work", piped=KEY).stderr
    assert ring.kept == {("lollms", "work"): KEY}
    assert KEY not in (folder / "keys.json").read_text()
    assert "***" in lollms("keys", "list").stdout
    assert "from the system keyring" in lollms("keys", "remove", "work").stderr
    assert lollms("keys", "set", "work", "--file", piped=KEY).exit_code == 0
    assert ring.kept == {}


def test_a_variable_that_comes_first_is_told(lollms: Lollms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOLLMS_KEY_WORK", OTHER)
    assert "LOLLMS_KEY_WORK is set, and comes first" in lollms("keys", "set", "work", piped=KEY).stderr
    assert "environment" in lollms("keys").stdout


@pytest.mark.parametrize(
    ("arguments", "piped", "said"),
    [
        (["set", "work"], "", "there is no key"),
        (["set", "work"], " \n", "there is no key"),
        (["set", "work"], "two\nlines", "characters that no key has"),
        (["set", "work", KEY], "", "never given as an argument"),
        (["set", "work", KEY], OTHER, "never given as an argument"),
        (["set", KEY], "", "looks like a key"),
        (["set", "two words"], KEY, "a key's name"),
        (["set"], KEY, "NAME"),
        ([KEY], "", "no command"),
        (["remove", "work"], "", "there is no key 'work'"),
        (["remove", KEY], "", "looks like a key"),
        (["lst"], "", "Did you mean list"),
    ],
)
def test_misuse_is_one_line(lollms: Lollms, folder: Path, arguments: list[str], piped: str, said: str) -> None:
    result = lollms("keys", *arguments, piped=piped)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert not folder.exists()


def test_a_full_disk_is_one_line(lollms: Lollms, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lollms("keys", "set", "work", piped=KEY)
    before = (folder / "keys.json").read_bytes()

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    result = lollms("keys", "set", "home", piped=OTHER)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert (folder / "keys.json").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_file_that_others_may_read_is_refused(lollms: Lollms, given: Given, folder: Path, bindings: Path) -> None:
    """Where a key is asked for; a binding that may need none is told and goes on."""
    lollms("keys", "set", "acme", piped=KEY)
    lollms("profiles", "set", "a", "-b", "acme", "--key", "acme", "--bindings-dir", str(bindings))
    file = folder / "keys.json"
    file.chmod(0o644)
    for arguments in (["keys"], ["generate", "--bindings-dir", str(bindings), "-p", "a", "hi"]):
        result = lollms(*arguments)
        assert result.exit_code == 1
        assert f"chmod 600 {file}" in result.stderr
    assert given("-b", "acme") == "None"


def test_what_is_piped_in_is_no_text(program: Program) -> None:
    import subprocess

    process = program("keys", "set", "work", stdin=subprocess.PIPE)
    _, err = process.communicate(KEY.encode() + b"\xff", timeout=60)
    assert (process.returncode, err.count(b"\n")) == (1, 1)
    assert b"it is not text" in err


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_a_key_typed_at_the_prompt_is_not_shown(folder: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOLLMS_KEY_")}
    child = pexpect.spawn(sys.executable, ["-m", "lollms_core", "keys", "set", "work"], env=environment, timeout=30)
    try:
        child.expect("Key work: ")
        child.waitnoecho()
        child.sendline(KEY)
        child.expect(pexpect.EOF)
        assert KEY.encode() not in child.before
    finally:
        child.close()
    assert child.exitstatus == 0
    assert KEY in (folder / "keys.json").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_ctrl_c_at_the_prompt_keeps_nothing(folder: Path) -> None:
    pytest.importorskip("pexpect")
    from user_terminal import CTRL_C, UserTerminal

    with UserTerminal([sys.executable, "-m", "lollms_core", "keys", "set", "work"], os.environ) as terminal:
        terminal.see("Key work:")
        assert not terminal.echoes()
        terminal.type(CTRL_C)
        assert terminal.left() == 130
        assert "Traceback" not in terminal.text
    assert not folder.exists()


# Its way to the binding -----------------------------------------------------------------------------------


def test_a_profile_names_the_key(lollms: Lollms, given: Given, bindings: Path) -> None:
    result = lollms("profiles", "set", "a", "-b", "acme", "--key", "work", "--bindings-dir", str(bindings))
    assert "the key 'work' is not set yet: lollms keys set work" in result.stderr
    lollms("keys", "set", "work", piped=KEY)
    assert given("-p", "a") == KEY
    assert given("-b", "acme") == "None"


def test_a_key_of_the_bindings_name_is_its_own(
    lollms: Lollms, given: Given, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    lollms("keys", "set", "acme", piped=KEY)
    assert given("-b", "acme") == KEY
    monkeypatch.setenv("LOLLMS_KEY_ACME", OTHER)
    assert given("-b", "acme") == OTHER
    assert given("-b", "acme", "-o", "service_key=mine") == "mine"


def test_a_variable_of_the_bindings_own_comes_before_a_stored_key(
    lollms: Lollms, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    lollms("keys", "set", "acme", piped=KEY)
    monkeypatch.setenv("ACME_API_KEY", "x")
    assert given("-b", "acme") == "None"
    monkeypatch.setenv("LOLLMS_KEY_ACME", OTHER)
    assert given("-b", "acme") == OTHER


def test_the_bindings_own_key_is_not_sent_to_another_address(lollms: Lollms, given: Given) -> None:
    lollms("keys", "set", "acme", piped=KEY)
    assert given("-b", "acme", "-o", "host_address=http://elsewhere") == "None"


def test_a_binding_without_keys_is_left_alone(lollms: Lollms, bindings: Path) -> None:
    lollms("keys", "set", "closed", piped=KEY)
    arguments = ["--bindings-dir", str(bindings), "-b", "closed", "-m", "new", "-o", "model_identifier=x"]
    assert lollms("generate", *arguments, "hi").exit_code == 0


@pytest.mark.parametrize("how", ["-m m", "-m fail", "-m fail --json", "-m refuse", "-m fail --no-stream"])
def test_a_careless_binding_shows_no_key(lollms: Lollms, bindings: Path, how: str) -> None:
    """In errors, in JSON, and in what it logs; the fixture looks for it."""
    lollms("keys", "set", "acme", piped=KEY)
    result = lollms("generate", "--bindings-dir", str(bindings), "-b", "acme", *how.split(), "hi")
    assert "***" in result.output


def test_nor_does_its_list_of_models(lollms: Lollms, bindings: Path) -> None:
    lollms("keys", "set", "acme", piped=KEY)
    for how in ([], ["--json"]):
        assert "***" in lollms("models", "--bindings-dir", str(bindings), "-b", "acme", *how).stdout


def test_with_nothing_configured_a_service_whose_key_is_kept_is_chosen(
    lollms: Lollms, installed: Callable[..., Path], tmp_path: Path
) -> None:
    installed("acme", f"[{GROUP}]\nacme = acme_binding:Acme\n", acme_binding=ACME)
    result = lollms("generate", "hi")
    assert (result.exit_code, "no binding was named" in result.stderr) == (1, True)
    lollms("keys", "set", "acme", piped=KEY)
    result = lollms("generate", "hi")
    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert "using acme" in result.stderr
    assert (tmp_path / "mark").read_text() == KEY

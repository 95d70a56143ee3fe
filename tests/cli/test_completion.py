"""Completing a line of `lollms`: what is offered, and in bash, zsh and fish themselves, that it arrives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from lollms_core.cli.app import COMMANDS
from lollms_core.cli.model_cache import cache_file, remember, remembered
from lollms_core.cli.options import complete_profiles

from .conftest import Lollms

SECONDS = 60
BREAKS = " \t\n\"'><=;|&(:"
"""Bash's own COMP_WORDBREAKS."""

Complete = Callable[[str], list[str]]
Installed = Callable[..., Path]


def in_shell(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


@pytest.fixture
def complete(bindings: Path, tmp_path: Path) -> Complete:
    """What bash is offered for a line with the cursor at its end; `bindings` is the user's own folder."""
    (tmp_path / "config" / "lollms").mkdir(parents=True)
    bindings.rename(tmp_path / "config" / "lollms" / "llm_bindings")

    def run(line: str) -> list[str]:
        asked = {"_LOLLMS_COMPLETE": "bash_complete", "COMP_LINE": line, "COMP_BREAKS": BREAKS}
        done = subprocess.run(
            [sys.executable, "-m", "lollms_core"],
            env=os.environ | asked,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.stderr == ""
        assert done.returncode in (0, 1)  # 1 where there is nothing that could be completed
        return [item.removeprefix("plain,") for item in done.stdout.splitlines() if item]

    return run


# What is offered ----------------------------------------------------------------------------------------


def test_commands_and_options(complete: Complete, installed: Installed) -> None:
    """Those of other packages too, of which nothing is imported."""
    installed("acme", "[lollms.commands]\nacme = acme_all:command\n", acme_all="print('imported'); 1 / 0")
    assert complete("lollms ") == [*COMMANDS, "acme"]
    assert complete("lollms gen") == ["generate"]
    assert complete("lollms --no") == ["--no-plugins"]
    assert "acme" not in complete("lollms --no-plugins ")
    assert {"--binding", "--image"} <= set(complete("lollms generate -"))
    assert complete("lollms completion ") == ["bash", "zsh", "fish"]
    assert "imported" not in complete("lollms acme ")


def test_bindings(complete: Complete, installed: Installed, tmp_path: Path) -> None:
    """Those that are installed, and those of the folder on the line; none of them is imported."""
    installed("acme", "[lollms.llm_bindings]\nacme = acme_all:X\n", acme_all="print('imported'); 1 / 0")
    assert complete("lollms generate -b ") == ["acme", "closed", "talker"]
    assert complete("lollms models --binding t") == ["talker"]
    assert complete("lollms check c") == ["closed"]
    assert complete("lollms --no-plugins generate -b ") == []
    (tmp_path / "others").mkdir()
    assert complete(f"lollms generate --bindings-dir {tmp_path / 'others'} -b ") == ["acme"]
    assert complete("lollms generate --bindings-dir /nowhere -b ") == []


def test_models_that_were_listed_before(complete: Complete) -> None:
    """Of the binding on the line, else of all; bash replaces only what follows the last of its word breaks."""
    remember({"talker": ["qwen3:4b", "qwen3:8b", "my model.gguf"], "closed": ["old"]})
    assert complete("lollms generate -b closed -m ") == ["old"]
    assert complete("lollms generate -m o") == ["old"]
    assert complete("lollms generate -b talker -m q") == ["qwen3:4b", "qwen3:8b"]
    assert complete("lollms generate -b talker -m qwen3:") == ["4b", "8b"]
    assert complete("lollms generate -b talker --model=qwen3:8") == ["8b"]
    assert complete('lollms generate -b talker -m "qwen3:8') == ["qwen3:8b"]
    assert complete("lollms generate -b talker -m m") == ["my\\ model.gguf"]
    assert complete('lollms generate -b talker -m "my m') == ["my model.gguf"]


def test_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names, from the configuration file, for the option that takes one."""
    file = tmp_path / "config.toml"
    file.write_text('default = "local"\n[profiles.local]\nbinding = "talker"\n[profiles.loud]\n[profiles.other]\n')
    monkeypatch.setenv("LOLLMS_CONFIG", str(file))
    option = click.Option(["-p", "--profile"], shell_complete=complete_profiles)
    command = click.Command("use", params=[option])
    found = option.shell_complete(click.Context(command), "lo")
    assert [item.value for item in found] == ["local", "loud"]
    file.write_text("profiles = 3\n")
    assert option.shell_complete(click.Context(command), "lo") == []


@pytest.mark.parametrize("line", ["lollms 'open", "lollms generate -b \\", "lollms nothing ", "", "lollms -- "])
def test_odd_lines_do_no_harm(complete: Complete, line: str) -> None:
    assert isinstance(complete(line), list)


@pytest.mark.parametrize(
    "content", ["", "[", "[]", "{}", '{"format": 1, "models": [1]}', '{"format": 1, "models": {"talker": [1, {}]}}']
)
def test_a_damaged_file_of_names_offers_none(complete: Complete, content: str) -> None:
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(content)
    assert complete("lollms generate -b talker -m ") == []
    remember({"talker": ["a"]})
    assert complete("lollms generate -b talker -m ") == ["a"]


def test_names_that_could_write_to_the_terminal_are_left_out(complete: Complete) -> None:
    remember({"talker": ["good", "bad\x1b[31m", "worse\nplain,x"]})
    assert complete("lollms generate -m ") == ["good"]


# Keeping names ------------------------------------------------------------------------------------------


def test_listing_keeps_the_names_that_can_be_used(lollms: Lollms, bindings: Path) -> None:
    """What was known of other bindings stays."""
    remember({"acme": ["x"], "talker": ["gone"]})
    lollms("models", "--bindings-dir", str(bindings))
    assert remembered() == {"acme": ["x"], "talker": ["echo"]}


def test_a_cache_that_cannot_be_written_is_no_error(
    lollms: Lollms, bindings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    remember({"talker": ["before"]})
    monkeypatch.setattr("lollms_core.files.write_whole", full)
    result = lollms("models", "-b", "talker", "--bindings-dir", str(bindings), "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)[0]["model_name"] == "echo"
    assert remembered() == {"talker": ["before"]}


def test_nothing_listed_leaves_no_file(lollms: Lollms, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lollms("models", "--bindings-dir", str(tmp_path / "empty"))
    assert not cache_file().exists()


# In the shells ------------------------------------------------------------------------------------------


@pytest.fixture
def on_path(complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `lollms` on the path, with names of models at hand."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "lollms"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lollms_core "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), os.environ["PATH"])))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    remember({"talker": ["qwen3:4b-long-name", "other"]})


@pytest.fixture
def spawn(on_path: None) -> Iterator[Callable[..., Any]]:
    """Starts an interactive shell in a terminal."""
    pexpect = pytest.importorskip("pexpect")
    started = []

    def start(*command: str) -> Any:
        shell = pexpect.spawn(command[0], list(command[1:]), encoding="utf-8", timeout=SECONDS, dimensions=(24, 120))
        started.append(shell)
        return shell

    yield start
    for shell in started:
        shell.close(force=True)


def typed(shell: Any, line: str, whole: str) -> None:
    """Type `line` and a tab; wait for the line to be `whole`, then take it away."""
    shell.send(line + "\t")
    shell.expect_exact(whole.removeprefix(line))
    shell.sendcontrol("u")


@in_shell("bash")
def test_in_bash(spawn: Callable[..., Any]) -> None:
    shell = spawn("bash", "--norc", "--noprofile", "-i")
    shell.sendline("bind 'set enable-bracketed-paste off'; PS1='ready''> '; eval \"$(lollms completion bash)\"")
    shell.expect_exact("ready> ")
    typed(shell, "lollms gen", "lollms generate ")
    typed(shell, "lollms generate -b tal", "lollms generate -b talker ")
    typed(
        shell, "echo x | lollms generate -b talker -m qw", "echo x | lollms generate -b talker -m qwen3:4b-long-name "
    )
    typed(shell, "lollms generate -m qwen3:4b-", "lollms generate -m qwen3:4b-long-name ")
    # What stands on the line in the end is what runs.
    shell.send("echo lollms generate -m qwen3:\b\b\b\b\b\b")
    shell.sendcontrol("u")
    shell.send("lollms check talk\t--only no_such\n")
    shell.expect_exact("lollms: ")
    shell.expect_exact("no_such")


@in_shell("zsh")
def test_in_zsh(spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shell = spawn("zsh", "-f", "-i")
    shell.sendline("unsetopt zle_bracketed_paste; autoload -U compinit && compinit -u -D; PROMPT='ready''> '")
    shell.expect_exact("ready> ")
    shell.sendline('eval "$(lollms completion zsh)"; echo do""ne')
    shell.expect_exact("done")
    typed(shell, "lollms gen", "lollms generate ")
    typed(shell, "lollms generate -b tal", "lollms generate -b talker ")
    typed(shell, "lollms generate -m qwen3:4", "lollms generate -m qwen3:4b-long-name ")


@in_shell("fish")
def test_in_fish(on_path: None) -> None:
    """Fish completes a line without a terminal, too."""

    def offered(line: str) -> list[str]:
        code = f"lollms completion fish | source; complete -C '{line}'"
        done = subprocess.run(
            [str(shutil.which("fish")), "--no-config", "-c", code],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        return [item.partition("\t")[0] for item in done.stdout.splitlines()]

    assert offered("lollms gen") == ["generate"]
    assert offered("lollms generate -b tal") == ["talker"]
    assert offered("lollms generate -b talker -m ") == ["other", "qwen3:4b-long-name"]


def test_the_script_says_how_to_install_it(lollms: Lollms) -> None:
    text = lollms("completion", "--help").stdout
    assert all(place in text for place in ("~/.bashrc", "~/.zshrc", "~/.config/fish/completions"))
    assert lollms("completion", "powershell").exit_code == 1

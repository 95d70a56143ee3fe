"""`lollms generate`: text to stdout, all else to stderr, and an exit status that tells."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lollms_core.cli.opening import newest_first

from .conftest import GROUP, TALKER, Lollms

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcffff3f030005fe02fea7"
    "9a815c0000000049454e44ae426082"
)


@pytest.fixture
def generate(lollms: Lollms, bindings: Path) -> Lollms:
    return lambda *arguments, **options: lollms("generate", "--bindings-dir", str(bindings), *arguments, **options)


def test_the_answer_is_the_output(generate: Lollms) -> None:
    result = generate("-b", "talker", "-m", "echo", "Why is the sky blue?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Why is the sky blue? \n", "")


def test_what_is_piped_in_follows_the_prompt(generate: Lollms) -> None:
    result = generate("-b", "talker", "-m", "echo", "Summarise", piped="a\ntext\n")
    assert result.stdout == "Summarise\n\na\ntext \n"


def test_what_is_piped_in_can_be_the_prompt(generate: Lollms) -> None:
    assert generate("-b", "talker", "-m", "echo", piped="Hello\n").stdout == "Hello \n"


@pytest.mark.parametrize("piped", ["", " \n"])
def test_no_prompt_is_an_error(generate: Lollms, piped: str) -> None:
    result = generate("-b", "talker", piped=piped)
    assert result.exit_code == 1
    assert "there is no prompt" in result.stderr


def test_parameters_options_and_keywords_arrive(generate: Lollms, tmp_path: Path) -> None:
    """Each of them typed as it is declared."""
    image = tmp_path / "dot.png"
    image.write_bytes(PNG)
    options = "temperature=0.2", "n_predict=3", "stop=A", "stop=B", "seed=7", "flavour=sweet", "loudness=4"
    given = [part for option in options for part in ("-o", option)]
    result = generate("-b", "talker", "-m", "show", "-s", "Be brief.", "-i", str(image), *given, "hi")
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "flavour": "sweet",
        "images": 1,
        "options": {"loudness": 4},
        "system_prompt": "Be brief.",
        "stream": True,
        "temperature": 0.2,
        "n_predict": 3,
        "stop": ["A", "B"],
        "seed": 7,
    }


def test_no_stream_asks_for_the_whole_answer(generate: Lollms) -> None:
    result = generate("-b", "talker", "-m", "show", "--no-stream", "hi")
    assert json.loads(result.stdout)["stream"] is False


def test_json_is_one_document(generate: Lollms) -> None:
    document = json.loads(generate("-b", "talker", "-m", "echo", "--json", "hi there").stdout)
    assert document["text"] == "hi there "
    assert document["finish_reason"] == "stop"
    assert (document["binding"], document["model"], document["id"]) == ("talker", "echo-1", "r1")
    assert document["usage"]["prompt_tokens"] == 3
    assert document["timings"]["total"] > 0
    assert {"reasoning", "tool_calls", "parsed", "ignored"} <= document.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-b", "talkr", "hi"], "Did you mean talker?"),
        (["-b", "ollama", "hi"], "pip install lollms-ollama"),
        (["-b", "talker", "-o", "tempratur=1", "hi"], "temperature"),
        (["-b", "closed", "-o", "model_identifer=1", "hi"], "Did you mean model_identifier?"),
        (["-b", "closed", "hi"], "model_identifier"),
        (["-b", "talker", "-o", "temperature=hot", "hi"], "temperature must be a number"),
        (["-b", "talker", "-o", "temperature=-1", "hi"], "temperature must be at least 0"),
        (["-b", "talker", "-o", "temperature=nan", "hi"], "temperature must be a finite number"),
        (["-b", "talker", "-o", "temperature", "hi"], "KEY=VALUE"),
        (["-b", "talker", "-i", "/no/such.png", "hi"], "/no/such.png"),
        (["-b", "talker", "--colour", "hi"], "--colour"),
        (["-b", "talker", "hi", "there"], "there"),
        (["-b"], "-b"),
        (["-b", "closed", "-m", "new", "-o", "model_identifier=x", "-i", "/a.png", "hi"], "does not support vision"),
        (["--bindings-dir", "/no/such/folder", "-b", "talker", "hi"], "/no/such/folder"),
    ],
)
def test_misuse_is_one_line(generate: Lollms, arguments: list[str], said: str) -> None:
    """Unknown names come with close ones, and nothing is printed to stdout."""
    result = generate(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


@pytest.mark.parametrize("how", [[], ["--no-stream"]])
def test_a_failing_backend_is_one_line(generate: Lollms, how: list[str]) -> None:
    """What had been streamed stays, on a line of its own."""
    result = generate("-b", "talker", "-m", "fail", *how, "hi")
    assert result.exit_code == 1
    assert result.stdout == ("" if how else "so far\n")
    assert result.stderr == "lollms: the backend broke in two lines\n"


@pytest.mark.parametrize("how", [[], ["--no-stream"]])
def test_a_failing_backend_is_a_document_too(generate: Lollms, how: list[str]) -> None:
    result = generate("-b", "talker", "-m", "fail", "--json", *how, "hi")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "status": False,
        "error": "the backend broke\nin two lines",
        "error_type": "BackendError",
        "partial": "so far",
    }


def test_a_binding_that_cannot_be_imported_is_one_line(generate: Lollms, bindings: Path) -> None:
    (bindings / "broken").mkdir()
    (bindings / "broken" / "__init__.py").write_text("raise SystemExit('no\\nway')")
    result = generate("-b", "broken", "hi")
    assert result.exit_code == 1
    assert "broken" in result.stderr
    assert "no way" in result.stderr


def test_an_answer_that_was_cut_off_is_told(generate: Lollms) -> None:
    result = generate("-b", "talker", "-m", "cut", "hi")
    assert (result.exit_code, result.stdout) == (0, "half\n")
    assert "cut off" in result.stderr


def test_an_empty_answer_is_told(generate: Lollms) -> None:
    result = generate("-b", "talker", "-m", "silent", "hi")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "answered nothing" in result.stderr


def test_thinking_is_not_part_of_the_output(generate: Lollms) -> None:
    result = generate("-b", "talker", "-m", "think", "hi")
    assert (result.stdout, result.stderr) == ("yes\n", "")
    assert json.loads(generate("-b", "talker", "-m", "think", "--json", "hi").stdout)["reasoning"] == "hmm"


def test_a_pipe_gets_the_text_as_it_is(generate: Lollms) -> None:
    """Only a terminal is spared control characters."""
    assert generate("-b", "talker", "-m", "colours", "hi").stdout_bytes == b"\x1b[31mred\x07 tab\t\r\n"


def test_an_ignored_parameter_is_told(generate: Lollms) -> None:
    result = generate("-b", "talker", "-m", "echo", "-o", "top_k=3", "hi")
    assert result.exit_code == 0
    assert "no use for top_k" in result.stderr


# Which binding, which model ---------------------------------------------------------------------------


def test_a_constructor_without_model_name_has_its_model_loaded(generate: Lollms) -> None:
    result = generate("-b", "closed", "-m", "new", "-o", "model_identifier=x", "-o", "some_config_param=2", "hi")
    assert (result.stdout, result.stderr) == ("('x', 2) new None hi\n", "")


def test_parameters_reach_a_constructor_without_defaults_by_the_call(generate: Lollms) -> None:
    result = generate("-b", "closed", "-m", "new", "-o", "model_identifier=x", "-o", "temperature=0.5", "hi")
    assert result.stdout == "('x', 0) new 0.5 hi\n"


def test_a_model_that_cannot_be_loaded_is_an_error(generate: Lollms) -> None:
    result = generate("-b", "closed", "-m", "missing", "-o", "model_identifier=x", "hi")
    assert (result.exit_code, result.stderr) == (1, "lollms: no file of that name\n")


def test_with_no_model_named_the_first_that_is_listed_is_loaded_and_said(generate: Lollms) -> None:
    result = generate("-b", "closed", "-o", "model_identifier=x", "hi")
    assert result.stdout == "('x', 0) old None hi\n"
    assert result.stderr == "lollms: using closed, model old\n"


def test_a_binding_that_cannot_load_models_is_used_as_it_is(generate: Lollms) -> None:
    assert generate("-b", "talker", "hi").stdout == "hi \n"


def test_a_listing_that_fails_is_not_in_the_way(generate: Lollms, bindings: Path) -> None:
    """Nobody asked for it; what the binding has to say about the request is what counts."""
    source = bindings / "closed" / "__init__.py"
    source.write_text(source.read_text().replace('return ["old", "new"]', "raise NotImplementedError"))
    result = generate("-b", "closed", "-o", "model_identifier=x", "hi")
    assert (result.stdout, result.stderr) == ("('x', 0) None None hi\n", "")


def test_the_newest_model_is_the_one_whose_file_changed_last(tmp_path: Path) -> None:
    """Damaged ones are passed over, and names without a file keep their order, after those with one."""
    for name, seconds in (("older", 1_000), ("newest", 3_000), ("damaged", 9_000), ("old", 2_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (seconds, seconds))
    entries = [
        "name alone",
        *({"model_name": name, "path": str(tmp_path / name)} for name in ("older", "newest", "old")),
    ]
    entries += [{"model_name": "damaged", "path": str(tmp_path / "damaged"), "error": "truncated"}, {"model_name": ""}]
    assert newest_first(entries) == ["newest", "old", "older", "name alone"]


def test_nothing_to_choose_is_an_error_that_says_what_to_do(lollms: Lollms) -> None:
    result = lollms("generate", "hi")
    assert result.exit_code == 1
    assert 'pip install "lollms-llamacpp[smollm2]"' in result.stderr


def test_a_folder_binding_is_never_chosen(generate: Lollms) -> None:
    """Even when the folder is named, and even under the name of the embedded binding."""
    result = generate("hi")
    assert result.exit_code == 1
    assert "Available: closed, talker" in result.stderr


def test_the_embedded_model_is_chosen_and_said(lollms: Lollms, installed: Callable[..., Path]) -> None:
    source = TALKER.replace(
        "    def _echo(", "    _smollm2 = lambda self, request: self._echo(request)\n\n    def _echo("
    )
    installed("acme", f"[{GROUP}]\nllamacpp = acme_talker:Talker\n", acme_talker=source)
    result = lollms("generate", "hi")
    assert (result.exit_code, result.stdout) == (0, "hi \n")
    assert result.stderr == "lollms: using llamacpp, model smollm2\n"


SERVICE = TALKER.replace(
    "    def _echo(",
    """    @classmethod
    def unconfigured(cls):
        return PLACE

    def load_model(self, name):
        self.model_name = name
        return True

    def _echo(""",
)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"llamacpp": None, "abacus": "'remote'", "zebra": "'local'"}, "using zebra, model echo"),
        ({"llamacpp": None, "abacus": "'remote'", "zebra": "None"}, "using llamacpp, model smollm2"),
        ({"abacus": "1 / 0", "mule": "'remote'", "zebra": "None"}, "using mule, model echo"),
    ],
)
def test_a_local_server_comes_before_the_embedded_model_before_a_remote_service(
    lollms: Lollms,
    installed: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    places: dict[str, str | None],
    said: str,
) -> None:
    """One that fails when it is asked is passed over."""
    monkeypatch.setenv("LOLLMS_PLUGINS", "acme")
    points = [f"{name} = acme_{name}:Talker" for name in places]
    plain = TALKER.replace("    def _echo(", "    _smollm2 = lambda self, r: self._echo(r)\n\n    def _echo(")
    modules = {f"acme_{n}": plain if p is None else SERVICE.replace("PLACE", p) for n, p in places.items()}
    installed("acme", "\n".join([f"[{GROUP}]", *points, ""]), **modules)
    result = lollms("generate", "hi")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "hi \n", f"lollms: {said}\n")


def test_a_blocked_embedded_binding_is_not_chosen(
    lollms: Lollms, installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("acme", f"[{GROUP}]\nllamacpp = acme_talker:Talker\n", acme_talker="raise SystemExit")
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "acme")
    result = lollms("generate", "hi")
    assert result.exit_code == 1
    assert "no binding was named" in result.stderr


def test_folders_are_looked_for_beside_the_configuration(lollms: Lollms, bindings: Path, tmp_path: Path) -> None:
    (tmp_path / "config" / "lollms").mkdir(parents=True)
    bindings.rename(tmp_path / "config" / "lollms" / "llm_bindings")
    assert lollms("generate", "-b", "talker", "-m", "echo", "hi").stdout == "hi \n"

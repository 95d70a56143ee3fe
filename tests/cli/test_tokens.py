"""`lollms tokens`: how many, which, and what text they stand for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lollms_core.cli.pieces import Piece, coloured, pieces_of, quoted

from .conftest import Lollms, Program
from .knowing import add_knowing
from .test_terminal import SECONDS, posix


@pytest.fixture
def tokens(lollms: Lollms, bindings: Path, monkeypatch: pytest.MonkeyPatch) -> Lollms:
    monkeypatch.setenv("LOLLMS_PLUGINS", "knowing,closed,talker")
    add_knowing(bindings)
    return lambda *arguments, **options: lollms(
        "tokens", "--bindings-dir", str(bindings), "-b", "knowing", "-m", "first", *arguments, **options
    )


def test_the_count(tokens: Lollms) -> None:
    result = tokens("one two!")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "3\n", "")


def test_the_count_of_what_is_piped_in_is_to_the_last_line_end(tokens: Lollms) -> None:
    assert tokens(piped="one two!\n").stdout == "4\n"
    assert tokens(piped="").stdout == "0\n"
    assert tokens("", piped="not read").stdout == "0\n"


def test_ids(tokens: Lollms) -> None:
    assert tokens("--ids", "A !").stdout == "65 32 33\n"
    assert tokens("--ids", "").stdout == ""


def test_pieces_in_a_pipe_are_quoted(tokens: Lollms) -> None:
    """One a line, what cannot be seen written out; a character of several tokens is one piece."""
    result = tokens("--pieces", 'a "é\n\t\x1b\u202e')
    assert result.stdout.splitlines() == ['"a"', '" "', r'"\""', '"é"', r'"\n"', r'"\t"', r'"\u001b"', r'"\u202e"']
    assert tokens("--pieces", "--ids", "aé").stdout.splitlines() == ['97\t"a"', '195 169\t"é"']


def test_json(tokens: Lollms) -> None:
    document = json.loads(tokens("--json", "aé").stdout)
    assert document == {"binding": "knowing", "model": "first", "count": 3, "tokens": [97, 195, 169]}
    document = json.loads(tokens("--json", "--pieces", "aé").stdout)
    assert document["pieces"] == [{"tokens": [97], "text": "a"}, {"tokens": [195, 169], "text": "é"}]


def test_tokens_that_are_no_numbers(tokens: Lollms) -> None:
    result = tokens("-b", "closed", "-o", "model_identifier=x", "--ids", "a b")
    assert result.stdout == '"a" " " "b"\n'


def test_a_binding_without_tokens_is_one_line(tokens: Lollms) -> None:
    result = tokens("-b", "talker", "hi")
    assert result.exit_code == 1
    assert "tokenize" in result.stderr


@posix
def test_no_text_is_one_line(program: Program, tokens: Lollms, bindings: Path) -> None:
    """At a terminal nobody waits for what the user does not know is wanted."""
    terminal, end = os.openpty()
    process = program("tokens", "--bindings-dir", str(bindings), "-b", "knowing", stdin=end)
    output, errors = process.communicate(timeout=SECONDS)
    os.close(end)
    os.close(terminal)
    assert (process.returncode, output) == (1, b"")
    assert errors.startswith(b"lollms: there is no text")


@posix
@pytest.mark.parametrize(
    ("variable", "coloured"), [(("TERM", "xterm"), True), (("NO_COLOR", "1"), False), (("TERM", "dumb"), False)]
)
def test_pieces_on_a_terminal(
    program: Program,
    tokens: Lollms,
    bindings: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: tuple[str, str],
    coloured: bool,
) -> None:
    """Colours unless they are forbidden; a model's control characters reach it in no case."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(*variable)
    terminal, end = os.openpty()
    arguments = "--bindings-dir", str(bindings), "-b", "knowing", "-m", "first", "--pieces", "a b\x07"
    process = program("tokens", *arguments, stdout=end)
    os.close(end)
    _, errors = process.communicate(timeout=SECONDS)
    got = os.read(terminal, 4096)
    os.close(terminal)
    assert (process.returncode, errors) == (0, b"")
    assert b"\x07" not in got
    assert b"\\u0007" in got
    assert (b"\x1b[" in got) is coloured


# Pieces -------------------------------------------------------------------------------------------------


def joined_by(vocabulary: dict[int, bytes]) -> Callable[[list[int]], str]:
    return lambda tokens: b"".join(vocabulary[token] for token in tokens).decode("utf-8", "replace")


def test_a_tokenizer_that_takes_the_first_blank_away() -> None:
    """As those of Llama 2 do with what they are given."""
    vocabulary = {1: b" Hello", 2: b" world", 3: b" "}
    decode = joined_by(vocabulary)
    pieces = pieces_of("Hello world ", [1, 2, 3], lambda tokens: decode(tokens).removeprefix(" "))
    assert [piece.text for piece in pieces[:2]] == ["Hello", " world"]


def test_a_tokenizer_that_changes_the_text() -> None:
    """Its pieces are shown as it gives them, in whole characters."""
    decode = joined_by({1: b"he", 2: b"llo", 3: b"\xc3", 4: b"\xa9"})
    assert pieces_of("HELLOÉ" * 4, [1, 2, 3, 4] * 4, decode)[:3] == [
        Piece((1,), "he"),
        Piece((2,), "llo"),
        Piece((3, 4), "é"),
    ]


def test_half_a_character_at_the_end() -> None:
    assert pieces_of("é", [3], joined_by({3: b"\xc3"})) == [Piece((3,), "\ufffd")]


@pytest.mark.parametrize("text", ["", "plain", 'a "b" \\', "é 👩‍💻 \u202e \x00 \x9b \t\r\n"])
def test_what_is_quoted_is_json_and_is_seen(text: str) -> None:
    shown = quoted(text)
    assert json.loads(shown) == text
    assert shown.isprintable()


def test_neighbours_differ_and_line_ends_are_seen() -> None:
    shown = coloured([Piece((1,), "a"), Piece((2,), "b\n"), Piece((3,), "\tc")])
    first, second, third = (part.partition("m")[0] for part in shown.split("\x1b[97;")[1:])
    assert len({first, second, third}) == 3
    assert "b\\n\x1b[0m\n" in shown
    assert "\\tc" in shown

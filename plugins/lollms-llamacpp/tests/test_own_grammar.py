"""The option ``grammar``: GBNF of the caller's own, read as llama.cpp reads it, or refused with the place."""

from __future__ import annotations

import codecs
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import tiny_llama

from lollms_core import BackendError, GenerationRequest
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.constraint import constraint
from lollms_llamacpp.grammar import GrammarBuilder, check_grammar
from lollms_llamacpp.native import Model
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.samplers import Grammar

# Reading ----------------------------------------------------------------------------------------------

GOOD = {
    "literals": 'root ::= "yes" | "no" | "" "maybe"',
    "rules": 'root ::= greeting ", " name\ngreeting ::= "hello" | "hi"\nname ::= [A-Z] [a-z]*',
    "used before they are there": 'a ::= b "x"\nroot ::= a\nb ::= "y"\n',
    "comments": '# of all\n\nroot ::= "a" "b" | # one\n   "c" # two\n# end',
    "brackets": 'root ::= ("a" | "b"\n | "c") ("d" ("e" | "f")?)+ "."',
    "counts": 'root ::= [0-9]{3} "-" [0-9]{1,2} "-" "x"{2,} "y"{0} "z"{0,3}',
    "counts with blanks": 'root ::= ( "ab" ){ 2 , 3 } "c"',
    "two marks": 'root ::= ("a" "b"){2}{2}',
    "escapes": r'root ::= "\"\\\n\r\t\x41\u00e9\U0001F600" [\]\[\-\\"\x30-\x39]',
    "a hyphen at the end": "root ::= [a-c-]+",
    "negated": 'root ::= [^a-y\n] "!"',
    "any": 'root ::= . . "x"',
    "other scripts": 'root ::= "日本" [\u3040-\u309f]+ "é"',
    "names of digits": 'root ::= 1 a-1\n1 ::= "q"\na-1 ::= "r"',
    "lines of Windows": 'root ::= "a" x\r\nx ::= "b"\r\n',
    "what may be nothing": 'root ::= ("a"? | "b") x\nx ::= | "c"',
    "recursive": 'root ::= "(" root? ")" | "[" root ("," root)* "]"',
    "a list": 'root ::= item+\nitem ::= "- " [^\\r\\n]+ "\\n"',
    "sums": 'root ::= term ([-+*/] term)*\nterm ::= [0-9]+ | "(" root ")"',
    "values of JSON": (
        'root ::= object\nvalue ::= object | array | string | number | ("true" | "false" | "null") ws\n'
        'object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws\n'
        'array ::= "[" ws (value ("," ws value)*)? "]" ws\n'
        'string ::= "\\"" ([^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\\"" ws\n'
        'number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws\n'
        'ws ::= | " " | "\\n" [ \\t]{0,20}\n'
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A token for each byte, and some for several."""
    file = tmp_path_factory.mktemp("grammar") / "m.gguf"
    file.write_bytes(tiny_llama(longer=["hello", "hi", "ab", "abab", "--", "Ġ" * 8, "12", "true", "fals", '":', "(("]))
    model = Model(file, LoadOptions())
    yield model
    model.close()


def allowed(model: Model, grammar: Grammar, utf8: codecs.IncrementalDecoder) -> frozenset[int]:
    """The tokens that an answer may go on with; bytes that are no UTF-8 are not asked for (constrained.py)."""
    row = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    rows = np.zeros(model.n_vocab, dtype=row)
    rows["id"] = np.arange(model.n_vocab)
    grammar.mask(rows.ctypes.data, len(rows))
    return frozenset(
        int(one) for one in rows["id"][rows["logit"] == 0] if fits(model.piece(int(one), special=False), utf8)
    )


def fits(piece: bytes, utf8: codecs.IncrementalDecoder) -> bool:
    state = utf8.getstate()
    try:
        utf8.decode(piece)
    except UnicodeDecodeError:
        return False
    finally:
        utf8.setstate(state)
    # Half a surrogate pair, which that decoder takes for the beginning of a character.
    return not re.search(rb"\xed[\xa0-\xbf]", state[0] + piece)


@pytest.mark.parametrize("name", GOOD)
def test_it_means_what_llama_cpp_reads(model: Model, name: str) -> None:
    """Along texts by chance, ours lets through the tokens that llama.cpp lets through by the very text."""
    builder = GrammarBuilder()
    ours = builder.text(builder.grammar(GOOD[name], "own"))
    for seed in range(25):
        chance = random.Random(seed)  # noqa: S311 - to be the same each time
        pair = Grammar(model, GOOD[name]), Grammar(model, ours)
        utf8 = codecs.getincrementaldecoder("utf-8")("strict")
        for _ in range(25):
            theirs = allowed(model, pair[0], utf8)
            assert theirs == allowed(model, pair[1], utf8)
            choices = sorted(theirs - set(model.ends))
            if not choices:
                break
            token = chance.choice(choices)
            utf8.decode(model.piece(token, special=False))
            for grammar in pair:
                grammar.accept(token)
        for grammar in pair:
            grammar.close()


BAD = {
    "": "no rule 'root'",
    "# nothing": "no rule 'root'",
    'x ::= "a"': "no rule 'root'",
    "root": "line 1, column 5: ::= is expected",
    'root = "a"': "line 1, column 6: ::= is expected",
    '"a"': "line 1, column 1: a rule's name is expected",
    'root ::= "a"\n| "b"': "line 2, column 1: .* at the end of the line before",
    'root ::= "a': "line 1, column 10: this has no end",
    'root ::= "a\\': "line 1, column 10: this has no end|no escape",
    "root ::= [a-": "line 1, column 10: this has no end",
    'root ::= ("a"': "line 1, column 10: this bracket is not closed",
    'root ::= "a")': "line 1, column 13: there is no bracket",
    'root ::= "a"\n  ::= "b"': "line 2, column 3: a rule's name",
    'root ::= "a" x\n\nx ::= y "b"': "line 3, column 7: there is no rule 'y'",
    'root ::= "a"\nroot ::= "b"': "line 2, column 1: there are two rules 'root'",
    'root ::= *"a"': "nothing that \\* could repeat",
    'root ::= "a"{': "a number of repetitions is expected",
    'root ::= "a"{2': "} is expected",
    'root ::= "a"{,2}': "a number of repetitions is expected",
    'root ::= "a"{3,2}': "at most 2 repetitions are fewer than at least 3",
    'root ::= "a"{2001}': "2001 repetitions are more than 2000",
    'root ::= "a"{1,99999999999999999999999999}': "are more than 2000",
    'root ::= "\\q"': "line 1, column 11: \\\\q is no escape",
    'root ::= "\\x4"': "needs 2 hexadecimal digits",
    'root ::= "\\ud800"': "no character",
    'root ::= "\\UFFFFFFFF"': "no character",
    "root ::= [z-a]": "ends before it begins",
    "root ::= []": "no character",
    "root ::= [^\\x00-\\U0010ffff]": "no character",
    "root ::= <think>": r"tokens \(<...>\) cannot be used",
    "root ::= !<[7]>": "cannot be used",
    "root ::= 'a'": '"\'" means nothing here',
    "root ::= ä": "'ä' means nothing here",
    'root ::= "a" \0': "means nothing here",
    'root ::= "\ud800"': "no valid Unicode",
    'root ::= root "a" | "b"': "the rule 'root' can begin with itself",
    'root ::= x\nx ::= y x "a" | "b"\ny ::= z\nz ::= ""': "can begin with itself",  # llama.cpp does not see this
    'root ::= ("a"?)*': "the rule 'root' can begin with itself",
    'root ::= (" "* "," ?)+': "can begin with itself",
    'root ::= "a" root': "the rule 'root' has no end",
    'root ::= "a" | "b" x\nx ::= "c" x': "the rule 'x' has no end",
    "root ::= " + '("a" ' * 65 + ")" * 65: "nested more than 64 deep",
    "root ::= " + '"a" ' * 20_000: "characters, of at most",
    'root ::= "' + "a" * 61_000 + '"': "too large",
    'root ::= ("abcdefghijklmnopqrstuvwxyz" "a"{30}){2000} ("b" "c"{40}){2000}': None,
    "root ::= ([a-z]+ x?)*\nx ::= [0-9]": "the rule 'root' is too ambiguous",
    "root ::= x+\nx ::= ([a-z]+ [0-9]?)+": "the rule 'x' is too ambiguous|the rule 'root' is too ambiguous",
    'root ::= "+" y\ny ::= x+\nx ::= [a-z]{2,} "0"?': "the rule 'y' is too ambiguous",
    "root ::= " + "[a-z]? " * 30: "too ambiguous",
    'root ::= "xyz" a{20}\na ::= [a-z]+': "the rule 'root' is too ambiguous",
    "root ::= " + " | ".join(f"x{n}" for n in range(2001)) + "".join(f'\nx{n} ::= "{n}"' for n in range(2001)): "ways",
    "root ::= r0\n" + "\n".join(f"r{n} ::= r{n + 1}" for n in range(600)) + '\nr600 ::= "a"': "more than 500 levels",
    "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1} | r{n + 1}\n" for n in range(9)) + 'r9 ::= "a"': None,
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
@pytest.mark.timeout(20)
def test_what_cannot_be_used(text: str) -> None:
    """One sentence with the place or the rule; where the text is sound after all, llama.cpp may have it."""
    reason = BAD[text]
    if reason is None:
        check_grammar(text)
        return
    with pytest.raises(ValueError, match="grammar") as caught:
        check_grammar(text)
    assert re.search(reason, str(caught.value)), caught.value
    assert len(str(caught.value)) < 300


# Answering --------------------------------------------------------------------------------------------

DATE = 'root ::= [1-2][0-9]{3} "-" [0-1][0-9] "-" [0-3][0-9]'


def test_the_answer_is_of_the_grammar(tiny: LlamaCppBinding) -> None:
    """By itself it ends where the grammar ends; cut off it is the beginning of such a text."""
    for seed in range(5):
        done = tiny.chat("x", grammar=DATE, seed=seed, temperature=2)
        assert re.fullmatch(r"[12]\d{3}-[01]\d-[0-3]\d", done.text)
        assert done.finish_reason == "stop"
    assert re.fullmatch(r"[12]\d{3}", tiny.chat("x", grammar=DATE, n_predict=4).text)
    text = tiny.generate_text("x", grammar=DATE, completion_format="text")
    assert isinstance(text, str)
    assert re.fullmatch(r"[12]\d{3}-[01]\d-[0-3]\d", text)


def test_of_the_constructor(tiny_folder: Path) -> None:
    """It counts for every answer, unless one has another, or "" for none."""
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", grammar='root ::= "yes"') as binding:
        assert binding.chat("x").text == "yes"
        assert binding.chat("x", grammar='root ::= "no"').text == "no"
        free = binding.chat("x", grammar="", n_predict=9, temperature=0).text
        with pytest.raises(ValueError, match="exclude each other"):
            binding.chat("x", response_format={"type": "boolean"})
        assert binding.chat("x", response_format={"type": "boolean"}, grammar="").parsed in {True, False}
        assert binding.embed("x")
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty") as binding:
        assert binding.chat("x", n_predict=9, temperature=0).text == free
    with pytest.raises(ValueError, match="line 1, column 10: there is no rule 'a'"):
        LlamaCppBinding(models_path=tiny_folder, model_name="chatty", grammar="root ::= a")


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_it_excludes_others(tiny_folder: Path, templates: dict[str, str]) -> None:
    """A schema or tools beside it are refused before any work; tools that are not offered are none."""
    with LlamaCppBinding(
        models_path=tiny_folder, model_name="chatty", chat_template=templates["hermes"], ctx_size=256
    ) as binding:
        for others in ({"response_format": {"type": "boolean"}}, {"tools": [TOOL]}):
            with pytest.raises(ValueError, match="exclude each other"):
                binding.chat("x", grammar=DATE, **others)
        done = binding.chat("x", grammar='root ::= "ok"', tools=[TOOL], tool_choice="none")
        assert (done.text, list(done.tool_calls)) == ("ok", [])


@pytest.mark.parametrize(
    ("before", "text", "fits"),
    [
        ("nothing", "ok", True),
        ("nothing", "hm</think>ok", False),
        ("thinks", "hm, <b></think>\n\nok", True),
        ("thinks", "hm</think>no", False),
        ("may think", "<think>no, ok?</think>ok", True),
        ("may think", "ok", True),
        ("may think", "no", False),
    ],
)
def test_thinking_is_free(model: Model, before: Any, text: str, fits: bool) -> None:
    """The grammar is about what comes after ``</think>``, and then the answer is over."""
    request = GenerationRequest(prompt="x", options={"grammar": 'root ::= "ok"'})
    found = constraint(request, None, before)
    assert found is not None
    grammar = Grammar(model, found)
    for token in model.tokenize(text.encode()):
        if not grammar.allows(token):
            assert not fits
            break
        grammar.accept(token)
    else:
        assert fits
        assert grammar.allows(model.ends[0])
        assert not any(grammar.allows(token) for token in range(256))
    grammar.close()


def test_misuse_is_told_before_any_work(tiny: LlamaCppBinding) -> None:
    """A bad grammar raises at the call, also of generate_text and of a stream that nobody reads."""
    for use in (tiny.chat, tiny.stream, tiny.generate_text):
        with pytest.raises(ValueError, match="line 1, column 10: there is no rule 'a'"):
            use("x", grammar="root ::= a")
        with pytest.raises(TypeError, match="grammar must be a str"):
            use("x", grammar=7)


def test_what_no_token_can_say(tiny: LlamaCppBinding) -> None:
    """Where the vocabulary has nothing that fits, that is an error and no endless search."""
    with pytest.raises(BackendError, match="no token of the model's vocabulary"):
        tiny.chat("x", grammar='root ::= "\\x00"')
    assert tiny.chat("x", grammar='root ::= "ok"').text == "ok"


def test_no_half_characters(tiny: LlamaCppBinding) -> None:
    """A class that spans the surrogates does not lead to bytes that no text has, however much the model likes them."""
    likes = {tiny.tokenize("\ud7ff")[0]: 100.0, byte(tiny, 0xA0): 80.0}
    done = tiny.chat("x", grammar="root ::= [\\u0080-\\uffff]{3}", logit_bias=likes, temperature=0)
    assert len(done.text) == 3
    assert all("\ud000" <= char <= "\ud7ff" for char in done.text)


def byte(binding: LlamaCppBinding, value: int) -> int:
    """The token of one byte that continues a character."""
    return binding.tokenize(bytes([0xC2, value]).decode())[1]

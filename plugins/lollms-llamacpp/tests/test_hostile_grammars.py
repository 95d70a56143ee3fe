"""Grammars from strangers: an answer, or one clear error, in bounded time and memory; the process lives.

The model has the long tokens of real vocabularies, which a grammar that can be read in many ways makes dear.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from gguf_files import tiny_llama
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_trials import SchemaChild

pytestmark = pytest.mark.faults

PLAYED = "reliability: grammars of strangers, each an answer or an error"
Note = Callable[[str, object], None]
EXAMPLES = 1500 if os.environ.get("LOLLMS_FAULTS") else 60

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
LONG = ["a" * 40 + "b", "a" * 40, "-" * 76 + "\u010a", "\u0120" * 80, "ab" * 12 + "c", "0" * 16 + "x", "abcabc"]


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SchemaChild]:
    folder = tmp_path_factory.mktemp("grammars")
    (folder / "m.gguf").write_bytes(tiny_llama(longer=LONG, tokenizer__chat_template=TEMPLATE))
    with SchemaChild(folder / "m.gguf", folder / "output.txt") as child:
        yield child


SOUND = (
    *('"a"', '"ab"', '"aa"', '"-"', '" "', '"x"', '"c"', "[a-z]", "[^a]", "[ab-]", "[0-9]", ".", "a", "b", "c"),
    *('"\\n"', '"\\x61"', '"\u00e4"', "[\\u00e0-\\uffff]"),
)
MARKS = ("", "", "", "", "*", "+", "?", "{2}", "{0}", "{1,3}", "{0,40}", "{2000}", "{0,2000}", "{2,}")
BAD = ("nowhere", "<x>", "[z-a]", "[]", '"', "'", "\\", "\0", "\ud800", "# ", "|", ")", "::=", "\n")
UNSOUND = (*SOUND, '""', "root", *BAD)
MORE_MARKS = (*MARKS, "{9,1}", "{", "{2001}", "**", "{2}{2}{2}")


def grammars(atoms: tuple[str, ...], marks: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Texts with the rules root, a, b and c."""
    mark = st.sampled_from(marks)

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        run = st.lists(inner, min_size=1, max_size=4).map(" ".join)
        choice = st.lists(run, min_size=1, max_size=3).map(" | ".join)
        return st.tuples(choice, mark).map(lambda parts: f"({parts[0]}){parts[1]}") | run | choice

    body = st.recursive(st.tuples(st.sampled_from(atoms), mark).map("".join), larger, max_leaves=8)
    return st.tuples(*(body.map(f"{name} ::= {{}}".format) for name in ("root", "a", "b", "c"))).map("\n".join)


GRAMMARS = st.one_of(grammars(SOUND, MARKS), grammars(SOUND, MARKS), grammars(UNSOUND, MORE_MARKS))


def settled(child: SchemaChild, grammar: str) -> tuple[str, str]:
    kind, words = child.ask(grammar)
    assert kind in {"answer", "refused", "failed"}, (kind, words, grammar)
    if kind == "failed":
        assert words.startswith("BackendError: no token of the model's vocabulary"), (words, grammar)
    if kind != "answer":
        assert 0 < len(words) < 1000
    return kind, words


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(grammar=GRAMMARS)
@pytest.mark.timeout(600)
def test_grammars_by_chance(child: SchemaChild, record_property: Note, grammar: str) -> None:
    """Whatever looks like a grammar: an answer by it, or a refusal that says why; then the next request works."""
    settled(child, grammar)
    record_property(PLAYED, 1)


def chain(count: int, body: str, last: str) -> str:
    rules = [f"r{number} ::= {body.format(number + 1)}" for number in range(count)]
    return "\n".join(["root ::= r0", *rules, f"r{count} ::= {last}"])


HOSTILE = {
    "a loop in a loop": "root ::= ([a-z]+ [0-9]?)*",
    "three loops in each other": 'root ::= ((([a-z]+ "|"?)+ "0"?)+ "1"?)+',
    "a loop of two and more": 'root ::= ([a-z]{2,} "0"?)*',
    "the same twice": 'root ::= (x | y)*\nx ::= "a"\ny ::= "a"',
    "pairs twice": 'root ::= (x | y)*\nx ::= "ab"\ny ::= "ab"',
    "thirty that may be missing": "root ::= " + "[a-z]? " * 30,
    "loops in a row": "root ::= [a-z]* [a-z]* [a-z]* [a-z]* [a-z]*",
    "counts in a row": "root ::= " + "[a-z]{0,200} " * 8,
    "a loop often": 'root ::= [0-9] "a" a{2000}\na ::= "a"+',
    "a loop behind a text": 'root ::= "' + "xyz" * 9 + '" (a "b"?){20}\na ::= "a"+',
    "dashes": 'root ::= ([-]+ "x"?)*',
    "blanks": 'root ::= (" "+ "x"?)+',
    "a billion": "root ::= ((((x{2000}){2000}){2000}){2000}){2000}\nx ::= [a-z]{2000}",
    "a long text often": 'root ::= "' + "a" * 20_000 + '"{2000}',
    "a long class often": "root ::= [" + "abcdefghij" * 90 + "]{2000}",
    "brackets": "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000,
    "open brackets": "root ::= " + "(" * 60_000,
    "itself": "root ::= root",
    "itself behind nothing": 'root ::= a root "x" | "y"\na ::= b\nb ::= ""',
    "each other": 'root ::= a\na ::= b | "x"\nb ::= a | "y"',
    "nothing for ever": 'root ::= (""* | ("a"?)*)*',
    "without an end": 'root ::= "a" root',
    "a long chain": chain(5000, "r{0}", '"a"'),
    "a chain that doubles": chain(60, 'r{0} | r{0} "x"', '"a"'),
    "a chain that doubles behind a letter": chain(40, '"a" r{0} | "a" r{0} "x"', '"a"'),
    "a chain that may be missing": chain(300, '("a" | r{0})?', '"a"'),
    "two thousand words": "root ::= " + " | ".join(f'"{word}"' for word in range(2000)),
    "two thousand rules": "root ::= "
    + " | ".join(f"r{n}" for n in range(2000))
    + "".join(f'\nr{n} ::= "a" "{n}"' for n in range(2000)),
    "a megabyte": "root ::= " + '"a" ' * 250_000,
    "blank lines": "\n" * 60_000 + 'root ::= "a"',
    "comments": "#" * 60_000 + '\nroot ::= "a"',
    "a huge number": 'root ::= "a"{' + "9" * 5000 + "}",
    "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_grammars_made_to_hurt(child: SchemaChild, name: str, record_property: Note) -> None:
    """An answer, or a refusal that says why, within the time that a process is given; nothing is printed."""
    settled(child, HOSTILE[name])
    record_property(PLAYED, 1)


def test_a_pattern_made_to_hurt(child: SchemaChild, record_property: Note) -> None:
    """A schema's pattern that can be read in as many ways is left to the validation of the whole answer."""
    for pattern in ("^((([a-z]+ ?)+0?)+1?)+$", "^([a-z]{2,} ?)+$", "^" + "[a-z]?" * 30 + "$", "^(-+x?)*$"):
        kind, words = child.ask({"type": "string", "pattern": pattern})
        assert kind in {"answer", "failed"}, (kind, words, pattern)
    record_property("reliability: schemas of strangers, each an answer or an error", 4)

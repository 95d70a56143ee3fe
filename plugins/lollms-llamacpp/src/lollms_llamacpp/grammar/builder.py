"""The face of the grammar writer: schemas, literals and rules, put together to one text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from lollms_llamacpp.grammar.nodes import Literal, Rules, TooLargeError, rendered
from lollms_llamacpp.grammar.reader import read_grammar
from lollms_llamacpp.grammar.schemas import SchemaWriter

__all__ = ["GrammarBuilder", "check_grammar", "grammar_of_schema"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def grammar_of_schema(schema: Mapping[str, Any] | bool) -> str:
    """The grammar of the JSON texts that satisfy `schema`; its root is ``root``.

    The texts have the blanks that ``json.dumps`` writes (one after each comma and colon, none elsewhere), so there is
    one way to write them and no loop of blanks to fall into. A property comes at most once, in the order of the
    schema. What a grammar cannot say (``not``, ``if``, exclusive ``oneOf``, ``contains``, unknown formats, ...) is
    left out: such texts must be validated afterwards. What it does say is never wider than the schema's keyword.

    Raises:
        ValueError: nothing satisfies the schema, a reference leads nowhere, or the grammar would be too large or too
            deep for llama.cpp; the text names the place in the schema.
    """
    builder = GrammarBuilder()
    return builder.text(builder.schema(schema, "root"))


@lru_cache(maxsize=64)
def check_grammar(text: str) -> None:
    """Whether the GBNF `text`, with the rule ``root``, can be used.

    Raises:
        ValueError: it can't; the text has the place and the reason.
    """
    builder = GrammarBuilder()
    try:
        builder.text(builder.grammar(text, "answer"))
    except TooLargeError:
        raise ValueError("the grammar is too large for llama.cpp: fewer rules or repetitions, please") from None


class GrammarBuilder:
    """A grammar in the making.

    ``schema``, ``grammar``, ``literal`` and ``rule`` give pieces of GBNF that can stand in the body of a further rule,
    such as::

        builder = GrammarBuilder()
        arguments = builder.schema({"type": "object", "properties": {"city": {"type": "string"}}}, "weather")
        call = builder.rule("call", f"{builder.literal('<call>')} {arguments} {builder.literal('</call>')}")
        grammar = builder.text(builder.rule("calls", f"{call} ({builder.literal(', ')} {call})*"))

    In a body, pieces that follow each other are separated by a blank, alternatives by ``|``; ``( )``, ``?``, ``*``,
    ``+``, ``{2,5}`` and ``[a-z]`` are as in regular expressions, and ``""`` is the empty text. A body must not begin
    with its own rule, directly or through others.
    """

    def __init__(self) -> None:
        self._rules = Rules()
        self._bodies: dict[str, str] = {}

    def schema(self, schema: Mapping[str, Any] | bool, name: str) -> str:
        """Define the rule `name`: the JSON texts that satisfy `schema`; see :func:`grammar_of_schema`.

        References in `schema` (``#/$defs/...``) are looked up in this very schema.

        Args:
            schema: a JSON schema.
            name: of the new rule; letters, digits and hyphens, beginning with a letter.

        Returns:
            `name`.

        Raises:
            ValueError: see :func:`grammar_of_schema`; or there is such a rule already.
        """
        self._check_name(name)
        SchemaWriter(self._rules, schema, name).write()
        return name

    def grammar(self, text: str, name: str) -> str:
        """Define the rules of the GBNF `text`, their names with `name` before them.

        Returns:
            The rule that says what ``root`` says in `text`.

        Raises:
            ValueError: it is no GBNF, it has no rule ``root``, or llama.cpp would not manage it; see
                :func:`check_grammar`.
        """
        self._check_name(name)
        return read_grammar(self._rules, text, name).name

    @staticmethod
    def literal(text: str) -> str:
        """`text` itself as a piece of GBNF; of the empty text ``""``."""
        return rendered(Literal(text))

    def rule(self, name: str, body: str) -> str:
        """Define the rule `name` as the GBNF `body`, of one line.

        Returns:
            `name`.

        Raises:
            ValueError: `name` cannot be a rule's, or is one's already; `body` is empty or of several lines.
        """
        self._check_name(name)
        if not body.strip() or "\n" in body or "\r" in body:
            raise ValueError(f"the body of the grammar rule {name!r} must be one line that is not empty")
        self._bodies[name] = body
        return name

    def text(self, root: str) -> str:
        """The whole grammar, which begins with the rule `root`; in the text that one is called ``root``.

        Raises:
            ValueError: there is no rule `root`, or a second one; or the grammar is too large for llama.cpp.
        """
        if root not in self._bodies and root not in self._rules:
            raise ValueError(f"the grammar has no rule {root!r}")
        if root != "root" and ("root" in self._bodies or "root" in self._rules):
            raise ValueError(f"the grammar begins with {root!r}, so no other rule can be called 'root'")
        lines = [] if root == "root" else [f"root ::= {root}"]
        lines += [f"{name} ::= {body}" for name, body in self._bodies.items()]
        lines += self._rules.lines()
        return "\n".join([*lines, ""])

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a grammar rule cannot be called {name!r}: letters, digits and hyphens only")
        if name in self._bodies or name in self._rules:
            raise ValueError(f"the grammar has two rules {name!r}")

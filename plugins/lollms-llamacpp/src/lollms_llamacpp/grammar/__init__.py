"""Grammars in GBNF, llama.cpp's notation: what the text of an answer may be.

- :func:`grammar_of_schema` writes the grammar of all JSON texts that satisfy a JSON schema;
- :func:`check_grammar` reads a grammar that somebody else has written, for what llama.cpp would not survive;
- :class:`GrammarBuilder` composes schemas with literal text and rules of one's own.

Notation: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from __future__ import annotations

from lollms_llamacpp.grammar.builder import GrammarBuilder, check_grammar, grammar_of_schema

__all__ = ["GrammarBuilder", "check_grammar", "grammar_of_schema"]

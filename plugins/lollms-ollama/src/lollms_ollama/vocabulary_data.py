"""A vocabulary as a GGUF file holds it, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lollms_core import ProtocolError

__all__ = ["BYTE", "CONTROL_TYPE", "NORMAL", "UNKNOWN_TYPE", "USER_DEFINED_TYPE", "Vocabulary"]

# Kinds of tokens (llama_token_type in include/llama.h of llama.cpp).
NORMAL: Final = 1
UNKNOWN_TYPE: Final = 2
CONTROL_TYPE: Final = 3
USER_DEFINED_TYPE: Final = 4
BYTE: Final = 6

_PREFIX: Final = "tokenizer.ggml."


class Vocabulary:
    """The tokens of a model.

    Attributes:
        metadata: all keys.
        tokens: their texts, by id.
        ids: the id of each text.
        types: the kind of each token.

    Raises:
        ProtocolError: it is damaged.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.metadata = metadata
        tokens = self._list("tokens", str)
        if not tokens:
            raise ProtocolError("the model's vocabulary has no tokens")
        # llama.cpp gives a token without a text this one.
        self.tokens: list[str] = [text or f"[EMPTY_{number}]" for number, text in enumerate(tokens)]
        self.ids = {text: number for number, text in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            raise ProtocolError("two tokens of the model's vocabulary have the same text")
        types = self._list("token_type", int)
        self.types: list[int] = types or [NORMAL] * len(tokens)
        self._same_length("token_type", self.types)

    def scores(self) -> list[float]:
        """The score of each token."""
        scores = self._list("scores", (int, float))
        if not scores:
            return [0.0] * len(self.tokens)
        self._same_length("scores", scores)
        return scores

    def merges(self) -> list[tuple[str, str]]:
        """The pairs that are merged, the first first."""
        pairs = []
        for merge in self._list("merges", str):
            # A part may begin with a space, but is not empty.
            at = merge.find(" ", 1)
            if at > 0 and at + 1 < len(merge):
                pairs.append((merge[:at], merge[at + 1 :]))
        return pairs

    def flag(self, name: str, *, default: bool) -> bool:
        """A yes or no."""
        value = self.metadata.get(_PREFIX + name)
        return value if isinstance(value, bool) else default

    def token_id(self, name: str, default: int | None = None) -> int | None:
        """The id of a special token; None if there is none."""
        value = self.metadata.get(_PREFIX + name)
        if type(value) is not int or not 0 <= value < len(self.tokens):
            value = default
        return value if value is not None and 0 <= value < len(self.tokens) else None

    def _list(self, name: str, kind: Any) -> list[Any]:
        value = self.metadata.get(_PREFIX + name)
        if value is None:
            return []
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, kind) for one in value):
            raise ProtocolError(
                f"the model's vocabulary is damaged: {_PREFIX}{name} is not a list of what it should be"
            )
        return list(value)

    def _same_length(self, name: str, values: list[Any]) -> None:
        if len(values) < len(self.tokens):
            raise ProtocolError(
                f"the model's vocabulary is damaged: {len(self.tokens)} tokens, but {len(values)} of {_PREFIX}{name}"
            )

"""Which tokens are special, and where they stand in a text.

Source: the auto-detection in llama_vocab::impl::load and tokenizer_st_partition in src/llama-vocab.cpp of
https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from typing import Final

from lollms_ollama.vocabulary_data import CONTROL_TYPE, NORMAL, UNKNOWN_TYPE, USER_DEFINED_TYPE, Vocabulary

__all__ = ["CONTROL", "USER_DEFINED", "SpecialTokens"]

# Flags beyond the types of single tokens.
CONTROL: Final = 1 << 8  # control and unknown tokens: text unless they are asked for
USER_DEFINED: Final = 1 << 9

# Texts that end an answer, and are control tokens whatever the file says.
_ENDS: Final = frozenset(
    {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<eos>",
        "<turn|>",
        "<|tool_response>",
        "<\uff5cend▁of▁sentence\uff5c>",
        "[e~[",
    }
)
# Texts for filling in the middle, by the keys that would name their tokens.
_FILL_IN: Final = (
    (
        ("fim_pre_token_id", "prefix_token_id"),
        (
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<\uff5cfim▁begin\uff5c>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ),
    ),
    (
        ("fim_suf_token_id", "suffix_token_id"),
        (
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<\uff5cfim▁hole\uff5c>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ),
    ),
    (
        ("fim_mid_token_id", "middle_token_id"),
        (
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<\uff5cfim▁end\uff5c>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ),
    ),
    (("fim_pad_token_id",), ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]")),
    (("fim_rep_token_id",), ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>")),
    (("fim_sep_token_id",), ("<|file_sep|>",)),
)
_ALWAYS_PARSED: Final = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
# isspace() of C, on bytes.
_SPACES: Final = " \t\n\v\f\r"


class SpecialTokens:
    """The special tokens of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._types = vocabulary.types
        self._flags: dict[int, int] = {}
        for number, kind in enumerate(vocabulary.types[: len(vocabulary.tokens)]):
            if kind in {CONTROL_TYPE, UNKNOWN_TYPE}:
                self._flags[number] = CONTROL
            elif kind == USER_DEFINED_TYPE:
                self._flags[number] = USER_DEFINED
        self._detect(vocabulary)
        # Longer texts are looked for before shorter ones.
        order = sorted(self._flags, key=lambda number: -len(vocabulary.tokens[number].encode()))
        self._texts = [(vocabulary.tokens[number], number, bool(self._flags[number] & CONTROL)) for number in order]
        self._strips_left, self._strips_right = self._stripping(vocabulary)

    def kind(self, token: int) -> int:
        """CONTROL or USER_DEFINED, or both; else the token's type."""
        return self._flags.get(token) or self._types[token]

    def split(self, text: str, *, control: bool) -> list[str | int]:
        """`text` as pieces of text and the special tokens between them.

        Args:
            text: what is cut.
            control: whether control tokens count too, not only user-defined ones.
        """
        parts: list[str | int] = [text] if text else []
        for special, number, is_control in self._texts:
            if (is_control and not control) or special not in text:
                continue
            parts = [piece for part in parts for piece in self._cut(part, special, number)]
        return parts

    def _cut(self, part: str | int, special: str, number: int) -> list[str | int]:
        if isinstance(part, int) or special not in part:
            return [part]
        pieces: list[str | int] = []
        between = part.split(special)
        for place, piece in enumerate(between):
            shown = piece
            if place and number in self._strips_right:
                shown = shown.lstrip(_SPACES)
            if place + 1 < len(between) and number in self._strips_left:
                shown = shown.rstrip(_SPACES)
            if shown:
                pieces.append(shown)
            if place + 1 < len(between):
                pieces.append(number)
        return pieces

    def _detect(self, vocabulary: Vocabulary) -> None:
        """What llama.cpp takes for special by its text, whatever the file says."""
        ids = vocabulary.ids

        def mark(text: str) -> None:
            self._flags[ids[text]] = self._flags.get(ids[text], 0) | CONTROL

        for keys, texts in _FILL_IN:
            if not any(vocabulary.token_id(key) is not None for key in keys):
                for text in texts:
                    if text in ids:
                        mark(text)
                        break
        for text in _ENDS & ids.keys():
            mark(text)
        for text in _ALWAYS_PARSED:
            if text in ids:
                self._flags[ids[text]] = USER_DEFINED
        if "<|end|>" in ids and (
            {"<|return|>", "<|call|>"} <= ids.keys() or ("<|flush|>" in ids and ids.keys() & {"<|call|>", "<|calls|>"})
        ):
            self._flags[ids["<|end|>"]] = USER_DEFINED
        if "</s>" in ids and ids.keys() & {"<|tool_response>", "<|plamo:eos|>"}:
            del self._flags[ids["</s>"]]
            self._types = [*self._types]
            self._types[ids["</s>"]] = NORMAL

    def _stripping(self, vocabulary: Vocabulary) -> tuple[frozenset[int], frozenset[int]]:
        """The tokens that swallow the white space before them, and after them."""
        ids = vocabulary.ids
        pre = str(vocabulary.metadata.get("tokenizer.ggml.pre") or "")
        name = str(vocabulary.metadata.get("general.name") or "").lower()
        if any(known in pre for known in ("jina-v2-de", "jina-v2-es", "jina-v2-code")):
            return frozenset({ids["<mask>"]} if "<mask>" in ids else ()), frozenset()
        if "phi-3" in name or "phi3" in name:
            kept = {ids[text] for text in ("<unk>", "<s>", "<|endoftext|>") if text in ids}
            return frozenset(), frozenset(self._flags.keys() - kept)
        if "modern-bert" in name:
            return frozenset({ids["[MASK]"]} if "[MASK]" in ids else ()), frozenset()
        return frozenset(), frozenset()

"""Which vocabularies can be tokenized exactly, as facts: no library is needed to look them up.

Each entry was compared with llama.cpp's own tokenizer before it came in; a vocabulary that is not here
raises CapabilityNotSupported rather than giving figures that are nearly right.

Source of the names and of what the expressions must match: src/llama-vocab.cpp and src/unicode.cpp of
https://github.com/ggml-org/llama.cpp. They are written here for Oniguruma, which tokenizers uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["PRE_TOKENIZERS", "PreTokenizer", "is_supported", "kind_of", "pre_tokenizer_of"]


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How a text is cut into words before merging.

    Attributes:
        patterns: applied one after the other; what matches and what stands between are pieces of their own.
        whole_words: whether a word that is a token stays whole, whatever the merges say (ignore_merges).
        adds_bos: whether BOS stands before a document unless the model says otherwise.
        has_bos: whether there is a BOS token though the model names none.
        bytes_as_letters: whether the vocabulary writes bytes as GPT-2's letters; else it has ``<0xNN>`` tokens.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    adds_bos: bool = False
    has_bos: bool = True
    bytes_as_letters: bool = True


def _ranges(text: str) -> str:
    """Code points and ranges of them, in hexadecimal, as a piece of a character class."""
    return "".join("-".join(f"\\x{{{end}}}" for end in part.split("-")) for part in text.split())


# llama.cpp's tables are those of Unicode 15.1. These characters came with 16.0, which Oniguruma knows already.
_LATER: Final = _ranges(
    "897 1B4E-1B4F 1B7F 1C89-1C8A 2427-2429 31E4-31E5 A7CB-A7CD A7DA-A7DC 105C0-105F3 10D40-10D65 10D69-10D85 "
    "10D8E-10D8F 10EC2-10EC4 10EFC 11380-11389 1138B 1138E 11390-113B5 113B7-113C0 113C2 113C5 113C7-113CA "
    "113CC-113D5 113D7-113D8 113E1-113E2 116D0-116E3 11BC0-11BE1 11BF0-11BF9 11F5A 13460-143FA 16100-16139 "
    "16D40-16D79 18CFF 1CC00-1CCF9 1CD00-1CEB3 1E5D0-1E5FA 1E5FF 1F8B2-1F8BB 1F8C0-1F8C1 1FA89 1FA8F 1FABE "
    "1FAC6 1FADC 1FADF 1FAE9 1FBCB-1FBEF"
)
_L, _N, _P, _M, _S = (rf"[\p{{{name}}}&&[^{_LATER}]]" for name in "LNPMS")

_CONTRACTION: Final = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_GPT2: Final = rf"'s|'t|'re|'ve|'m|'ll|'d| ?{_L}+| ?{_N}+| ?[^\s{_L}{_N}]+|\s+(?!\S)"
_SPACES: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _llama3(numbers: str) -> str:
    return rf"{_CONTRACTION}|[^\r\n{_L}{_N}]?{_L}+|{numbers}| ?[^\s{_L}{_N}]+[\r\n]*|{_SPACES}"


def _cased(numbers: str, contraction: str) -> str:
    """Words cut where capitals begin; only ASCII letters have a case here, as in llama.cpp."""
    not_small, not_capital = rf"[{_L}&&[^a-z]]", rf"[{_L}&&[^A-Z]]"
    return (
        rf"[^\r\n{_L}{_N}]?{not_small}*{not_capital}+{contraction}"
        rf"|[^\r\n{_L}{_N}]?{not_small}+{not_capital}*{contraction}"
        rf"|{numbers}| ?[^\s{_L}{_N}]+[\r\n/]*|{_SPACES}"
    )


_CJK: Final = _ranges("4E00-9FA5 3040-309F 30A0-30FF")
_DEEPSEEK3: Final = (
    rf"{_N}{{1,3}}",
    rf"[{_CJK}]+",
    (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
        rf"|[^\r\n{_L}{_P}{_S}]?[{_L}{_M}]+| ?[{_P}{_S}]+[\r\n]*|{_SPACES}"
    ),
)
# The letters that deepseek-llm lists; its ranges of punctuation; the CJK and Hangul that it takes together.
# White space beyond ASCII is none of either, as llama.cpp looks for it first.
_DEEPSEEK_LETTERS: Final = _ranges(
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C "
    "38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B "
    "1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 "
    "1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 "
    "2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B "
    "2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 "
    "FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF "
    "1E900-1E943"
)
_DEEPSEEK_MARKS: Final = r"!-/:-~" + _ranges("FF01-FF0F FF1A-FF5E 2018-201F 3001-3002")
_DEEPSEEK_CJK: Final = _ranges("4E00-9FA5 800-4E00 AC00-D7FF") + r"&&[^\s]"

_STARCODER: Final = PreTokenizer((_N, _GPT2))
_GPT2_ALONE: Final = PreTokenizer((_GPT2,))
_LLAMA3: Final = PreTokenizer((_llama3(rf"{_N}{{1,3}}"),), whole_words=True, adds_bos=True)
_QWEN2: Final = PreTokenizer((_llama3(_N),))
_GPT4O: Final = PreTokenizer((_cased(rf"{_N}{{1,3}}", f"(?:{_CONTRACTION})?"),))
_PUNCTUATION_FIRST: Final = rf"[{_P}\$\+<=>\^~\|]+"
_BAILING: Final = (
    rf"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n{_L}{_N}]?{_L}+|{_N}| ?[^\s{_L}{_N}]+[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)

PRE_TOKENIZERS: Final[Mapping[str, PreTokenizer]] = {
    # What llama.cpp takes where a model names none.
    "default": PreTokenizer((_PUNCTUATION_FIRST, _GPT2, rf"{_N}+", "[0-9][0-9][0-9]")),
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"), _LLAMA3
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe"), PreTokenizer(_LLAMA3.patterns)),
    "chatglm-bpe": PreTokenizer(_LLAMA3.patterns, has_bos=False),
    **dict.fromkeys(("glm4", "glm5"), PreTokenizer(_LLAMA3.patterns, whole_words=True, has_bos=False)),
    "minicpm5": PreTokenizer((rf"{_N}{{1,3}}", _llama3(rf"{_N}+")), whole_words=True),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"),
        _QWEN2,
    ),
    "qwen35": PreTokenizer(
        (rf"{_CONTRACTION}|[^\r\n{_L}{_N}]?[{_L}{_M}]+|{_N}| ?[^\s{_L}{_M}{_N}]+[\r\n]*|{_SPACES}",)
    ),
    "deepseek-llm": PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?[{_DEEPSEEK_LETTERS}]+",
            rf"\s?[{_DEEPSEEK_MARKS}]+",
            r"\s+\z",
            rf"[{_DEEPSEEK_CJK}]+",
            rf"{_N}+",
        )
    ),
    "deepseek-coder": PreTokenizer((r"[\r\n]", rf"\s?{_L}+", rf"\s?{_P}+", rf"[{_DEEPSEEK_CJK}]+", _N)),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"), PreTokenizer(_DEEPSEEK3)),
    "falcon": PreTokenizer((rf"[{_P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    **dict.fromkeys(
        ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"), _STARCODER
    ),
    **dict.fromkeys(
        (
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ),
        _GPT2_ALONE,
    ),
    "tekken": PreTokenizer((_cased(_N, ""),), whole_words=True, adds_bos=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _GPT4O),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), PreTokenizer((_BAILING,))),
    "seed-coder": PreTokenizer((rf"{_CONTRACTION}|[^\r\n{_L}{_N}]?{_L}+|{_N}| ?[^\s{_L}{_N}\r\n]+|{_SPACES}",)),
    "gemma4": PreTokenizer((), adds_bos=True, bytes_as_letters=False),
}


def kind_of(metadata: Mapping[str, Any]) -> str:
    """The kind of vocabulary, for messages."""
    model = metadata.get("tokenizer.ggml.model") or "unknown"
    pre = metadata.get("tokenizer.ggml.pre")
    return f"{model!r} with pre-tokenizer {pre!r}" if pre else repr(model)


def pre_tokenizer_of(metadata: Mapping[str, Any]) -> PreTokenizer | None:
    """How a byte-pair vocabulary's texts are cut; None if it is of another kind, or one that is not known."""
    model = metadata.get("tokenizer.ggml.model")
    if model == "gemma4":
        return PRE_TOKENIZERS["gemma4"]
    if model != "gpt2":
        return None
    pre = PRE_TOKENIZERS.get(str(metadata.get("tokenizer.ggml.pre") or "default"))
    return None if pre is None or not pre.bytes_as_letters else pre


def is_supported(metadata: Mapping[str, Any]) -> bool:
    """Whether texts can be turned into exactly the model's tokens."""
    return metadata.get("tokenizer.ggml.model") == "llama" or pre_tokenizer_of(metadata) is not None

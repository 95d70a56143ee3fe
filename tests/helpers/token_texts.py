"""Texts that tell tokenizers apart: the same ones on every run."""

# ruff: noqa: RUF001, SIM905 - rare characters and word lists are what this file is for

from __future__ import annotations

import random
from functools import cache

_SCRIPTS = {
    "basic latin": (0x20, 0x7E),
    "latin supplements": (0xA0, 0x24F),
    "phonetic": (0x250, 0x2FF),
    "greek": (0x370, 0x3FF),
    "cyrillic": (0x400, 0x52F),
    "armenian": (0x531, 0x58A),
    "hebrew": (0x590, 0x5F4),
    "arabic": (0x600, 0x6FF),
    "syriac": (0x700, 0x74F),
    "devanagari": (0x900, 0x97F),
    "bengali": (0x980, 0x9FE),
    "tamil": (0xB82, 0xBFA),
    "thai": (0xE01, 0xE5B),
    "tibetan": (0xF00, 0xFDA),
    "georgian": (0x10A0, 0x10FF),
    "hangul jamo": (0x1100, 0x11FF),
    "ethiopic": (0x1200, 0x139F),
    "khmer": (0x1780, 0x17F9),
    "mongolian": (0x1800, 0x18AA),
    "vietnamese": (0x1EA0, 0x1EF9),
    "punctuation": (0x2000, 0x206F),
    "superscripts, currency": (0x2070, 0x20BF),
    "letterlike, numbers, arrows": (0x2100, 0x21FF),
    "mathematical": (0x2200, 0x22FF),
    "box drawing": (0x2500, 0x25FF),
    "dingbats": (0x2700, 0x27BF),
    "cjk punctuation, kana": (0x3000, 0x30FF),
    "cjk": (0x4E00, 0x9FFF),
    "hangul": (0xAC00, 0xD7A3),
    "private use": (0xE000, 0xE0FF),
    "presentation forms": (0xFB00, 0xFDFF),
    "full width": (0xFF01, 0xFFEE),
    "gothic": (0x10330, 0x1034A),
    "mathematical letters": (0x1D400, 0x1D7FF),
    "cjk extension": (0x20000, 0x20FFF),
}
_SPACES = " \t\n\r\v\f\x1c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\ufeff\u200b"
_CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x200E, 0x202E, 0x2066, 0xFFFC, 0xFFFD)]
_MARKS = [
    chr(code) for code in (*range(0x300, 0x370), *range(0x483, 0x488), *range(0x591, 0x5B0), *range(0x64B, 0x653))
]
_EMOJI = "😀 😂 🥲 ❤️ 👍 👍🏽 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 🇯🇵 1️⃣ #️⃣ 🧑🏿‍🚀 🫠 ☎️ ☎︎ 🐻‍❄️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ©️ ⌚ ✨".split()
_WORDS = (
    "the The THE token Tokenizer tokenisation it's we'll I'D you'Re don't rock'n'roll naïve façade Straße İstanbul "
    "größer œuvre 2024 3.14159 1,000,000 0x1F 1e-9 v2.0.1 100% $5 €9.99 e.g. U.S.A. co-operate snake_case camelCase "
    "HTTPServer __init__ a@b.c https://example.org/a?b=c&d=%20 C++ C# \\n \\u00e9 ... … -- — !! ?! ،؟ 。、 「」 «» "
    "Москва Ελλάδα ירושלים العربية हिन्दी ภาษาไทย 日本語 中文 한국어 ქართული አማርኛ Việt"
).split()
_CODE = [
    'def f(x: int) -> str:\n    return f"{x!r:>10}"  # why\n',
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}\n",
    "SELECT \"a\", COUNT(*) FROM t WHERE x <> 'y' GROUP BY 1;\r\n",
    '<div class="a b">&nbsp;&#233;</div>\n',
    "\\begin{equation} \\frac{\\partial^2 u}{\\partial t^2} = c^2 \\nabla^2 u \\end{equation}",
    '{"a": [1, 2.5, -3e+10, null, true], "b": {"c": "\\u2713"}}',
    "#!/bin/sh\nset -eu\n[ -z \"${A:-}\" ] && echo 'no' >&2 || exit $?\n",
    'fn main() -> Result<(), Box<dyn Error>> { println!("{:?}", v.iter().map(|x| x + 1)); Ok(()) }',
    "const g = async (x) => ({ ...x, y: x?.y ?? `z${1 + 1}` });",
    "        \n    if x:\n\n\n            pass\n",
]
_SPECIAL = (
    "<|im_start|> <|im_end|> <|endoftext|> <s> </s> <unk> <pad> [INST] [/INST] <|begin_of_text|> <|eot_id|> <0x0A> "
    "<0xFF> <bos> <start_of_turn> [CLS] [SEP] [MASK] <|user|> <|assistant|> <repo_name> <fim_prefix> ▁ ▁▁ Ġ Ċ Ã©"
).split()
_PLAIN = [
    *("", " ", "  ", "\n", "\n\n", "\t", " \n ", "\r\n", "a", " a", "a ", "  a", "a  ", "\x00", "a\x00b", "\ufeffa"),
    *("'", "''", "'s", "'S", " 's", "'ſ", "’s", "'ll've", "1", "12", "123", "1234", "12345678901234567890", "٣٤٥"),
    *("e\u0301", "\u00e9", "\u0301", "\u1112\u1161\u11ab", "\ud55c", "ﬁ", "ß", "ẞ", "ſ", "K", "İ", "ı", "\u0345", "ǅ"),
    *("Ⅷ½²", "\x7f", "\ufffd", "\U0010ffff", "\ufffe", "\ue000", "\u00ad", "a\u200db", "\u2028", "\x85", "\x1f"),
    *(" " * n for n in (3, 4, 7, 8, 16, 31, 64, 200)),
    *("\n" * n for n in (3, 4, 5, 17)),
    *("a" * n for n in (2, 10, 100, 1000)),
    *("ab" * 500, "xyzzy" * 200, "=" * 300, "-" * 77, ".,;:!?" * 50, "🙂" * 100, "漢" * 300, "\u0301" * 100, "0" * 500),
]  # fmt: skip


def _run(chance: random.Random, characters: str | list[str], most: int) -> str:
    return "".join(chance.choices(characters, k=chance.randint(1, most)))


def _script(chance: random.Random, low: int, high: int) -> str:
    letters = [chr(chance.randint(low, high)) for _ in range(chance.randint(1, 40))]
    for place in range(0, len(letters), chance.randint(2, 12)):
        letters[place] = chance.choice(" \n,.'1-" + letters[place])
    return "".join(letters)


def _marked(chance: random.Random) -> str:
    return "".join(chance.choice("aeiouAZn ёиאبक") + _run(chance, _MARKS, 6) for _ in range(chance.randint(1, 12)))


def _mixed(chance: random.Random) -> str:
    parts = [
        lambda: chance.choice(_WORDS),
        lambda: chance.choice(_EMOJI),
        lambda: _run(chance, _SPACES, 4),
        lambda: chance.choice(_CODE),
        lambda: chance.choice(_SPECIAL),
        lambda: _run(chance, _CONTROLS, 2),
        lambda: str(chance.randint(0, 10 ** chance.randint(1, 12))),
    ]
    return "".join(chance.choice(("", " ")) + chance.choice(parts)() for _ in range(chance.randint(2, 12)))


def _any_character(chance: random.Random) -> str:
    code = chance.randint(1, 0x10FFFF - 0x800)
    return chr(code if code < 0xD800 else code + 0x800)  # no lone surrogates: they are not text


@cache
def token_texts() -> tuple[str, ...]:
    """Some 2,600 different texts: scripts, emoji, controls, long words, code, runs of space, combining marks."""
    chance = random.Random(20240229)  # noqa: S311 - chosen texts, not secrets
    texts = [*_PLAIN, *_WORDS, *_EMOJI, *_CODE, *_SPECIAL, *_CONTROLS, *_SPACES]
    texts += [_script(chance, low, high) for low, high in _SCRIPTS.values() for _ in range(22)]
    texts += [" ".join(chance.choices(_WORDS, k=chance.randint(2, 30))) for _ in range(250)]
    texts += ["".join(chance.choices(_EMOJI, k=chance.randint(1, 8))) for _ in range(120)]
    texts += [_run(chance, _SPACES, 12) for _ in range(150)]
    texts += [chance.choice(_WORDS) + _run(chance, _SPACES, 6) + chance.choice(_WORDS) for _ in range(120)]
    texts += [_run(chance, _CONTROLS, 8) for _ in range(120)]
    texts += [_marked(chance) for _ in range(150)]
    texts += [_run(chance, "abcdefghijklmnopqrstuvwxyz", 1500) for _ in range(40)]
    texts += [_run(chance, "äöüßéñabcABC", 600) for _ in range(20)]
    texts += ["".join(chance.choices(_CODE, k=chance.randint(1, 5))) for _ in range(100)]
    texts += [_run(chance, "0123456789.,-+eE %$", 40) for _ in range(100)]
    texts += [_mixed(chance) for _ in range(400)]
    texts += ["".join(_any_character(chance) for _ in range(chance.randint(1, 20))) for _ in range(150)]
    return tuple(dict.fromkeys(texts))

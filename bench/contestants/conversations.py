"""Conversations with much to read, and how they look in the chat template of SmolLM2."""

from __future__ import annotations

from bench.contestants.prompts import passage

__all__ = ["answered", "chatml", "of_one_system", "opening"]

Message = dict[str, str]

_LENGTH = 950  # words; with template and questions some 1,000 tokens
_QUESTIONS = (
    "Which word comes first?",
    "How many words are there?",
    "Is there any order in it?",
    "What would you leave out?",
)


def opening(number: int) -> list[Message]:
    """A first turn with a text to read; another number is another text from its first word on."""
    text = passage(number, _LENGTH)
    return [
        {"role": "system", "content": "You read texts and answer questions."},
        {"role": "user", "content": f"{text}\nWhat is this about?"},
    ]


def answered(messages: list[Message], answer: str) -> list[Message]:
    """The second turn: the answer, and a short question."""
    return [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": "Which word comes last?"}]


def of_one_system(number: int, count: int) -> list[list[Message]]:
    """Up to four conversations whose long system prompt is the same."""
    text = passage(number, _LENGTH)
    return [
        [{"role": "system", "content": f"{text}\nAnswer with one word."}, {"role": "user", "content": question}]
        for question in _QUESTIONS[:count]
    ]


def chatml(messages: list[Message]) -> str:
    """The prompt that the model's template makes of them."""
    turns = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
    return f"{turns}<|im_start|>assistant\n"

"""generate_text and what it makes of its parameters."""

from __future__ import annotations

from typing import Any

from lollms_core.capabilities import Capability
from lollms_core.events import TextDelta
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import Subject

DISCUSSION = "!@>system:You are brief.\n!@>user:Say hello.\n!@>assistant:Hello.\n!@>user:And now say goodbye."
_SOME: dict[str, Any] = {
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.05,
    "seed": 3,
    "temperature": 0.5,
    "n_predict": 4,
    "ctx_size": 512,
}


@check(Capability.TEXT)
def generate_text(subject: Subject) -> None:
    """What generate_text gives is the answer's text; it takes the contract's seventeen parameters."""
    binding = subject.new()
    prompt, fields = subject.settings.prompt, subject.fields(binding)
    expecting.text(binding.generate_text(prompt, **fields), "generate_text")
    expecting.text(binding.generate_text(prompt, system_prompt="Be brief.", **fields), "a system_prompt")
    plain = dict.fromkeys(("images", "stream", "temperature", "top_k", "top_p", "repeat_penalty", "repeat_last_n"))
    plain |= dict.fromkeys(("seed", "n_threads", "ctx_size", "streaming_callback"))
    answer = binding.generate_text(prompt, system_prompt="", split=False, **(plain | fields))  # type: ignore[arg-type]
    expecting.text(answer, "generate_text with None for all that may be None")


@check(Capability.TEXT, Capability.CHAT)
def discussion(subject: Subject) -> None:
    """A discussion in `!@>` form and the same as messages both give a text, with any keywords."""
    binding = subject.new()
    fields = subject.fields(binding)
    expecting.text(binding.generate_text(DISCUSSION, split=True, **fields), "a discussion with split=True")
    other = DISCUSSION.replace("!@>user:", "[ME]").replace("!@>assistant:", "[YOU]")
    answer = binding.generate_text(other, split=True, user_keyword="[ME]", ai_keyword="[YOU]", **fields)
    expecting.text(answer, "a discussion with keywords of its own")
    messages = binding.split_discussion(DISCUSSION)
    expecting.text(binding.generate_from_messages(messages, **fields), "generate_from_messages")


@check(Capability.CHAT)
def n_predict(subject: Subject) -> None:
    """The answer is no longer than n_predict."""
    binding = subject.new()
    subject.use(binding, "n_predict")
    whole = subject.chat(binding)
    short = subject.chat(binding, n_predict=2)
    words = len(whole.text.split())
    assert len(short.text) < len(whole.text) or words <= 2, (
        f"n_predict=2 gives the same as {subject.settings.n_predict}"
    )
    made = short.usage.completion_tokens
    assert made is None or made <= 2, f"n_predict=2 gives {made} tokens"


@check(Capability.CHAT)
def stop(subject: Subject) -> None:
    """A stop text ends the answer before it, streamed or not, and no piece shows a part of it."""
    binding = subject.new()
    subject.use(binding, "stop")
    whole = subject.chat(binding).text
    middle = len(whole) // 2
    text = whole[middle : middle + 3]
    for name, way in subject.ways(binding).items():
        completion = way(binding, subject.settings.prompt, **subject.fields(binding, stop=[text]))
        assert text not in completion.text, f"{name}: the answer holds the stop text {text!r}"
        assert completion.finish_reason in ("stop", "length"), f"{name}: finish_reason {completion.finish_reason!r}"
    if Capability.STREAM in subject.able(binding):
        stream = binding.stream(subject.settings.prompt, **subject.fields(binding, stop=[text]))
        shown = "".join(event.text for event in stream if isinstance(event, TextDelta))
        assert text not in shown, f"the pieces show the stop text {text!r}"


@check(Capability.CHAT)
def seed_repeats(subject: Subject) -> None:
    """The same seed gives the same text."""
    binding = subject.new()
    subject.use(binding, "seed")
    answers = {subject.chat(binding, seed=11, temperature=0.9).text for _ in range(3)}
    assert len(answers) == 1, f"one seed gives {len(answers)} different texts"


@check(Capability.CHAT)
def ignored(subject: Subject) -> None:
    """Completion.ignored names the parameters that were set and mean nothing to the backend, and no others."""
    binding = subject.new()
    completion = binding.chat(subject.settings.prompt, **_SOME)
    expected = set(_SOME) - binding.uses
    assert set(completion.ignored) == expected, f"ignored is {sorted(completion.ignored)}, not {sorted(expected)}"

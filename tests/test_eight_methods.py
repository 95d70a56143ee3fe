"""What a class of eight methods gets beside what its author wrote: the contract's parameters, and reasons."""

from __future__ import annotations

from typing import Any

import pytest
from samples import EightMethods

from lollms_core import CapabilityNotSupported, LollmsLLMBinding


class OpenEnded(EightMethods):
    """Takes what its author did not foresee as ``**others``."""

    def generate_text(self, prompt: str, streaming_callback: Any = None, **others: Any) -> str:  # type: ignore[override]
        return prompt.upper()


def test_stream_wins_over_a_callback_whatever_the_author_foresaw() -> None:
    """Whether a callback is called is decided before his code."""
    pieces: list[str] = []
    assert (
        OpenEnded().generate_text("hi", stream=False, streaming_callback=lambda piece, _: pieces.append(piece)) == "HI"
    )
    assert pieces == []
    with pytest.raises(TypeError, match="stream"):
        OpenEnded().generate_text("hi", stream="yes")


class FewParameters(EightMethods):
    """Takes the prompt alone."""

    def generate_text(self, prompt: str) -> str:  # type: ignore[override]
        return prompt.upper()


def test_what_an_author_left_out_is_taken_all_the_same() -> None:
    """It is checked, told as ignored, and a callback gets the text."""
    binding: LollmsLLMBinding = FewParameters()
    pieces: list[str] = []
    answer = binding.generate_text(
        "hi", temperature=0.5, system_prompt="", split=False, streaming_callback=lambda piece, _: pieces.append(piece)
    )
    assert answer == "".join(pieces) == "HI"
    with pytest.raises(ValueError, match="temperature"):
        binding.generate_text("hi", temperature=-1)
    with pytest.raises(CapabilityNotSupported, match="vision"):
        binding.generate_text("hi", images=[b"x"])
    with pytest.raises(TypeError, match="no_such"):
        binding.generate_text("hi", no_such=1)  # type: ignore[call-arg]


def test_a_model_that_is_not_loaded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the author's code says nothing but False; the next one that loads takes it back."""
    binding = EightMethods()
    assert binding.load_model("verbs") is False
    assert binding.last_error == "the binding 'eight' cannot load 'verbs', and does not say why"
    assert binding.last_error in caplog.text
    assert binding.load_model(model_name="words") is True
    assert binding.last_error is None

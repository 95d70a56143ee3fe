"""The rules of streaming callbacks."""

from __future__ import annotations

from typing import Any

from lollms_core.capabilities import Capability
from lollms_core.events import MSG_TYPE
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import Subject

_STREAM = (Capability.TEXT, Capability.STREAM)


class _Mine(Exception):
    """What a caller's callback raises."""


@check(*_STREAM)
def callback_gets_pieces(subject: Subject) -> None:
    """The callback gets the text in pieces, whose sum is returned; whatever it returns but False, it goes on."""
    binding = subject.new()
    for answer in (None, True, 0, ""):
        pieces: list[Any] = []
        kinds: list[Any] = []

        def callback(piece: Any, kind: Any, answer: Any = answer, pieces: Any = pieces, kinds: Any = kinds) -> Any:
            pieces.append(piece)
            kinds.append(kind)
            return answer

        returned = binding.generate_text(
            subject.settings.prompt, streaming_callback=callback, **subject.fields(binding)
        )
        returned = expecting.text(returned, f"generate_text with a callback that returns {answer!r}")
        wrong = [piece for piece in pieces if not isinstance(piece, str)]
        assert not wrong, f"the callback got {wrong[0]!r}, which is no str"
        assert set(kinds) <= set(MSG_TYPE), f"the callback got the kinds {set(map(str, kinds))}"
        chunks = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind is MSG_TYPE.MSG_TYPE_CHUNK]
        assert "".join(chunks) == returned, f"the callback got {''.join(chunks)!r}, and {returned!r} was returned"


@check(*_STREAM)
def callback_false_stops(subject: Subject) -> None:
    """A returned False ends the generation: no further call, the text so far is returned, the next request works."""
    binding = subject.new()
    pieces: list[str] = []

    def callback(piece: str, _: MSG_TYPE) -> bool:
        pieces.append(piece)
        return len(pieces) < 2

    returned = binding.generate_text(subject.settings.prompt, streaming_callback=callback, **subject.fields(binding))
    assert len(pieces) <= 2, f"the callback was called {len(pieces) - 2} times after it had returned False"
    assert returned == "".join(pieces), f"{returned!r} was returned, where the callback had got {''.join(pieces)!r}"
    expecting.text(subject.chat(binding).text, "the next request")


@check(*_STREAM)
def callback_raises(subject: Subject) -> None:
    """What the callback raises comes out as it is, and the next request works."""
    binding = subject.new()
    raised = _Mine("mine")

    def callback(*_: object) -> None:
        raise raised

    def ask() -> object:
        return binding.generate_text(subject.settings.prompt, streaming_callback=callback, **subject.fields(binding))

    error = expecting.raises(_Mine, ask, "generate_text with a callback that raises")
    assert error is raised, "what comes out is not what the callback raised"
    expecting.text(subject.chat(binding).text, "the next request")


@check(*_STREAM)
def stream_wins_over_callback(subject: Subject) -> None:
    """An explicit stream=False wins over a callback, which is then not called."""
    binding = subject.new()
    pieces: list[str] = []
    returned = binding.generate_text(
        subject.settings.prompt,
        stream=False,
        streaming_callback=lambda piece, _: pieces.append(piece),
        **subject.fields(binding),
    )
    expecting.text(returned, "generate_text with stream=False")
    assert not pieces, "with stream=False the callback was called"


@check(*_STREAM)
def callback_async(subject: Subject) -> None:
    """What an async callback returns is awaited, and False stops there too."""
    binding = subject.new()
    pieces: list[str] = []

    async def callback(piece: str, _: MSG_TYPE) -> bool:
        pieces.append(piece)
        return len(pieces) < 2

    asked = binding.agenerate_text(subject.settings.prompt, streaming_callback=callback, **subject.fields(binding))
    returned = subject.awaited(asked)
    assert len(pieces) <= 2, "the callback was called after it had returned False"
    assert returned == "".join(pieces), f"{returned!r} was returned, where the callback had got {''.join(pieces)!r}"

"""The binding that is checked: how instances of it are made, and the ways of asking them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from lollms_core.binding import LollmsLLMBinding
from lollms_core.capabilities import Capability
from lollms_core.events import Completion, Event, TextDelta
from lollms_core.middleware import Attached, Middleware
from lollms_core.request import EmbedRequest, GenerationRequest
from lollms_core.testing.dialect import Dialect

__all__ = ["IMAGE", "NotApplicable", "Settings", "Subject", "Way", "hooked", "texts"]

_T = TypeVar("_T")

Way: TypeAlias = Callable[..., Completion]
"""``way(binding, messages, **fields)`` gives the completion of one request, or raises."""

IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000080000000808020000004b6d29dc"
    "000000114944415478da63f8cfc08015310c2d090028ff3fc1ce77c84f0000000049454e44ae426082"
)
"""A red PNG of 8 by 8 pixels."""


class NotApplicable(Exception):
    """Raised by a check that says nothing about this binding; the text says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the checks ask with.

    Attributes:
        prompt: what a model answers with some words.
        n_predict: the limit of most answers, in tokens.
        image: an image that can be decoded.
        unknown_model: a name that no backend has a model of.
        pull: the name of a model that may be fetched, and is small; None checks no fetching.
        timeout: seconds that any wait may take.
    """

    prompt: str = "Count from one to twenty in words, one after the other."
    n_predict: int = 24
    image: bytes = IMAGE
    unknown_model: str = "no-such-model-0"
    pull: str | None = None
    timeout: float = 60.0


@dataclass
class Subject:
    """A binding under test.

    Attributes:
        factory: ``factory(**options)`` makes an instance that is ready to generate; `options` are the binding's own,
            request fields, and those of the five common names that are not in `given`.
        settings: what the checks ask with.
        given: the keywords that the factory itself gives to the constructor.
        dialect: how the backend speaks, for HTTP backends.
    """

    factory: Callable[..., LollmsLLMBinding]
    settings: Settings = field(default_factory=Settings)
    given: Collection[str] = ()
    dialect: Dialect | None = None
    _made: list[LollmsLLMBinding] = field(default_factory=list, repr=False)

    def run(self, check: Callable[[Subject], None], needs: Collection[Capability] = ()) -> None:
        """Run one check, and close what it made.

        Raises:
            NotApplicable: the binding does not declare what the check `needs`.
            AssertionError: the binding does not keep the promise.
            Exception: the binding raised it.
        """
        try:
            if needs:
                self.require(self.new(), *needs)
            check(self)
        finally:
            while self._made:
                self._made.pop().close()

    def new(self, **options: Any) -> LollmsLLMBinding:
        """A new instance; it is closed at the end of the check."""
        binding = self.factory(**options)
        if isinstance(binding, LollmsLLMBinding):
            self._made.append(binding)
        return binding

    def able(self, binding: LollmsLLMBinding) -> frozenset[Capability]:
        """What the instance can do with its model."""
        return binding.capabilities_of(binding.model_name)

    def require(self, binding: LollmsLLMBinding, *needs: Capability) -> None:
        """Go on only if the instance can do all this.

        Raises:
            NotApplicable: it cannot.
        """
        for need in needs:
            if need not in self.able(binding):
                raise NotApplicable(f"{need.name} is not declared")

    def use(self, binding: LollmsLLMBinding, *parameters: str) -> None:
        """Go on only if the binding has a use for these parameters.

        Raises:
            NotApplicable: it has none.
        """
        for name in parameters:
            if name not in binding.uses:
                raise NotApplicable(f"{name} is not in uses")

    def fields(self, binding: LollmsLLMBinding, **more: Any) -> dict[str, Any]:
        """The fields of an ordinary request: a limit and, where the binding has them, settings for the same again."""
        plain = {"n_predict": self.settings.n_predict, "temperature": 0.0, "seed": 7}
        return {**{name: value for name, value in plain.items() if name in binding.uses}, **more}

    def chat(self, binding: LollmsLLMBinding, **more: Any) -> Completion:
        """The answer to the settings' prompt."""
        return binding.chat(self.settings.prompt, **self.fields(binding, **more))

    def ways(self, binding: LollmsLLMBinding) -> Mapping[str, Way]:
        """All that asks and raises, by name: ``chat``, ``stream`` and their async twins."""
        ways: dict[str, Way] = {"chat": lambda asked, messages, **fields: asked.chat(messages, **fields)}
        ways["achat"] = lambda asked, messages, **fields: self.awaited(asked.achat(messages, **fields))
        if Capability.STREAM in self.able(binding):
            ways |= {"stream": _streamed, "astream": lambda *args, **fields: self.awaited(_astreamed(*args, **fields))}
        return ways

    def awaited(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of a coroutine, in an event loop of its own."""

        async def main() -> _T:
            async with asyncio.timeout(self.settings.timeout):
                return await work

        return asyncio.run(main())


def _streamed(binding: LollmsLLMBinding, messages: Any, **fields: Any) -> Completion:
    with binding.stream(messages, **fields) as stream:
        for _ in stream:
            continue
    return stream.completion


async def _astreamed(binding: LollmsLLMBinding, messages: Any, **fields: Any) -> Completion:
    async with binding.astream(messages, **fields) as stream:
        async for _ in stream:
            continue
    return stream.completion


class _OneHook:
    """A binding's hooks: the same middleware around every request."""

    def __init__(self, make: Callable[[], Middleware]) -> None:
        self._make = make

    def __bool__(self) -> bool:
        return True

    def middlewares(self, request: GenerationRequest | EmbedRequest) -> Sequence[Attached]:
        return [Attached(self._make(), "the conformance kit", required=True)]


def hooked(binding: LollmsLLMBinding, make: Callable[[], Middleware]) -> LollmsLLMBinding:
    """`binding` with a middleware around each of its requests, as a manager would give it."""
    object.__setattr__(binding, "_hooks", _OneHook(make))
    return binding


def texts(events: Collection[Event]) -> str:
    """The text among events."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))

"""What the binding needs of a model in memory, wherever that memory is: in this process, or in one of its own."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Protocol

from lollms_core import EmbedRequest, Event, GenerationRequest
from lollms_llamacpp.model_file import ModelFile
from lollms_llamacpp.options import LoadOptions

__all__ = ["LoadedModel"]


class LoadedModel(Protocol):
    """A model that serves requests, many at once, each in the thread that asks.

    A method that is called when the model is closed raises :class:`~lollms_llamacpp.native.ClosedError`; nothing has
    been done then.
    """

    @property
    def name(self) -> str:
        """The name that the model is known by."""
        ...

    @property
    def file(self) -> ModelFile:
        """The model's file."""
        ...

    @property
    def options(self) -> LoadOptions:
        """How it was loaded."""
        ...

    @property
    def ctx_size(self) -> int:
        """Tokens of its context."""
        ...

    @property
    def sampling_defaults(self) -> Mapping[str, float]:
        """The sampling where a request names none."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the weights, the projector's with them."""
        ...

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        ...

    @property
    def n_vocab(self) -> int:
        """The number of tokens that the model knows."""
        ...

    @property
    def pid(self) -> int | None:
        """The process whose memory it is in; None while it is in none, since that has died."""
        ...

    @property
    def closed(self) -> bool:
        """Whether no request is taken any more."""
        ...

    @property
    def failed(self) -> bool:
        """Whether it takes no request any more though nobody has closed it: the model has to be loaded again."""
        ...

    def check(self, request: GenerationRequest) -> None:
        """Whether this model can honour the parameters, as far as that can be told without work.

        Raises:
            ValueError: it can't; the text names the parameter.
            CapabilityNotSupported: its chat template has no place for what is asked.
        """
        ...

    def generate(self, request: GenerationRequest) -> Generator[Event, None, None]:
        """The events of one answer. It ends at once, without Finish, when the request is cancelled."""
        ...

    def embed(self, request: EmbedRequest) -> list[list[float]]:
        """The vectors of the texts, in their order."""
        ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The model's tokens of `text`."""
        ...

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, which are in the vocabulary."""
        ...

    def retire(self) -> None:
        """Free everything as soon as the requests that run have ended."""
        ...

    def close(self, patience: float = ...) -> None:
        """End what runs, at most `patience` seconds long, and free everything."""
        ...

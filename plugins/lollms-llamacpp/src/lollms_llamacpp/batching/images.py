"""Images as they stand in a prompt's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lollms_llamacpp.context import Context
from lollms_llamacpp.vision import Piece, Projector

__all__ = ["PlacedImage", "place"]


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image, or one part of one.

    Attributes:
        begin: the first of its tokens in the prompt.
        piece: what libmtmd knows of it.
        vectors: what the model reads in the place of its tokens.
        projector: the one that has made them.
    """

    begin: int
    piece: Piece
    vectors: Any
    projector: Projector

    @property
    def n_tokens(self) -> int:
        return self.piece.n_tokens

    @property
    def n_positions(self) -> int:
        return self.piece.n_positions

    @property
    def end(self) -> int:
        return self.begin + self.piece.n_tokens

    def compute(self, context: Context, sequence: int, position: int) -> int:
        """Have the model read it at `position`; 0, or llama_decode's error."""
        return self.projector.read_by(context, self.piece, self.vectors, sequence, position)


def place(pieces: Sequence[Piece], vectors: Sequence[Any], projector: Projector) -> tuple[list[int], list[PlacedImage]]:
    """The tokens of a prompt in pieces, and its images.

    Args:
        pieces: text and images.
        vectors: those of the images, in their order.
        projector: the one that has made them.

    Returns:
        The tokens; an image's are numbers below 0, the same wherever the same image stands.
    """
    tokens: list[int] = []
    images: list[PlacedImage] = []
    for piece in pieces:
        if piece.chunk:
            images.append(PlacedImage(len(tokens), piece, vectors[len(images)], projector))
            tokens.extend([-1 - piece.key] * piece.n_tokens)
        else:
            tokens.extend(piece.tokens)
    return tokens, images

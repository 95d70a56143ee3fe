"""Where the images of a request stand in its conversation."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from lollms_core import GenerationRequest, ImageError
from lollms_core.messages import Image, Message
from lollms_llamacpp.vision import Piece

__all__ = ["place_images", "with_pieces"]


def place_images(request: GenerationRequest) -> tuple[list[Message], list[Image], list[str]]:
    """The conversation with texts that nobody can guess where images stand; the images; those texts.

    ``request.images`` come before the text of the last user message.

    Raises:
        ImageError: there is none to put them to, or an image is a URL.
    """
    messages = request.to_messages()
    images: list[Image] = []
    places: list[str] = []

    def place(image: object) -> str:
        if not isinstance(image, Image):
            raise ImageError("llama.cpp takes no image URLs; give the file or its bytes")
        # Digits and tildes are what templates leave alone, whatever they do with letters.
        text = f"~{secrets.randbelow(10**24):024d}~"
        images.append(image)
        places.append(text)
        return text

    last = None
    if request.images:
        last = next((n for n in range(len(messages) - 1, -1, -1) if messages[n]["role"] == "user"), None)
        if last is None:
            raise ImageError("images belong to a user's message, and there is none")
    for number, message in enumerate(messages):
        own = request.images if number == last else ()
        content = message.get("content")
        if own or isinstance(content, list):
            before = [{"type": "image", "image": image} for image in own]
            parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
            texts = [
                place(part.get("image")) if part["type"] == "image" else part.get("text", "")
                for part in [*before, *parts]
                if part["type"] in ("image", "text")
            ]
            messages[number] = {**message, "content": "".join(texts)}
    return messages, images, places


def with_pieces(tokens: Sequence[int], images: Sequence[Sequence[Piece]]) -> list[Piece]:
    """A prompt whose images stand as -1, -2, ... in `tokens`, as pieces; text beside text becomes one."""
    pieces: list[Piece] = []
    text: list[int] = []

    def flush() -> None:
        if text:
            pieces.append(Piece(len(text), tuple(text)))
            text.clear()

    for token in tokens:
        for piece in images[-1 - token] if token < 0 else (Piece(1, (token,)),):
            if piece.chunk:
                flush()
                pieces.append(piece)
            else:
                text.extend(piece.tokens)
    flush()
    return pieces

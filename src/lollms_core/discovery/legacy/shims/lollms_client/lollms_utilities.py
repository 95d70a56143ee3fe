"""Stands for ``lollms_client.lollms_utilities``: what binding folders use of it."""

from __future__ import annotations

import base64
import importlib
import io
import math
from typing import Any

from lollms_core.errors import BackendUnavailable, ImageError
from lollms_core.messages import ImageSource, load_image

__all__ = ["ImageTokenizer", "encode_image", "to_float", "to_int"]

_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}


def encode_image(image_path: ImageSource, max_image_width: int = -1) -> str:
    """An image as base64; one wider than `max_image_width` pixels (-1: any) is made smaller, which needs Pillow.

    Raises:
        ImageError: it cannot be read, or is a URL, which is never fetched.
        BackendUnavailable: it would have to be made smaller, and Pillow is not installed.
    """
    image = load_image(image_path)
    if isinstance(image, str):
        raise ImageError("this binding does not take image URLs; give the file or its bytes")
    data = image.data
    if max_image_width > 0:
        picture = _opened(data)
        if picture.width > max_image_width:
            height = max(1, round(picture.height * max_image_width / picture.width))
            smaller = io.BytesIO()
            picture.resize((max_image_width, height)).save(smaller, _FORMATS.get(image.mime, "PNG"))
            data = smaller.getvalue()
    return base64.b64encode(data).decode("ascii")


class ImageTokenizer:
    """Estimates the tokens of images.

    Args:
        model_name: kept; one estimate serves all models.
    """

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    def count_image_tokens(self, image: ImageSource) -> int:
        """85 and 170 for each tile of 512 pixels, after fitting it into 2048 x 2048 and its short side to 768.

        That is how OpenAI counts (https://platform.openai.com/docs/guides/images-vision, "Calculating costs").

        Raises:
            ImageError: the image cannot be read.
            BackendUnavailable: Pillow, which reads its size, is not installed.
        """
        loaded = load_image(image)
        if isinstance(loaded, str):
            raise ImageError("the size of an image behind a URL is not known")
        picture = _opened(loaded.data)
        width: int = picture.width
        height: int = picture.height
        scale = min(1.0, 2048 / max(width, height))
        scale = min(scale, 768 / min(width, height))
        return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def to_int(value: Any, default: int | None = None) -> int | None:
    """`value`, a number or the text of one, as an int; `default` where it is none."""
    number = to_float(value)
    return default if number is None or not math.isfinite(number) else int(number)


def to_float(value: Any, default: float | None = None) -> float | None:
    """`value`, a number, a truth value or the text of one, as a float; `default` where it is none."""
    if isinstance(value, str):
        value = _TRUTH.get(value.strip().lower(), value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


_TRUTH = {"true": 1, "yes": 1, "y": 1, "on": 1, "false": 0, "no": 0, "n": 0, "off": 0}


def _convert_to_bool(value: Any) -> bool:
    """Whether `value`, a truth value, a number or the text of one, is true; False for other text."""
    return bool(to_float(value, 0.0))


def _opened(data: bytes) -> Any:
    """The image as Pillow has it."""
    try:
        images = importlib.import_module("PIL.Image")
    except ImportError as exc:
        raise BackendUnavailable("images are measured with Pillow, which is not installed: pip install pillow") from exc
    try:
        return images.open(io.BytesIO(data))
    except (OSError, ValueError) as exc:
        raise ImageError("Pillow cannot read the image") from exc

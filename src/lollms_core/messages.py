"""Chat messages, the images in them, and `!@>` discussions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lollms_core.errors import ImageError

__all__ = [
    "AI_KEYWORD",
    "MAX_IMAGE_BYTES",
    "SYSTEM_KEYWORD",
    "USER_KEYWORD",
    "Image",
    "ImageSource",
    "Message",
    "check_messages",
    "has_images",
    "join_discussion",
    "load_image",
    "load_parts",
    "split_discussion",
    "text_of",
]

SYSTEM_KEYWORD = "!@>system:"
USER_KEYWORD = "!@>user:"
AI_KEYWORD = "!@>assistant:"

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Largest image that is read, in bytes (20 MiB)."""

Message: TypeAlias = dict[str, Any]
"""``{"role": "system" | "user" | "assistant" | "tool", "content": str | list of parts, ...}``"""

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def split_discussion(
    text: str,
    system_keyword: str = SYSTEM_KEYWORD,
    user_keyword: str = USER_KEYWORD,
    ai_keyword: str = AI_KEYWORD,
) -> list[Message]:
    """The messages of a marked-up discussion.

    Markers split anywhere, also inside a line; contents are stripped. Text before the first marker is a
    system message; text without any marker is one user message; a trailing empty message is dropped, and
    empty text gives ``[]``.

    Raises:
        TypeError: `text` or a keyword is not a str.
        ValueError: a keyword is empty, or two of them are equal.
    """
    roles = {system_keyword: "system", user_keyword: "user", ai_keyword: "assistant"}
    for name, value in (("text", text), *(("keyword", keyword) for keyword in roles)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not all(roles) or len(roles) < 3:
        raise ValueError("the three keywords of a discussion must be different and not empty")
    # Longest first: of two markers that begin alike, the longer one is meant.
    markers = "|".join(re.escape(keyword) for keyword in sorted(roles, key=len, reverse=True))
    head, *rest = re.split(f"({markers})", text)
    head = head.strip()
    if not rest:
        return [{"role": "user", "content": head}] if head else []
    messages = [{"role": "system", "content": head}] if head else []
    messages += [
        {"role": roles[marker], "content": content.strip()} for marker, content in zip(*[iter(rest)] * 2, strict=True)
    ]
    if not messages[-1]["content"]:
        messages.pop()
    return messages


_MARKERS = {"system": SYSTEM_KEYWORD, "developer": SYSTEM_KEYWORD, "user": USER_KEYWORD, "assistant": AI_KEYWORD}
_ANY_MARKER = re.compile("!@>(?=system:|user:|assistant:)")


def join_discussion(messages: Iterable[Mapping[str, Any]]) -> str:
    """The marked-up discussion that :func:`split_discussion` turns back into these messages.

    Exact for stripped, non-empty string contents in the roles system, user and assistant. A marker inside
    a content is made harmless by a zero-width space (U+200B) before its ``>``. Of a content in parts, the
    text parts count.

    Raises:
        ValueError: a message has another role.
    """
    pieces = []
    for message in messages:
        marker = _MARKERS.get(message.get("role", ""))
        if marker is None:
            raise ValueError(f"a discussion has no place for a message with role {message.get('role')!r}")
        content = _ANY_MARKER.sub("!@\u200b>", text_of(message.get("content")))
        pieces.append(f"{marker}\n{content}\n")
    return "".join(pieces)


def text_of(content: Any) -> str:
    """The text of a message's content: itself, or its text parts joined; "" for None."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


def has_images(messages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any message has an image part."""
    return any(
        isinstance(content := message.get("content"), list)
        and any(part.get("type") in ("image_url", "image") for part in content)
        for message in messages
    )


def load_parts(messages: Iterable[Message], load: Callable[[Any], Image | str]) -> tuple[Message, ...]:
    """`messages` with the images in their parts read: each such part becomes ``{"type": "image", "image": ...}``.

    Both forms are taken, ``{"type": "image", "image": source}`` and OpenAI's ``{"type": "image_url", "image_url":
    {"url": source, ...}}``; what else stands there, such as ``detail``, stays with the part.

    Args:
        messages: checked ones.
        load: reads one image; :func:`load_image`, or what calls it.

    Raises:
        ImageError: an image cannot be read.
        TypeError: a source is of no known type.
    """
    return tuple(
        {**message, "content": [_loaded(part, load) for part in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in messages
    )


def _loaded(part: dict[str, Any], load: Callable[[Any], Image | str]) -> dict[str, Any]:
    if part["type"] == "image":
        return {**part, "image": load(part.get("image"))}
    if part["type"] != "image_url":
        return part
    given = part.get("image_url")
    rest = dict(given) if isinstance(given, Mapping) else {"url": given}
    image = load(rest.pop("url", None))
    return {
        **{name: value for name, value in part.items() if name != "image_url"},
        **rest,
        "type": "image",
        "image": image,
    }


def check_messages(messages: object) -> tuple[Message, ...]:
    """`messages` as a tuple of fresh dicts.

    Raises:
        TypeError, ValueError: it is no sequence of chat messages; the text names the place.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise TypeError(f"messages must be a list of dicts, not {type(messages).__name__}")
    checked = tuple(_check_message(index, message) for index, message in enumerate(messages))
    if not checked:
        raise ValueError("messages is empty: give at least one message")
    return checked


def _check_message(index: int, message: object) -> Message:
    where = f"messages[{index}]"
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(message).__name__}")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(f"{where} has the role {role!r}; known roles are {', '.join(sorted(_ROLES))}")
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise ValueError(f"{where} has no content")
    if content is not None and not isinstance(content, str):
        if not isinstance(content, (list, tuple)):
            raise TypeError(f"{where}['content'] must be a str or a list of parts, not {type(content).__name__}")
        for number, part in enumerate(content):
            if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
                raise TypeError(f"{where}['content'][{number}] must be a dict with a 'type'")
            if part["type"] == "text" and not isinstance(part.get("text"), str):
                raise TypeError(f"{where}['content'][{number}]['text'] must be a str")
        content = [dict(part) for part in content]
    return {**message, "content": content}


@dataclass(frozen=True, slots=True)
class Image:
    """One image in memory; ``mime`` as in ``image/png``.

    Raises:
        TypeError: the data is not bytes, or the mime type not a str.
    """

    data: bytes
    mime: str

    def __post_init__(self) -> None:
        data: object = self.data
        mime: object = self.mime
        if not (isinstance(data, bytes) and isinstance(mime, str)):
            raise TypeError(
                f"an Image is made of bytes and a str such as image/png, not of {type(data).__name__} "
                f"and {type(mime).__name__}"
            )

    def __repr__(self) -> str:
        return f"Image({len(self.data)} bytes, {self.mime})"


ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image"
"""A path, a ``data:`` URL, an http(s) URL, the bytes of a file, or an :class:`Image`."""

# First bytes of the formats that vision models take (each format's own specification).
_SIGNATURES: Sequence[tuple[bytes, str]] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)


def load_image(source: ImageSource, *, max_bytes: int = MAX_IMAGE_BYTES) -> Image | str:
    """The image behind `source`; an http(s) URL comes back as it is, since we never fetch one.

    Raises:
        ImageError: no regular file, unreadable, larger than `max_bytes`, or not PNG, JPEG, GIF, WebP or BMP.
        TypeError: `source` is of no known type.
    """
    if isinstance(source, Image):
        return source
    if isinstance(source, (bytes, bytearray)):
        return _identified(bytes(source), "the bytes given", max_bytes)
    if isinstance(source, str) and source.startswith("data:"):
        return _from_data_url(source, max_bytes)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return source
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"an image is a path, a data: or http(s) URL, bytes or Image, not {type(source).__name__}")
    path = os.fsdecode(source)
    return _identified(_read_regular_file(path, max_bytes), f"the file {path}", max_bytes)


# Non-blocking, so that opening a FIFO cannot hang before it is seen to be no regular file; and a terminal that is
# opened by mistake must not become the process's own.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def _read_regular_file(path: str, max_bytes: int) -> bytes:
    """The file's first `max_bytes` + 1 bytes at most, whatever size it has or grows to."""
    import stat

    shown = path if len(path) <= 200 else path[:200] + "..."
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"cannot read the image file {shown}: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ImageError(f"the image {shown} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            # None where there is nothing to read yet, as with some of the kernel's files, which count as regular.
            return file.read(max_bytes + 1) or b""
    except OSError as error:
        raise ImageError(f"cannot read the image file {shown}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _from_data_url(url: str, max_bytes: int) -> Image:
    import base64
    import binascii

    header, comma, payload = url[5:].partition(",")
    if not comma or not header.endswith(";base64"):
        raise ImageError("a data: URL for an image must be of the form data:image/png;base64,...")
    if len(payload) > max_bytes * 4 // 3 + 4:
        raise ImageError(f"the image in the data: URL is larger than {max_bytes} bytes")
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the data: URL of an image is not valid base64: {error}") from error
    return _identified(data, "the data: URL", max_bytes)


def _identified(data: bytes, origin: str, max_bytes: int) -> Image:
    if len(data) > max_bytes:
        raise ImageError(f"{origin} is larger than the {max_bytes} bytes allowed for an image")
    for signature, mime in _SIGNATURES:
        if data.startswith(signature):
            return Image(data, mime)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Image(data, "image/webp")
    raise ImageError(f"{origin} is not an image (PNG, JPEG, GIF, WebP or BMP)")

"""A conversation and its file: what was said, with whom, and how."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lollms_core import peer_json
from lollms_core.errors import ImageError
from lollms_core.files import write_whole
from lollms_core.messages import Image, Message, check_messages, load_image, load_parts

__all__ = ["Conversation", "ConversationError", "last_saved", "new_place", "saved_folder"]

_log = logging.getLogger(__name__)

_MARK = "lollms_conversation"
_VERSION = 1


class ConversationError(ValueError):
    """A file that is no conversation, or cannot be read or written; the text is one sentence."""


@dataclass(slots=True)
class Conversation:
    """What a chat is made of.

    Attributes:
        messages: the turns in OpenAI's form, ``provider`` mappings as the backend gave them, without system messages.
        system: the system prompt, "" for none.
        binding: the name of the binding that it is held with; None if not known.
        model: the name of the model.
        options: ``key=value`` strings, as ``-o`` takes them: parameters alone, neither keys nor addresses.
    """

    messages: list[Message] = field(default_factory=list)
    system: str = ""
    binding: str | None = None
    model: str | None = None
    options: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The conversation in the file `path`, with its images read.

        Raises:
            ConversationError: the file cannot be read, or is none; the text says why.
        """
        try:
            if not path.is_file():
                raise ConversationError(f"there is no file {path}")
            data = path.read_bytes()
        except OSError as error:
            raise ConversationError(f"cannot read {path}: {error.strerror}") from error
        try:
            return cls._of(peer_json.loads(data))
        except ImageError as error:
            raise ConversationError(f"the conversation in {path} cannot be used: {error}") from error
        except (TypeError, ValueError) as error:
            raise ConversationError(f"{path} is no saved conversation: {error}") from error

    @classmethod
    def _of(cls, found: object) -> Self:
        if not isinstance(found, Mapping) or _MARK not in found:
            raise ValueError(f"it is not a JSON object with {_MARK!r}")
        if found[_MARK] != _VERSION:
            raise ValueError(f"it has the format {found[_MARK]!r}, and this version of lollms reads {_VERSION}")
        messages = found.get("messages", [])
        options = found.get("options", [])
        if not isinstance(options, list) or not all(isinstance(pair, str) and "=" in pair for pair in options):
            raise ValueError("'options' must be a list of strings KEY=VALUE")
        for name in ("system", "binding", "model"):
            if not isinstance(found.get(name), str | None):
                raise TypeError(f"{name!r} must be a string")
        return cls(
            messages=list(load_parts(check_messages(messages), load_image)) if messages != [] else [],
            system=found.get("system") or "",
            binding=found.get("binding"),
            model=found.get("model"),
            options=tuple(options),
        )

    def write(self, path: Path) -> None:
        """Put the conversation in the place of the file `path`, whole or not at all; only this user may read it.

        Images are written as ``data:`` URLs, so that the file needs no other.

        Raises:
            ConversationError: it cannot be written; the file is as it was.
        """
        document = {
            _MARK: _VERSION,
            "binding": self.binding,
            "model": self.model,
            "options": list(self.options),
            "system": self.system,
            "messages": [_plain_message(message) for message in self.messages],
        }
        try:
            write_whole(path, (json.dumps(document, indent=1) + "\n").encode("ascii"))
        except OSError as error:
            raise ConversationError(f"cannot save the conversation as {path}: {error.strerror or error}") from error

    def save_as(self, path: Path) -> None:
        """:meth:`write`, but never in the place of a file that is something else.

        Raises:
            ConversationError: it cannot be written, or another kind of file is there.
        """
        if path.exists():
            try:
                Conversation.read(path)
            except ConversationError as error:
                raise ConversationError(f"{path} is there and is no saved conversation: choose another name") from error
        self.write(path)


def _plain_message(message: Message) -> Message:
    """`message` as JSON can have it."""
    plain = dict(message)
    if isinstance(plain["content"], list):
        plain["content"] = [_plain_part(part) for part in plain["content"]]
    if "provider" in plain:
        try:
            json.dumps(plain["provider"])
        except (TypeError, ValueError):
            _log.warning("what the backend wants back with an answer is no JSON, and is not saved with it")
            del plain["provider"]
    return plain


def _plain_part(part: Mapping[str, Any]) -> dict[str, Any]:
    image = part.get("image")
    if not isinstance(image, Image):
        return dict(part)
    return {**part, "image": f"data:{image.mime};base64,{base64.b64encode(image.data).decode('ascii')}"}


# Where they are kept ------------------------------------------------------------------------------------


def saved_folder() -> Path:
    """The folder that chats save themselves in: ``chats`` in the user's data directory of lollms."""
    import platformdirs

    return platformdirs.user_data_path("lollms", appauthor=False) / "chats"


def new_place() -> Path:
    """A file of its own for a new conversation; its name begins with the time."""
    import secrets
    from datetime import datetime

    return saved_folder() / f"{datetime.now().astimezone():%Y-%m-%d_%H.%M.%S}_{secrets.token_hex(2)}.json"


def last_saved() -> Path:
    """The conversation that was saved last.

    Raises:
        ConversationError: there is none.
    """
    try:
        return max(_files(saved_folder()), key=lambda path: path.stat().st_mtime_ns)
    except (OSError, ValueError):
        raise ConversationError(f"there is no conversation to continue in {saved_folder()}") from None


def _files(folder: Path) -> Iterable[Path]:
    # What is being written has another ending.
    return (path for path in folder.iterdir() if path.suffix == ".json")

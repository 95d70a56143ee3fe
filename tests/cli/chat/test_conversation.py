"""The file of a conversation: everything comes back, nothing is lost, and what is broken is told in a sentence."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lollms_core.cli.chat.conversation import Conversation, ConversationError, last_saved

from .pictures import PNG

MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image", "image": PNG}]},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        "provider": {"signature": ["a", None, 1.5]},
    },
    {"role": "tool", "tool_call_id": "1", "name": "look", "content": "a dot \ud83d"},
    {"role": "assistant", "content": "A dot\u2028."},
]


def test_everything_comes_back(tmp_path: Path) -> None:
    conversation = Conversation(MESSAGES, "Be brief.", "talker", "small", ("temperature=0.2", "stop=A"))
    conversation.write(tmp_path / "new" / "c.json")
    assert Conversation.read(tmp_path / "new" / "c.json") == conversation
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["c.json"]


def test_an_image_can_be_a_path_or_a_url(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG.data)
    parts = [{"type": "image", "image": source} for source in (str(tmp_path / "dot.png"), "https://example.org/a.png")]
    document = {"lollms_conversation": 1, "messages": [{"role": "user", "content": parts}]}
    (tmp_path / "c.json").write_text(json.dumps(document))
    (message,) = Conversation.read(tmp_path / "c.json").messages
    assert [part["image"] for part in message["content"]] == [PNG, "https://example.org/a.png"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no saved conversation"),
        (b"\xff\xfe\x00", "no saved conversation"),
        (b"[" * 10_000, "nested deeper"),
        (b"[]", "not a JSON object with 'lollms_conversation'"),
        (b'{"messages": []}', "not a JSON object with 'lollms_conversation'"),
        (b'{"lollms_conversation": 9}', "this version of lollms reads 1"),
        (b'{"lollms_conversation": 1, "messages": "hi"}', "messages must be a list"),
        (b'{"lollms_conversation": 1, "messages": [{"role": "boss", "content": ""}]}', "known roles are"),
        (b'{"lollms_conversation": 1, "messages": [{"role": "user"}]}', "has no content"),
        (b'{"lollms_conversation": 1, "options": {"a": 1}}', "KEY=VALUE"),
        (b'{"lollms_conversation": 1, "system": 5}', "'system' must be a string"),
        (
            (
                b'{"lollms_conversation": 1, "messages": [{"role": "user", "content": '
                b'[{"type": "image", "image": "/no"}]}]}'
            ),
            "cannot be used: cannot read the image file /no",
        ),
    ],
)
def test_a_file_that_is_none_is_told_with_its_name(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(ConversationError) as raised:
        Conversation.read(tmp_path / "c.json")
    assert said in str(raised.value)
    assert str(tmp_path / "c.json") in str(raised.value)


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_no_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConversationError, match="there is no file"):
        Conversation.read(tmp_path / name)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.json"
    Conversation(system="old").write(file)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ConversationError, match=r"cannot save the conversation as .*c\.json: No space left on device"):
        Conversation(system="new").write(file)
    assert Conversation.read(file).system == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_opaque_data_that_is_no_json_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer: dict[str, Any] = {"role": "assistant", "content": "!", "provider": {"a": object()}}
    messages = [{"role": "user", "content": "?"}, answer]
    Conversation(messages).write(tmp_path / "c.json")
    assert Conversation.read(tmp_path / "c.json").messages[1] == {"role": "assistant", "content": "!"}
    assert "is not saved" in caplog.text


def test_the_last_one_is_that_which_was_saved_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(ConversationError, match="no conversation to continue"):
        last_saved()
    folder = tmp_path / "lollms" / "chats"
    for name, seconds in (("a.json", 1_000), ("b.json", 3_000), ("c.json", 2_000), ("b.json.new", 9_000)):
        Conversation().write(folder / name)
        os.utime(folder / name, (seconds, seconds))
    assert last_saved() == folder / "b.json"

"""Images: a projector of random weights shows that they reach the model, each in its place."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lollms_core import (
    BackendError,
    BackendUnavailable,
    Capability,
    CapabilityNotSupported,
    ContextOverflow,
    GenerationRequest,
    ImageError,
)
from lollms_core.messages import Image
from lollms_llamacpp import LlamaCppBinding, vision
from lollms_llamacpp.engine import Engine
from lollms_llamacpp.image_prompt import place_images, with_pieces
from lollms_llamacpp.image_size import image_size
from lollms_llamacpp.vision import Piece

Make = Callable[..., bytes]
FIELDS: dict[str, Any] = {"n_predict": 12, "temperature": 0, "cache_prompt": False}
TOKENS = 16  # that an image takes


@pytest.fixture(scope="module")
def projector(tmp_path_factory: pytest.TempPathFactory, make_projector: Make) -> Path:
    file = tmp_path_factory.mktemp("projector") / "tiny.gguf"
    file.write_bytes(make_projector())
    return file


@pytest.fixture(scope="module")
def seeing(projector: Path) -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(model_name="smollm2", ctx_size=512, mmproj=projector) as binding:
        yield binding


@pytest.fixture(scope="module")
def red(make_png: Make) -> bytes:
    return make_png(40, 30)


@pytest.fixture(scope="module")
def blue(make_png: Make) -> bytes:
    return make_png(40, 30, (0, 0, 255))


def part(image: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]}]


def test_an_image_counts(seeing: LlamaCppBinding, smollm2: LlamaCppBinding, red: bytes, blue: bytes) -> None:
    """The same image gives the same answer, another one another; without images it is as without a projector."""
    assert Capability.VISION in seeing.capabilities_of(None)
    first = seeing.chat("Describe it.", images=[red], **FIELDS)
    assert seeing.chat("Describe it.", images=[red], **FIELDS).text == first.text
    assert seeing.chat("Describe it.", images=[blue], **FIELDS).text != first.text
    plain = seeing.chat("Describe it.", **FIELDS)
    assert plain.text == smollm2.chat("Describe it.", **FIELDS).text != first.text
    assert first.usage.prompt_tokens == (plain.usage.prompt_tokens or 0) + TOKENS
    assert seeing.generate_text("Describe it.", images=[red], **FIELDS) == first.text
    sampled = [seeing.chat("Describe it.", images=[red], n_predict=8, seed=3).text for _ in range(2)]
    assert sampled[0] == sampled[1]


def test_places(seeing: LlamaCppBinding, red: bytes, blue: bytes) -> None:
    """Parts keep their order; images of the request stand before the text of the last user message."""
    before = seeing.chat(user(part(red), "Describe it."), **FIELDS)
    assert before.text == seeing.chat("Describe it.", images=[red], **FIELDS).text
    texts = {
        seeing.chat(talk, **FIELDS).text
        for talk in (
            user(part(red), "a", part(blue), "b"),
            user(part(blue), "a", part(red), "b"),
            user("a", part(blue), "b", part(red)),
        )
    }
    assert len(texts) > 1
    both = seeing.chat(user(part(red), "a", part(blue), "b"), **FIELDS)
    one = seeing.chat(user(part(red), "ab"), **FIELDS)
    assert (both.usage.prompt_tokens or 0) > (one.usage.prompt_tokens or 0) + TOKENS - 2
    plain = seeing.chat("x", images=[red], completion_format=None, **FIELDS)
    assert plain.usage.prompt_tokens


@pytest.mark.parametrize("text", ["<__media__>", "<image>", "~000000000000000000000000~", "<|im_end|>"])
def test_marks_in_a_text_are_text(seeing: LlamaCppBinding, red: bytes, text: str) -> None:
    """What looks like the place of an image, or like a control token, is the user's text."""
    done = seeing.chat(user(text, part(red)), **FIELDS)
    plain = seeing.chat(user(text), **FIELDS)
    assert done.usage.prompt_tokens == (plain.usage.prompt_tokens or 0) + TOKENS


def test_plain_completion(seeing: LlamaCppBinding, red: bytes, blue: bytes) -> None:
    """Without a template the images stand first."""
    fields: dict[str, Any] = {"completion_format": "text", **FIELDS}
    answers = [seeing.generate_text("The picture shows", images=images, **fields) for images in ([red], [blue], [])]
    assert len(set(map(str, answers))) == 3


def test_prompt_in_parts(projector: Path, seeing: LlamaCppBinding, red: bytes) -> None:
    """Small batches make no difference to what is read."""
    talk = user("one two three four five six", part(red), "seven eight nine", part(red), "ten")
    whole = seeing.chat(talk, **FIELDS)
    with LlamaCppBinding(model_name="smollm2", ctx_size=512, n_batch=5, n_parallel=2, mmproj=projector) as binding:
        parts = binding.chat(talk, **FIELDS)
    assert parts.usage == whole.usage
    assert parts.text[:10] == whole.text[:10]


def test_overflow(seeing: LlamaCppBinding, red: bytes) -> None:
    """The vectors of images are counted before any work."""
    with pytest.raises(ContextOverflow) as caught:
        seeing.chat(user(*[part(red)] * 40, "x"))
    assert (caught.value.prompt_tokens or 0) > 40 * TOKENS
    assert seeing.chat("x", n_predict=1).usage.completion_tokens == 1


@pytest.mark.parametrize("penalty", [1.2, None])
def test_grammars(seeing: LlamaCppBinding, red: bytes, penalty: float | None) -> None:
    """A schema holds the answer to an image too, also with penalties for what the prompt holds."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    done = seeing.chat(user(part(red), "Is it red?"), response_format=schema, repeat_penalty=penalty, **FIELDS)
    assert isinstance(done.parsed["a"], bool)


def test_bad_images(seeing: LlamaCppBinding, make_png: Make, red: bytes) -> None:
    """Damaged, too large, too thin or of another format: one clear error, and the next request works."""
    bomb = make_png(1, 1)
    bomb = bomb[:16] + struct.pack(">II", 60_000, 60_000) + bomb[24:]
    for image, words in (
        (red[:60], "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "pixels"),
        (b"\xff\xd8\xff" + b"x" * 40, "cannot read"),
        (bomb, "pixels"),
        (make_png(300, 2), "thin"),
        (b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 40, "webp"),
    ):
        with pytest.raises(ImageError, match=words):
            seeing.chat(user(part(image) if "RIFF" not in str(image[:4]) else {"type": "image", "image": image}, "x"))
    for size in ((1, 1), (100, 1), (1, 100), (3, 200)):
        assert seeing.chat("x", images=[make_png(*size)], n_predict=1).usage.completion_tokens == 1
    with pytest.raises(ImageError):
        seeing.chat("x", images=["https://example.org/x.png"])


def test_wrong_projectors(
    tmp_path: Path, make_projector: Make, make_gguf: Make, smollm2_path: Path, red: bytes
) -> None:
    """For another model, damaged, or none at all: a clear error when the model is loaded."""
    file = tmp_path / "p.gguf"
    for content, words in (
        (make_projector(n_out=64), "n_embd"),
        (make_projector(clip__vision__patch_size=0), "patch_size"),
        (make_projector(clip__projector_type="unheard"), "unknown projector"),
        (make_projector()[:3000], "p.gguf"),
        (make_gguf({"general.architecture": "llama"}), "no projector"),
        (b"nothing", "p.gguf"),
    ):
        file.write_bytes(content)
        with pytest.raises(BackendError, match=words):
            LlamaCppBinding(model_path=smollm2_path, mmproj=file)
    with pytest.raises(TypeError, match="mmproj"):
        LlamaCppBinding(model_path=smollm2_path, mmproj=7)
    # Known only by its tokens: this kind marks images with some that the vocabulary lacks.
    file.write_bytes(make_projector(kind="idefics3"))
    with LlamaCppBinding(model_path=smollm2_path, mmproj=file, ctx_size=256) as binding:
        with pytest.raises(BackendError, match="another model"):
            binding.chat("x", images=[red])
        assert binding.chat("x", n_predict=1).usage.completion_tokens == 1


def test_projectors_without_sight(tmp_path: Path, make_projector: Make, make_tiny: Make, red: bytes) -> None:
    """Without a projector images are refused, before anything is computed."""
    (tmp_path / "m.gguf").write_bytes(make_tiny(tokenizer__chat_template="{{ messages[0].content }}"))
    with LlamaCppBinding(model_path=tmp_path / "m.gguf") as binding:
        assert Capability.VISION not in binding.capabilities_of(None)
        with pytest.raises(CapabilityNotSupported, match="vision"):
            binding.chat("x", images=[red])


def test_projector_beside_the_model(tmp_path: Path, make_projector: Make, make_tiny: Make, red: bytes) -> None:
    """The only projector beside an only model is used, if they fit; any doubt, and it isn't."""
    model, beside = tmp_path / "m.gguf", tmp_path / "mmproj-m.gguf"
    model.write_bytes(make_tiny(tokenizer__chat_template="{{ messages[0].content }}"))
    beside.write_bytes(make_projector(n_out=32))
    with LlamaCppBinding(models_path=tmp_path) as library:
        assert Capability.VISION in library.capabilities_of("m")
        assert library.chat("x", model="m", images=[red], n_predict=1).usage.prompt_tokens == 1 + TOKENS
        assert library.load_model("m")
        assert library.ps()[0]["size"] == model.stat().st_size + beside.stat().st_size
        assert library.chat("x", images=[red], n_predict=1).usage.prompt_tokens == 1 + TOKENS
        beside.write_bytes(make_projector(n_out=64))
        assert library.load_model("m")
        assert Capability.VISION not in library.capabilities_of(None)
        beside.write_bytes(make_projector(n_out=32))
        (tmp_path / "other.gguf").write_bytes(make_tiny())
        assert Capability.VISION not in library.capabilities_of("other")


def test_without_libmtmd(smollm2_path: Path, projector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A llama-cpp-python that was built without it is named."""

    def missing(name: str) -> NoReturn:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(vision, "functions_of", missing)
    vision._functions.cache_clear()
    try:
        with pytest.raises(BackendUnavailable, match="libmtmd"):
            LlamaCppBinding(model_path=smollm2_path, mmproj=projector, ctx_size=64)
    finally:
        vision._functions.cache_clear()


def test_cancel_while_an_image_is_read(
    projector: Path, smollm2_path: Path, red: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The computing of an image's vectors ends in the midst of it, and the next answer is as if nothing had been."""
    steps: list[bool] = []
    binding = LlamaCppBinding(model_path=smollm2_path, mmproj=projector, ctx_size=256)
    looked = vision.Projector._goes_on

    def cancelling(self: vision.Projector, ask: bool) -> bool:
        if not steps:
            binding.cancel()
        steps.append(ask)
        return looked(self, ask)

    with binding:
        whole = binding.chat("x", images=[red], **FIELDS)
        monkeypatch.setattr(vision.Projector, "_goes_on", cancelling)
        # The callback of a projector holds the method that it was made with.
        assert binding.load_model(str(smollm2_path))
        cancelled = binding.chat("x", images=[red], **FIELDS)
        assert cancelled.finish_reason == "cancelled"
        assert cancelled.text == ""
        assert 1 <= len(steps) <= 3
        assert binding.chat("x", images=[red], **FIELDS).text == whole.text


def test_memory(projector: Path, smollm2_path: Path, red: bytes) -> None:
    """A projector goes with its model."""
    binding = LlamaCppBinding(model_path=smollm2_path, mmproj=projector, ctx_size=256)
    binding.chat("x", images=[red], n_predict=1)
    assert isinstance(binding._models.engine, Engine)
    held = binding._models.engine._parts.projector
    assert held is not None
    alive = [held._free.alive]
    binding.unload()
    assert [*alive, held._free.alive] == [True, False]
    assert binding.chat("x", images=[red], n_predict=1).usage.completion_tokens == 1
    binding.close()


# The parts ----------------------------------------------------------------------------------------------


def test_sizes() -> None:
    """Width and height of each format, from its first bytes."""
    assert image_size(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 7, 5)) == (7, 5)
    assert image_size(b"GIF89a" + struct.pack("<HH", 7, 5)) == (7, 5)
    assert image_size(b"BM" + b"\0" * 16 + struct.pack("<ii", 7, -5)) == (7, 5)
    assert image_size(b"BM" + b"\0" * 16 + struct.pack("<ii", -7, 5)) is None
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 5, 7)
    assert image_size(b"\xff\xd8\xff\xe0\x00\x04ab\xff" + frame) == (7, 5)
    assert image_size(b"\xff\xd8\xff\xe0\x00\x04abX" + frame) is None
    for start in (b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"\x89PNG\r\n\x1a\n", b"", b"else"):
        assert image_size(start) is None


def test_placing() -> None:
    """Images of the request before the text, parts where they are; texts of other parts are nothing."""
    one, two = Image(b"1", "image/png"), Image(b"2", "image/png")
    content = [{"type": "text", "text": "a"}, {"type": "image", "image": two}, {"type": "file"}]
    request = GenerationRequest(messages=({"role": "user", "content": content},), images=(one,))
    messages, images, places = place_images(request)
    assert images == [one, two]
    assert messages[0]["content"] == f"{places[0]}a{places[1]}"
    assert len(set(places)) == 2
    with pytest.raises(ImageError, match="user"):
        place_images(GenerationRequest(messages=({"role": "system", "content": "x"},), images=(one,)))
    pieces = with_pieces([5, -1, 6, 7], [[Piece(1, (8,)), Piece(4, chunk=9), Piece(1, (10,))]])
    assert [(piece.tokens, piece.chunk) for piece in pieces] == [((5, 8), 0), ((), 9), ((10, 6, 7), 0)]


def test_log_probabilities(seeing: LlamaCppBinding, red: bytes) -> None:
    """They come with answers about images as with all others."""
    done = seeing.chat("x", images=[red], logprobs=2, **FIELDS)
    assert len(done.logprobs) == done.usage.completion_tokens
    assert all(one.logprob <= 0 and len(one.top) == 2 for one in done.logprobs)

"""Requests to tiny models: what a context holds, templates, tokens, and every kind of bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lollms_core import (
    BackendError,
    Capability,
    CapabilityNotSupported,
    ContextOverflow,
    LollmsError,
    UnsupportedParameter,
)
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.context import Context

Make = Callable[..., bytes]


def test_context_overflow(tiny: LlamaCppBinding) -> None:
    """A prompt that doesn't fit is refused before any work, with the figures; the next call works."""
    with pytest.raises(ContextOverflow) as caught:
        tiny.chat("x" * 300)
    assert caught.value.ctx_size == 256
    assert caught.value.prompt_tokens is not None
    assert caught.value.prompt_tokens > 300
    prompt = "x" * 40
    answer = tiny.generate_text(prompt, ctx_size=40, completion_format="text")
    assert isinstance(answer, dict)
    assert answer["error_type"] == "ContextOverflow"
    assert isinstance(tiny.generate_text(prompt, ctx_size=41, completion_format="text"), str)


def test_end_of_the_context(tiny: LlamaCppBinding) -> None:
    """An answer that reaches the context's end is finished for its length."""
    never = {258: -1e9, 256: -1e9}  # the tokens that would end it before
    done = tiny.stream([{"role": "user", "content": "x"}], logit_bias=never, temperature=0)
    list(done)
    usage = done.completion.usage
    assert done.completion.finish_reason == "length"
    assert (usage.prompt_tokens or 0) + (usage.completion_tokens or 0) == 256
    short = tiny.chat("x", logit_bias=never, temperature=0, ctx_size=50)
    assert short.finish_reason == "length"
    assert (short.usage.prompt_tokens or 0) + (short.usage.completion_tokens or 0) == 50


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"temperature": -1}, ValueError),
        ({"temperature": float("nan")}, ValueError),
        ({"top_p": 1.5}, ValueError),
        ({"temprature": 1}, UnsupportedParameter),
        ({"n_batch": 7}, UnsupportedParameter),
        ({"backend_options": {"x": 1}}, UnsupportedParameter),
        ({"completion_format": "prose"}, ValueError),
        ({"n_threads": 10_000}, ValueError),
        ({"ctx_size": 10_000}, ValueError),
        ({"logit_bias": {999: 1}}, ValueError),
        ({"tools": [{}]}, TypeError),
        ({"tools": [{"name": "f"}]}, CapabilityNotSupported),
        ({"think": True}, CapabilityNotSupported),
        ({"images": ["x.png"]}, CapabilityNotSupported),
    ],
)
def test_misused_request(tiny: LlamaCppBinding, fields: dict[str, Any], error: type[Exception]) -> None:
    """Misuse is raised, also by generate_text, before anything is computed; the next call works."""
    for call in (tiny.generate_text, tiny.chat, tiny.stream):
        with pytest.raises(error):
            call("x", **fields)
    assert isinstance(tiny.generate_text("x", n_predict=1), str)


def test_ignored(tiny: LlamaCppBinding) -> None:
    """What llama.cpp has no use for is reported, all the rest is used."""
    done = tiny.chat("x", n_predict=1, timeout=5, cache_prompt=False, seed=1, min_p=0.1, n_threads=1)
    assert done.ignored == ("timeout",)


def test_no_template(tiny_folder: Path) -> None:
    """Without a chat template: plain completion by default, no chat, unless a template is given."""
    with LlamaCppBinding(models_path=tiny_folder, model_name="bare") as binding:
        assert Capability.CHAT not in binding.capabilities_of(None)
        plain = binding.generate_text("x", n_predict=5, temperature=0)
        assert plain == binding.generate_text("x", n_predict=5, temperature=0, completion_format="text")
        with pytest.raises(CapabilityNotSupported):
            binding.chat("x")
        with pytest.raises(CapabilityNotSupported, match="chat template"):
            binding.generate_text("x", completion_format="chat")
        with pytest.raises(CapabilityNotSupported, match="chat template"):
            binding.generate_text("!@>user:x", split=True)
        given = binding.generate_text("x", chat_template="x", n_predict=5, temperature=0)
        assert given == plain
    with LlamaCppBinding(models_path=tiny_folder, model_name="bare", chat_template="x") as binding:
        assert Capability.CHAT in binding.capabilities_of(None)
        assert binding.chat("y", n_predict=5, temperature=0).text == plain


def test_broken_template(tmp_path: Path, make_tiny: Make) -> None:
    """A model whose template is broken still completes text; chat says what is wrong."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny(tokenizer__chat_template="{% if %}"))
    with LlamaCppBinding(model_path=file) as binding:
        assert isinstance(binding.generate_text("x", completion_format="text", n_predict=1), str)
        with pytest.raises(LollmsError, match="chat template of tiny"):
            binding.chat("x")


def test_system_prompt_of_plain_text(tiny: LlamaCppBinding) -> None:
    """In plain completion the system prompt stands before the prompt."""
    fields: dict[str, Any] = {"completion_format": "text", "n_predict": 5, "temperature": 0}
    assert tiny.generate_text("b", system_prompt="a", **fields) == tiny.generate_text("a\n\nb", **fields)


def test_empty_prompt(tiny: LlamaCppBinding) -> None:
    """There is nothing to continue, and that is said."""
    answer = tiny.generate_text("", completion_format="text")
    assert isinstance(answer, dict)
    assert (answer["error_type"], "empty" in answer["error"]) == ("BadRequest", True)


def test_lone_surrogate(tiny: LlamaCppBinding) -> None:
    """Half a character is refused, not passed on to C."""
    with pytest.raises(ValueError, match="surrogate"):
        tiny.tokenize("\ud800")
    answer = tiny.generate_text("\ud800")
    assert isinstance(answer, dict)
    assert (answer["error_type"], "surrogate" in answer["error"]) == ("BadRequest", True)
    with pytest.raises(LollmsError, match="surrogate"):
        tiny.embed(["x", "\ud800"])


def test_tokens(tiny: LlamaCppBinding) -> None:
    """Tokens by number, special-token text as plain text unless asked otherwise; bad ones are refused."""
    assert tiny.tokenize("thé") == [259, 195, 169]
    assert tiny.tokenize("<|im_end|>") != [258]
    assert tiny.tokenize("<|im_end|>", parse_special=True) == [258]
    assert tiny.detokenize([258, 259]) == "<|im_end|>th"
    assert tiny.detokenize([195]) == "\ufffd"
    assert tiny.detokenize([]) == ""
    assert tiny.count_tokens("thé") == 3
    for bad in ([-1], [260], [2**40]):
        with pytest.raises(ValueError, match="no token"):
            tiny.detokenize(bad)
    for wrong in (["1"], [1.0], [True], "12", 7, None):
        with pytest.raises(TypeError):
            tiny.detokenize(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        tiny.tokenize(b"x")  # type: ignore[arg-type]


def test_recommended_sampling(tmp_path: Path, make_tiny: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A file's own sampling counts where the caller has none, and what can't be is left out, with a warning."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny(general__sampling__temp=0.25, general__sampling__top_p=7.0))
    with LlamaCppBinding(model_path=file, top_k=3) as binding:
        parameters = binding.get_model_info()["parameters"]
        assert (parameters["temperature"], parameters["top_p"], parameters["top_k"]) == (0.25, 0.95, 3)
    assert "top_p" in caplog.text


def test_broken_utf8(tiny: LlamaCppBinding) -> None:
    """A model that writes bytes that are no characters still gives text, the same in pieces and whole."""
    fields: dict[str, Any] = {"seed": 3, "n_predict": 60, "temperature": 2, "top_k": 0, "logit_bias": {258: -100}}
    whole = tiny.chat("x", **fields)
    assert "\ufffd" in whole.text
    assert "".join(tiny.stream("x", **fields).text_stream) == whole.text


def test_prompt_in_parts(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt longer than n_batch is read in parts, all of it, and then token by token."""
    counts: list[int] = []
    decode = Context.decode

    def seen(self: Context) -> int:
        counts.append(len(self.batch))
        return decode(self)

    monkeypatch.setattr(Context, "decode", seen)
    with LlamaCppBinding(models_path=tiny_folder, model_name="bare", n_batch=12) as binding:
        assert isinstance(binding.generate_text("x" * 20, n_predict=3, seed=1, logit_bias={258: -100}), str)
    assert counts == [12, 8, 1, 1]


def test_llama_cpp_fails(tiny: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong inside llama.cpp ends that request alone."""
    monkeypatch.setattr(Context, "decode", lambda *_: -3)
    answer = tiny.generate_text("x")
    assert isinstance(answer, dict)
    assert (answer["error_type"], "-3" in answer["error"]) == ("BackendError", True)
    with pytest.raises(BackendError, match="-3"):
        tiny.embed("x")
    monkeypatch.undo()
    assert isinstance(tiny.generate_text("x", n_predict=1), str)
    monkeypatch.setattr(Context, "embedding", lambda *_: [float("nan")] * 32)
    with pytest.raises(BackendError, match="no usable vector"):
        tiny.embed("x")
    monkeypatch.undo()
    assert len(tiny.embed("x")) == 32


def test_cancelled_embedding(tiny: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling ends an embedding in its midst; the next one is right."""
    whole = tiny.embed("x" * 100)
    decode = Context.decode

    def cancelled(self: Context) -> int:
        tiny.cancel()
        return decode(self)

    monkeypatch.setattr(Context, "decode", cancelled)
    with pytest.raises(LollmsError, match="cancelled"):
        tiny.embed(["x" * 100] * 3)
    monkeypatch.undo()
    assert tiny.embed("x" * 100) == whole


def test_sentencepiece(tmp_path: Path, make_gguf: Make, packed: Callable[..., bytes]) -> None:
    """A vocabulary that puts a space before every text gives the text back without it."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "\u2581a"]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": packed([-float(index) for index in range(len(tokens))], "f32"),
        "tokenizer.ggml.token_type": packed([2, 3, 3, *([6] * 256), 1, 1, 1, 1], "i32"),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    file = tmp_path / "vocab.gguf"
    file.write_bytes(make_gguf(metadata))
    with LlamaCppBinding(model_path=file) as binding:
        assert binding.tokenize("a") == [262]
        assert binding.tokenize("a", add_special=True) == [1, 262]
        for text in ("a", " a", "  ab", "ba \u00e9", "\n", ""):
            assert binding.detokenize(binding.tokenize(text)) == text

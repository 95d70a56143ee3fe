"""The binding: the model through the contract of lollms-core."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lollms_core import CapabilityNotSupported, ModelNotFound, TextDelta, UnsupportedParameter
from lollms_example import ExampleBinding
from lollms_example.binding import Stops


@pytest.fixture
def binding() -> ExampleBinding:
    return ExampleBinding(seed=1)


# Generating -------------------------------------------------------------------------------------------------


def test_text_chat_and_stream_agree(binding: ExampleBinding) -> None:
    text = binding.generate_text("Why do bees dance?")
    completion = binding.chat("Why do bees dance?")
    stream = binding.stream("Why do bees dance?")
    deltas = [event.text for event in stream if isinstance(event, TextDelta)]
    assert text == completion.text == "".join(deltas) == asyncio.run(binding.agenerate_text("Why do bees dance?"))
    assert len(deltas) > 5
    assert completion.model == "bees"


def test_n_predict_is_the_most_tokens(binding: ExampleBinding) -> None:
    completion = binding.chat("Why do bees dance?", n_predict=3)
    assert completion.finish_reason == "length"
    assert completion.usage.completion_tokens == len(binding.tokenize(completion.text)) == 3
    assert completion.usage.prompt_tokens == len(binding.tokenize("Why do bees dance?"))


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(binding: ExampleBinding) -> None:
    whole = str(binding.generate_text("Why do bees dance?"))
    stop = whole[9:14]  # in the middle of words
    completion = binding.chat("Why do bees dance?", stop=["never said", stop])
    assert completion.finish_reason == "stop"
    assert completion.text == whole[: whole.index(stop)]


def test_the_end_of_the_text_is_a_stop(binding: ExampleBinding) -> None:
    completion = binding.chat("Why do bees dance?")
    assert completion.finish_reason == "stop"
    assert completion.text.endswith(".")


def test_the_conversation_is_what_it_answers(binding: ExampleBinding) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You keep bees."},
        {"role": "user", "content": [{"type": "text", "text": "The queen"}]},
    ]
    completion = binding.chat(messages, temperature=0)
    assert completion.usage.prompt_tokens == len(binding.tokenize("You keep bees.\nThe queen"))
    assert f"The queen{completion.text}".startswith("The queen lays the eggs.")


def test_sampling_parameters_count(binding: ExampleBinding) -> None:
    def ask(**fields: Any) -> str:
        return binding.chat("Why do bees dance?", n_predict=40, **fields).text

    assert ask(seed=5) == ask(seed=5)
    assert len({ask(seed=seed) for seed in range(10)}) > 3
    assert len({ask(seed=-1) for _ in range(20)}) > 1
    assert ask(temperature=0, seed=5) == ask(top_k=1, seed=6) == ask(top_p=0, seed=7)
    assert ask(order=1) != ask(order=3)


def test_what_it_has_no_use_for_is_reported(binding: ExampleBinding) -> None:
    assert binding.chat("Bees", min_p=0.1, ctx_size=5, top_k=3).ignored == ("ctx_size", "min_p")
    with pytest.raises(CapabilityNotSupported):
        binding.chat("Bees", images=[b"..."])
    with pytest.raises(UnsupportedParameter, match="Did you mean order"):
        binding.chat("Bees", ordre=1)


@pytest.mark.parametrize(("order", "kind"), [(0, ValueError), (4, ValueError), ("3", TypeError), (True, TypeError)])
def test_a_wrong_order_is_refused_before_anything_runs(
    binding: ExampleBinding, order: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="order must be"):
        binding.generate_text("Bees", order=order)
    with pytest.raises(kind, match="order must be"):
        ExampleBinding(order=order)


def test_it_stops_when_it_is_cancelled(binding: ExampleBinding) -> None:
    pieces: list[str] = []

    def three(piece: str, _: object) -> bool:
        pieces.append(piece)
        return len(pieces) < 3

    assert binding.generate_text("Why do bees dance?", streaming_callback=three) == "".join(pieces)
    stream = binding.stream("Why do bees dance?")
    for _ in stream:
        binding.cancel()
    assert stream.completion.finish_reason == "cancelled"


def test_many_threads_get_what_one_gets(binding: ExampleBinding) -> None:
    def ask(seed: int) -> str:
        return binding.chat("Why do bees dance?", seed=seed, n_predict=20).text

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(40))) == [ask(seed) for seed in range(40)]


# Tokens, embeddings, models ---------------------------------------------------------------------------------


def test_tokens(binding: ExampleBinding) -> None:
    text = "The bees, é 🙂"
    assert binding.detokenize(binding.tokenize(text)) == text
    assert binding.count_tokens(text) == len(binding.tokenize(text))
    for wrong, kind in ((-1, ValueError), (10**6, ValueError), ("a", TypeError), (True, TypeError)):
        with pytest.raises(kind, match="token"):
            binding.detokenize([wrong])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="text must be a str"):
        binding.tokenize(b"bees")  # type: ignore[arg-type]


def test_embeddings(binding: ExampleBinding) -> None:
    one = binding.embed("bees")
    assert len(one) == 256
    assert binding.embed(["bees", "moon"])[0] == one == asyncio.run(binding.aembed("bees"))
    assert len(binding.embed("bees", dimensions=16)) == 16
    with pytest.raises(ModelNotFound):
        binding.embed("bees", model="whales")


def test_models(binding: ExampleBinding) -> None:
    assert binding.listModels() == [{"model_name": "bees"}, {"model_name": "tides"}]
    assert binding.chat("What is the moon?", model="tides").model == "tides"
    assert binding.model_name == "bees"
    assert binding.load_model("tides")
    assert not binding.load_model("whales")
    assert "bees, tides" in str(binding.last_error)
    assert binding.get_model_info()["model_name"] == "tides"
    with pytest.raises(ModelNotFound, match="whales"):
        binding.chat("x", model="whales")
    with pytest.raises(ModelNotFound, match="whales"):
        ExampleBinding(model_name="whales")


def test_what_it_says_of_itself(binding: ExampleBinding) -> None:
    info = binding.get_model_info()
    assert (info["binding_name"], info["model_name"], info["loaded"]) == ("example", "bees", True)
    assert info["parameters"] == {"seed": 1}
    assert info["supports"] == ["chat", "embed", "stream", "text", "tokenize"]
    binding.close()
    assert binding.get_model_info()["loaded"] is False


# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 12))
def test_stop_strings_are_found_however_the_text_is_cut(size: int) -> None:
    text = "aab abab abc the end"
    for stops, before in ((("abc", "the"), "aab abab "), (("bab",), "aab a"), (("xyz",), text), (("end",), text[:-3])):
        stop = Stops(stops)
        pieces = []
        for place in range(0, len(text), size):
            pieces.append(stop.feed(text[place : place + size]))
            if stop.found:
                break
        assert "".join([*pieces, stop.rest()]) == before


def test_the_readmes_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - our own text
    assert len(capsys.readouterr().out.splitlines()) == 2

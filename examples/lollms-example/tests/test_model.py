"""The model by itself."""

from __future__ import annotations

import math
from itertools import islice

import pytest

from lollms_example.model import ORDERS, LanguageModel, Sampling, embedding, load, model_names

TEXT = "One fish swims. Two fish swim.\n\nRed fish eat."
TEXTS = ["The bees", "  spaces\tand\n\nlines ", "é ü 漢字 🙂", "<|im_end|>", "bees_and 3.14", "", "\x00"]


def written(prompt: str, model: LanguageModel | None = None, **sampling: float) -> str:
    model = model or load("bees")
    return "".join(islice(model.generate(model.tokenize(prompt), Sampling(**sampling)), 60))  # type: ignore[arg-type]


def test_the_package_brings_its_texts() -> None:
    assert model_names() == ["bees", "tides"]
    assert all(load(name).size > 256 + 200 for name in model_names())


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_from_its_tokens(text: str) -> None:
    model = load("bees")
    tokens = model.tokenize(text)
    assert model.detokenize(tokens) == text
    assert model.end not in tokens


def test_known_words_are_one_token_and_others_are_bytes() -> None:
    model = load("bees")
    assert len(model.tokenize(" hive hive")) == 2
    assert model.tokenize("é") == [0xC3, 0xA9]


def test_each_pair_of_words_that_is_written_stands_in_the_text() -> None:
    model = LanguageModel(TEXT)
    text = written("Red", model, temperature=0, order=2)
    assert text.startswith(" fish ")


def test_the_same_seed_writes_the_same() -> None:
    texts = [written("Bees", seed=seed, temperature=1) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_a_temperature_of_zero_takes_the_likeliest() -> None:
    assert written("The queen", temperature=0) == written("The queen", temperature=0, seed=9)
    assert written("The queen", temperature=0) == written("The queen", top_k=1) == written("The queen", top_p=0)


def test_a_very_low_temperature_is_no_error() -> None:
    assert written("The queen", temperature=1e-320) == written("The queen", temperature=0)


def test_whole_sentences_are_followed_by_a_new_paragraph_and_others_go_on() -> None:
    for seed in range(20):
        assert written("Why do bees dance?", seed=seed)[0].isupper()
        assert written("The queen lays the", seed=seed)[0] in " .,"


@pytest.mark.parametrize("order", ORDERS)
def test_an_answer_has_at_least_one_token(order: int) -> None:
    for seed in range(20):
        assert written("the same place", seed=seed, temperature=2, top_p=1, order=order)
        assert written("", seed=seed, temperature=2, order=order)


def test_words_of_the_prompt_become_likelier() -> None:
    def count(prompt: str) -> int:
        return sum("winter" in written(prompt, seed=seed) for seed in range(30))

    assert count("Tell me of the winter.") > count("Tell me of the eggs.")


@pytest.mark.parametrize("text", TEXTS)
def test_vectors_have_length_one(text: str) -> None:
    vector = embedding(text, 64)
    assert len(vector) == 64
    assert math.isclose(math.hypot(*vector), 1)


def test_texts_that_share_words_are_near() -> None:
    hive, bees, moon = (embedding(text, 256) for text in ("bees in the hive", "A bee in the hive.", "the full moon"))
    assert math.dist(hive, bees) < math.dist(hive, moon)

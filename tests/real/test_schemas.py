"""Random schemas on the embedded model: whatever it answers, an answer that was not cut is of its schema."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from lollms_core import InvalidOutput, LollmsLLMBinding

if TYPE_CHECKING:
    from .conftest import Figures, Opener

SEED = 20_241
PARTS = 10
EACH = 20
N_PREDICT = 160

KEYS = [
    "name",
    "größe",
    "名前",
    "цена",
    "a b",
    'say "hi"',
    "back\\slash",
    "tab\t",
    "é",
    "n",
    "naïve",
    "key",
    "😀",
    "{",
    "",
]
WORDS = ["red", "grün", "青", "a, b", "true", "12", "", "it's", 'quote"d', "line\nbreak", "redder"]


class Schemas:
    """Schemas by chance: objects, arrays, enums, numbers, optional properties, alternatives, recursion."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same schemas on every run

    def schema(self) -> dict[str, Any]:
        """One whose root is mostly an object or an array."""
        kind = self.chance.random()
        if kind < 0.1:
            return self.recursive()
        if kind < 0.7:
            return self.object(0)
        return self.array(0) if kind < 0.85 else self.any(0)

    def any(self, depth: int) -> dict[str, Any]:
        kinds: list[Callable[[int], dict[str, Any]]] = [self.integer, self.number, self.string, self.choice, self.plain]
        if depth < 3:
            kinds += [self.object, self.array, self.either]
        return self.chance.choice(kinds)(depth)

    def object(self, depth: int) -> dict[str, Any]:
        names = self.chance.sample(KEYS, self.chance.randint(0 if depth else 1, 4))
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: self.any(depth + 1) for name in names},
            "required": [name for name in names if self.chance.random() < 0.5],
        }
        others = self.chance.random()
        if others < 0.5:
            schema["additionalProperties"] = False
        elif others < 0.6:
            schema["additionalProperties"] = self.integer(depth)
        return schema

    def array(self, depth: int) -> dict[str, Any]:
        low = self.chance.randint(0, 2)
        schema: dict[str, Any] = {"type": "array", "items": self.any(depth + 1)}
        if self.chance.random() < 0.2:
            schema["prefixItems"] = [self.any(depth + 1) for _ in range(2)]
            low = 2
        return {**schema, "minItems": low, "maxItems": low + self.chance.randint(0, 2)}

    def either(self, depth: int) -> dict[str, Any]:
        return {"anyOf": [self.any(depth + 1) for _ in range(self.chance.randint(2, 3))]}

    def integer(self, _: int) -> dict[str, Any]:
        low = self.chance.choice([-1000, -7, 0, 1, 18, 100])
        schema: dict[str, Any] = {"type": "integer"}
        if self.chance.random() < 0.7:
            schema["minimum"] = low
        if self.chance.random() < 0.7:
            schema["maximum"] = low + self.chance.choice([0, 5, 77, 1234])
        elif self.chance.random() < 0.3:
            schema["multipleOf"] = self.chance.choice([2, 5, 12])
        return schema

    def number(self, _: int) -> dict[str, Any]:
        low = self.chance.choice([-99.5, -1, 0, 0.25, 1])
        schema: dict[str, Any] = {"type": "number"}
        if self.chance.random() < 0.6:
            schema[self.chance.choice(["minimum", "exclusiveMinimum"])] = low
        if self.chance.random() < 0.6:
            schema[self.chance.choice(["maximum", "exclusiveMaximum"])] = low + self.chance.choice([0.5, 1, 250])
        return schema

    def string(self, _: int) -> dict[str, Any]:
        kind = self.chance.random()
        if kind < 0.2:
            return {"type": "string", "format": self.chance.choice(["date", "time", "date-time", "uuid"])}
        if kind < 0.3:
            return {"type": "string", "pattern": self.chance.choice(["^[a-z]{2,5}$", r"^\d{3}-[A-F]$", "^(yes|no)$"])}
        low = self.chance.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + self.chance.randint(0, 12)}

    def choice(self, _: int) -> dict[str, Any]:
        values = self.chance.sample([*WORDS, 1, -2.5, None, False, [1, "x"], {"k": "é"}], self.chance.randint(1, 5))
        return {"const": values[0]} if self.chance.random() < 0.2 else {"enum": values}

    def plain(self, _: int) -> dict[str, Any]:
        return self.chance.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["boolean", "null"]}])

    def recursive(self) -> dict[str, Any]:
        node = {
            "type": "object",
            "properties": {
                self.chance.choice(KEYS): self.integer(0),
                "sub": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["sub"],
            "additionalProperties": False,
        }
        return {"$defs": {"node": node}, "$ref": "#/$defs/node"}


@pytest.fixture
def model(opener: Opener) -> LollmsLLMBinding:
    return opener("llamacpp", model_name="smollm2", ctx_size=1024, n_threads=1)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_schemas(part: int, model: LollmsLLMBinding, figures: Figures) -> None:
    """An answer that was completed satisfies its schema; one that the limit has cut is InvalidOutput."""
    completed = 0
    cut: list[InvalidOutput] = []
    for number in range(part * EACH, (part + 1) * EACH):
        schema = Schemas(SEED + number).schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        try:
            answer = model.chat("Give an example.", response_format=schema, n_predict=N_PREDICT, seed=number)
        except InvalidOutput as error:
            cut.append(error)
            continue
        assert answer.finish_reason == "stop"
        assert answer.parsed == json.loads(answer.text)
        jsonschema.Draft202012Validator(schema).validate(answer.parsed)
        completed += 1
    # Nothing else may be wrong with an answer.
    assert [(error.reason, error.text) for error in cut if "limit" not in error.reason] == []
    figures.schemas["completed"] += completed
    figures.schemas["cut by the limit"] += len(cut)
    assert completed > len(cut)

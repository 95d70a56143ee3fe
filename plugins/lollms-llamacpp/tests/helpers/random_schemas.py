"""Schemas by chance, each with a value of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

__all__ = ["KEYS", "Schemas"]

KEYS = ["a", "ab", "name", "größe", "名前", 'with "quotes"', "back\\slash", "tab\t", "", "é", "a b", "{", "-"]


class Schemas:
    """A schema and a value of it, by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same on every run

    def any(self, depth: int = 0) -> tuple[Any, Any]:
        kinds: list[Callable[[int], tuple[Any, Any]]] = [
            self.integer,
            self.number,
            self.string,
            self.choice,
            self.plain,
        ]
        if depth < 3:
            kinds += [self.object, self.array, self.either, self.object, self.array]
        return self.chance.choice(kinds)(depth)

    def integer(self, _: int) -> tuple[Any, Any]:
        low, high = sorted(self.chance.choice([-1000, -17, -1, 0, 3, 99, 100, 12345]) for _ in range(2))
        high += self.chance.randint(0, 50)
        value = self.chance.randint(low, high)
        schema: dict[str, Any] = {"type": "integer"}
        if self.chance.random() < 0.7:
            schema["minimum"] = low
        if self.chance.random() < 0.7:
            schema["maximum"] = high
        if self.chance.random() < 0.3:
            schema["multipleOf"] = next(step for step in (7, 5, 3, 2, 1) if not value % step)
        if self.chance.random() < 0.2:
            schema["exclusiveMinimum"] = value - self.chance.randint(1, 40)
        return schema, value

    def number(self, _: int) -> tuple[Any, Any]:
        low, high = sorted(self.chance.choice([-100, -1.5, -0.25, 0, 0.001, 0.5, 1, 2.75, 100]) for _ in range(2))
        value: Any = self.chance.choice([low, high, (low + high) / 2])
        schema: dict[str, Any] = {"type": "number"}
        if self.chance.random() < 0.6:
            schema["minimum"] = low
        if self.chance.random() < 0.6:
            schema["maximum"] = high
        return schema, value

    def string(self, _: int) -> tuple[Any, Any]:
        value = "".join(self.chance.choice('ab "\\\n\t/é名😀{}') for _ in range(self.chance.randint(0, 6)))
        schema: dict[str, Any] = {"type": "string"}
        if self.chance.random() < 0.5:
            schema["minLength"] = self.chance.randint(0, len(value))
        if self.chance.random() < 0.7:
            schema["maxLength"] = len(value) + self.chance.randint(0, 5)
        return schema, value

    def choice(self, _: int) -> tuple[Any, Any]:
        all_values = ["x", "xy", "é", 1, 1.5, -3, None, True, {"k": [1, "a"]}, [], ["x"], 'q"', "xyz"]
        values = self.chance.sample(all_values, self.chance.randint(1, 5))
        return self.chance.choice([({"enum": values}, values[0]), ({"const": values[-1]}, values[-1])])

    def plain(self, _: int) -> tuple[Any, Any]:
        return self.chance.choice(
            [
                ({"type": "boolean"}, True),
                ({"type": "null"}, None),
                ({"type": ["string", "null"]}, None),
                ({}, [{"z": 1}]),
            ]
        )

    def object(self, depth: int) -> tuple[Any, Any]:
        members = {key: self.any(depth + 1) for key in self.chance.sample(KEYS, self.chance.randint(0, 5))}
        required = [key for key in members if self.chance.random() < 0.5]
        value = {key: one for key, (_, one) in members.items() if key in required or self.chance.random() < 0.5}
        properties = {key: one for key, (one, _) in members.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        kind = self.chance.random()
        if kind < 0.4:
            schema["additionalProperties"] = False
        elif kind < 0.6:
            schema["additionalProperties"], more = self.any(depth + 1)
            value |= {"abc": more, "other": more}
        return schema, value

    def array(self, depth: int) -> tuple[Any, Any]:
        schema, one = self.any(depth + 1)
        value = [one] * self.chance.randint(0, 3)
        whole: dict[str, Any] = {"type": "array", "items": schema}
        if self.chance.random() < 0.3:
            first = [self.any(depth + 1) for _ in range(2)]
            whole["prefixItems"] = [one for one, _ in first]
            value = [one for _, one in first] + value
        if self.chance.random() < 0.6:
            whole["minItems"] = self.chance.randint(0, len(value))
        if self.chance.random() < 0.6:
            whole["maxItems"] = len(value) + self.chance.randint(0, 2)
        return whole, value

    def either(self, depth: int) -> tuple[Any, Any]:
        options = [self.any(depth + 1) for _ in range(self.chance.randint(2, 3))]
        return {"anyOf": [one for one, _ in options]}, options[-1][1]

"""Exact tokens where the server has no way to ask for them."""

from __future__ import annotations

from bench.cases import Case, Column, Contestant, Kit, Target

__all__ = ["token_cases"]


def token_cases(kit: Kit) -> list[Case]:
    """Of counting."""
    mine, asked = "count_tokens", "asking the server"
    setting = {"ollama": str(kit.ollama or ""), "model": str(kit.model)}
    return [
        Case(
            "core-ollama-tokens",
            "Exact tokens of an Ollama model",
            "A text of 10 kB that nobody has seen before, and the number of its tokens: by lollms-ollama, which has "
            "the model's vocabulary in memory, and by a generate call with `num_predict` 1, whose answer has "
            "`prompt_eval_count`. Each has an Ollama of its own with SmolLM2-135M in memory, the fastest to ask of "
            "all models. They agree on the number.",
            (
                Contestant(mine, "ollama_tokens", {}, {**setting, "how": "count"}),
                Contestant(asked, "ollama_tokens", {}, {**setting, "how": "ask"}),
            ),
            (
                Column("seconds", "ms", 2, 1000),
                Column("speed", "counts/s", 1),
                Column("tokens", "tokens", 0),
            ),
            (Target(mine, ">=", 50, asked, "speed"),),
            rounds=3 if kit.quick else 15,
            missing=kit.no_ollama,
        )
    ]

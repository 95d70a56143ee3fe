"""The soak of `nox -s soak`, for some seconds and on a tiny model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from soak import Soak

from lollms_core import Event, EventBinding, Finish, GenerationRequest, TextDelta, Usage
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.options import LlamaCppOptions

SECONDS = 20 if os.environ.get("LOLLMS_FAULTS") else 3
SLOTS = 4 if "n_parallel" in LlamaCppOptions.__annotations__ else 1
NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end an answer


@pytest.mark.faults
def test_soak(tiny_folder: Path) -> None:
    """Threads and tasks ask, give up and cancel by chance: whole answers are right, and nothing is left."""
    options: dict[str, Any] = {"n_parallel": SLOTS} if SLOTS > 1 else {}
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", **options) as binding:
        report = Soak(binding, in_flight=16, slots=SLOTS, n_requests=24, longest=8, logit_bias=NEVER).run(SECONDS)
    assert report["failures"] == []
    assert report["compared_with_the_same_request_alone"] > 20
    assert sum(count for how, count in report["ended"].items() if "cancelled" in how) > 5
    assert len(report["ended"]) > 8  # each of five ways, to its end and cancelled


class Faulty(EventBinding):
    """Answers as it likes: one in ten answers is another one, and one in fifteen lacks its end."""

    uses = frozenset({"cache_prompt", "n_predict", "seed", "temperature"})

    def __init__(self) -> None:
        super().__init__("faulty")
        self.numbers = itertools.count(1)

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        number = next(self.numbers)
        count = request.n_predict or 1
        for _ in range(count):
            yield TextDelta("other " if number % 10 == 0 else "word ")
        yield Usage(1, count - (number % 15 == 0))
        yield Finish("length")

    def get_model_info(self) -> dict[str, Any]:
        return {**super().get_model_info(), "loaded": True}


def test_soak_finds_faults() -> None:
    """What the soak looks for, it finds."""
    with Faulty() as binding:
        report = Soak(binding, in_flight=4, slots=1, n_requests=24, longest=8).run(1)
    assert report["different"] > 0
    faults = " ".join(report["failures"])
    assert "alone 'word " in faults
    assert "no whole answer" in faults

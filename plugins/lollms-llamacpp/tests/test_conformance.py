"""The conformance kit, on a tiny model with tools in its template, a projector for images, and a hub to fetch from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hub_server import HubServer

from lollms_core.testing.conformance import BindingConformance, Settings
from lollms_core.testing.playing import Factory
from lollms_llamacpp import LlamaCppBinding


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory,
    make_tiny: Callable[..., bytes],
    make_projector: Callable[..., bytes],
    templates: dict[str, str],
) -> Path:
    folder = tmp_path_factory.mktemp("conformance")
    made = make_tiny(tokenizer__chat_template=templates["hermes"], llama__context_length=4096)
    (folder / "tiny.gguf").write_bytes(made)
    (folder / "projector.gguf").write_bytes(make_projector(n_out=32))
    return folder


class TestLlamaCpp(BindingConformance):
    given = frozenset({"models_path", "model_name"})
    settings = Settings(pull="hf:owner/repo/tiny.gguf")

    @pytest.fixture
    def factory(self, models: Path, hub: HubServer) -> Factory:
        hub.has("owner/repo", {"tiny.gguf": (models / "tiny.gguf").read_bytes()})
        return partial(LlamaCppBinding, models_path=models, model_name="tiny", mmproj=models / "projector.gguf")


class TestIsolated(BindingConformance):
    """The same with the model in a process of its own."""

    given = frozenset({"models_path", "model_name"})

    @pytest.fixture
    def factory(self, models: Path) -> Factory:
        projector = models / "projector.gguf"
        return partial(LlamaCppBinding, models_path=models, model_name="tiny", mmproj=projector, isolate=True)

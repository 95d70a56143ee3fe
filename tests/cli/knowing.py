"""A binding with vectors, tokens, facts and models to fetch."""

from __future__ import annotations

from pathlib import Path

__all__ = ["KNOWING", "add_knowing"]

KNOWING = '''
import os
import threading
import time

from lollms_core import Capability, EventBinding, Finish, ModelNotFound, Progress, TextDelta

BindingName = "Knowing"
MB = 1_000_000


class Knowing(EventBinding):
    """Its model's name says what it does."""

    capabilities = frozenset({Capability.TEXT, Capability.EMBED, Capability.TOKENIZE, Capability.PULL})
    uses = frozenset({"model"})

    def __init__(self, host_address=None, service_key=None, **defaults):
        super().__init__("knowing", **defaults)
        self.key = service_key

    def _events(self, request):
        yield TextDelta("hi")
        yield Finish()

    def _embed(self, request):
        if self.model_name == "nan":
            return [[float("nan")] for _ in request.texts]
        if self.model_name == "huge":
            return [[1e300] for _ in request.texts]
        if self.model_name == "wait":
            os.write(2, b"begun")
            threading.Event().wait()
        size = request.dimensions or 3
        return [[len(text) + number / 4 for number in range(size)] for text in request.texts]

    def tokenize(self, text):
        """Bytes, but whole ASCII words with the blank before them."""
        tokens, word = [], b""
        for byte in text.encode():
            if bytes([byte]).isalpha() and word:
                word += bytes([byte])
                continue
            tokens += [word] if word else []
            word = bytes([byte]) if bytes([byte]).isalpha() or byte == 32 else b""
            tokens += [] if word else [bytes([byte])]
        return [int.from_bytes(one, "big") for one in [*tokens, *([word] if word else [])]]

    def detokenize(self, tokens):
        data = b"".join(one.to_bytes(max((one.bit_length() + 7) // 8, 1), "big") for one in tokens)
        text = data.decode("utf-8", "replace")
        return text.lower() if self.model_name == "lower" else text

    def count_tokens(self, text):
        return len(self.tokenize(text))

    def get_model_info(self):
        return {
            **super().get_model_info(),
            "loaded": True,
            "ctx_size": 4096,
            "size": 98_362_432,
            "n_params": 134_515_008,
            "headers": {"Authorization": f"Bearer {self.key}"},
            "told": f"the key is {self.key}",
            "nothing": None,
        }

    def load_model(self, name):
        raise AssertionError("no model is to be loaded")

    def listModels(self):
        return [{"model_name": "first"}]

    def _pull(self, name, control):
        yield Progress("looking up \\x1b[31m" + name)
        if name == "absent":
            raise ModelNotFound(f"there is no model {name!r}")
        if name == "there":
            yield Progress("pulling part 1", 50 * MB, 50 * MB, "sha256:1")
            yield Progress("success")
            return
        yield Progress("checking what has come", 10 * MB, 20 * MB)
        yield Progress("pulling part 1", 20 * MB, 50 * MB, "sha256:1")
        if name == "wait":
            try:
                os.write(2, b"begun")
                threading.Event().wait()
            finally:
                open(os.environ["MARK"], "w").write("closed")
        for part in range(20, 51):
            yield Progress("pulling part 1", part * MB, 50 * MB, "sha256:1")
        yield Progress("pulling part 2", 0, None, "sha256:2")
        yield Progress("pulling part 2", 7 * MB, None, "sha256:2")
        yield Progress("success")
'''


def add_knowing(bindings: Path) -> None:
    """Put the binding into a folder of bindings, as ``knowing``."""
    (bindings / "knowing").mkdir()
    (bindings / "knowing" / "__init__.py").write_text(KNOWING, encoding="utf-8")

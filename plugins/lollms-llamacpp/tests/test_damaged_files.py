"""Damaged models, projectors and adapters, by the thousand: a clear error or a working model, and the process lives.

llama.cpp ends the process for some of them, so all are loaded in processes of their own; see helpers/model_trials.py.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from adapter_mutations import adapters
from gguf_mutations import everything, no_files, projectors, real
from model_trials import Outcome, Trial, run_trials

FULL = bool(os.environ.get("LOLLMS_FAULTS"))
MODELS = "reliability: damaged GGUF models, each an error or a working model, the process alive"
Note = Callable[[str, object], None]

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.name == "nt", reason="the limits on the processes are POSIX's"),
]


@pytest.fixture
def good(tiny_folder: Path) -> Path:
    return tiny_folder / "chatty.gguf"


def some(trials: Iterable[Trial], step: int) -> Iterable[Trial]:
    """All of them under ``nox -s faults``, else every one in `step`."""
    return itertools.islice(trials, 0, None, 1 if FULL else step)


def check(outcomes: list[Outcome], least: int) -> int:
    """How many there are."""
    wrong = [f"{one.name}: {one.wrong}" for one in outcomes if one.wrong]
    assert not wrong, "\n".join(wrong[:20])
    assert len(outcomes) >= least
    # Both happen, or the damage would have been of no use.
    assert any(one.loaded for one in outcomes)
    assert any(not one.loaded and one.told for one in outcomes)
    return len(outcomes)


def test_models(tmp_path: Path, good: Path, record_property: Note) -> None:
    """Headers, metadata, vocabularies, tensors' table and weights of a tiny model; the old model lives on."""
    record_property(MODELS, check(run_trials(some(everything(), 14), tmp_path, good), 300))


def test_what_is_no_file(tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch, record_property: Note) -> None:
    """Directories, pipes, sockets, devices and links are refused at once, with the reason."""
    monkeypatch.chdir(tmp_path)  # for the socket's short path
    outcomes = run_trials(no_files(), tmp_path, good)
    assert len(outcomes) >= 6
    assert not [one for one in outcomes if one.wrong or one.loaded or not one.told]
    record_property("reliability: directories, pipes, devices and the like in a model's place, refused", len(outcomes))


def test_the_real_model(tmp_path: Path, good: Path, smollm2_path: Path, record_property: Note) -> None:
    """The embedded model's own header, damaged, and zeros or noise for weights."""
    record_property(MODELS, check(run_trials(some(real(smollm2_path, 80), 30), tmp_path, good), 4))


def test_projectors(tmp_path: Path, good: Path, make_png: Callable[..., bytes], record_property: Note) -> None:
    """Projectors, damaged in the same ways: refused before libmtmd dies of them, or an image is read."""
    image = tmp_path / "image.png"
    image.write_bytes(make_png(40, 30))
    count = check(run_trials(some(projectors(), 17), tmp_path, good, image), 300)
    record_property("reliability: damaged projectors, each an error or an image read, the process alive", count)


def test_adapters(tmp_path: Path, good: Path, record_property: Note) -> None:
    """LoRA adapters, damaged in the same ways, and of matrices that don't fit; the model without them lives on."""
    count = check(run_trials(some(adapters(), 10), tmp_path, good, adapters=True), 60)
    record_property("reliability: damaged LoRA adapters, each an error or an answer, the process alive", count)


def test_a_death_is_told(tmp_path: Path, good: Path) -> None:
    """What ends the process is the outcome of the file that it had been given, and the next one has a new process."""
    missing = tmp_path / "missing.gguf"

    def found(path: Path) -> None:
        missing.write_bytes(good.read_bytes())
        path.write_bytes(good.read_bytes())

    trials = [Trial("first", lambda path: path.write_bytes(b"")), Trial("second", found)]
    first, second = run_trials(trials, tmp_path, missing)
    assert "the process ended with 1" in first.wrong
    assert "missing.gguf" in first.wrong
    assert (second.loaded, second.wrong) == (True, "")

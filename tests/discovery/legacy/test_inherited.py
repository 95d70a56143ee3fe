"""What classes of 1.21 find in their base class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from installed import Site
from legacy_folders import newer


@pytest.fixture
def make(site: Site) -> Any:
    def opened(more: str = "", **keywords: Any) -> Any:
        site.folder("old", newer(more=more))
        return site.manager().open_binding("old", **keywords)

    return opened


def test_the_arguments_are_kept(make: Any) -> None:
    binding = make(temperature=0.5, n_predict=7, ctx_size="99", debug=True, user_name="me")
    assert (binding.default_temperature, binding.default_n_predict, binding.default_seed) == (0.5, 7, None)
    assert (binding.debug, binding.user_name, binding.ai_name) == (True, "me", "assistant")
    assert binding.config["ctx_size"] == "99"


def test_the_context_s_size(make: Any) -> None:
    """The forced one, then what the class finds out, then the default."""
    own = "def _get_ctx_size(self, model_name=None):\n    return {'small': 10}.get(model_name)"
    binding = make(own, ctx_size=99)
    assert (binding.get_ctx_size("small"), binding.get_ctx_size("other")) == (10, 99)
    binding.set_forced_ctx_size(5)
    assert binding.get_ctx_size("small") == 5
    assert make("def _get_ctx_size(self, model_name=None):\n    raise OSError('no')", ctx_size=99).get_ctx_size() == 99


def test_paths(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = make(system_dir=str(tmp_path))
    assert binding.resolve_system_path("bin") == tmp_path.resolve() / "bin"
    assert binding.resolve_system_path(tmp_path) == tmp_path.resolve()
    monkeypatch.setenv("LOLLMS_SYSTEM_PATH", str(tmp_path / "system"))
    assert binding.get_system_dir().is_dir()
    assert make().system_dir == (tmp_path / "system").resolve()


@pytest.mark.parametrize(
    ("think", "effort", "known", "expected"),
    [
        (True, "High", None, "high"),
        (True, "odd", None, "low"),
        (True, "off", None, None),
        (True, None, None, "high"),
        (False, "high", None, None),
        (None, "high", None, None),
        (None, "high", ["low", "medium"], "medium"),
        (True, "low", ["Medium", "high"], "Medium"),
        (True, True, ["none", "low", "max"], "max"),
    ],
)
def test_reasoning_efforts(make: Any, think: Any, effort: Any, known: Any, expected: str | None) -> None:
    binding = make(supported_reasoning_efforts=known)
    assert binding.get_effective_reasoning_effort(think=think, reasoning_effort=effort) == expected


def test_an_effort_counts_only_while_thinking(make: Any) -> None:
    normalize = make().normalize_reasoning_effort
    assert [normalize(True, "max"), normalize(True, None), normalize(False, "max")] == ["max", None, None]


def test_messages_alternate(make: Any) -> None:
    given = [
        {"role": "system", "content": "a"},
        {"role": "system", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d", "images": ["1"]},
        {"role": "system", "content": "e"},
        {"role": "user", "content": [{"type": "text", "text": "f"}], "images": ["2"]},
    ]
    assert make().clean_and_alternate_messages(given) == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "Proceed."},
        {"role": "assistant", "content": "c"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "d\n\ne"}, {"type": "text", "text": "f"}],
            "images": ["1", "2"],
        },
    ]


def test_one_s_own_generate_from_messages_is_called_with_what_it_takes(make: Any) -> None:
    binding = make()
    messages = [{"role": "user", "content": "a"}]
    assert binding.generate_from_messages(messages, temperature=0.5, n_threads=3, extra=1) == "u"
    assert binding.seen == {"messages": messages, "n_predict": None, "stream": None, "temperature": 0.5, "extra": 1}

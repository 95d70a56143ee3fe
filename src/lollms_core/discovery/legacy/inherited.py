"""What legacy classes of version 1.21 find in their base class and use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lollms_core.messages import Message
from lollms_core.redaction import Hidden

__all__ = ["Inherited"]

_log = logging.getLogger(__name__)

_DEFAULTS: Final = (
    *("n_predict", "stream", "temperature", "top_k", "top_p", "repeat_penalty", "repeat_last_n"),
    *("seed", "n_threads", "streaming_callback"),
)

_EFFORTS: Final = ("low", "medium", "high", "max")
_NO_EFFORT: Final = ("", "none", "off", "disabled", "false", "0")


class Inherited:
    """Attributes and helpers; all have values before a constructor has run.

    Attributes:
        config: what the constructor was given beside its name.
        debug: likewise.
        default_ctx_size: the context's size in tokens that the constructor was given.
        forced_ctx_size: one that takes precedence over what the backend says.
        supported_reasoning_efforts: the efforts that the model knows, None where that is not known.
        system_dir: the folder that relative paths belong to.
    """

    config: Mapping[str, Any] = {}
    debug: bool = False
    default_ctx_size: int | None = None
    forced_ctx_size: int | None = None
    default_n_predict: int | None = None
    default_stream: bool | None = None
    default_temperature: float | None = None
    default_top_k: int | None = None
    default_top_p: float | None = None
    default_repeat_penalty: float | None = None
    default_repeat_last_n: int | None = None
    default_seed: int | None = None
    default_n_threads: int | None = None
    default_streaming_callback: Any = None
    supported_reasoning_efforts: list[str] | None = None
    user_name: str = "user"
    ai_name: str = "assistant"
    model_name: str | None

    def _keep(self, debug: bool, given: Mapping[str, Any]) -> None:
        self.debug = debug
        self.config = Hidden(given)  # a key may be in it
        self.default_ctx_size = _whole(given.get("ctx_size"))
        self.forced_ctx_size = _whole(given.get("forced_ctx_size"))
        for name in _DEFAULTS:
            setattr(self, f"default_{name}", given.get(name))
        self.supported_reasoning_efforts = given.get("supported_reasoning_efforts")
        self.user_name = given.get("user_name") or "user"
        self.ai_name = given.get("ai_name") or "assistant"

    # Places ---------------------------------------------------------------------------------------------

    @staticmethod
    def get_system_dir() -> Path:
        """``LOLLMS_SYSTEM_PATH``, else ``~/.lollms_client``; made if it is not there."""
        path = Path(os.environ.get("LOLLMS_SYSTEM_PATH") or "~/.lollms_client").expanduser().resolve()
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def system_dir(self) -> Path:
        names = ("system_dir", "lollms_path", "bindings_path", "cwd")
        given = next((self.config[name] for name in names if self.config.get(name)), None)
        return Path(given or os.environ.get("LOLLMS_SYSTEM_PATH") or ".").expanduser().resolve()

    def resolve_system_path(self, relative_or_absolute_path: str | os.PathLike[str]) -> Path:
        """The absolute path; a relative one belongs to ``system_dir``."""
        return (self.system_dir / Path(relative_or_absolute_path).expanduser()).resolve()

    # Sizes ----------------------------------------------------------------------------------------------

    def get_ctx_size(self, model_name: str | None = None) -> int | None:
        """The context's size in tokens: the forced one, what the class's ``_get_ctx_size`` says, or the default."""
        if self.forced_ctx_size is not None:
            return self.forced_ctx_size
        own = getattr(self, "_get_ctx_size", None)
        if own is not None:
            try:
                found: int | None = own(model_name=model_name)
            except Exception as exc:  # noqa: BLE001 - an author's guess is no reason to fail
                _log.warning("the context's size is not known: %s", type(exc).__name__)
            else:
                if found is not None:
                    return found
        return self.default_ctx_size

    def set_forced_ctx_size(self, ctx_size: int | None) -> None:
        """Set ``forced_ctx_size``."""
        self.forced_ctx_size = _whole(ctx_size)

    def normalize_model_name(self, model_name: str) -> str:
        """The name for comparing."""
        return model_name.strip().lower()

    # Reasoning ------------------------------------------------------------------------------------------

    @staticmethod
    def normalize_reasoning_effort(think: bool | None, reasoning_effort: str | bool | None) -> str | None:
        """low, medium, high or max; None where the model shall not think. Other words are low."""
        if think is not True or reasoning_effort in (None, False):
            return None
        effort = "high" if reasoning_effort is True else str(reasoning_effort).strip().lower()
        if effort in _NO_EFFORT:
            return None
        return effort if effort in _EFFORTS else "low"

    def get_effective_reasoning_effort(
        self, think: bool | None = None, reasoning_effort: str | bool | None = None
    ) -> str | None:
        """The same, as the nearest of ``supported_reasoning_efforts``; thinking alone is a high effort.

        An effort without `think` counts where the model's efforts are known.
        """
        known = [each for each in self.supported_reasoning_efforts or () if each]
        if think is False:
            return None
        if reasoning_effort in (None, False):
            if not think:
                return None
            reasoning_effort = "high"
        effort = self.normalize_reasoning_effort(True if known else think, reasoning_effort)
        ranked = [each for each in known if each.strip().lower() in _EFFORTS]
        if effort is None or not ranked:
            return effort
        wanted = _EFFORTS.index(effort)
        return min(ranked, key=lambda each: abs(_EFFORTS.index(each.strip().lower()) - wanted))

    # Messages -------------------------------------------------------------------------------------------

    def clean_and_alternate_messages(self, messages: Iterable[Mapping[str, Any]]) -> list[Message]:
        """`messages` for a model whose turns must alternate: a system message if any, then user and assistant in turn.

        System messages at the beginning become one, later ones a user's; neighbours of one role are joined; a
        conversation that an assistant begins gets a user's ``Proceed.`` before it.
        """
        cleaned: list[Message] = []
        for message in messages:
            role = message.get("role", "user")
            if role == "system" and any(each["role"] != "system" for each in cleaned):
                role = "user"
            if cleaned and cleaned[-1]["role"] == role:
                cleaned[-1] = _joined(cleaned[-1], message)
            else:
                cleaned.append({**message, "role": role})
        first = next((place for place, each in enumerate(cleaned) if each["role"] != "system"), None)
        if first is not None and cleaned[first]["role"] == "assistant":
            cleaned.insert(first, {"role": "user", "content": "Proceed."})
        return cleaned


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> Message:
    contents = [one.get("content") or "", other.get("content") or ""]
    if all(isinstance(content, str) for content in contents):
        content: Any = "\n\n".join(filter(None, contents))
    else:
        content = [
            part for each in contents for part in ([{"type": "text", "text": each}] if isinstance(each, str) else each)
        ]
        content = [part for part in content if part.get("type") != "text" or part.get("text")]
    joined: Message = {**one, "content": content}
    for name in ("images", "active_images"):
        if name in one or name in other:
            joined[name] = [*(one.get(name) or ()), *(other.get(name) or ())]
    return joined

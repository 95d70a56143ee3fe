"""Stands for ``lollms_client.lollms_llm_binding``."""

from __future__ import annotations

from typing import Any, ClassVar

from lollms_core import binding
from lollms_core.discovery.legacy.adapting import adapt, began, now
from lollms_core.discovery.legacy.construction import LegacyType
from lollms_core.discovery.legacy.folder import LegacyFolder
from lollms_core.discovery.legacy.inherited import Inherited
from lollms_core.discovery.legacy.shims.lollms_client.lollms_types import ELF_COMPLETION_FORMAT, MSG_TYPE
from lollms_core.discovery.reports import NO_SECRETS, Secrets
from lollms_core.manager import LollmsLLMBindingManager
from lollms_core.messages import AI_KEYWORD, SYSTEM_KEYWORD, USER_KEYWORD, Message, split_discussion

__all__ = ["ELF_COMPLETION_FORMAT", "MSG_TYPE", "LollmsLLMBinding", "LollmsLLMBindingManager"]


class LollmsLLMBinding(Inherited, binding.LollmsLLMBinding, metaclass=LegacyType):
    """The base class of legacy bindings: ours, and what their own one gave them.

    Args:
        binding_name: the name shown in messages.
        debug: kept as an attribute.
        **kwargs: what the constructor of version 1.21 kept as ``config`` and in attributes named ``default_...``.
    """

    _folder: ClassVar[LegacyFolder | None] = None
    # Whether the constructor has come to its end.
    _constructed: bool = False
    _began_at: int = 0
    _cancelled_at: int = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls._folder = LegacyFolder.of(cls.__module__) or cls._folder
        adapt(cls)
        super().__init_subclass__(**kwargs)

    def __init__(self, binding_name: str | None = "unknown", debug: bool | None = False, **kwargs: Any) -> None:
        super().__init__(binding_name or "unknown")
        self._keep(bool(debug), kwargs)

    @property
    def _secrets(self) -> Secrets:
        return self._folder.secrets if self._folder is not None else NO_SECRETS

    def split_discussion(  # type: ignore[override]  # here it was a method, with this name for the text
        self,
        lollms_prompt_string: str,
        system_keyword: str = SYSTEM_KEYWORD,
        user_keyword: str = USER_KEYWORD,
        ai_keyword: str = AI_KEYWORD,
    ) -> list[Message]:
        """See :func:`lollms_core.messages.split_discussion`."""
        return split_discussion(lollms_prompt_string, system_keyword, user_keyword, ai_keyword)

    # Cancelling -----------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End every generation that runs now."""
        self._cancelled_at = now()
        super().cancel()

    def is_cancelled(self) -> bool:
        """Whether the generation in which this is asked was cancelled; in an author's thread, the latest one."""
        start = began(self)
        return (self._began_at if start is None else start) < self._cancelled_at

    def reset_cancel(self) -> None:
        """Forget the last :meth:`cancel`; a new generation needs no such call."""
        self._cancelled_at = 0

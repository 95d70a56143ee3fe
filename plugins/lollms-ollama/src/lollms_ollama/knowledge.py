"""What a server has told of itself and its models: asked once, and forgotten when a model changes."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from lollms_core import BackendUnavailable, LollmsError
from lollms_http import Steps, Wait
from lollms_ollama import steps
from lollms_ollama.facts import ModelFacts, Version, same_model

__all__ = ["Knowledge", "running_loop"]

_log = logging.getLogger(__name__)


class Knowledge:
    """The facts of one server's models; may be used from any thread and any event loop.

    Args:
        who: binding and host, for messages.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._facts: dict[str, ModelFacts] = {}
        self._asked: dict[tuple[Any, str], Any] = {}  # by event loop and model, while the answer is awaited
        self._version: Version | None = None
        self._changes = 0
        self.picked: str | None = None
        """The model that is used as none is named."""

    def now(self, model: str) -> ModelFacts | None:
        """What is known of `model` without asking."""
        return self._facts.get(model)

    def model(self, *named: str | None) -> Steps[str]:
        """The first of `named` that is a name, else the model that the server has loaded, else its newest.

        Raises:
            ModelNotFound: the server has none.
            LollmsError: it cannot be asked.
        """
        for model in (*named, self.picked):
            if model:
                return model
        self.picked = yield from steps.pick_model(self._who)
        return self.picked

    def facts(self, model: str, *, fresh: bool = False) -> Steps[ModelFacts]:
        """What the server says about `model`; `fresh`: now, and not what it said earlier.

        Raises:
            LollmsError: it has no such model, or cannot be asked.
        """
        loop = running_loop()
        facts = self._facts.get(model)
        if facts is None and loop is not None and (loop, model) in self._asked:
            # Of many tasks that begin together one asks for all.
            yield Wait(self._asked[loop, model])
            facts = self._facts.get(model)
        if facts is None or fresh:
            with self._asking(loop, model):
                changes = self._changes
                facts = yield from steps.facts_of(model, None if fresh else self._version)
                self._version = facts.version
                if changes == self._changes:  # else this may be what it was before
                    self._facts[model] = facts
        return facts

    def facts_if_any(self, model: str) -> Steps[ModelFacts | None]:
        """The facts, None if the server cannot tell them: its error comes with the request itself.

        Raises:
            BackendUnavailable: it cannot be reached.
        """
        try:
            return (yield from self.facts(model))
        except BackendUnavailable:
            raise  # nor would the request get there
        except LollmsError as error:
            _log.debug("%s: nothing is known of the model %r: %s", self._who, model, error)
            return None

    def learn(self, facts: ModelFacts) -> None:
        """Keep more that was learnt of a model."""
        if facts.name in self._facts:
            self._facts[facts.name] = facts

    def forget(self, model: str) -> None:
        """`model` has changed, or is gone."""
        self._changes += 1
        for name in [name for name in self._facts if same_model(name, model)]:
            self._facts.pop(name, None)

    def forget_choice(self, model: str) -> None:
        """`model` is gone: it is not the one that is used as none is named."""
        if self.picked is not None and same_model(self.picked, model):
            self.picked = None

    @contextlib.contextmanager
    def _asking(self, loop: Any, model: str) -> Iterator[None]:
        if loop is None or (loop, model) in self._asked:
            yield
            return
        from asyncio import Event as Answered

        answered = self._asked[loop, model] = Answered()
        try:
            yield
        finally:
            del self._asked[loop, model]
            answered.set()


def running_loop() -> Any:
    """The event loop of this thread, None if there is none."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

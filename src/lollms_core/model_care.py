"""Fetching, deleting, listing and unloading models, where a backend can."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator
from functools import partial
from typing import Any

from lollms_core.arguments import Arguments
from lollms_core.capabilities import Capability
from lollms_core.control import Control
from lollms_core.errors import CapabilityNotSupported
from lollms_core.events import Progress
from lollms_core.in_flight import InFlight
from lollms_core.pulling import AsyncPullStream, ProgressCallback, PullStream
from lollms_core.threads import ThreadedEvents

__all__ = ["ModelCare"]


class ModelCare(Arguments, InFlight):
    """What a binding offers beside generating. A class that fetches models writes ``_pull`` and declares
    ``Capability.PULL``; ``delete``, ``ps`` and ``unload`` are overridden by those that can.
    """

    def pull(self, model_name: str, *, progress: ProgressCallback | None = None) -> PullStream:
        """Fetch a model. The stream of its :class:`Progress` (completed, total: bytes) fetches as it is read.

        With `progress`, which gets each of them and stops the pull by returning False, it is read to its end at once.

        Raises:
            CapabilityNotSupported: this backend cannot fetch models.
            TypeError, ValueError: `model_name` is no text, or empty.
            LollmsError: on reading: there is no such model, or fetching failed.
        """
        self._check_pull(model_name, progress)
        control = Control()
        source = partial(self._pull, model_name)
        stream = PullStream(source, control, partial(self._holds, control), partial(self._ends, control), progress)
        return stream if progress is None else stream.wait()

    def apull(self, model_name: str, *, progress: ProgressCallback | None = None) -> AsyncPullStream:
        """:meth:`pull` for asyncio: ``async for`` over it, or ``await`` it to have it read to its end.

        Raises:
            CapabilityNotSupported, TypeError, ValueError: as for :meth:`pull`.
        """
        self._check_pull(model_name, progress)
        control = Control()
        source = partial(self._apull, model_name)
        return AsyncPullStream(source, control, partial(self._holds, control), partial(self._ends, control), progress)

    def delete(self, model_name: str) -> None:
        """Delete a model from where the backend keeps it.

        Raises:
            CapabilityNotSupported: this backend cannot.
            ModelNotFound: there is no such model.
            LollmsError: the backend failed.
        """
        raise CapabilityNotSupported(f"the binding {self.binding_name!r} cannot delete models")

    def ps(self) -> list[dict[str, Any]]:
        """The models in memory, as dicts with at least model_name, size (bytes) and expires_at.

        ``expires_at`` is the time (RFC 3339) at which the backend unloads the model by itself, None for never.

        Raises:
            CapabilityNotSupported: this backend cannot tell.
            LollmsError: the backend failed.
        """
        raise CapabilityNotSupported(f"the binding {self.binding_name!r} cannot tell which models are in memory")

    def unload(self, model_name: str | None = None) -> None:
        """Free the memory that a model (None: the one in use) takes; the next request loads it again.

        Raises:
            CapabilityNotSupported: this backend cannot.
            ModelNotFound: there is no such model.
            LollmsError: the backend failed.
        """
        raise CapabilityNotSupported(f"the binding {self.binding_name!r} cannot unload models")

    # What an author writes ------------------------------------------------------------------------------

    def _pull(self, model_name: str, control: Control) -> Iterator[Progress]:
        """Fetch a model; ends when it is there, and soon after ``control.cancelled`` has become true."""
        raise CapabilityNotSupported(f"the binding {self.binding_name!r} cannot fetch models")

    def _apull(self, model_name: str, control: Control) -> AsyncIterable[Progress]:
        """The same for asyncio; from :meth:`_pull` in a thread unless overridden."""

        def run(push: Any) -> None:
            for progress in self._pull(model_name, control):
                if not push(progress):
                    control.cancel()

        events: Any = ThreadedEvents(run, name=f"lollms-{self.binding_name}-pull")
        control.on_cancel(events.close)
        return events  # type: ignore[no-any-return]

    # ----------------------------------------------------------------------------------------------------

    def _check_pull(self, model_name: str, progress: object) -> None:
        if not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        if not model_name.strip():
            raise ValueError("model_name must not be empty")
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be callable, not {type(progress).__name__}")
        if Capability.PULL not in self.capabilities:
            raise CapabilityNotSupported(f"the binding {self.binding_name!r} cannot fetch models")

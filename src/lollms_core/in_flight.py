"""The requests that a binding works on at this moment, so that all of them can be ended."""

from __future__ import annotations

from lollms_core.control import Control
from lollms_core.errors import BackendUnavailable

__all__ = ["InFlight"]


class InFlight:
    """A binding's requests from their start to their end, whatever their kind."""

    # Class-level values, so that a class whose __init__ does not call ours works all the same.
    binding_name: str = "unknown"
    _closed: bool = False

    def cancel(self) -> None:
        """End every request in flight on this binding now, from any thread; later ones are not touched."""
        for control in list(self.__dict__.get("_in_flight", ())):
            control.cancel()

    def _holds(self, control: Control) -> None:
        """A request starts: it can be cancelled from now on.

        Raises:
            BackendUnavailable: the binding is closed.
        """
        if self._closed:
            raise BackendUnavailable(f"the binding {self.binding_name!r} is closed; create a new one")
        self.__dict__.setdefault("_in_flight", set()).add(control)

    def _ends(self, control: Control) -> None:
        """A request has ended."""
        self.__dict__.get("_in_flight", set()).discard(control)

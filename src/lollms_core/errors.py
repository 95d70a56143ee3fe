"""The error tree.

Everything that the framework raises on purpose is a :class:`LollmsError`, except plain
``TypeError`` and ``ValueError`` for arguments of the wrong type or range::

    LollmsError
    ├── BackendUnavailable          no connection: refused, not made in time, name unknown, certificate
    │                               not valid; or library or file missing
    ├── BackendTimeout              a connected backend was silent too long, or the total deadline passed
    ├── AuthenticationError         key missing or refused
    ├── RateLimited                 the backend asks to wait (retry_after: seconds or None)
    ├── Overloaded                  no room now, here or at the backend
    ├── ModelNotFound               the backend does not know this model
    ├── BadRequest                  the backend refuses the request as it stands
    │   └── ContextOverflow         prompt (and answer) do not fit the model's context
    ├── BackendError                the backend failed, in its own words
    ├── BackendCrashed              the backend's process died (signal: int or None)
    ├── ProtocolError               the backend sent bytes that are not its protocol
    ├── StreamInterrupted           the stream ended before its end
    ├── InvalidOutput               the answer is not what was asked for: schema, tool_choice (text, reason)
    ├── Refused                     a guard (middleware) refused the request or the answer
    ├── BindingNotFound             no binding of that name
    ├── BindingBlocked              blocked by LOLLMS_PLUGINS, LOLLMS_DISABLE_PLUGINS or its folder's state
    ├── BindingLoadError            import or construction failed
    ├── SettingsError               a profile, a key or a file of settings that cannot be used as it is
    └── misuse, found before any I/O
        ├── UnsupportedParameter    (also TypeError) an option that this binding does not have
        ├── CapabilityNotSupported  (also ValueError) a feature that this binding or model lacks
        └── ImageError              (also ValueError) an image that cannot be read

``generate_text`` and its kin raise misuse and return the rest as :func:`error_to_dict` writes it;
all other methods raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "AuthenticationError",
    "BackendCrashed",
    "BackendError",
    "BackendTimeout",
    "BackendUnavailable",
    "BadRequest",
    "BindingBlocked",
    "BindingLoadError",
    "BindingNotFound",
    "CapabilityNotSupported",
    "ContextOverflow",
    "ImageError",
    "InvalidOutput",
    "LollmsError",
    "ModelNotFound",
    "Overloaded",
    "ProtocolError",
    "RateLimited",
    "Refused",
    "SettingsError",
    "StreamInterrupted",
    "UnsupportedParameter",
    "close_names",
    "error_from_dict",
    "error_to_dict",
]


class LollmsError(Exception):
    """Root of the tree.

    Attributes:
        partial: the text that had arrived before the failure, "" if none.
        earlier: where ``chat`` was running tools, the messages of the rounds before the failure.
    """

    partial: str = ""
    earlier: Sequence[dict[str, Any]] = ()

    def __init__(self, message: str = "", *, partial: str = "") -> None:
        super().__init__(message)
        if partial:
            self.partial = partial


class BackendUnavailable(LollmsError):
    """The backend cannot be reached or is not installed."""


class BackendTimeout(LollmsError):
    """The backend was silent for too long, or the total deadline has passed."""


class AuthenticationError(LollmsError):
    """The backend refuses the key, or wants one."""


class RateLimited(LollmsError):
    """The backend asks to wait; ``retry_after`` is in seconds, None if it did not say."""

    def __init__(self, message: str = "", *, partial: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, partial=partial)
        self.retry_after = retry_after


class Overloaded(LollmsError):
    """There is no room for the request now."""


class ModelNotFound(LollmsError):
    """The backend has no model of that name."""


class BadRequest(LollmsError):
    """The backend refuses the request as it stands."""


class ContextOverflow(BadRequest):
    """The prompt does not fit the context; figures in tokens, None where unknown."""

    def __init__(
        self,
        message: str = "",
        *,
        partial: str = "",
        prompt_tokens: int | None = None,
        ctx_size: int | None = None,
    ) -> None:
        super().__init__(message, partial=partial)
        self.prompt_tokens = prompt_tokens
        self.ctx_size = ctx_size


class BackendError(LollmsError):
    """The backend failed while working on the request."""


class BackendCrashed(LollmsError):
    """The backend's process died; ``signal`` is the number that ended it, None if it exited."""

    def __init__(self, message: str = "", *, partial: str = "", signal: int | None = None) -> None:
        super().__init__(message, partial=partial)
        self.signal = signal


class ProtocolError(LollmsError):
    """The backend sent something that its protocol does not allow."""


class StreamInterrupted(LollmsError):
    """The stream ended without its end marker."""


class InvalidOutput(LollmsError):
    """The answer is not what was asked for: it violates the schema, or is no call of a tool.

    Attributes:
        text: the whole answer as it came.
        reason: what is wrong with it.
    """

    def __init__(self, message: str = "", *, partial: str = "", text: str = "", reason: str = "") -> None:
        super().__init__(message or reason, partial=partial or text)
        self.text = text or partial
        self.reason = reason or message


class Refused(LollmsError):
    """A middleware refused the request or the answer."""


class BindingNotFound(LollmsError):
    """No binding of that name is installed or in the directory."""


class BindingBlocked(LollmsError):
    """The binding exists, but the operator's lists or a safety rule keep it from loading."""


class BindingLoadError(LollmsError):
    """Importing or constructing the binding failed; the cause is ``__cause__``."""


class SettingsError(LollmsError):
    """A profile, a key or a file of settings that cannot be used as it is."""


class UnsupportedParameter(LollmsError, TypeError):
    """An option that this binding does not have."""


class CapabilityNotSupported(LollmsError, ValueError):
    """A feature that this binding, or the model in use, does not have."""


class ImageError(LollmsError, ValueError):
    """An image that cannot be read or is none."""


_BY_NAME: dict[str, type[LollmsError]] = {
    name: cls for name, cls in globals().items() if isinstance(cls, type) and issubclass(cls, LollmsError)
}


def error_to_dict(error: LollmsError) -> dict[str, Any]:
    """The form in which ``generate_text`` returns an error."""
    return {
        "status": False,
        "error": str(error) or type(error).__name__,
        "error_type": type(error).__name__,
        "partial": error.partial,
    }


def error_from_dict(data: Mapping[str, Any]) -> LollmsError:
    """The exception that an error dict stands for; one without a known ``error_type`` is a BackendError."""
    cls = _BY_NAME.get(str(data.get("error_type", "")), BackendError)
    message = str(data.get("error") or "the backend reported an error without saying which")
    return cls(message, partial=str(data.get("partial") or ""))


def close_names(name: str, known: Iterable[str]) -> str:
    """`` Did you mean a, b?`` for the known names close to `name`, else "" (the leading space is included)."""
    import difflib

    found = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    return f" Did you mean {', '.join(found)}?" if found else ""

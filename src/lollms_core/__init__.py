"""lollms-core: one contract for every LLM backend, each backend an ordinary package.

Public names are resolved on first use (PEP 562), so that importing this package costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding as LollmsLLMBinding
    from lollms_core.capabilities import Capability as Capability
    from lollms_core.errors import AuthenticationError as AuthenticationError
    from lollms_core.errors import BackendCrashed as BackendCrashed
    from lollms_core.errors import BackendError as BackendError
    from lollms_core.errors import BackendTimeout as BackendTimeout
    from lollms_core.errors import BackendUnavailable as BackendUnavailable
    from lollms_core.errors import BadRequest as BadRequest
    from lollms_core.errors import BindingBlocked as BindingBlocked
    from lollms_core.errors import BindingLoadError as BindingLoadError
    from lollms_core.errors import BindingNotFound as BindingNotFound
    from lollms_core.errors import CapabilityNotSupported as CapabilityNotSupported
    from lollms_core.errors import ContextOverflow as ContextOverflow
    from lollms_core.errors import ImageError as ImageError
    from lollms_core.errors import InvalidOutput as InvalidOutput
    from lollms_core.errors import LollmsError as LollmsError
    from lollms_core.errors import ModelNotFound as ModelNotFound
    from lollms_core.errors import Overloaded as Overloaded
    from lollms_core.errors import ProtocolError as ProtocolError
    from lollms_core.errors import RateLimited as RateLimited
    from lollms_core.errors import Refused as Refused
    from lollms_core.errors import SettingsError as SettingsError
    from lollms_core.errors import StreamInterrupted as StreamInterrupted
    from lollms_core.errors import UnsupportedParameter as UnsupportedParameter
    from lollms_core.event_binding import EventBinding as EventBinding
    from lollms_core.events import MSG_TYPE as MSG_TYPE
    from lollms_core.events import Completion as Completion
    from lollms_core.events import Event as Event
    from lollms_core.events import Finish as Finish
    from lollms_core.events import Progress as Progress
    from lollms_core.events import ReasoningDelta as ReasoningDelta
    from lollms_core.events import TextDelta as TextDelta
    from lollms_core.events import Timings as Timings
    from lollms_core.events import TokenLogprob as TokenLogprob
    from lollms_core.events import ToolCall as ToolCall
    from lollms_core.events import Usage as Usage
    from lollms_core.findings import Finding as Finding
    from lollms_core.hookspecs import hookimpl as hookimpl
    from lollms_core.manager import LollmsLLMBindingManager as LollmsLLMBindingManager
    from lollms_core.messages import Image as Image
    from lollms_core.messages import join_discussion as join_discussion
    from lollms_core.messages import split_discussion as split_discussion
    from lollms_core.middleware import Middleware as Middleware
    from lollms_core.middleware import Retry as Retry
    from lollms_core.pulling import AsyncPullStream as AsyncPullStream
    from lollms_core.pulling import PullStream as PullStream
    from lollms_core.request import EmbedRequest as EmbedRequest
    from lollms_core.request import GenerationRequest as GenerationRequest
    from lollms_core.response_format import ResponseFormat as ResponseFormat
    from lollms_core.stream import AsyncStream as AsyncStream
    from lollms_core.stream import Stream as Stream
    from lollms_core.tools import Tool as Tool

__version__ = "0.1.0"

_HOMES = {
    "binding": ("LollmsLLMBinding",),
    "capabilities": ("Capability",),
    "errors": (
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
    ),
    "event_binding": ("EventBinding",),
    "events": (
        "MSG_TYPE",
        "Completion",
        "Event",
        "Finish",
        "Progress",
        "ReasoningDelta",
        "TextDelta",
        "Timings",
        "TokenLogprob",
        "ToolCall",
        "Usage",
    ),
    "findings": ("Finding",),
    "hookspecs": ("hookimpl",),
    "manager": ("LollmsLLMBindingManager",),
    "messages": ("Image", "join_discussion", "split_discussion"),
    "middleware": ("Middleware", "Retry"),
    "pulling": ("AsyncPullStream", "PullStream"),
    "request": ("EmbedRequest", "GenerationRequest"),
    "response_format": ("ResponseFormat",),
    "stream": ("AsyncStream", "Stream"),
    "tools": ("Tool",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # import_module without importlib's own import, which a bare interpreter has not loaded.
    value = getattr(__import__(f"{__name__}.{module}", fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

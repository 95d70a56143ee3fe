"""HttpBinding: write what is sent and what the answer's records mean, get the whole contract over HTTP."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar, overload
from urllib.parse import urlsplit
from weakref import WeakMethod

from lollms_core import (
    Capability,
    EmbedRequest,
    Event,
    EventBinding,
    GenerationRequest,
    LollmsError,
    ModelNotFound,
)
from lollms_core.outermost import aiterate_inside
from lollms_core.redaction import Hidden, forget_locals
from lollms_http.address import KEY_HEADER, Server, base_url, key_of
from lollms_http.answer import Reader
from lollms_http.call import Call
from lollms_http.checks import Check
from lollms_http.client import HttpClient, Meaning
from lollms_http.embedding import embedded
from lollms_http.exchange import Limits
from lollms_http.framing import Framing
from lollms_http.options import HTTP_CHECKS, HttpOptions
from lollms_http.steps import Steps

__all__ = ["LOOK_UP_SECONDS", "HttpBinding"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_UP_SECONDS: Final = 10.0
"""Time for a question that is only nice to have answered."""


class HttpBinding(EventBinding):
    """A binding to a backend over HTTP, whose author writes :meth:`_call` and :meth:`_reader`.

    The rest comes from here: the constructor, connections for any number of threads, tasks and event loops, deadlines,
    retries, ends of requests from any thread, errors with the server's words, and keys that show nowhere.
    Nothing is sent before the first call that needs the server.

    Class attributes to set beside those of :class:`~lollms_core.EventBinding` (``timeout`` is in ``uses`` by itself):

    Attributes:
        default_host: the URL of the server where none is named, with the path that all of its paths begin with.
        host_variable: the environment variable that names the server; it counts where ``host_address`` is None.
        key_variable: the environment variable with the key; it counts where ``service_key`` is None, and only for
            the hosts of ``default_host`` and ``host_variable``, if one of these is set.
        key_header: the header's line that the key is sent in.
        headers: what else is sent with each request; nothing secret.
        framing: how streams are framed: JsonLines() or ServerSentEvents(); None: as their content type says.
        options: a TypedDict of the binding's options that extends :class:`HttpOptions`.
        option_checks: for options of its own, what raises where a value cannot be honoured.

    Args:
        binding_name: the name shown in messages.
        host_address: the server: a host, host:port or URL.
        model_name: the model to use.
        service_key: the key.
        verify_ssl_certificate: False switches the check of the server's certificate off.
        models_path: means nothing here and must be None.
        **defaults: request fields and options.

    Raises:
        TypeError, ValueError: an unknown keyword, a value of the wrong type or out of range, or no server is named.
    """

    default_host: ClassVar[str | None] = None
    host_variable: ClassVar[str | None] = None
    key_variable: ClassVar[str | None] = None
    key_header: ClassVar[str] = KEY_HEADER
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    framing: ClassVar[Framing | None] = None
    options: ClassVar[type] = HttpOptions
    option_checks: ClassVar[Mapping[str, Check]] = MappingProxyType({})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.uses = cls.uses | {"timeout"}  # honoured here, whatever the author declares

    def __init__(
        self,
        binding_name: str = "unknown",
        *,
        host_address: str | None = None,
        model_name: str | None = None,
        service_key: str | None = None,
        verify_ssl_certificate: bool | None = None,
        models_path: str | None = None,
        **defaults: Any,
    ) -> None:
        # A traceback may show what a frame holds.
        given = Hidden(host_address=host_address, service_key=service_key)
        del host_address, service_key
        super().__init__(binding_name, models_path=models_path, **defaults)
        if model_name is not None and not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        self._check_options(self.defaults)
        self.model_name = model_name or None
        try:
            self._server = self._server_of(**given, verify_ssl_certificate=verify_ssl_certificate)
        except (TypeError, ValueError) as error:
            forget_locals(error)
            raise
        self._who = f"{binding_name} at {self._server.url}"
        if not self._server.verify:
            _log.warning("%s: the server's certificate is not checked (verify_ssl_certificate=False)", self._who)
        self._client = HttpClient(self._server, self._who, self.framing, _weakly(self._meaning))

    # What the author writes -------------------------------------------------------------------------------

    @abstractmethod
    def _call(self, request: GenerationRequest) -> Call | Steps[Call]:
        """The request for one answer; ``request.model`` is the instance's if the caller named none.

        A binding that must ask its server something first writes a generator that yields calls, gets their answers,
        and returns the call: see :mod:`lollms_http.steps`.
        """

    @abstractmethod
    def _reader(self, request: GenerationRequest) -> Reader:
        """A new reader of the answer's records."""

    def _embed_call(self, request: EmbedRequest, texts: Sequence[str]) -> Call:
        """The request for the vectors of `texts`, some or all of those of `request`; with Capability.EMBED."""
        raise self._lacks(Capability.EMBED)

    def _vectors(self, answer: Any) -> list[Any]:
        """The vectors in the answer to :meth:`_embed_call`, in the order of its texts. They are checked afterwards."""
        raise self._lacks(Capability.EMBED)

    def _meaning(self, error: LollmsError, model: str | None) -> LollmsError:
        """What an error that the server tells is for the caller.

        `error` is what its status and words say by themselves; a binding that knows words of its backend that mean
        something particular gives another, with the words of `error`. CapabilityNotSupported is not tried again.
        """
        return error

    # What it may use --------------------------------------------------------------------------------------

    @overload
    def _ask(self, what: Call | Steps[Any], read: None = None, *, once: bool = ...) -> Any: ...

    @overload
    def _ask(self, what: Call | Steps[Any], read: Callable[[Any], T], *, once: bool = ...) -> T: ...

    def _ask(self, what: Call | Steps[Any], read: Callable[[Any], Any] | None = None, *, once: bool = False) -> Any:
        """The answer to a call, as JSON, or the result of a procedure; blocking.

        Args:
            what: one call, or a generator of several.
            read: makes the result of the answer; what it cannot read is a ProtocolError.
            once: for what is only nice to know: without another try, and within 10 seconds.

        Raises:
            LollmsError: what went wrong.
        """
        limits = self._limits_once() if once else self._limits_of({})
        return self._client.run(_asking(what, read), limits, None)

    # What follows from it ---------------------------------------------------------------------------------

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        request = self._with_model(request)
        limits = self._limits(request)
        call = self._client.run(self._prepared(request), limits, request.control)
        yield from self._client.read(call, limits, request.control, self._reader(request))

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        async with aclosing(self._together(request)) as lists:
            async for events in lists:
                for event in events:
                    yield event

    def _asource(self, request: GenerationRequest) -> AsyncIterable[Event | list[Event]]:
        if type(self)._aevents is not HttpBinding._aevents:
            return super()._asource(request)
        # What has come together goes on together: one step of the event loop's machinery, and not one for each event.
        events = self._together(request)
        return aiterate_inside(self, events) if self._hooks else events

    def _together(self, request: GenerationRequest) -> AsyncGenerator[list[Event]]:
        request = self._with_model(request)
        return self._client.aread(self._prepared(request), self._limits(request), lambda: self._reader(request))

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        return self._client.run(self._embedded(self._with_model(request)), self._limits(request), request.control)

    async def _aembed(self, request: EmbedRequest) -> list[list[float]]:
        return await self._client.arun(self._embedded(self._with_model(request)), self._limits(request))

    def _prepared(self, request: GenerationRequest) -> Steps[Call]:
        call = self._call(request)
        return call if isinstance(call, Call) else (yield from call)

    def _embedded(self, request: EmbedRequest) -> Steps[list[list[float]]]:
        """All vectors; a binding that must ask its server something first extends this."""
        return (yield from embedded(request, lambda texts: self._embed_call(request, texts), self._vectors, self._who))

    def _with_model(self, request: Any) -> Any:
        if request.model is not None or self.model_name is None:
            return request
        return request.replace(model=self.model_name)

    def _checked(self, request: GenerationRequest, kind: Capability) -> GenerationRequest:
        request = super()._checked(request, kind)
        self._check_options(request.options)
        return request

    def _embed_request(self, text: Any, kwargs: Mapping[str, Any]) -> EmbedRequest:
        request = super()._embed_request(text, kwargs)
        self._check_options(request.options)
        return request

    def _check_options(self, options: Mapping[str, Any]) -> None:
        """Whether the binding's options can be honoured.

        Raises:
            TypeError, ValueError: one is of the wrong type or out of range; the text names it.
        """
        for name, value in options.items():
            check = self.option_checks.get(name) or HTTP_CHECKS.get(name)
            if check is not None:
                check(name, value)

    def get_model_info(self) -> dict[str, Any]:
        """The contract's keys, as far as they are known here; a binding whose server tells more extends this."""
        return {**super().get_model_info(), "host_address": self._server.url}

    def load_model(self, model_name: str) -> bool:
        """Make `model_name` the model in use if :meth:`listModels` has it.

        Returns:
            Whether it has; if not, the reason is in ``last_error`` and in the log.

        Raises:
            CapabilityNotSupported: the binding cannot list models.
            TypeError: `model_name` is no str.
        """
        if type(self).listModels is HttpBinding.listModels:
            return super().load_model(model_name)

        def look() -> None:
            if not any(model["model_name"] == model_name for model in self.listModels()):
                raise ModelNotFound(f"{self._who} has no model {model_name!r}")

        if not self._tried(model_name, look):
            return False
        self.model_name = model_name
        return True

    # The server -------------------------------------------------------------------------------------------

    @classmethod
    def _server_of(
        cls,
        host_address: str | None = None,
        service_key: str | None = None,
        verify_ssl_certificate: bool | None = None,
    ) -> Server:
        """The server that a constructor's arguments mean.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or no address, or no server is named.
        """
        if host_address is not None and not isinstance(host_address, str):
            raise TypeError(f"host_address must be a str, not {type(host_address).__name__}")
        if verify_ssl_certificate is not None and not isinstance(verify_ssl_certificate, bool):
            raise TypeError(f"verify_ssl_certificate must be True or False, not {verify_ssl_certificate!r}")
        url = cls._url(host_address)
        key = key_of(service_key, "service_key")
        if key is None and cls.key_variable is not None and cls._is_own(url):
            key = key_of(os.environ.get(cls.key_variable, "").strip(), cls.key_variable)
        return Server(url, key, verify_ssl_certificate is not False, cls.key_header, cls.headers)

    @classmethod
    def _url(cls, host_address: str | None) -> str:
        """The server's URL, without a slash at its end."""
        default = cls.default_host or "http://127.0.0.1"
        named = (host_address or "").strip()
        if named:
            return base_url(named, "host_address", default=default)
        named = os.environ.get(cls.host_variable, "").strip() if cls.host_variable else ""
        if named:
            return base_url(named, cls.host_variable or "", default=default)
        if cls.default_host is None:
            other = f" (or {cls.host_variable} in the environment)" if cls.host_variable else ""
            raise ValueError(f"{cls.__name__} needs host_address, the address of its server{other}")
        return base_url(default, "default_host")

    @classmethod
    def _is_own(cls, url: str) -> bool:
        """Whether a server is one that a key of the environment belongs to."""
        own = {url} if cls.default_host is None and not cls.host_variable else set()
        if cls.default_host is not None:
            own.add(base_url(cls.default_host, "default_host"))
        if cls.host_variable and os.environ.get(cls.host_variable, "").strip():
            own.add(cls._url(None))
        return urlsplit(url)[:2] in {urlsplit(one)[:2] for one in own}

    # Limits -----------------------------------------------------------------------------------------------

    def _limits(self, request: GenerationRequest | EmbedRequest) -> Limits:
        if isinstance(request, GenerationRequest):
            return Limits.of(request.options, timeout=request.timeout, deadline=request.deadline)
        return self._limits_of(request.options)

    def _limits_of(self, options: Mapping[str, Any]) -> Limits:
        own = {**self.defaults, **options}
        return Limits.of(own, timeout=own.get("timeout"), deadline=own.get("deadline"))

    def _limits_once(self) -> Limits:
        """For questions that are nice to have answered: nobody waits for a second try, nor long for the first."""
        deadline = min(LOOK_UP_SECONDS, self.defaults.get("deadline", LOOK_UP_SECONDS))
        return Limits.of({**self.defaults, "retries": 0}, timeout=self.defaults.get("timeout"), deadline=deadline)

    def _limits_without_deadline(self) -> Limits:
        """For what takes hours."""
        return Limits.of(self.defaults, timeout=self.defaults.get("timeout"))

    # Ending -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what runs and close all connections; closing twice is fine."""
        super().close()
        self._client.close()

    async def aclose(self) -> None:
        """:meth:`close` for asyncio; the connections of this event loop are closed when it returns."""
        super().close()
        await self._client.aclose()


def _weakly(meaning: Meaning) -> Meaning:
    """The same method, which does not hold its object: a binding that nobody closes shall go with its last name."""
    held = WeakMethod(meaning)

    def mean(error: LollmsError, model: str | None) -> LollmsError:
        found = held()
        return error if found is None else found(error, model)

    return mean


def _asking(what: Call | Steps[Any], read: Callable[[Any], Any] | None) -> Steps[Any]:
    answer = (yield what) if isinstance(what, Call) else (yield from what)
    return answer if read is None else read(answer)

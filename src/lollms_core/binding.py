"""LollmsLLMBinding: the contract that every backend fulfils, and everything that is derived from it.

A binding author has two ways. The plain one is in this module: subclass, write the eight abstract
methods, nothing else; the rest is derived from them. The other is :class:`~lollms_core.event_binding.EventBinding`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from json import JSONDecodeError
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from lollms_core import messages as discussions
from lollms_core.arguments import StreamingCallback
from lollms_core.capabilities import Capability
from lollms_core.embedding import Embedding, aembed_through, embed_keywords
from lollms_core.errors import LollmsError, error_to_dict
from lollms_core.events import Completion, Event
from lollms_core.generation import Emit, Generation, as_backend_error, pull, push
from lollms_core.messages import AI_KEYWORD, USER_KEYWORD, ImageSource, Message
from lollms_core.middleware import Attached, Chain
from lollms_core.model_care import ModelCare
from lollms_core.outermost import inside, is_inside, wrap_own_methods
from lollms_core.request import EmbedRequest, GenerationRequest
from lollms_core.stream import AsyncStream, Stream
from lollms_core.text_calls import CallbackSink, produce_text
from lollms_core.threads import ThreadedEvents

if TYPE_CHECKING:
    from lollms_core.findings import Finding

__all__ = ["HookSource", "LollmsLLMBinding"]

_MISUSE = (TypeError, ValueError)
# ValueErrors that come from bad data, not from bad arguments.
_BAD_DATA = (JSONDecodeError, UnicodeError)


class HookSource(Protocol):
    """What a binding knows of hooks; the manager gives it one."""

    def __bool__(self) -> bool:
        """Whether any hook stands around requests at this moment."""
        ...

    def middlewares(self, request: GenerationRequest | EmbedRequest) -> Sequence[Attached]:
        """The middlewares of one request, in registration order; called once for each."""
        ...


class LollmsLLMBinding(ModelCare, ABC):
    """One backend.

    Args:
        binding_name: the name shown in messages.
        **defaults: request fields and the binding's own options, used where a call gives None. The five
            common names are accepted too: ``model_name`` is kept, the others must be None here, since a
            binding that has a use for them takes them in its own constructor.

    Raises:
        UnsupportedParameter: (a TypeError) an unknown keyword.
        TypeError, ValueError: a default of the wrong type or out of range.

    What an author may declare as class attributes is in :class:`~lollms_core.arguments.Arguments`.
    """

    last_error: str | None = None
    _hooks: HookSource | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        wrap_own_methods(cls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.binding_name!r} model={self.model_name!r}>"

    # The eight methods ----------------------------------------------------------------------------------

    @abstractmethod
    def generate_text(
        self,
        prompt: str,
        images: Sequence[ImageSource] | None = None,
        system_prompt: str = "",
        n_predict: int | None = None,
        stream: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repeat_penalty: float | None = None,
        repeat_last_n: int | None = None,
        seed: int | None = None,
        n_threads: int | None = None,
        ctx_size: int | None = None,
        streaming_callback: StreamingCallback | None = None,
        split: bool = False,
        user_keyword: str = USER_KEYWORD,
        ai_keyword: str = AI_KEYWORD,
    ) -> str | dict[str, Any]:
        """The answer's text; for an error met at the backend, the dict of ``errors.error_to_dict``.

        An explicit `stream` wins, then the instance's default, then "a callback was given". With `split`,
        `prompt` is a discussion marked with the keywords.

        Raises:
            TypeError, ValueError: misuse, before anything is sent; see :mod:`lollms_core.errors`.
        """

    @abstractmethod
    def tokenize(self, text: str) -> list[Any]:
        """The model's tokens of `text`: no BOS or EOS, special-token text taken as plain text."""

    @abstractmethod
    def detokenize(self, tokens: list[Any]) -> str:
        """The text of `tokens`."""

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """``len(tokenize(text))``."""

    @abstractmethod
    def embed(self, text: str | list[str], **kwargs: Any) -> list[Any]:
        """The vector of a str (list of float), or those of a list of str in its order (list of lists)."""

    @abstractmethod
    def get_model_info(self) -> dict[str, Any]:
        """At least binding_name, model_name, loaded, ctx_size, supports, parameters; never a secret."""

    @abstractmethod
    def listModels(self) -> list[Any]:
        """The models that can be used, as dicts with at least ``model_name``."""

    @abstractmethod
    def load_model(self, model_name: str) -> bool:
        """Make `model_name` the model in use; False, with the reason in ``last_error``, if that fails."""

    # Derived from them ----------------------------------------------------------------------------------

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]] | str,
        *,
        run_tools: bool = False,
        max_rounds: int = 8,
        **fields: Any,
    ) -> Completion:
        """The answer to a conversation; a str is one user message.

        Args:
            messages: the conversation, in OpenAI's form.
            run_tools: whether the functions among ``tools`` are called when the model asks for it, and their results
                given back to it until it answers. What a function raises is told to the model as text. The messages
                of these rounds are in ``Completion.messages``.
            max_rounds: how often the model is asked then. The last answer may still have ``tool_calls``, which were
                not run.
            **fields: request fields (see :class:`GenerationRequest`) and the binding's own options; ``deadline`` is
                for all rounds together, and a ``tool_choice`` that makes the model call is for the first.

        Raises:
            LollmsError: what went wrong at the backend, the text so far in ``partial``.
            TypeError, ValueError: misuse, before anything is sent.
        """
        request = self._chat_request(messages, fields)
        if not run_tools:
            return self._run(request, None)
        from lollms_core.tool_rounds import ToolRounds, check_sync, run_rounds

        rounds = ToolRounds(request, max_rounds)
        check_sync(rounds)
        self._holds(request.control)
        try:
            return run_rounds(rounds, lambda request: self._run(request, None))
        finally:
            self._ends(request.control)

    async def achat(
        self,
        messages: Sequence[Mapping[str, Any]] | str,
        *,
        run_tools: bool = False,
        max_rounds: int = 8,
        **fields: Any,
    ) -> Completion:
        """:meth:`chat` for asyncio; cancelling the task ends the request at the backend.

        With `run_tools`, functions may be coroutine functions too, and those of one round run at the same time.
        """
        request = self._chat_request(messages, fields)
        if not run_tools:
            return await self._arun(request, None)
        from lollms_core.tool_rounds import ToolRounds, arun_rounds

        rounds = ToolRounds(request, max_rounds)
        self._holds(request.control)
        try:
            return await arun_rounds(rounds, lambda request: self._arun(request, None))
        finally:
            self._ends(request.control)

    def stream(self, messages: Sequence[Mapping[str, Any]] | str, **fields: Any) -> Stream:
        """The events of the answer as they come. Arguments are checked now; it connects at the first event.

        Raises:
            TypeError, ValueError: misuse.
        """
        request = self._chat_request(messages, {**fields, "stream": True})
        generation = self._generation(request, live=True)
        return Stream(generation, partial(pull, generation, self._source))

    def astream(self, messages: Sequence[Mapping[str, Any]] | str, **fields: Any) -> AsyncStream:
        """:meth:`stream` for asyncio; not awaited: ``async for event in binding.astream(...)``."""
        request = self._chat_request(messages, {**fields, "stream": True})
        from lollms_core.async_generation import apull

        generation = self._generation(request, live=True)
        return AsyncStream(generation, partial(apull, generation, self._asource))

    async def agenerate_text(
        self,
        prompt: str,
        images: Sequence[ImageSource] | None = None,
        system_prompt: str = "",
        *,
        streaming_callback: StreamingCallback | None = None,
        split: bool = False,
        user_keyword: str = USER_KEYWORD,
        ai_keyword: str = AI_KEYWORD,
        **fields: Any,
    ) -> str | dict[str, Any]:
        """:meth:`generate_text` for asyncio; an awaitable that the callback returns is awaited."""
        keywords = {"user_keyword": user_keyword, "ai_keyword": ai_keyword}
        fields = {**fields, "images": images, "system_prompt": system_prompt}
        request, sink = self._text_request(prompt, fields, streaming_callback, split, keywords)
        try:
            return (await self._arun(request, sink)).text
        except LollmsError as error:
            return self._returned(error, sink)

    def generate_from_messages(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        streaming_callback: StreamingCallback | None = None,
        **fields: Any,
    ) -> str | dict[str, Any]:
        """:meth:`generate_text` for chat messages; `fields` as in :meth:`chat`.

        Raises:
            TypeError, ValueError: misuse.
        """
        request = self._chat_request(messages, fields)
        request, sink = self._with_callback(request, streaming_callback)
        try:
            return self._run(request, sink).text
        except LollmsError as error:
            return self._returned(error, sink)

    async def aembed(self, text: str | list[str], **kwargs: Any) -> list[Any]:
        """:meth:`embed` for asyncio.

        Raises:
            LollmsError: as :meth:`embed`.
        """
        import asyncio

        async def compute(request: EmbedRequest) -> list[Any]:
            def call() -> list[Any]:
                with inside(self):
                    return self.embed(list(request.texts), **embed_keywords(request))

            return await asyncio.to_thread(call)

        request = self._embed_request(text, kwargs)
        vectors = await aembed_through(self._embedding(request), compute) if request.texts else []
        return vectors[0] if isinstance(text, str) else vectors

    def list_models(self) -> list[Any]:
        """The same as :meth:`listModels`."""
        return self.listModels()

    @staticmethod
    def split_discussion(text: str, *args: str, **keywords: str) -> list[Message]:
        """See :func:`lollms_core.split_discussion`."""
        return discussions.split_discussion(text, *args, **keywords)

    @staticmethod
    def join_discussion(messages: Iterable[Mapping[str, Any]]) -> str:
        """See :func:`lollms_core.join_discussion`."""
        return discussions.join_discussion(messages)

    @classmethod
    def unconfigured(cls) -> Literal["local", "remote"] | None:
        """Where an instance made without arguments would get its answers from, if it could now.

        "local" if a server on this machine answers, "remote" if the key of a service is set, None if neither,
        or if it needs arguments. To be overridden by bindings that can tell within some tenths of a second.
        """
        return None

    @classmethod
    def diagnose(cls, timeout: float) -> Iterable[Finding]:  # noqa: ARG003 - for those that override it
        """For ``lollms doctor``: what is found of all that an instance made without arguments needs.

        That is a server, a library, a key. It is asked in a process of its own, which may die of it. A server that
        does not answer is no error, but a finding, and waited for a few seconds at most. Models are listed and counted
        by whoever asks. What is found here by default is what :meth:`unconfigured` says.

        Args:
            timeout: seconds after which that process is ended.
        """
        from lollms_core.findings import Finding

        place = cls.unconfigured()
        if place == "local":
            return [Finding("ok", "a server on this machine answers", about="server")]
        return [Finding("ok", "its key is set", about="key")] if place == "remote" else []

    # Ending ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what runs and free what the binding holds; closing twice is fine. Override and call super."""
        self._closed = True
        self.cancel()

    async def aclose(self) -> None:
        """:meth:`close` for asyncio."""
        import asyncio

        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # Running --------------------------------------------------------------------------------------------

    def _produce(self, request: GenerationRequest, emit: Emit) -> None:
        """Give the backend's events to `emit`, in the calling thread."""
        assert self._signature is not None
        streamed = request.stream
        if streamed is None:
            # Through pieces the request can be cancelled on its way.
            streamed = Capability.STREAM in self.capabilities_of(request.model or self.model_name)
        with inside(self):
            produce_text(self.binding_name, self.generate_text, self._signature, request, emit, streamed=streamed)

    def _source(self, request: GenerationRequest) -> Iterable[Event]:
        """The backend's events, to be iterated by one thread and closed from any."""
        events = ThreadedEvents(partial(self._produce, request), name=f"lollms-{self.binding_name}")
        request.on_cancel(events.close)
        return events

    def _asource(self, request: GenerationRequest) -> AsyncIterable[Event | list[Event]]:
        """The backend's events for asyncio; here through a thread for each request."""
        return ThreadedEvents(partial(self._produce, request), name=f"lollms-{self.binding_name}")

    def _run(self, request: GenerationRequest, sink: CallbackSink | None) -> Completion:
        return push(self._generation(request, live=sink is not None), self._produce, sink)

    async def _arun(self, request: GenerationRequest, sink: CallbackSink | None) -> Completion:
        from lollms_core.async_generation import apull

        generation = self._generation(request, live=sink is not None)
        async with aclosing(apull(generation, self._asource)) as events:  # type: ignore[type-var]
            async for event in events:
                if sink is None:
                    continue
                try:
                    more = await sink.call_async(event)
                except BaseException as exc:
                    generation.end_with(exc)
                    raise
                if not more:
                    break
        return generation.completion

    def _begins(self, request: GenerationRequest | EmbedRequest) -> Chain | None:
        """A request starts: it can be cancelled from now on, and gets its middlewares."""
        self._holds(request.control)
        if not self._hooks or is_inside(self):
            return None
        attached = self._hooks.middlewares(request)
        return Chain(attached) if attached else None

    def _generation(self, request: GenerationRequest, *, live: bool) -> Generation:
        return Generation(
            request,
            self._begins,
            model=self.model_name,
            ignored=self._ignored(request),
            live=live,
            translate=self._translate,
            on_end=partial(self._ends, request.control),
        )

    def _embedding(self, request: EmbedRequest) -> Embedding:
        return Embedding(request, self._begins, translate=self._translate, on_end=partial(self._ends, request.control))

    def _translate(self, exc: Exception) -> Exception:
        """What the caller gets for an exception of the author's: misuse as it is, the rest as BackendError."""
        if isinstance(exc, _MISUSE) and not isinstance(exc, _BAD_DATA):
            return exc
        return as_backend_error(exc)

    @staticmethod
    def _returned(error: LollmsError, sink: CallbackSink | None) -> dict[str, Any]:
        """`error` as generate_text returns it; misuse, and what the callback raised, is raised instead."""
        if isinstance(error, _MISUSE) or (sink is not None and sink.raised is error):
            raise error
        return error_to_dict(error)

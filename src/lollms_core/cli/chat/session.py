"""A chat without a terminal: turns, what is kept of them, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lollms_core.cli.chat.conversation import Conversation, ConversationError, new_place
from lollms_core.errors import LollmsError, ModelNotFound
from lollms_core.events import Completion, Event, Timings, Usage
from lollms_core.messages import Image, Message, load_image
from lollms_core.request import GenerationRequest
from lollms_core.tool_rounds import ToolRounds, check_sync, run_rounds

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.tools import Tool

__all__ = ["MAX_ROUNDS", "Costs", "Session", "Show", "Turn"]

MAX_ROUNDS = 8
"""How often a model that calls tools is asked in one turn."""

Show: TypeAlias = Callable[[Event], object]
"""Takes each event of an answer as it comes."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How a turn ended.

    Attributes:
        completion: the answer, or the part of it that came; None after an error.
        error: why it failed.
        interrupted: whether the user has ended it.
        kept: whether it is part of the conversation now.
    """

    completion: Completion | None = None
    error: Exception | None = None
    interrupted: bool = False
    kept: bool = False

    @property
    def note(self) -> str | None:
        """What the user has to know of an answer that is no whole one, in a sentence."""
        if self.completion is None or self.interrupted:
            return None
        if self.completion.finish_reason == "length":
            return "the answer was cut off: its token limit or the context is reached"
        if self.completion.finish_reason == "content_filter":
            return "the backend's content filter ended the answer"
        return None if self.kept else "the model answered nothing; /retry asks again"


@dataclass(slots=True)
class Costs:
    """Tokens and seconds of the turns so far, where they are known."""

    turns: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unknown: bool = False  # whether the backend has told nothing of some turn
    seconds: float = 0.0
    last_usage: Usage = field(default_factory=Usage)
    last_timings: Timings = field(default_factory=Timings)

    def add(self, completion: Completion) -> None:
        """Count one turn."""
        self.turns += 1
        self.last_usage, self.last_timings = completion.usage, completion.timings
        self.unknown |= None in (completion.usage.prompt_tokens, completion.usage.completion_tokens)
        self.prompt_tokens += completion.usage.prompt_tokens or 0
        self.completion_tokens += completion.usage.completion_tokens or 0
        self.seconds += completion.timings.total or 0.0


class Session:
    """One conversation with one binding.

    A turn is kept when it has brought an answer, whole or interrupted. The messages of one that has not are set aside
    for :meth:`retry`, so that the conversation never holds a question without an answer, which many backends refuse.

    Args:
        binding: the binding; it stays the caller's to close.
        fields: what goes with each request.
        conversation: to go on with; a new one is begun without it.
        place: the file that it is saved in after each turn; None for one of its own.

    Attributes:
        tools: what the model may call.
        file: the file that the user has named for the conversation, if any.
    """

    def __init__(
        self,
        binding: LollmsLLMBinding,
        fields: Mapping[str, Any],
        conversation: Conversation | None = None,
        *,
        place: Path | None = None,
    ) -> None:
        self.binding = binding
        self.fields = dict(fields)
        self.conversation = Conversation() if conversation is None else conversation
        self.place = place or new_place()
        self.file: Path | None = None
        self.tools: tuple[Tool, ...] = ()
        self.costs = Costs()
        self.images: list[tuple[str, Image | str]] = []
        self._unanswered: list[Message] = []
        self._interrupted = False

    # Turns ----------------------------------------------------------------------------------------------

    def ask(self, text: str, show: Show) -> Turn:
        """Say `text`, with the images that were attached, and get the answer; `show` gets its events as they come.

        Ctrl-C ends the answer at the backend; what has come of it is kept.
        """
        content: str | list[dict[str, Any]] = text
        if self.images:
            parts = [{"type": "image", "image": image} for _, image in self.images]
            content = [{"type": "text", "text": text}, *parts]
        turn = self._turn(self.conversation.messages, [{"role": "user", "content": content}], show)
        self.images = []  # they are part of the turn now, also of one to be retried
        return turn

    def retry(self, show: Show) -> Turn:
        """Ask again what had no answer; else the last question, whose new answer takes the place of the old one.

        Raises:
            ConversationError: nothing was asked yet.
        """
        messages = self.conversation.messages
        if self._unanswered:
            return self._turn(messages, self._unanswered, show)
        asked = [index for index, message in enumerate(messages) if message["role"] == "user"]
        if not asked:
            raise ConversationError("there is nothing to ask again")
        turn = self._turn(messages[: asked[-1]], [messages[asked[-1]]], show)
        if not turn.kept:
            self._unanswered = []  # the answer that it has stands
        return turn

    def _turn(self, before: Sequence[Message], asked: Sequence[Message], show: Show) -> Turn:
        # First of all: a second Ctrl-C can end this anywhere.
        self._unanswered = list(asked)
        self._interrupted = False
        try:
            completion = self._answer([*before, *asked], show)
        except (LollmsError, TypeError, ValueError) as error:
            self._unanswered = [*asked, *getattr(error, "earlier", ())]
            return Turn(error=error, interrupted=self._interrupted)
        self.costs.add(completion)
        kept = self._keep(before, asked, completion)
        return Turn(completion, interrupted=self._interrupted, kept=kept)

    def _keep(self, before: Sequence[Message], asked: Sequence[Message], completion: Completion) -> bool:
        """Make the turn part of the conversation, if there is an answer."""
        answer = completion.message
        if answer.pop("tool_calls", None):
            # Calls that were not run: backends refuse a conversation where one has no result.
            answer.pop("provider", None)
        if not completion.text:
            self._unanswered = [*asked, *completion.earlier]
            return False
        self.conversation.messages = [*before, *asked, *completion.earlier, answer]
        self._unanswered = []
        return True

    def _answer(self, messages: list[Message], show: Show) -> Completion:
        if not self.tools:
            return self._stream(messages, show, self._request_fields())
        fields = self._request_fields() | {"tools": self.tools}
        limits = {name: fields.pop(name, None) for name in ("tool_choice", "deadline")}
        rounds = ToolRounds(GenerationRequest(messages=tuple(messages), tools=self.tools, **limits), MAX_ROUNDS)

        def ask(request: GenerationRequest) -> Completion:
            limits = {"tool_choice": request.tool_choice, "deadline": request.deadline}
            return self._stream(list(request.messages or ()), show, fields | limits)

        try:
            return run_rounds(rounds, ask)
        except KeyboardInterrupt:  # in a tool; while the backend answers, _stream gets it
            self._interrupted = True
            return rounds.result(Completion(finish_reason="cancelled"))

    def _stream(self, messages: list[Message], show: Show, fields: Mapping[str, Any]) -> Completion:
        with self.binding.stream(messages, **fields) as stream:
            try:
                for event in stream:
                    show(event)
            except KeyboardInterrupt:
                self._interrupted = True
                stream.close()
        return stream.completion

    def _request_fields(self) -> dict[str, Any]:
        system = {"system_prompt": self.conversation.system} if self.conversation.system else {}
        return self.fields | system

    # What commands change -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The binding's name, as it was opened by if that is known."""
        return self.conversation.binding or self.binding.binding_name

    @property
    def model(self) -> str | None:
        """The model in use, as the binding or its server knows it."""
        return self.binding.model_name or self.binding.get_model_info().get("model_name")

    def use_model(self, name: str) -> None:
        """Go on with another model of the same binding.

        Raises:
            LollmsError: it cannot be had; the one before stays in use.
        """
        if self.binding.load_model(name) is False:
            reason = self.binding.last_error
            raise ModelNotFound(reason or f"{self.name} could not load the model {name!r}")
        self.conversation.model = name

    def use_tools(self, tools: Sequence[Tool]) -> None:
        """Let the model call `tools`; none switches them off.

        Raises:
            TypeError, ValueError: one cannot be called here, or two have one name.
        """
        if tools:
            check_sync(ToolRounds(GenerationRequest(prompt="", tools=tuple(tools)), MAX_ROUNDS))
        self.tools = tuple(tools)

    def attach(self, source: str) -> None:
        """Send the image `source`, a path or a URL, with the next message.

        Raises:
            ImageError: it cannot be read, or is none.
        """
        web = source.startswith(("data:", "http://", "https://"))
        path = source if web else str(Path(source).expanduser())
        self.images.append((source, load_image(path)))

    # Files ----------------------------------------------------------------------------------------------

    def autosave(self) -> None:
        """Save the conversation in its place, if anything was said.

        Raises:
            ConversationError: it cannot be written; what was saved before stays.
        """
        if self.conversation.messages:
            self._named().write(self.place)

    def save(self, path: Path | None = None) -> Path:
        """Save as `path`, or where the user has saved or loaded it before, or else in its place; the file's path.

        Raises:
            ConversationError: it cannot be written, or `path` is a file of another kind; it stays as it is.
        """
        target = path or self.file
        if target is None:
            self._named().write(self.place)
            return self.place
        self._named().save_as(target)
        self.file = target
        return target

    def load(self, path: Path) -> None:
        """Go on with the conversation in the file `path`, with the binding and model that are in use.

        The one before stays where it was saved; the file changes only by :meth:`save`.

        Raises:
            ConversationError: the file cannot be used; all is as before.
        """
        found = Conversation.read(path)
        self.conversation.messages, self.conversation.system = found.messages, found.system
        self.file, self.place = path, new_place()
        self._unanswered = []

    def _named(self) -> Conversation:
        self.conversation.binding = self.name
        self.conversation.model = self.model or self.conversation.model
        return self.conversation

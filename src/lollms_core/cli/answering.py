"""One answer for ``lollms generate``: as a stream or whole, with the tools that the model asks for run between."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lollms_core.cli.terminal import TextOut, one_line, say
from lollms_core.events import Completion, ReasoningDelta, TextDelta, ToolCall
from lollms_core.request import GenerationRequest
from lollms_core.tool_rounds import ToolRounds, run_rounds

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.stream import Stream

__all__ = ["MAX_ROUNDS", "Answer"]

MAX_ROUNDS = 8
"""How often the model is asked at most where there are tools, as with ``chat(..., run_tools=True)``."""

_MAX_SHOWN = 200  # characters of a call's arguments


class _ShownRounds(ToolRounds):
    """Rounds of which the user sees what is called with what, and what fails."""

    def start(self, call: ToolCall) -> Any:
        arguments = one_line(call.arguments)
        shown = arguments if len(arguments) <= _MAX_SHOWN else f"{arguments[:_MAX_SHOWN]}..."
        say(f"the model calls {call.name} {shown}")
        try:
            return super().start(call)
        except Exception as exc:
            from lollms_core.discovery.reports import one_line as told

            say(f"the call failed, and the model is told so: {told(exc)}")
            raise


@dataclass
class Answer:
    """The answer to one prompt, on its way.

    Attributes:
        binding: who answers.
        fields: of the request; with ``tools``, their functions are called.
        streamed: whether it is asked for in pieces.
        silent: whether nothing of it is printed on the way.
        interrupted: whether Ctrl-C ended it; what had come by then is kept.
        tokens: that the model wrote, as far as they were counted, and
        seconds: that it took for them; 0 where nobody knows.
    """

    binding: LollmsLLMBinding
    fields: dict[str, Any]
    streamed: bool
    silent: bool
    interrupted: bool = False
    tokens: int = 0
    seconds: float = 0.0
    _out: TextOut = field(default_factory=TextOut)
    _thinking: TextOut = field(default_factory=lambda: TextOut(sys.stderr))

    def get(self, prompt: str) -> Completion:
        """The whole answer, or, after Ctrl-C, what there is of it; printed as it comes, if it is to be.

        Raises:
            LollmsError: what went wrong at the backend, after the line of what had come.
            TypeError, ValueError: misuse.
        """
        try:
            if self.fields.get("tools"):
                return self._with_tools(prompt)
            return self._ask(prompt, self.fields)
        finally:
            self._thinking.end()
            self._out.end()

    def _with_tools(self, prompt: str) -> Completion:
        settled = {**self.binding.defaults, **self.fields}
        first = GenerationRequest(
            messages=({"role": "user", "content": prompt},),
            tools=settled["tools"],
            tool_choice=settled.get("tool_choice"),
            deadline=settled.get("deadline"),
        )
        rounds = _ShownRounds(first, MAX_ROUNDS)
        latest = Completion()

        def ask(request: GenerationRequest) -> Completion:
            nonlocal latest
            # A choice that the binding has as its default must not make the model call again and again.
            choice = request.tool_choice or ("auto" if first.tool_choice else None)
            fields = {**self.fields, "tool_choice": choice, "deadline": request.deadline}
            latest = self._ask(request.messages, fields)
            self._out.end()
            if self.interrupted:
                rounds.control.cancel()
            return latest

        try:
            return run_rounds(rounds, ask)
        except KeyboardInterrupt:  # in a tool
            self.interrupted = True
            rounds.control.cancel()
            return rounds.result(latest)

    def _ask(self, messages: Any, fields: dict[str, Any]) -> Completion:
        if self.streamed:
            completion = self._read(self.binding.stream(messages, **fields))
        else:
            completion = self.binding.chat(messages, **fields, stream=False)
            self._print(completion)
        self._count(completion)
        return completion

    def _read(self, stream: Stream) -> Completion:
        with stream:
            try:
                for event in stream:
                    if self.silent:
                        continue
                    if isinstance(event, TextDelta):
                        self._thinking.end()
                        self._out.write(event.text)
                    elif isinstance(event, ReasoningDelta) and sys.stderr is not None and sys.stderr.isatty():
                        self._thinking.write(event.text)
            except KeyboardInterrupt:
                # What has arrived is kept: the line is finished, and a JSON document is still one.
                self.interrupted = True
                stream.close()
        return stream.completion

    def _print(self, completion: Completion) -> None:
        # Of rounds, the text beside calls is no answer.
        if not (self.silent or completion.tool_calls):
            self._out.write(completion.text)

    def _count(self, completion: Completion) -> None:
        """Take the speed of a round: of a stream without the time to its first token, which it has not made."""
        timings, tokens = completion.timings, completion.usage.completion_tokens
        if not tokens or timings.total is None:
            return
        if self.streamed and timings.first_token is not None and tokens > 1:
            tokens, seconds = tokens - 1, timings.total - timings.first_token
        else:
            seconds = timings.total
        self.tokens += tokens
        self.seconds += seconds

"""An answer on a terminal: Markdown as it comes, thinking dimmed.

Finished blocks, and finished lines of code, are printed once and for good, so they scroll as all text does. Only the
block that is being written is drawn anew, and of that no more than what the screen has room for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import ClassVar, Final, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import CodeBlock, Heading, Markdown
from rich.segment import Segment
from rich.syntax import Syntax

from lollms_core.cli.chat.blocks import Block, Blocks
from lollms_core.cli.terminal import harmless
from lollms_core.events import Event, ReasoningDelta, TextDelta, ToolCall

__all__ = ["Answer", "new_console"]

_INTERVAL: Final = 1 / 30
"""Seconds between two drawings of the block that is being written, at least."""

_LONGEST_CALL: Final = 200
"""Characters that are shown of a tool's arguments."""

_THEME: Final = "ansi_dark"
"""The terminal's own colours, no background."""

Line = list[Segment]


def new_console() -> Console:
    """The console of stdout; NO_COLOR and TERM are rich's to obey."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        # Half a surrogate pair in a model's answer must not end in a UnicodeEncodeError.
        reconfigure(errors="replace")
    return Console(highlight=False, markup=False, emoji=False)


class _Heading(Heading):
    """A heading at the left, without a box around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Code(CodeBlock):
    """Code within another block."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _code(str(self.text).rstrip(), self.lexer_name)


class _Markdown(Markdown):
    elements: ClassVar = {**Markdown.elements, "heading_open": _Heading, "fence": _Code, "code_block": _Code}


def _code(text: str, language: str, first: int = 1, last: int | None = None) -> Syntax:
    """The lines `first` to `last` of a block of code, coloured as parts of the whole."""
    return Syntax(text, language or "text", theme=_THEME, word_wrap=True, padding=(0, 2), line_range=(first, last))


class _Lines:
    """Rendered lines, each with its end."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()


class Answer:
    """Shows one answer; a context manager, at whose end the cursor stands on a line of its own.

    Args:
        console: the terminal.
        clock: seconds; how often is drawn depends on it.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._blocks = Blocks()
        self._live: Live | None = None
        self._code_lines = 0  # of the fence that is being written, already printed for good
        self._thinking = ""  # the last character of the thinking, "" if none was shown
        self._next_drawing = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_text()
        self._end_thinking()

    def show(self, event: Event) -> None:
        """Show the next event."""
        if isinstance(event, TextDelta):
            self._end_thinking()
            self._text(harmless(event.text))
        elif isinstance(event, ReasoningDelta) and event.text:
            self._end_text()
            text = harmless(event.text)
            self._thinking = text[-1:] or self._thinking
            self._console.out(text, style="dim", end="", highlight=False)
        elif isinstance(event, ToolCall):
            self._end_text()
            self._end_thinking()
            arguments = " ".join(event.arguments.split())
            shown = arguments if len(arguments) <= _LONGEST_CALL else arguments[:_LONGEST_CALL] + "..."
            self._console.out(harmless(f"{event.name}({shown})"), style="dim", highlight=False)

    # Thinking -------------------------------------------------------------------------------------------

    def _end_thinking(self) -> None:
        if self._thinking:
            self._console.out("" if self._thinking == "\n" else "\n", highlight=False)
            self._thinking = ""

    # Text -----------------------------------------------------------------------------------------------

    def _text(self, text: str) -> None:
        if self._console.is_dumb_terminal:
            self._console.out(text, end="", highlight=False)
            self._blocks.feed(text)
            return
        for block in self._blocks.feed(text):
            self._print(block)
        now = self._clock()
        if now >= self._next_drawing:
            self._draw()
            # A block that takes long to render is drawn less often.
            self._next_drawing = max(now + _INTERVAL, self._clock() + 3 * (self._clock() - now))

    def _end_text(self) -> None:
        """Print what is left; a text after it, in the next round of tools, is one of its own."""
        left = self._blocks.end()
        self._blocks = Blocks()
        if self._console.is_dumb_terminal:
            if left:
                self._console.out("", highlight=False)
            return
        try:
            for block in left:
                self._print(block)
        finally:
            # Also when Ctrl-C comes again: it has hidden the cursor.
            if self._live is not None:
                # A line of its own, which it takes away again: of none at all, versions of rich make different things.
                self._live.update(_Lines([[]]), refresh=True)
                self._live.stop()
                self._live = None

    def _print(self, block: Block) -> None:
        """Print a finished block, or what is left of it, for good."""
        lines = self._rendered(block, self._code_lines)
        self._print_for_good(lines)
        self._code_lines = 0

    def _draw(self) -> None:
        block = self._blocks.open
        if block is None:
            return
        if self._live is None:
            # What is logged meanwhile must not end up within what is drawn; to a file it goes as ever.
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
                vertical_overflow="crop",
            )
            self._live.start()
        if block.kind == "fence":
            self._print_code(block)
        lines = self._rendered(block, self._code_lines)
        self._live.update(_Lines(lines[-max(1, self._console.height - 1) :]), refresh=True)

    def _print_code(self, block: Block) -> None:
        """Print the lines of an unfinished fence that have an end: nothing changes them any more."""
        ended = block.text.count("\n")
        if ended > self._code_lines:
            self._print_for_good(self._rendered(block, self._code_lines, ended))
            self._code_lines = ended

    def _print_for_good(self, lines: list[Line]) -> None:
        with self._console:  # all in one go, so that nothing flickers
            if self._live is not None:
                self._live.update(_Lines([]), refresh=True)
            if lines:
                self._console.print(_Lines(lines))

    def _rendered(self, block: Block, printed: int = 0, last: int | None = None) -> list[Line]:
        """The block's lines on this terminal; of code those after the first `printed`, up to the line `last`."""
        content: RenderableType
        if block.kind == "fence":
            if printed and printed > block.text.count("\n"):
                return []
            content = _code(block.text, block.language, printed + 1, last)
        else:
            content = _Markdown(block.text, code_theme=_THEME, hyperlinks=False)
        lines = [_stripped(line) for line in self._console.render_lines(content, pad=False)]
        if block.kind != "fence":
            # Rich sets some kinds of blocks apart by itself.
            while lines and not lines[0]:
                del lines[0]
            while lines and not lines[-1]:
                del lines[-1]
        return [[], *lines] if block.apart and not printed else lines


def _stripped(line: Iterable[Segment]) -> Line:
    """`line` without the blanks at its end that nobody would see."""
    segments = list(line)
    while segments:
        text, style, _ = segments[-1]
        if style is not None and (style.bgcolor is not None or style.underline or style.reverse):
            break
        segments.pop()
        if kept := text.rstrip(" "):
            segments.append(Segment(kept, style))
            break
    return segments

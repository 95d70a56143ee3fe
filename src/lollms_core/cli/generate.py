"""``lollms generate``: one prompt, one answer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_options, json_option

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.errors import LollmsError
    from lollms_core.events import Completion

__all__ = ["generate"]


@click.command(
    epilog=examples(
        'lollms generate "Why is the sky blue?"',
        'lollms generate "What is this?" -b ollama -m llama3.2-vision -i photo.jpg',
        'cat notes.txt | lollms generate "Summarise" -o temperature=0.2 > summary.txt',
        "lollms generate --json 'Say \"hi\"' -b llamacpp -m smollm2 | jq .usage",
    )
)
@click.argument("prompt", required=False)
@binding_options
@click.option("-s", "--system", metavar="TEXT", default="", help="A system prompt.")
@click.option("-i", "--image", "images", metavar="FILE", multiple=True, help="An image, or its URL; may be repeated.")
@json_option
@click.option("--no-stream", is_flag=True, help="Print the answer when it is whole.")
def generate(
    wanted: Wanted,
    prompt: str | None,
    system: str,
    images: tuple[str, ...],
    as_json: bool,
    no_stream: bool,
) -> None:
    """Answer PROMPT, and what comes through standard input after it."""
    text = _joined(prompt, _standard_input())
    from lollms_core.cli.opening import open_for_use

    with open_for_use(wanted) as (opened, fields):
        if system:
            fields["system_prompt"] = system
        if images:
            fields["images"] = list(images)
        if no_stream:
            _print_whole(opened, text, fields, as_json)
        else:
            _print_stream(opened, text, fields, as_json)


def _standard_input() -> str:
    """What is piped in, "" if nothing is."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"standard input is not text in {exc.encoding}: {exc.reason} at {exc.start}") from None


def _joined(prompt: str | None, piped: str) -> str:
    text = "\n\n".join(part for part in (prompt or "", piped.rstrip("\n")) if part.strip())
    if not text:
        raise click.UsageError("there is no prompt: give one as an argument or through standard input")
    return text


def _print_stream(binding: LollmsLLMBinding, text: str, fields: dict[str, Any], as_json: bool) -> None:
    from lollms_core.cli.terminal import TextOut
    from lollms_core.errors import LollmsError
    from lollms_core.events import ReasoningDelta, TextDelta

    out = TextOut()
    thinking = TextOut(sys.stderr)
    interrupted = False
    with binding.stream(text, **fields) as stream:
        try:
            for event in stream:
                if as_json:
                    continue
                if isinstance(event, TextDelta):
                    thinking.end()
                    out.write(event.text)
                elif isinstance(event, ReasoningDelta) and sys.stderr.isatty():
                    thinking.write(event.text)
        except KeyboardInterrupt:
            # What has arrived is kept: the line is finished, and a JSON document is still one.
            interrupted = True
            stream.close()
        except LollmsError as error:
            out.end()
            if as_json:
                _print_error(error)
            raise
    out.end()
    _conclude(binding, stream.completion, as_json)
    if interrupted:
        raise KeyboardInterrupt


def _print_whole(binding: LollmsLLMBinding, text: str, fields: dict[str, Any], as_json: bool) -> None:
    from lollms_core.cli.terminal import TextOut
    from lollms_core.errors import LollmsError

    try:
        completion = binding.chat(text, **fields, stream=False)
    except LollmsError as error:
        if as_json:
            _print_error(error)
        raise
    if not as_json:
        out = TextOut()
        out.write(completion.text)
        out.end()
    _conclude(binding, completion, as_json)


def _conclude(binding: LollmsLLMBinding, completion: Completion, as_json: bool) -> None:
    from lollms_core.cli.terminal import print_json, say

    if as_json:
        print_json(document(binding, completion))
    elif completion.finish_reason == "length":
        say("the answer was cut off: its token limit or the context is reached")
    elif completion.finish_reason == "content_filter":
        say("the backend's content filter ended the answer")
    elif not completion.text and completion.finish_reason != "cancelled":
        say("the model answered nothing")


def document(binding: LollmsLLMBinding, completion: Completion) -> dict[str, Any]:
    """A completion for ``--json``."""
    return {
        "text": completion.text,
        "reasoning": completion.reasoning,
        "tool_calls": [asdict(call) for call in completion.tool_calls],
        "parsed": completion.parsed,
        "finish_reason": completion.finish_reason,
        "binding": binding.binding_name,
        "model": completion.model or binding.model_name,
        "id": completion.id,
        "usage": {**asdict(completion.usage), "counted": sorted(completion.usage.counted)},
        "timings": asdict(completion.timings),
        "ignored": list(completion.ignored),
    }


def _print_error(error: LollmsError) -> None:
    from lollms_core.cli.terminal import print_json
    from lollms_core.errors import error_to_dict

    print_json(error_to_dict(error))

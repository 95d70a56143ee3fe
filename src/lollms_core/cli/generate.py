"""``lollms generate``: one prompt, one answer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_options, json_option
from lollms_core.cli.terminal import piped_in

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.cli.answering import Answer
    from lollms_core.errors import LollmsError
    from lollms_core.events import Completion
    from lollms_core.response_format import ResponseFormat

__all__ = ["generate"]


@click.command(
    epilog=examples(
        'lollms generate "Why is the sky blue?"',
        'lollms generate "What is this?" -b ollama -m llama3.2-vision -i photo.jpg',
        'cat notes.txt | lollms generate "Summarise" -o temperature=0.2 > summary.txt',
        """lollms generate "Name a colour." --schema '{"type": "object"}' | jq .""",
        'lollms generate "How is the weather in Oslo?" --tool weather:today',
    )
)
@click.argument("prompt", required=False)
@binding_options
@click.option("-s", "--system", metavar="TEXT", help="A system prompt.")
@click.option("-i", "--image", "images", metavar="FILE", multiple=True, help="An image, or its URL; may be repeated.")
@click.option("--schema", metavar="FILE|JSON", help="A JSON schema; the answer is JSON that satisfies it.")
@click.option(
    "--tool",
    "tools",
    metavar="MODULE:FUNCTION",
    multiple=True,
    help="A Python function that the model may call, of a module in the current folder, say; may be repeated.",
)
@click.option("--think/--no-think", default=None, help="Have the model think before it answers, or not.")
@json_option
@click.option("--no-stream", is_flag=True, help="Print the answer when it is whole.")
@click.option("--usage", "with_usage", is_flag=True, help="Print tokens, times and speed on standard error.")
def generate(
    wanted: Wanted,
    prompt: str | None,
    system: str | None,
    images: tuple[str, ...],
    schema: str | None,
    tools: tuple[str, ...],
    think: bool | None,
    as_json: bool,
    no_stream: bool,
    with_usage: bool,
) -> None:
    """Answer PROMPT, and what comes through standard input after it."""
    text = _joined(prompt, piped_in() or "")
    given: dict[str, Any] = {"system_prompt": system, "images": list(images) or None, "think": think}
    if schema is not None:
        given["response_format"] = _schema(schema)
    from lollms_core.cli.functions import functions_to_call
    from lollms_core.cli.opening import open_for_use

    with functions_to_call(tools) as functions, open_for_use(wanted) as (opened, fields):
        from lollms_core.cli.answering import Answer

        fields |= {name: value for name, value in given.items() if value is not None}
        if functions:
            fields["tools"] = functions
        answer = Answer(opened, fields, streamed=not no_stream, silent=as_json)
        _conclude(answer, _got(answer, text), with_usage)


def _joined(prompt: str | None, piped: str) -> str:
    text = "\n\n".join(part for part in (prompt or "", piped.rstrip("\n")) if part.strip())
    if not text:
        raise click.UsageError("there is no prompt: give one as an argument or through standard input")
    return text


def _schema(given: str) -> ResponseFormat:
    """The schema that is `given` as JSON, or as the name of a file with it.

    Raises:
        click.UsageError: it is none.
        CapabilityNotSupported: answers cannot be checked against it here.
    """
    from lollms_core import peer_json
    from lollms_core.errors import CapabilityNotSupported
    from lollms_core.response_format import ResponseFormat

    literal = given.lstrip().startswith("{")
    what = "--schema" if literal else f"--schema {given}"
    try:
        schema = peer_json.loads(given if literal else Path(given).read_text("utf-8"))
        if not isinstance(schema, dict):
            raise ValueError(f"a schema is a JSON object, not {type(schema).__name__}")  # noqa: TRY004 - said below
        return ResponseFormat.of(schema)
    except CapabilityNotSupported:
        raise
    except OSError as exc:
        raise click.UsageError(f"{what}: cannot read it: {exc.strerror}") from None
    except (TypeError, ValueError) as exc:
        raise click.UsageError(f"{what}: {exc}") from None


def _got(answer: Answer, text: str) -> Completion:
    from lollms_core.errors import LollmsError

    try:
        return answer.get(text)
    except LollmsError as error:
        if answer.silent:
            _print_error(error)
        raise


def _conclude(answer: Answer, completion: Completion, with_usage: bool) -> None:
    """What follows an answer: the document, or a word on how it ended.

    Raises:
        KeyboardInterrupt: that was how.
    """
    from lollms_core.cli.terminal import print_json, say

    if answer.silent:
        print_json(document(answer.binding, completion))
    elif completion.finish_reason == "length":
        say("the answer was cut off: its token limit or the context is reached")
    elif completion.finish_reason == "content_filter":
        say("the backend's content filter ended the answer")
    elif not (completion.text or completion.tool_calls) and completion.finish_reason != "cancelled":
        say("the model answered nothing")
    if with_usage:
        say(_usage(answer, completion))
    if answer.interrupted:
        raise KeyboardInterrupt


def _usage(answer: Answer, completion: Completion) -> str:
    """The figures of an answer, those that are known."""
    usage, timings = completion.usage, completion.timings
    parts = []
    for name, what in (("prompt_tokens", "prompt tokens"), ("completion_tokens", "completion tokens")):
        figure = getattr(usage, name)
        if figure is None:
            continue
        notes = [f"{usage.cached_tokens} cached"] if name == "prompt_tokens" and usage.cached_tokens else []
        notes += ["counted here"] if name in usage.counted else []
        parts.append(f"{figure} {what}" + (f" ({', '.join(notes)})" if notes else ""))
    if answer.streamed and timings.first_token is not None:
        parts.append(f"{timings.first_token:.2f} s to the first token")
    if timings.total is not None:
        parts.append(f"{timings.total:.2f} s in all")
    if answer.seconds > 0:
        parts.append(f"{answer.tokens / answer.seconds:.1f} tokens/s")
    return "usage: " + (", ".join(parts) or "the backend tells nothing")


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
        "earlier": completion.earlier,
    }


def _print_error(error: LollmsError) -> None:
    from lollms_core.cli.terminal import print_json
    from lollms_core.errors import error_to_dict

    print_json(error_to_dict(error))

"""From a request to the tokens that the model reads.

Control tokens such as ``<|im_end|>`` shape a conversation, so they may come from the chat template alone: a
user who writes ``<|im_end|>`` writes ten characters, and cannot end his message and begin a system's. Where
the contents stand in the rendered text is found by rendering once more with markers in their place. If no
special token touches a content, the text is tokenized as it is; else it is cut at the template's own special
tokens, and what lies between is tokenized as plain text. If a template changes the contents, so that their
place can't be found, special-token text in them is broken up by a zero-width space, as ``join_discussion``
does with its markers. So it is in everything that is no content: names, calls and their arguments, the
definitions of tools.

Images stand in the contents as texts that nobody can guess, which become negative tokens here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lollms_core import BadRequest
from lollms_core.messages import Message, text_of
from lollms_llamacpp.chat_template import ChatTemplate
from lollms_llamacpp.native import Model

__all__ = ["Prompter", "Rendered", "to_utf8"]

_BLANKS: Final = " \t\n\v\f\r"  # C's isspace, by which llama.cpp strips around some special tokens
_MODES: Final[tuple[Callable[[str], str], ...]] = (str, str.strip, str.lstrip, str.rstrip)

_Span = tuple[int, int]


def to_utf8(text: str) -> bytes:
    """`text` in UTF-8.

    Raises:
        ValueError: it holds half of a surrogate pair, which is no character.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        shown = f"U+{ord(text[error.start]):04X}"
        raise ValueError(f"the text holds a lone surrogate, {shown} at {error.start}, which is no character") from None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation for the model.

    Attributes:
        text: what the template made of it.
        tokens: of that; the place of the first image is -1, of the second -2, and so on.
    """

    text: str
    tokens: list[int]


class Prompter:
    """Makes the tokens of prompts for one model; called inside ``with model``."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: _Specials | None = None

    def plain(self, text: str) -> list[int]:
        """The tokens of a prompt that stands as it is; special-token text in it counts as such."""
        return self._begun(self._model.tokenize(to_utf8(text), parse_special=True))

    def chat(
        self,
        template: ChatTemplate,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        places: Sequence[str] = (),
    ) -> Rendered:
        """A conversation as `template` has it.

        Args:
            template: the model's, or another.
            messages: see :meth:`ChatTemplate.render`.
            tools: likewise.
            variables: likewise.
            places: the texts that stand for images in the contents, in the order of the images.

        Raises:
            BadRequest: see :meth:`ChatTemplate.render`; or the template has lost an image.
            ValueError: a content is no valid text.
        """
        specials = self._specials()
        # Names, tool calls and the like have no place that could be found.
        harmless = [
            {**specials.harmless(message), "role": message["role"], "content": text_of(message.get("content"))}
            for message in messages
        ]
        definitions = specials.harmless(tools)

        def render(contents: Sequence[Mapping[str, Any]]) -> str:
            return template.render(contents, tools=definitions, variables=variables)

        text = render(harmless)
        spans = _content_spans(render, harmless, text)
        if spans is None:
            text = render([{**message, "content": specials.harmless(message["content"])} for message in harmless])
        if places:
            tokens = self._with_literal_contents(text, _around(text, spans or (), places), specials.and_places(places))
            _check_places(tokens, len(places), template)
            return Rendered(text, self._begun(tokens))
        if spans is None or not specials.touch(text, spans):
            return Rendered(text, self.plain(text))
        return Rendered(text, self._begun(self._with_literal_contents(text, spans, specials)))

    def specials_in(self, text: str) -> frozenset[int]:
        """The control tokens whose text is in `text`."""
        return frozenset(token for _, _, (token, _, _) in self._specials().outside(text, ()))

    @property
    def ends(self) -> list[str]:
        """The texts of the tokens that end an answer."""
        return [text for text, token in self._specials().all() if self._model.ends_generation(token)]

    def _begun(self, tokens: list[int]) -> list[int]:
        """`tokens` with the model's BOS before them, if it wants one and the template hasn't written it."""
        bos = self._model.bos
        if self._model.adds_bos and bos is not None and tokens[:1] != [bos]:
            return [bos, *tokens]
        return tokens

    def _with_literal_contents(self, text: str, spans: Sequence[_Span], specials: _Specials) -> list[int]:
        tokens: list[int] = []
        pending, strip = 0, False
        for begin, end, (token, strips_before, strips_after) in specials.outside(text, spans):
            raw = text[pending:begin]
            raw = raw.lstrip(_BLANKS) if strip else raw
            raw = raw.rstrip(_BLANKS) if strips_before else raw
            tokens += self._literal(raw)
            tokens.append(token)
            pending, strip = end, strips_after
        raw = text[pending:]
        return tokens + self._literal(raw.lstrip(_BLANKS) if strip else raw)

    def _literal(self, text: str) -> list[int]:
        return self._model.tokenize(to_utf8(text)) if text else []

    def _specials(self) -> _Specials:
        # Looking at every token of the vocabulary takes some 20 ms, so it waits for the first conversation.
        if self._known is None:
            self._known = _Specials(self._model.special_tokens())
        return self._known


class _Specials:
    """The texts that a vocabulary's control tokens have."""

    def __init__(self, tokens: Sequence[tuple[str, int, bool, bool]]) -> None:
        self._tokens = {text: (token, before, after) for text, token, before, after in reversed(tokens)}
        # As llama.cpp does, the longer text first.
        texts = sorted(self._tokens, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, texts)) if texts else r"(?!)")

    def and_places(self, places: Sequence[str]) -> _Specials:
        """These and the `places` of images."""
        marks = [(place, -1 - index, False, False) for index, place in enumerate(places)]
        return _Specials([*((text, *token) for text, token in self._tokens.items()), *marks])

    def touch(self, text: str, spans: Sequence[_Span]) -> bool:
        """Whether a special token's text lies in one of the `spans` of `text`, or reaches into it."""
        index = 0
        for match in self._pattern.finditer(text):
            while index < len(spans) and spans[index][1] <= match.start():
                index += 1
            if index < len(spans) and spans[index][0] < match.end():
                return True
        return False

    def outside(self, text: str, spans: Sequence[_Span]) -> Iterator[tuple[int, int, tuple[int, bool, bool]]]:
        """Begin, end and token of each special token's text that lies between the `spans`."""
        begins = [0, *(span[1] for span in spans)]
        ends = [*(span[0] for span in spans), len(text)]
        for begin, end in zip(begins, ends, strict=True):
            for match in self._pattern.finditer(text, begin, end):
                yield match.start(), match.end(), self._tokens[match[0]]

    def all(self) -> list[tuple[str, int]]:
        """Texts and tokens."""
        return [(text, token) for text, (token, _, _) in self._tokens.items()]

    def harmless(self, value: Any) -> Any:
        """`value` with all special-token text in it, at any depth, broken up."""
        if isinstance(value, str):
            return self._pattern.sub(lambda match: f"{match[0][0]}\u200b{match[0][1:]}", value)
        if isinstance(value, Mapping):
            return {self.harmless(name): self.harmless(one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.harmless(one) for one in value]
        return value


def _around(text: str, spans: Sequence[_Span], places: Sequence[str]) -> list[_Span]:
    """The `spans` without the `places` in them."""
    pattern = re.compile("|".join(map(re.escape, places)))
    around = []
    for begin, end in spans:
        at = begin
        for match in pattern.finditer(text, begin, end):
            around.append((at, match.start()))
            at = match.end()
        around.append((at, end))
    return around


def _check_places(tokens: Sequence[int], count: int, template: ChatTemplate) -> None:
    if [token for token in tokens if token < 0] != [-1 - index for index in range(count)]:
        raise BadRequest(f"the chat template of {template.origin} does not leave each image in its place")


def _content_spans(
    render: Callable[[Sequence[Mapping[str, Any]]], str], messages: Sequence[Message], text: str
) -> list[_Span] | None:
    """Where in `text`, which `render` made of `messages`, their contents stand; None if that can't be found."""
    nonce = secrets.token_hex(8)
    marked = [
        {**message, "content": f"x{nonce}x{index}x"} if message["content"] else message
        for index, message in enumerate(messages)
    ]
    try:
        skeleton = render(marked)
    except BadRequest:
        # It looks into the contents, and doesn't like the markers.
        return None
    # A list of: text, index, text, index, ..., text.
    parts = re.split(rf"x{nonce}x(\d+)x", skeleton)
    for mode in _MODES:
        spans: list[_Span] = []
        at = 0
        for number, part in enumerate(parts):
            expected = mode(messages[int(part)]["content"]) if number % 2 else part
            if not text.startswith(expected, at):
                break
            if number % 2 and expected:
                spans.append((at, at + len(expected)))
            at += len(expected)
        else:
            if at == len(text):
                return spans
    return None

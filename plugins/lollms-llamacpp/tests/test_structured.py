"""Answers within a grammar: what comes out satisfies it, whatever the sampling."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lollms_core import BackendError, Event, Finish, GenerationRequest, TextDelta, TokenLogprob, Usage
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.batching.answer import Answer, Limits
from lollms_llamacpp.batching.sequences import Sequences
from lollms_llamacpp.batching.stepper import Stepper
from lollms_llamacpp.constrained import ConstrainedSampler
from lollms_llamacpp.context import Context
from lollms_llamacpp.grammar import grammar_of_schema
from lollms_llamacpp.native import Model
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.samplers import Grammar, Sampler
from lollms_llamacpp.sampling import DEFAULT_SAMPLING, Sampling

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 18, "maximum": 99},
        "größe": {"type": "number", "minimum": 0.5, "maximum": 2.5},
        "tags": {"type": "array", "items": {"enum": ["kind", "kurz", "名前"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def answers(
    model: Model, context: Context, prompt: str, grammar: str | None, *, most: int = 60, **fields: Any
) -> list[Event]:
    """The events of one answer."""
    request = GenerationRequest(prompt=prompt, **fields)
    with model:
        tokens = model.tokenize(prompt.encode())
    answer = Answer(
        model,
        tokens,
        request,
        Sampling.of(request, DEFAULT_SAMPLING, n_vocab=model.n_vocab, n_ctx=512),
        limits=Limits(n_predict=most, ctx_size=512, keep=None, threads=(1, 1)),
        model_name="m",
        grammar=grammar,
    )
    sequences = Sequences(context, 1)
    stepper = Stepper(context, sequences)
    sequences.give(answer)
    try:
        while not answer.over:
            assert stepper.compute(stepper.plan())
    finally:
        answer.free()
    if answer.error is not None:
        raise answer.error
    answer.deliver()
    return answer.read() or []


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def reason_of(events: list[Event]) -> str:
    finish = events[-1]
    assert isinstance(finish, Finish)
    return finish.reason


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[Model]:
    model = Model(smollm2_path, LoadOptions())
    yield model
    model.close()


@pytest.fixture(scope="module")
def context(model: Model) -> Iterator[Context]:
    context = Context(model, LoadOptions(n_threads=1, n_threads_batch=1), 512)
    yield context
    context.close()


PROMPT = "A person as JSON:\n"


@pytest.mark.parametrize("seed", range(4))
def test_answers_satisfy_the_schema(model: Model, context: Context, seed: int) -> None:
    """At any temperature the answer is of the schema, ends by itself, and is the same for the same seed."""
    fields: dict[str, Any] = {"seed": seed, "temperature": (0.0, 0.8, 1.5, 5.0)[seed], "most": 200}
    events = answers(model, context, PROMPT, grammar_of_schema(PERSON), **fields)
    assert reason_of(events) == "stop"
    jsonschema.validate(json.loads(text_of(events)), PERSON)
    assert answers(model, context, PROMPT, grammar_of_schema(PERSON), **fields) == events


SCHEMAS: list[dict[str, Any]] = [
    {"type": "boolean"},
    {"enum": ["one", "two", None]},
    {"type": "integer", "minimum": -5, "maximum": 300},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "string", "format": "date"},
    {"type": "array", "items": {"type": "integer", "maximum": 9, "minimum": 0}, "minItems": 2, "maxItems": 4},
    {"type": "object", "properties": {"π": {"type": "null"}, 'q"': {"type": "boolean"}}, "required": ['q"']},
    {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 5}]},
    {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
    {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1, "maxProperties": 2},
    {"type": "array", "prefixItems": [{"const": "x"}, {"type": "boolean"}], "items": False, "minItems": 2},
    {
        "type": "object",
        "properties": {"in": {"type": "object", "properties": {"n": {"const": 1.5}}, "required": ["n"]}},
    },
]


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_a_dozen_schemas(smollm2: LlamaCppBinding, number: int) -> None:
    """Through the binding: the answer is parsed and is what the schema asks for."""
    schema = SCHEMAS[number]
    done = smollm2.chat("Give an example.", response_format=schema, n_predict=120, seed=number)
    jsonschema.Draft202012Validator(schema).validate(done.parsed)
    assert json.loads(done.text) == done.parsed
    assert done.finish_reason == "stop"


def test_refused_tokens_are_not_penalized(model: Model, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The penalties know of the tokens that were taken, not of those that the grammar has refused."""
    accepted: list[int] = []
    accept = Sampler.accept

    def seen(self: Sampler, token: int) -> None:
        accepted.append(token)
        accept(self, token)

    monkeypatch.setattr(Sampler, "accept", seen)
    grammar = grammar_of_schema({"enum": ["zebra"]})
    events = answers(model, context, "The sky is", grammar, temperature=0.0, repeat_penalty=1.3, repeat_last_n=64)
    with model:
        prompt = model.tokenize(b"The sky is")
        taken = accepted[len(prompt) :]
        assert accepted[: len(prompt)] == prompt
        assert b"".join(model.piece(token, special=False) for token in taken) == b'"zebra"'
    assert text_of(events) == '"zebra"'
    assert taken[-1] in model.ends


def test_the_plain_choice_stands_where_it_is_allowed(model: Model, context: Context) -> None:
    """A grammar that lets everything pass changes nothing in the answer."""
    free = r"root ::= [\x01-\U0010FFFF]*"
    for fields in ({"temperature": 0.0}, {"seed": 4, "temperature": 1.0}, {"seed": 5, "repeat_penalty": 1.2}):
        alone = answers(model, context, "The sky is", None, most=20, **fields)
        assert answers(model, context, "The sky is", free, most=20, **fields) == alone


def test_the_end_only_where_the_grammar_ends(model: Model, context: Context) -> None:
    """A model that wants to end cannot before the answer is whole, and one that wants to go on must end then."""
    ends = dict.fromkeys(model.ends, 1e5)
    grammar = grammar_of_schema({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2})
    events = answers(model, context, PROMPT, grammar, logit_bias=ends, temperature=0.0)
    assert len(json.loads(text_of(events))) == 2
    assert reason_of(events) == "stop"
    never = dict.fromkeys(model.ends, -1e5)
    events = answers(model, context, PROMPT, 'root ::= "yes" [!]?', logit_bias=never, temperature=0.0)
    assert (text_of(events), reason_of(events)) == ("yes!", "stop")


@pytest.mark.parametrize(("most", "reason"), [(1, "length"), (2, "stop"), (3, "stop")])
def test_the_limit(model: Model, context: Context, most: int, reason: str) -> None:
    """An answer that is whole with its last token was not cut; one that could go on was."""
    with model:
        assert len(model.tokenize(b" blue whale")) == 2
    events = answers(
        model, context, "The largest animal is the", 'root ::= " blue" " whale"', most=most, temperature=0.0
    )
    assert reason_of(events) == reason
    usage = events[-2]
    assert isinstance(usage, Usage)
    assert usage.completion_tokens == min(most, 2)
    events = answers(model, context, "1", "root ::= [1-9]+", most=3, temperature=0.0)
    assert reason_of(events) == "length"


def test_tokens_without_text(model: Model, context: Context) -> None:
    """Control tokens, whose names would fit a text, are never taken: they give no text."""
    wanted = dict.fromkeys(model.without_text, 1e5)
    grammar = 'root ::= [a-z_<>|]{4,8} "!"'
    events = answers(model, context, PROMPT, grammar, logit_bias=wanted, temperature=0.0)
    text = text_of(events)
    assert 5 <= len(text) <= 9
    assert "<|" not in text
    assert not model.without_text.isdisjoint(model.ends)


def test_whole_characters(model: Model, context: Context) -> None:
    """Characters of several bytes come whole, also when each byte is a token and each is by chance."""
    for seed in range(5):
        wild: dict[str, Any] = {"seed": seed, "temperature": 9.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        events = answers(model, context, PROMPT, r"root ::= [\u00E0-\uD7FF\U00010000-\U0010FFFF]{3}", **wild)
        text = text_of(events)
        assert len(text) == 3
        assert "\ufffd" not in text


def test_a_vocabulary_that_cannot_go_on(tmp_path: Path, make_tiny: Callable[..., bytes]) -> None:
    """Where no token fits, the answer is an error, not a crash; where the grammar is done, it ends."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny())
    model = Model(file, LoadOptions())
    context = Context(model, LoadOptions(n_threads=1, n_threads_batch=1), 64)
    # The letter q is taken away from this vocabulary, and later the tokens that end.
    with_q = (token for token in range(model.n_vocab) if b"q" in model.piece(token, special=False))
    without_q = frozenset({*model.without_text, *with_q})
    model.__dict__["without_text"] = without_q
    with pytest.raises(BackendError, match="no token of the model's vocabulary"):
        answers(model, context, "a", 'root ::= "abq"', most=9)
    model.__dict__["ends"] = ()
    model.__dict__["without_text"] = frozenset({*without_q, 256, 257, 258})
    events = answers(model, context, "a", 'root ::= "ab"', most=9)
    assert (text_of(events), reason_of(events)) == ("ab", "stop")
    context.close()
    model.close()


def test_too_ambiguous(model: Model, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grammar that doubles its readings at every step is given up before it takes all time and memory."""
    schema = {
        "anyOf": [
            {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#"}, other]}}, "required": ["a"]}
            for other in ({"type": "string"}, {"type": "null"})
        ]
    }
    monkeypatch.setattr("lollms_llamacpp.constrained._LONGEST", 0.05)
    with model:
        deeper = {model.tokenize(text)[0]: 1e4 for text in (b'{"', b' {"')}
    assert len(deeper) == 2
    with pytest.raises(BackendError, match="too ambiguous"):
        answers(model, context, '{"a": ', grammar_of_schema(schema), most=200, logit_bias=deeper)


def test_cost(model: Model, context: Context) -> None:
    """The whole vocabulary is filtered only where the plain choice is refused."""
    masked: list[int] = []
    mask = Grammar.mask

    class Counted(Grammar):
        def mask(self, address: int, count: int) -> None:
            masked.append(count)
            mask(self, address, count)

    free = r"root ::= [\x01-\U0010FFFF]*"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lollms_llamacpp.constrained.Grammar", Counted)
        answers(model, context, "The sky is", free, most=20, temperature=0.0)
        assert len(masked) == 1  # at the limit: could it have gone on?
        masked.clear()
        answers(model, context, "The sky is", 'root ::= "zebra" .*', most=5, temperature=0.0)
        assert 1 <= len(masked) <= 4


def test_stop_strings_within(model: Model, context: Context) -> None:
    """Stop strings end an answer within a grammar, too, and leave nothing of themselves, nor logprobs."""
    grammar = grammar_of_schema({"type": "array", "items": {"const": "tick tock"}, "minItems": 5})
    whole = answers(model, context, PROMPT, grammar, temperature=0.0, logprobs=True, most=80)
    assert text_of(whole).startswith('["tick tock", "tick tock", ')
    cut = answers(model, context, PROMPT, grammar, temperature=0.0, logprobs=True, stop='k", "ti', most=80)
    assert (text_of(cut), reason_of(cut)) == ('["tick toc', "stop")
    tokens = [event.token for event in cut if isinstance(event, TokenLogprob)]
    assert "".join(tokens[:-1]) in '["tick toc'
    assert "".join(tokens).startswith('["tick toc')
    assert '"' not in "".join(tokens)[2:]


def test_refused_grammar(model: Model, context: Context, capfd: pytest.CaptureFixture[str]) -> None:
    """A grammar that is none is refused before anything is computed."""
    with pytest.raises(ValueError, match="refuses the grammar"):
        answers(model, context, "x", "root ::= (")
    capfd.readouterr()


def test_memory_is_given_back(model: Model, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grammar of an answer that has ended is freed."""
    closed: list[ConstrainedSampler] = []
    close = ConstrainedSampler.close

    def seen(self: ConstrainedSampler) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(ConstrainedSampler, "close", seen)
    answers(model, context, "x", 'root ::= "a"')
    assert len(closed) == 1
    assert not closed[0]._grammar._free.alive

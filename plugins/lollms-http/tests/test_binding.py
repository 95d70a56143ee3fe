"""What every binding over HTTP has without its author's doing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest
from http_examples import AcmeBinding, CompletionsBinding

from lollms_core import (
    BackendError,
    BackendUnavailable,
    BadRequest,
    Capability,
    CapabilityNotSupported,
    EmbedRequest,
    Event,
    GenerationRequest,
    LollmsError,
    ProtocolError,
    TextDelta,
    Usage,
)
from lollms_core.testing import MARKER, FaultServer, OpenAIDialect, SecretWatch, response
from lollms_http import Call, HttpBinding, HttpOptions, Reader, Several, Steps, Work
from lollms_http.checks import Check, number, text

Ask = Callable[..., Any]
DIALECT = OpenAIDialect()
PATH = DIALECT.chat_path


class TonedOptions(HttpOptions, total=False):
    tone: str


class TonedBinding(CompletionsBinding):
    """Asks its server for a prefix first, has an option and a header of its own, and knows its server's words."""

    default_host = None
    key_header = "x-api-key: {key}"
    headers: ClassVar[Mapping[str, str]] = {"Acme-Version": "2"}
    options = TonedOptions
    option_checks: ClassVar[Mapping[str, Check]] = {"tone": text, "retry_budget": number(1)}
    capabilities = CompletionsBinding.capabilities | {Capability.EMBED}

    def _call(self, request: GenerationRequest) -> Steps[Call]:
        tone = request.options.get("tone", "plain")
        prefix = yield Call("GET", f"/tones/{tone}")
        shout = yield Work(prefix["words"].upper)
        counts = yield Several((Call("GET", "/a"), Call("GET", "/b")), lambda place, found: (place, found["n"]), 2)
        return Call("POST", "/chat/completions", {"words": shout, "counts": counts}, request.model)

    def _embed_call(self, request: EmbedRequest, texts: Sequence[str]) -> Call:
        return Call("POST", "/embed", {"model": request.model, "texts": list(texts)})

    def _vectors(self, answer: Any) -> Any:
        return answer["vectors"]

    def _meaning(self, error: LollmsError, model: str | None) -> LollmsError:
        return CapabilityNotSupported(f"{error} ({model})") if "tone-deaf" in str(error) else error


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.on(PATH, lambda asked: (DIALECT.answer(asked.body),))
        server.on("/v1/tones/plain", (response({"words": "well"}),))
        server.on("/v1/a", (response({"n": 1}),))
        server.on("/v1/b", (response({"n": 2}),))
        yield server


@pytest.fixture
def make(server: FaultServer) -> Iterator[Callable[..., HttpBinding]]:
    made: list[HttpBinding] = []

    def make(kind: type[HttpBinding] = CompletionsBinding, **keywords: Any) -> HttpBinding:
        made.append(kind("acme", **{"host_address": f"{server.url}/v1", "model_name": "m1", "retries": 0, **keywords}))
        return made[-1]

    yield make
    for binding in made:
        binding.close()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """``ask(binding, method, *args, **keywords)``, or its async twin in a loop of its own."""

    def call(binding: HttpBinding, method: str, *args: Any, **keywords: Any) -> Any:
        async def run() -> Any:
            return await getattr(binding, f"a{method}")(*args, **keywords)

        return asyncio.run(run()) if request.param == "async" else getattr(binding, method)(*args, **keywords)

    return call


def test_importing_and_constructing_is_light() -> None:
    code = (
        "import sys, lollms_http.binding as b; C = type('C', (b.HttpBinding,), {'default_host': 'https://h/v1', "
        "'_call': None, '_reader': None}); C(service_key='k');"
        "print(sorted({'httpx', 'httpcore', 'asyncio', 'urllib.request'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_sent(server: FaultServer, make: Callable[..., HttpBinding], ask: Ask) -> None:
    binding = make(service_key="sk-1")
    assert ask(binding, "chat", "Why?").usage == Usage(3, 4)
    assert binding.stream("Why?").text_stream is not None
    (asked,) = server.asked_at(PATH)
    assert asked.method == "POST"
    assert asked.json == {"model": "m1", "messages": [{"role": "user", "content": "Why?"}]}
    wanted = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": "Bearer sk-1",
        "content-type": "application/json",
        "user-agent": "lollms-http",
    }
    assert wanted.items() <= asked.headers.items()


def test_a_timeout_is_always_of_use(make: Callable[..., HttpBinding], ask: Ask) -> None:
    assert ask(make(), "chat", "Why?", timeout=5.0, top_k=3).ignored == ("top_k",)


def test_a_model_for_one_request(server: FaultServer, make: Callable[..., HttpBinding], ask: Ask) -> None:
    binding = make()
    ask(binding, "chat", "Why?", model="m2")
    ask(binding, "chat", "Why?")
    assert [asked.json["model"] for asked in server.asked_at(PATH)] == ["m2", "m1"]


def test_a_procedure_asks_first(server: FaultServer, make: Callable[..., HttpBinding], ask: Ask) -> None:
    server.on("/v1/tones/kind", (response({"words": "dear"}),))
    ask(make(TonedBinding, service_key=MARKER), "chat", "Why?", tone="kind")
    (asked,) = server.asked_at(PATH)
    assert asked.json == {"words": "DEAR", "counts": [[0, 1], [1, 2]]}
    for path in (PATH, "/v1/tones/kind"):
        (asked,) = server.asked_at(path)
        assert (asked.headers["x-api-key"], asked.headers["acme-version"]) == (MARKER, "2")
        assert "authorization" not in asked.headers
        assert "content-type" not in asked.headers or path == PATH


@pytest.mark.parametrize("path", ["/v1/tones/plain", "/v1/a"])
@pytest.mark.parametrize("body", [[], 7, {"other": 1}, None])
def test_an_answer_of_another_shape(
    server: FaultServer, make: Callable[..., HttpBinding], ask: Ask, path: str, body: Any
) -> None:
    server.on(path, (response(json.dumps(body)),))
    with pytest.raises(ProtocolError, match=r"acme at http://127\.0\.0\.1.*another shape"):
        ask(make(TonedBinding), "chat", "Why?")


def test_words_that_mean_something(server: FaultServer, make: Callable[..., HttpBinding], ask: Ask) -> None:
    refusal = (response({"error": "I am tone-deaf"}, "500 Oops"),)
    server.on(PATH, refusal)
    with pytest.raises(CapabilityNotSupported, match=r"tone-deaf.*m1"):
        ask(make(TonedBinding, retries=3), "chat", "Why?")
    assert len(server.asked_at(PATH)) == 1
    server.on(PATH, (response({"error": "tone-deaf"}),))
    with pytest.raises(CapabilityNotSupported, match="m1"):
        ask(make(TonedBinding), "chat", "Why?")


def test_options_are_checked(make: Callable[..., HttpBinding]) -> None:
    binding = make(TonedBinding, tone="kind", retry_budget=2)
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (TypeError, {"tone": 7}),
        (ValueError, {"retry_budget": 0}),
        (ValueError, {"connect_timeout": 0}),
        (TypeError, {"retries": True}),
        (ValueError, {"max_response_bytes": 0}),
        (TypeError, {"tones": "kind"}),
    ]
    for kind, options in wrong:
        with pytest.raises(kind, match=next(iter(options))):
            make(TonedBinding, **options)
        with pytest.raises(kind, match=next(iter(options))):
            binding.chat("Why?", **options)
    with pytest.raises(ValueError, match="embed_concurrency"):
        binding.embed("x", embed_concurrency=0)


def test_vectors_are_checked(server: FaultServer, make: Callable[..., HttpBinding], ask: Ask) -> None:
    server.on("/v1/embed", (response({"vectors": [[1, 2.5]]}),))
    binding = make(TonedBinding)
    assert ask(binding, "embed", "x") == [1.0, 2.5]
    bodies: list[Any] = [{"vectors": []}, {"vectors": [["x"]]}, {"vectors": None}, {"other": 1}, [], 7]
    for body in bodies:
        server.on("/v1/embed", (response(json.dumps(body)),))
        with pytest.raises(ProtocolError, match="acme at"):
            ask(binding, "embed", "x")


def test_what_is_not_declared_is_not_there(make: Callable[..., HttpBinding], ask: Ask) -> None:
    with pytest.raises(CapabilityNotSupported, match="embed"):
        ask(make(), "embed", "x")
    with pytest.raises(CapabilityNotSupported, match="list models"):
        make().listModels()
    with pytest.raises(CapabilityNotSupported, match="load models"):
        make().load_model("m1")


def test_models_of_another_shape(server: FaultServer) -> None:
    server.on("/api/models", (response({"id": "m1"}),))
    with AcmeBinding("acme", host_address=f"{server.url}/api") as binding:
        with pytest.raises(ProtocolError, match="another shape"):
            binding.listModels()
        assert not binding.load_model("m1")
        assert "another shape" in str(binding.last_error)


def test_what_json_has_no_form_for(server: FaultServer) -> None:
    with AcmeBinding("acme", host_address=f"{server.url}/api") as binding:
        with pytest.raises(BadRequest, match="JSON"):
            binding.chat("Why?", backend_options={"x": {1, 2}})
    assert server.connections == 0


async def test_the_first_event_does_not_wait_for_those_that_came_with_it(
    server: FaultServer, make: Callable[..., HttpBinding]
) -> None:
    read = []

    class Counting(CompletionsBinding):
        def _reader(self, request: GenerationRequest) -> Reader:
            reader = super()._reader(request)

            class CountingReader(Reader):
                def feed(self, record: Any) -> Iterable[Event]:
                    read.append(record)
                    return reader.feed(record)

            return CountingReader()

    async def texts(binding: HttpBinding) -> list[tuple[str, int]]:
        async with binding.astream("Why?") as events:
            return [(event.text, len(read)) async for event in events if isinstance(event, TextDelta)]

    words = [f"word{number} " for number in range(100)]
    server.on(PATH, [DIALECT.stream(*DIALECT.pieces(*words), *DIALECT.ending()).data])
    seen = await texts(make(Counting))
    assert [text for text, _ in seen] == words
    assert seen[0][1] < 5


def test_a_closed_binding(make: Callable[..., HttpBinding], ask: Ask) -> None:
    binding = make()
    binding.close()
    binding.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        ask(binding, "chat", "Why?")


def test_a_key_that_no_frame_shows(server: FaultServer, make: Callable[..., HttpBinding], ask: Ask) -> None:
    echo = (response({"error": f"the key {MARKER} is refused"}, "401 Unauthorized"),)
    for path in (PATH, "/v1/tones/plain"):
        server.on(path, echo)
    with SecretWatch("lollms_http", "http_examples", __name__) as watch:
        for kind in (CompletionsBinding, TonedBinding):
            binding = make(kind, service_key=MARKER)
            with pytest.raises(LollmsError) as caught:
                ask(binding, "chat", "Why?")
            assert watch.found(caught.value, binding, binding.get_model_info(), vars(binding)) == []
        for arguments in ({"host_address": f"http://user:{MARKER}@h"}, {"service_key": f"a {MARKER}"}):
            with pytest.raises(ValueError, match=r"host_address|service_key") as wrong:
                make(**arguments)
            assert watch.found(wrong.value.__cause__ or wrong.value.args) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    server: FaultServer, make: Callable[..., HttpBinding], ask: Ask, status: int
) -> None:
    with FaultServer() as elsewhere:
        server.on(PATH, (response("", f"{status} Moved", Location=f"{elsewhere.url}{PATH}"),))
        with pytest.raises(BackendError, match=rf"{status}.*host_address"):
            ask(make(service_key=MARKER), "chat", "Why?")
        assert elsewhere.connections == 0

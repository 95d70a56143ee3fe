"""The contract on a server that speaks Ollama's protocol, byte for byte, by both transports."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from ollama_wire import (
    HELLO,
    SHOW,
    TAGS,
    Chat,
    Server,
    begun,
    chunk,
    hang_up,
    head,
    line,
    over,
    said,
    streamed,
    vocabulary,
    whole,
)

from lollms_core import (
    MSG_TYPE,
    AuthenticationError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    Capability,
    CapabilityNotSupported,
    ContextOverflow,
    ImageError,
    LollmsError,
    ModelNotFound,
    ProtocolError,
    StreamInterrupted,
    Usage,
)
from lollms_ollama import OllamaBinding

Make = Callable[..., OllamaBinding]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def test_importing_and_constructing_is_light() -> None:
    code = (
        "import sys, lollms_ollama; lollms_ollama.OllamaBinding(service_key='k');"
        "print(sorted({'httpx', 'tokenizers', 'asyncio', 'platformdirs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_chat(server: Server, make: Make, chat: Chat) -> None:
    answer = chat(make(), "hi", temperature=0)
    assert (answer.text, answer.finish_reason, answer.model) == ("Hello", "stop", "llama3.2")
    assert answer.usage == Usage(26, 282)
    assert answer.ignored == ()
    assert server.paths() == ["/api/show", "/api/version", "/api/chat"]
    assert server.heard[2].json["messages"] == [{"role": "user", "content": "hi"}]
    assert server.heard[2].headers["content-type"] == "application/json"


def test_a_whole_answer_is_one_where_it_was_asked_for(server: Server, make: Make, chat: Chat) -> None:
    """Only `stream=False` gives a stream up; what comes of it is the same."""
    binding = make()
    assert chat(binding, "hi").text == binding.generate_text("hi") == "Hello"
    assert [one.json["stream"] for one in server.heard[-2:]] == [True, True]
    server.on("/api/chat", whole({**over(), "message": {"role": "assistant", "content": "Hello", "thinking": "hm"}}))
    answer = chat(binding, "hi", stream=False)
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hello", "hm", "stop")
    assert answer.usage == Usage(26, 282)
    assert binding.generate_text("hi", stream=False) == "Hello"
    assert [one.json["stream"] for one in server.heard[-2:]] == [False, False]
    server.on("/api/chat", whole(b'{"model": "llama3.2", "message": {"role": "assistant", "content": "Hel'))
    with pytest.raises(ProtocolError):
        chat(binding, "hi", stream=False)
    server.on("/api/chat", streamed(*HELLO))
    assert chat(binding, "hi", stream=False).text == "Hello"  # a server that streams all the same is understood


def test_what_ollama_has_no_use_for_is_told(make: Make, chat: Chat) -> None:
    assert chat(make(), "hi", logit_bias={1: 1.0}, cache_prompt=True).ignored == ("cache_prompt", "logit_bias")


def test_one_question_about_a_model_is_enough(server: Server, make: Make) -> None:
    binding = make()
    for _ in range(3):
        assert binding.generate_text("hi") == "Hello"
    assert server.paths() == ["/api/show", "/api/version", *["/api/chat"] * 3]
    assert server.connections == 1


def test_streaming(make: Make) -> None:
    binding = make()
    pieces: list[Any] = []
    assert binding.generate_text("hi", streaming_callback=lambda *piece: pieces.append(piece)) == "Hello"
    assert pieces == [("Hel", MSG_TYPE.MSG_TYPE_CHUNK), ("lo", MSG_TYPE.MSG_TYPE_CHUNK)]
    stream = binding.stream("hi")
    assert [str(piece) for piece in stream.text_stream] == ["Hel", "lo"]
    assert stream.completion.text == "Hello"


async def test_async_streaming(server: Server, make: Make) -> None:
    async with make() as binding:
        pieces: list[str] = []
        assert await binding.agenerate_text("hi", streaming_callback=lambda text, _: pieces.append(text)) == "Hello"
        assert pieces == ["Hel", "lo"]
        assert [piece async for piece in binding.astream("hi").text_stream] == ["Hel", "lo"]
    assert server.connections == 1


def test_plain_text(server: Server, make: Make) -> None:
    server.on("/api/generate", streamed({"response": "Hello", "done": False}, {"response": "", "done": True}))
    assert make(completion_format="text").generate_text("Say") == "Hello"
    assert server.heard[-1].json["raw"] is True


def test_thinking(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/show", whole({**SHOW, "capabilities": ["completion", "thinking"]}))
    server.on("/api/chat", streamed(said("", thinking="hm"), said("17"), over()))
    answer = chat(make(), "9+8?", think=True)
    assert (answer.reasoning, answer.text) == ("hm", "17")
    assert server.heard[-1].json["think"] is True
    assert answer.message["provider"] == {"ollama": {"thinking": "hm"}}


def test_images(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/show", whole({**SHOW, "capabilities": ["completion", "vision"]}))
    binding = make()
    assert chat(binding, "what?", images=[PNG]).text == "Hello"
    assert server.heard[-1].json["messages"][0]["images"] == ["iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"]
    data = "data:image/png;base64,iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": data}}]
    chat(binding, [{"role": "user", "content": parts}])
    assert server.heard[-1].json["messages"][0]["images"] == ["iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"]
    sent = len(server.heard)
    with pytest.raises(ImageError):
        chat(binding, "what?", images=["https://example.com/x.png"])
    assert len(server.heard) == sent


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"images": [PNG]}, "vision"),
        ({"think": True}, "reasoning"),
        ({"think": "low"}, "reasoning"),
        ({"tools": [{"name": "f"}]}, "tools"),
    ],
)
def test_what_a_model_lacks_is_said_before_it_is_asked(
    server: Server, make: Make, chat: Chat, fields: dict[str, Any], what: str
) -> None:
    with pytest.raises(CapabilityNotSupported, match=what):
        chat(make(), "x", **fields)
    assert set(server.paths()) == {"/api/show", "/api/version"}


def test_capabilities(server: Server, make: Make) -> None:
    binding = make()
    server.on("/api/show", whole({**SHOW, "capabilities": ["embedding"]}), whole(SHOW))
    assert binding.capabilities_of() == {
        Capability.EMBED,
        Capability.TOKENIZE,
        Capability.PULL,
        Capability.ASYNC,
    }
    assert Capability.CHAT not in binding.capabilities_of("llama3.2")
    assert Capability.CHAT in binding.capabilities_of("other")
    assert OllamaBinding(host_address="127.0.0.1:1", model_name="x").capabilities_of() == OllamaBinding.capabilities


async def test_no_event_loop_waits_for_metadata(server: Server, make: Make) -> None:
    async with make() as binding:
        assert binding.capabilities_of() == binding.capabilities
    assert server.heard == []


# Models -----------------------------------------------------------------------------------------------


def test_the_model_that_is_loaded_is_taken(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/ps", whole(TAGS))
    binding = make(model_name=None)
    chat(binding, "hi")
    chat(binding, "hi")
    assert server.heard[-1].json["model"] == "old:latest"
    assert server.paths().count("/api/ps") == 1
    assert binding.model_name is None


def test_a_server_without_models(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/tags", whole({"models": []}))
    with pytest.raises(ModelNotFound, match="ollama pull"):
        chat(make(model_name=None), "hi")


def test_list_models(make: Make) -> None:
    models = make().listModels()
    assert {model["model_name"] for model in models} == {"llama3.2:latest", "old:latest"}


def test_model_info(server: Server, make: Make) -> None:
    entry = {"name": "llama3.2:latest", "size": 5, "size_vram": 4, "expires_at": "later", "context_length": 4096}
    server.on("/api/ps", whole({"models": [entry]}))
    info = make(temperature=0.5, service_key="sk-1").get_model_info()
    assert info["binding_name"] == "ollama"
    assert (info["model_name"], info["loaded"], info["ctx_size"]) == ("llama3.2", True, 4096)
    assert info["parameters"]["temperature"] == 0.5
    assert (info["trained_ctx_size"], info["n_params"], info["size_vram"]) == (8192, 8030261248, 4)
    assert info["host_address"] == server.url
    assert "sk-1" not in repr(info)


def test_model_info_without_a_server() -> None:
    info = OllamaBinding(host_address="127.0.0.1:1", model_name="m", ctx_size=5).get_model_info()
    assert (info["model_name"], info["loaded"], info["ctx_size"]) == ("m", False, 5)


def test_load_model(server: Server, make: Make) -> None:
    binding = make()
    assert binding.load_model("nope") is False
    assert "nope" in (binding.last_error or "")
    assert binding.model_name == "llama3.2"
    assert binding.generate_text("hi") == "Hello"
    server.on("/api/generate", whole({"model": "other", "done": True, "done_reason": "load"}))
    assert binding.load_model("other") is True
    assert (binding.model_name, binding.last_error) == ("other", None)
    with pytest.raises(TypeError):
        binding.load_model(1)  # type: ignore[arg-type]


# Embeddings -------------------------------------------------------------------------------------------


def embedded(heard: Any) -> Any:
    return whole({"model": "m", "embeddings": [[float(len(text)), 1.0] for text in heard.json["input"]]})


async def test_embeddings(server: Server, make: Make) -> None:
    server.on("/api/embed", embedded)
    texts = ["x" * number for number in range(1, 151)]
    expected = [[float(number), 1.0] for number in range(1, 151)]
    async with make() as binding:
        assert await binding.aembed(texts) == expected
        assert await binding.aembed("abc") == [3.0, 1.0]
        assert await asyncio.to_thread(binding.embed, texts, keep_alive=0) == expected
        assert await asyncio.to_thread(binding.embed, []) == []
    sizes = [len(heard.json["input"]) for heard in server.heard if heard.path == "/api/embed"]
    assert sorted(sizes[:3]) == [22, 64, 64]
    assert server.heard[-1].json["keep_alive"] == 0


def test_embeddings_that_are_none(server: Server, make: Make) -> None:
    server.on("/api/embed", whole({"embeddings": [[1.0]]}))
    with pytest.raises(ProtocolError, match="2 texts with 1 vectors"):
        make().embed(["a", "b"])
    refused = {"error": "this model does not support embeddings"}
    server.on("/api/embed", whole(refused, "501 Not Implemented"))
    with pytest.raises(CapabilityNotSupported, match=r"llama3\.2"):
        make().embed("a")
    too_long = {"error": "input length exceeds maximum context length"}
    server.on("/api/embed", whole(too_long, "400 Bad Request"))
    with pytest.raises(ContextOverflow):
        make().embed("a")


# Tokens -----------------------------------------------------------------------------------------------


def showing(heard: Any) -> Any:
    info = {**SHOW["model_info"], **vocabulary(tokenizer__ggml__pre="llama-bpe")}
    return whole({**SHOW, "model_info": info} if heard.json.get("verbose") else SHOW)


def test_tokens(server: Server, make: Make) -> None:
    server.on("/api/show", showing)
    binding = make()
    assert binding.tokenize("the<|im_end|>")[0] == 261
    assert binding.tokenize("the<|im_end|>", parse_special=True) == [261, 258]
    assert binding.tokenize("the", add_special=True) == [256, 261]
    assert binding.count_tokens("the the") == 2
    assert binding.detokenize([261, 262]) == "the the"
    assert server.paths() == ["/api/show", "/api/version", "/api/tags", "/api/show"]
    assert make().count_tokens("the") == 1  # from disk
    assert server.paths().count("/api/show") == 3
    with pytest.raises(TypeError):
        binding.tokenize(1)  # type: ignore[arg-type]


def test_tokens_from_many_threads_fetch_once(server: Server, make: Make) -> None:
    server.on("/api/show", showing)
    binding = make()
    assert in_threads(16, lambda number: binding.count_tokens("the " * number)) == [0, *range(2, 17)]
    assert server.paths() == ["/api/show", "/api/version", "/api/tags", "/api/show"]


def test_tokens_of_another_kind(server: Server, make: Make) -> None:
    info = {**SHOW["model_info"], "tokenizer.ggml.model": "bert"}
    server.on("/api/show", whole({**SHOW, "model_info": info}))
    binding = make()
    with pytest.raises(CapabilityNotSupported, match="exactly"):
        binding.tokenize("x")
    assert Capability.TOKENIZE not in binding.capabilities_of()


def test_a_prompt_that_cannot_fit(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/show", showing)
    with pytest.raises(ContextOverflow, match="3001 tokens"):
        chat(make(), "the " * 3000, ctx_size=2000)
    assert "/api/chat" not in server.paths()


# What goes wrong --------------------------------------------------------------------------------------


def test_nobody_there(chat: Chat) -> None:
    with OllamaBinding(host_address="127.0.0.1:1", model_name="m", retries=0) as binding:
        with pytest.raises(BackendUnavailable, match=r"http://127\.0\.0\.1:1"):
            chat(binding, "hi")
        result = binding.generate_text("hi")
        assert isinstance(result, dict)
        assert result["error_type"] == "BackendUnavailable"
        with pytest.raises(BackendUnavailable):
            binding.listModels()
        with pytest.raises(BackendUnavailable):
            binding.tokenize("x")
        assert binding.load_model("x") is False


ANSWERS: list[tuple[str, list[Any], type[LollmsError], str]] = [
    ("cut off", [*begun(said("Hel"), said("lo")), b"0\r\n\r\n"], StreamInterrupted, "Hello"),
    ("cut in a record", [*begun(said("Hello")), chunk(line(over())[:-9]), b"0\r\n\r\n"], StreamInterrupted, "Hello"),
    ("aborted", [*begun(said("Hello")), hang_up], StreamInterrupted, "Hello"),
    ("error", streamed(said("Hello"), {"error": "CUDA error"}), BackendError, "Hello"),
    ("no JSON", streamed(said("Hello"), b"what?\n"), ProtocolError, "Hello"),
    ("no UTF-8", streamed(b'{"message": "\xff"}\n'), ProtocolError, ""),
    ("a web page", whole(b"<html>", content_type="text/html"), ProtocolError, ""),
    ("something else", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", hang_up], ProtocolError, ""),
    ("nothing", [hang_up], BackendUnavailable, ""),
    ("refused key", whole({"error": "unauthorized"}, "401 Unauthorized"), AuthenticationError, ""),
    ("moved", [head("302 Found", "text/plain", "Location: http://other/", "Content-Length: 0")], BackendError, ""),
    ("not chat", whole({"error": '"llama3.2" does not support chat'}, "400 Bad Request"), CapabilityNotSupported, ""),
]


@pytest.mark.parametrize(("answer", "kind", "partial"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_faults(
    server: Server, make: Make, chat: Chat, answer: list[Any], kind: type[LollmsError], partial: str
) -> None:
    server.on("/api/chat", answer, streamed(*HELLO))
    binding = make()
    with pytest.raises(kind) as caught:
        chat(binding, "hi")
    assert type(caught.value) is kind
    assert caught.value.partial == partial
    assert server.url in str(caught.value)
    assert server.paths().count("/api/chat") == 1
    assert chat(binding, "hi").text == "Hello"


def test_every_cut_of_a_stream(server: Server, make: Make, chat: Chat) -> None:
    """A connection that ends anywhere is an interruption, and no text that came is lost or made up."""
    data = b"".join(chunk(line(record)) for record in HELLO) + b"0\r\n\r\n"
    opening = head("200 OK", "application/x-ndjson", "Transfer-Encoding: chunked")
    # The last record lacks no more than its line end, and the line end of its chunk.
    done = len(data) - len(b"0\r\n\r\n") - 3
    binding = make()
    for at in range(0, len(data), 7):
        server.on("/api/chat", [opening + data[:at], hang_up])
        if at >= done:
            assert chat(binding, "hi").text == "Hello"
            continue
        with pytest.raises(StreamInterrupted) as caught:
            chat(binding, "hi")
        assert "Hello".startswith(caught.value.partial)


def test_one_byte_a_packet(server: Server, make: Make, chat: Chat) -> None:
    data = b"".join(streamed(*HELLO))  # type: ignore[arg-type]
    server.on("/api/chat", [data[at : at + 1] for at in range(len(data))])
    assert chat(make(), "hi").text == "Hello"


def test_bytes_after_the_end_are_ignored(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/chat", streamed(*HELLO, b"garbage\n", said("more")))
    binding = make()
    assert chat(binding, "hi").text == "Hello"
    assert binding.generate_text("hi") == "Hello"
    assert binding.generate_text("hi") == "Hello"
    assert server.connections <= 2


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "500 Oops"])
def test_tried_again(server: Server, make: Make, chat: Chat, status: str) -> None:
    refused = [head(status, "application/json", "Retry-After: 0", "Content-Length: 0")]
    server.on("/api/chat", refused, [hang_up], streamed(*HELLO))
    assert chat(make(retries=2), "hi").text == "Hello"
    assert server.paths().count("/api/chat") == 3


def test_a_kept_connection_that_the_server_has_closed(server: Server, make: Make) -> None:
    server.on("/api/chat", [*streamed(*HELLO), hang_up], streamed(*HELLO))
    binding = make()
    assert binding.generate_text("hi") == "Hello"
    assert server.left.acquire(timeout=10)
    assert binding.generate_text("hi") == "Hello"


def test_silence(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/chat", [server.hold], [*begun(said("Hello")), server.hold])
    binding = make(retries=2)
    for partial in ("", "Hello"):
        with pytest.raises(BackendTimeout, match=r"no sign of life") as caught:
            chat(binding, "hi", timeout=0.1)
        assert caught.value.partial == partial
    assert server.paths().count("/api/chat") == 2


def test_the_deadline(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/chat", [server.hold], [*begun(said("Hello")), server.hold])
    binding = make()
    for partial in ("", "Hello"):
        with pytest.raises(BackendTimeout, match="deadline") as caught:
            chat(binding, "hi", deadline=0.3)
        assert caught.value.partial == partial


def test_a_body_that_is_too_large(server: Server, make: Make) -> None:
    server.on("/api/tags", whole(b" " * 5000))
    with pytest.raises(ProtocolError, match="max_response_bytes"):
        make(max_response_bytes=4000).listModels()


def test_a_closed_binding(make: Make, chat: Chat) -> None:
    binding = make()
    binding.generate_text("hi")
    binding.close()
    binding.close()
    for use in (lambda: chat(binding, "hi"), binding.listModels, lambda: binding.tokenize("x")):
        with pytest.raises(BackendUnavailable, match="closed"):
            use()
    assert binding.get_model_info()["loaded"] is False


# Many at once -----------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def echo(heard: Any) -> Any:
    return streamed(said(heard.json["messages"][-1]["content"]), over())


def test_many_threads(server: Server, make: Make) -> None:
    server.on("/api/chat", echo)
    binding = make()
    assert in_threads(32, lambda number: binding.generate_text(f"n{number}")) == [f"n{number}" for number in range(32)]


async def test_many_tasks(server: Server, make: Make) -> None:
    server.on("/api/chat", echo)
    async with make() as binding:
        answers = await asyncio.gather(*(binding.achat(f"n{number}") for number in range(100)))
    assert [answer.text for answer in answers] == [f"n{number}" for number in range(100)]
    assert server.paths().count("/api/show") == 1


async def test_a_task_that_is_cancelled_while_others_wait_for_its_question(server: Server, make: Make) -> None:
    asked = threading.Event()
    server.on("/api/show", [asked.set, server.hold], whole(SHOW))
    async with make() as binding:
        first = asyncio.create_task(binding.achat("hi"))
        await asyncio.to_thread(asked.wait, 10)
        others = [asyncio.create_task(binding.achat("hi")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BackendTimeout):
            await binding.achat("hi", deadline=0.05)
        first.cancel()
        assert [answer.text for answer in await asyncio.gather(*others)] == ["Hello"] * 3


async def test_a_blocking_call_in_an_event_loop_does_not_wait_for_it(server: Server, make: Make) -> None:
    asked = threading.Event()
    server.on("/api/show", [asked.set, server.hold], whole(SHOW))
    async with make() as binding:
        task = asyncio.create_task(binding.achat("hi"))
        await asyncio.to_thread(asked.wait, 10)
        assert binding.get_model_info()["architecture"] == "llama"
        task.cancel()


def test_many_event_loops(server: Server, make: Make) -> None:
    """Each loop has its own connections, which go with it."""
    server.on("/api/chat", echo)
    binding = make()

    async def several(number: int) -> list[str]:
        answers = await asyncio.gather(*(binding.achat(f"{number}.{one}") for one in range(3)))
        return [answer.text for answer in answers]

    found = in_threads(4, lambda number: asyncio.run(several(number)))
    assert found == [[f"{number}.{one}" for one in range(3)] for number in range(4)]
    assert asyncio.run(several(9)) == ["9.0", "9.1", "9.2"]
    assert binding.generate_text("sync") == "sync"


def test_the_key_is_sent_and_nowhere_shown(
    server: Server, make: Make, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-marker-0123456789"
    told = whole({"error": f"the key {key} is refused"}, "401 Unauthorized")
    server.on("/api/chat", streamed(*HELLO), told, [server.hold])
    binding = make(service_key=key)
    shown = [repr(binding), repr(vars(binding)), json.dumps(binding.get_model_info())]
    with caplog.at_level(1):
        assert chat(binding, "hi").text == "Hello"
        for _ in range(2):
            with pytest.raises(LollmsError) as caught:
                chat(binding, "hi", timeout=0.1)
            shown += [repr(caught.value), *our_locals(caught.value)]
    assert server.heard[-1].headers["authorization"] == f"Bearer {key}"
    assert key not in "\n".join([*shown, caplog.text])


def our_locals(error: BaseException) -> list[str]:
    """The error's traceback, with the local variables of this project's frames."""
    found: list[str] = []
    at: BaseException | None = error
    while at is not None:
        for frame, _ in traceback.walk_tb(at.__traceback__):
            if frame.f_globals.get("__name__", "").startswith("lollms"):
                found.append(repr(frame.f_locals))
        at = at.__cause__ or at.__context__
    assert found
    return found

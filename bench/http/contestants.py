"""Those that the HTTP bindings are measured with, by the protocol that they speak, and the server for all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

from bench.cases import OWN, Contestant, Kit, Task
from bench.contestants.http.answers import model
from bench.processes import Process

__all__ = ["CALLBACK", "OURS", "RAW", "SDK", "STREAMED", "Dialect", "contestants", "loopback", "measured"]

Dialect: TypeAlias = Literal["openai", "ollama"]

OURS: Final[Mapping[Dialect, str]] = {"openai": "lollms-openai", "ollama": "lollms-ollama"}
SDK: Final[Mapping[Dialect, str]] = {"openai": "openai SDK", "ollama": "ollama SDK"}
RAW: Final = "httpx + json"
STREAMED: Final = "{}, streamed"
CALLBACK: Final[Mapping[Dialect, str]] = {name: f"{ours}, callback" for name, ours in OURS.items()}

_PEERS: Final[Mapping[Dialect, tuple[tuple[str, str, str, dict[str, Any]], ...]]] = {
    "openai": (
        ("openai SDK", "openai_sdk", "openai", {"client": "openai"}),
        ("langchain-openai", "langchain", "langchain", {}),
        ("any-llm-sdk", "openai_sdk", "any-llm", {"client": "any-llm"}),
        ("aisuite", "openai_sdk", "aisuite", {"client": "aisuite"}),
        ("litellm", "litellm", "litellm", {}),
        ("llm", "llm", "llm", {}),
        ("lollms-client", "lollms_client", "lollms-client", {}),
    ),
    "ollama": (("ollama SDK", "ollama_sdk", "ollama", {}),),
}


def measured(do: str, words: int, seconds: float) -> dict[str, Any]:
    """A task: what to do with answers of so many words, for at least so many seconds a round."""
    return {"do": do, "words": words, "model": model(words), "seconds": seconds}


def contestants(
    dialect: Dialect,
    task: dict[str, Any],
    *,
    callback: bool = False,
    streamed: bool = False,
    without: tuple[str, ...] = (),
) -> tuple[Contestant, ...]:
    """Ours, the floor, and the peers but for those named.

    Args:
        dialect: the protocol.
        task: what each does in a round.
        callback: whether ours is there once more, with its callback.
        streamed: whether all are there once more, with plain calls that they ask for as streams.
        without: peers that cannot do it.
    """
    asked = {"model": task["model"]}
    binding = {"binding": dialect, **asked}
    ours = [Contestant(OURS[dialect], "http.ours", task, binding, OWN)]
    if callback:
        ours.append(Contestant(CALLBACK[dialect], "http.ours", task, {**binding, "callback": True}, OWN))
    peers = [
        Contestant(name, f"http.{module}", task, {**setting, **asked}, python)
        for name, module, python, setting in _PEERS[dialect]
        if name not in without
    ]
    floor = Contestant(RAW, "http.raw", task, {"dialect": dialect, **asked}, OWN)
    again = [
        replace(one, name=STREAMED.format(one.name), setting={**one.setting, "streamed": True})
        for one in (*ours, floor, *peers)
        if streamed
    ]
    return (*ours, floor, *peers, *again)


@contextlib.contextmanager
def loopback(kit: Kit, **setting: Any) -> Iterator[Task]:
    """The server, in a process of its own until the block ends; gives its address.

    Args:
        kit: for its process.
        **setting: see :class:`~bench.contestants.http.loopback.Loopback`.
    """
    with Process(Contestant("the loopback server", "http.loopback", {}, setting), kit) as server:
        yield server.ask({})

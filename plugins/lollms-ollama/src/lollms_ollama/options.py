"""The options that only this binding has: Ollama's own, and those of the connection."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypedDict, get_args

__all__ = [
    "DEFAULT_CONNECT_TIMEOUT",
    "DEFAULT_EMBED_CONCURRENCY",
    "DEFAULT_IDLE_TIMEOUT",
    "DEFAULT_MAX_RESPONSE_BYTES",
    "SERVER_OPTIONS",
    "CompletionFormat",
    "OllamaOptions",
    "check_options",
]

CompletionFormat = Literal["chat", "text"]

DEFAULT_CONNECT_TIMEOUT: Final = 10.0
"""Seconds for one try to connect."""

DEFAULT_EMBED_CONCURRENCY: Final = 4
"""Requests for vectors under way at once: as many as a server works on side by side at most by its own choice."""

DEFAULT_IDLE_TIMEOUT: Final = 600.0
"""Seconds of silence where ``timeout`` is not given: a large model takes minutes to be read from a slow disk."""

DEFAULT_MAX_RESPONSE_BYTES: Final = 512 * 1024 * 1024
"""Largest response that is read (512 MiB)."""


class OllamaOptions(TypedDict, total=False):
    """Options for the constructor and for a single request.

    Those that are sent with the request mean what Ollama's documentation says (docs/api.md and
    docs/modelfile.md of https://github.com/ollama/ollama); where one is not given, the server's choice counts.

    Attributes:
        completion_format: how ``generate_text`` without ``split`` puts its prompt: "chat" (the default) as a
            user's message in the model's template, "text" as it stands (``raw``), for the model to continue.
        keep_alive: how long the model stays loaded afterwards: seconds, or a text such as "10m"; negative is
            for ever, 0 not at all.
        truncate: whether the server may cut off what doesn't fit the context. Default False: it is asked to
            refuse instead, as servers since 0.12 do for prompts and all do for embeddings.
        shift: whether the server may drop the beginning when an answer fills the context. Servers since 0.12.
        suffix: with completion_format "text", what stands after the place to fill in.
        num_gpu: layers on the GPU.
        main_gpu: the GPU for small tensors.
        num_batch: tokens of the prompt that are read in one step.
        num_keep: tokens at the beginning that stay when the context is shifted.
        typical_p: typical sampling.
        tfs_z: tail free sampling (servers before 0.6).
        mirostat: 0 off, 1 or 2 for its versions.
        mirostat_tau: its target entropy.
        mirostat_eta: its learning rate.
        penalize_newline: whether penalties count for newlines.
        low_vram: less GPU memory.
        use_mmap: whether the file is mapped into memory.
        use_mlock: whether the weights are kept from being swapped out.
        numa: NUMA optimisations.
        embed_batch_size: texts in one request for embeddings. Default 64.
        embed_concurrency: requests that are under way at once where ``embed`` gets more texts than go into one.
            Default 4; 1 sends one after the other.
        connect_timeout: seconds for one try to connect. Default 10.
        retries: how often a request that failed before its first byte is sent again. Default 2.
        retry_budget: seconds from the first try to the start of the last. Default 60.
        max_response_bytes: largest response that is read. Default 512 MiB.
        timeout, deadline: for ``embed``, which they also are options of: as in a request.
    """

    completion_format: CompletionFormat
    keep_alive: str | int | float
    truncate: bool
    shift: bool
    suffix: str
    num_gpu: int
    main_gpu: int
    num_batch: int
    num_keep: int
    typical_p: float
    tfs_z: float
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    penalize_newline: bool
    low_vram: bool
    use_mmap: bool
    use_mlock: bool
    numa: bool
    embed_batch_size: int
    embed_concurrency: int
    connect_timeout: float
    retries: int
    retry_budget: float
    max_response_bytes: int
    timeout: float
    deadline: float


SERVER_OPTIONS: Final = (
    "num_gpu",
    "main_gpu",
    "num_batch",
    "num_keep",
    "typical_p",
    "tfs_z",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "penalize_newline",
    "low_vram",
    "use_mmap",
    "use_mlock",
    "numa",
)
"""What goes into the request's ``options`` under its own name."""


def check_options(options: Mapping[str, Any]) -> None:
    """Whether the binding's own options can be honoured.

    Raises:
        TypeError, ValueError: one is of the wrong type or out of range; the text names it.
    """
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is not None:
            check(name, value)


_Check = Callable[[str, object], None]


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def _text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def _whole(low: int, high: int = 2**31 - 1) -> _Check:
    def check(name: str, value: object) -> None:
        if type(value) is not int:
            raise TypeError(f"{name} must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be between {low} and {high}, not {value}")

    return check


def _number(low: float = -math.inf, *, above: bool = False) -> _Check:
    def check(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if not math.isfinite(value) or value < low or (above and value == low):
            raise ValueError(
                f"{name} must be a finite number {'above' if above else 'of at least'} {low:g}, not {value}"
            )

    return check


def _format(name: str, value: object) -> None:
    if value not in get_args(CompletionFormat):
        raise ValueError(f"{name} must be 'chat' or 'text', not {value!r}")


# Go's time.ParseDuration, which Ollama uses for texts.
_DURATION: Final = re.compile(r"[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+|[-+]?[0-9]+")


def _duration(name: str, value: object) -> None:
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            raise ValueError(f'{name} must be a number of seconds or a text such as "10m", not {value!r}')
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f'{name} must be a number of seconds or a text such as "10m", not {value!r}')


_CHECKS: Final[dict[str, _Check]] = {
    "completion_format": _format,
    "keep_alive": _duration,
    "truncate": _flag,
    "shift": _flag,
    "suffix": _text,
    "num_gpu": _whole(-1),
    "main_gpu": _whole(0),
    "num_batch": _whole(1),
    "num_keep": _whole(-1),
    "typical_p": _number(0),
    "tfs_z": _number(0),
    "mirostat": _whole(0, 2),
    "mirostat_tau": _number(0),
    "mirostat_eta": _number(0),
    "penalize_newline": _flag,
    "low_vram": _flag,
    "use_mmap": _flag,
    "use_mlock": _flag,
    "numa": _flag,
    "embed_batch_size": _whole(1),
    "embed_concurrency": _whole(1, 64),
    "connect_timeout": _number(0, above=True),
    "retries": _whole(0, 100),
    "retry_budget": _number(0),
    "max_response_bytes": _whole(1, 2**63 - 1),
    "timeout": _number(0, above=True),
    "deadline": _number(0, above=True),
}

"""What a binding can do, as values that can be declared, narrowed per model and printed."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Capability"]


class Capability(StrEnum):
    """One feature of a binding.

    A class declares a set of them; ``capabilities_of(model)`` may narrow it for a model, never widen it.
    What is not declared raises :class:`~lollms_core.errors.CapabilityNotSupported` before any I/O.
    """

    TEXT = "text"  # generate_text on a plain prompt
    CHAT = "chat"  # role-tagged messages
    STREAM = "stream"  # text arrives in pieces
    VISION = "vision"  # images in the prompt
    TOOLS = "tools"  # tool (function) calls
    JSON_SCHEMA = "json_schema"  # answers bound to a schema
    REASONING = "reasoning"  # thinking can be asked for, and comes apart from the answer
    LOGPROBS = "logprobs"  # log probabilities of the sampled tokens
    EMBED = "embed"  # text to vector
    TOKENIZE = "tokenize"  # the model's exact tokens
    PULL = "pull"  # models can be fetched
    ASYNC = "async"  # native async: no thread per request

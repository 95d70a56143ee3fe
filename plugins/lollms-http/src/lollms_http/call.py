"""One HTTP request with a JSON body, without I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lollms_core import BadRequest

__all__ = ["Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        method: of HTTP.
        path: what follows the server's URL; begins with a slash.
        body: what is sent as JSON; None for nothing.
        model: the model that it is about, for messages.
        stream: whether the answer is asked for as a stream of records, rather than as one JSON value.
        says_nothing: whether the answer's status is all that it says; its body is then not looked at.
        is_large: whether the answer is mostly numbers or a vocabulary, which are not searched for the key.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    model: str | None = None
    stream: bool = False
    says_nothing: bool = False
    is_large: bool = False

    def about(self, who: str) -> str:
        """`who` (binding and host) and the model, for messages."""
        return who if self.model is None else f"{who}, model {self.model!r}"

    def content(self) -> bytes:
        """The body's bytes, "" if there is none.

        Raises:
            BadRequest: it holds something that JSON has no form for.
        """
        if self.body is None:
            return b""
        try:
            text = json.dumps(self.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BadRequest(f"the request cannot be written as JSON: {error}") from error
        return text.encode("utf-8", "replace")  # a lone surrogate has no UTF-8 form

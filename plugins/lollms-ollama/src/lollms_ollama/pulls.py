"""A model that the server fetches, without I/O: records of /api/pull in, progress out.

Source: "Pull a Model" in docs/api.md of https://github.com/ollama/ollama.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lollms_core import BackendError, Event, Finish, LollmsError, ModelNotFound, Progress, StreamInterrupted
from lollms_core.redaction import Redaction
from lollms_http import Reader
from lollms_ollama.records import whole_number

__all__ = ["PullReader"]


class PullReader(Reader):
    """The progress of one pull. Sizes are in bytes; each ``digest`` is a file of the model with a total of its own.

    Args:
        who: binding and host, for messages.
        model: what is fetched.
        redaction: takes out what must not be shown.
    """

    def __init__(self, who: str, model: str, redaction: Redaction) -> None:
        self._who = who
        self._model = model
        self._redaction = redaction

    def feed(self, record: Any) -> Iterator[Event]:
        status = self._redaction.text(record["status"])
        total, completed = whole_number(record, "total"), whole_number(record, "completed")
        if total is not None and completed is None:
            completed = 0  # the server leaves a zero out
        digest = record.get("digest")
        yield Progress(status, completed, total, self._redaction.text(digest) if isinstance(digest, str) else None)
        if status == "success":
            yield Finish()

    def end(self, marked: bool) -> Iterator[Event]:
        raise StreamInterrupted(
            f"{self._who}: fetching the model {self._model!r} ended without the word that it succeeded; "
            "pull it again to go on"
        )

    def failure(self, error: LollmsError) -> LollmsError:
        said = str(error).removeprefix(f"{self._who} failed: ")
        what = f"{self._who} cannot fetch the model {self._model!r}"
        if "file does not exist" in said:
            # What the registry's 404 becomes.
            return ModelNotFound(f"{what}: its registry has no such model ({said})")
        return BackendError(f"{what}: {said}")

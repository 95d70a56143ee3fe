"""A model that the server fetches, without I/O: bytes of /api/pull in, progress out.

Source: "Pull a Model" in docs/api.md of https://github.com/ollama/ollama.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lollms_core import BackendError, LollmsError, ModelNotFound, Progress, ProtocolError
from lollms_core.responses import error_of_message
from lollms_ollama.records import Records, quoted, whole_number

__all__ = ["PullReader"]


class PullReader(Records[Progress]):
    """The progress of one pull. Sizes are in bytes; each ``digest`` is a file of the model with a total of its own."""

    def _events(self, record: Mapping[str, Any]) -> Iterator[Progress]:
        status = record.get("status")
        if not isinstance(status, str):
            raise ProtocolError(
                f"{self._who} sent a record that is no progress: {quoted(json.dumps(record), self._redaction)}"
            )
        total, completed = whole_number(record, "total"), whole_number(record, "completed")
        if total is not None and completed is None:
            completed = 0  # the server leaves a zero out
        digest = record.get("digest")
        yield Progress(self._redaction.text(status), completed, total, digest if isinstance(digest, str) else None)
        self.done = status == "success"

    def _cut_short(self) -> str:
        return f"fetching the model {self._model!r} ended without the word that it succeeded; pull it again to go on"

    def _error(self, words: Any) -> LollmsError:
        said = str(error_of_message(words, who="", secrets=self._redaction)).removeprefix(" failed: ")
        what = f"{self._who} cannot fetch the model {self._model!r}"
        if "file does not exist" in said:
            # What the registry's 404 becomes.
            return ModelNotFound(f"{what}: its registry has no such model ({said})")
        return BackendError(f"{what}: {said}")

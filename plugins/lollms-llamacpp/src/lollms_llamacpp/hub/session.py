"""huggingface_hub as it is used here: imported late, and its errors in ours."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

from lollms_core import (
    AuthenticationError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    CapabilityNotSupported,
    LollmsError,
    ModelNotFound,
    ProtocolError,
    RateLimited,
)
from lollms_core.control import Control
from lollms_core.redaction import LogGuard, Redaction
from lollms_core.retry import parse_retry_after

__all__ = ["Hub", "check_extra"]

_PIP: Final = 'pip install "lollms-llamacpp[hub]"'
_LONGEST_WORD: Final = 300  # characters of what a server says that are shown


def check_extra() -> None:
    """Raises:
    CapabilityNotSupported: huggingface_hub is not installed, or too old.
    """
    if importlib.util.find_spec("huggingface_hub") is None or importlib.util.find_spec("filelock") is None:
        raise CapabilityNotSupported(f"fetching models takes huggingface_hub, which is not installed: {_PIP}")
    from importlib.metadata import version as version_of

    version = version_of("huggingface_hub")
    if int(version.partition(".")[0]) < 1:
        raise CapabilityNotSupported(f"fetching models takes huggingface_hub 1.0 or newer, not {version}: {_PIP}")


class Hub:
    """The hub that ``HF_ENDPOINT`` names, by default huggingface.co, with the user's own token.

    As a context manager it keeps that out of what the HTTP client logs, and of the errors that pass.

    Args:
        what: what is to be done, as the beginning of messages.
    """

    def __init__(self, what: str) -> None:
        from huggingface_hub import constants, get_token

        self._what = what
        # The package reads the variable when it is imported, which may be long ago.
        self._endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self._timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT  # seconds without a byte
        self._redaction = Redaction([get_token()])
        self._guard: LogGuard | None = None

    def __enter__(self) -> Self:
        http = _http().__name__
        core = http.replace("httpx", "httpcore")
        parts = ("connection", "http11", "http2", "proxy", "socks")
        loggers = [http, *(f"{core}.{part}" for part in parts), "huggingface_hub.utils._http"]
        self._guard = LogGuard(self._redaction, loggers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._guard is not None:
            self._guard.close()
        if error is not None:
            self._redaction.error(error)

    @property
    def host(self) -> str:
        """Where the hub is, without user info."""
        return urlsplit(self._endpoint).netloc.rpartition("@")[2]

    def info(self, repo: str, revision: str | None) -> Any:
        """What huggingface_hub calls the ModelInfo of a repository, with its files.

        Raises:
            LollmsError: there is no such repository or revision, or it cannot be asked for.
        """
        from huggingface_hub import HfApi

        try:
            api = HfApi(endpoint=self._endpoint)
            return api.model_info(repo, revision=revision, files_metadata=True, timeout=self._timeout)
        except self.errors as error:
            raise self.failure(error, repo, revision) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"{self._what}: {self.host} does not answer as a Hugging Face Hub does") from error

    @contextmanager
    def opened(self, repo: str, commit: str, file: str, start: int, control: Control) -> Iterator[Any]:
        """The answer with a file's bytes from `start` on, not read yet; a cancelled `control` cuts it off.

        Raises:
            one of ``errors``: for :meth:`failure`.
        """
        from huggingface_hub import get_session

        utils: Any = importlib.import_module("huggingface_hub.utils")
        url = f"{self._endpoint}/{repo}/resolve/{commit}/{quote(file)}"
        own = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        # The client takes the token off where it is sent elsewhere. No variable holds it: a traceback may show those.
        with get_session().stream(
            "GET", url, headers=utils.build_hf_headers(headers=own), timeout=self._timeout, follow_redirects=True
        ) as response:
            utils.hf_raise_for_status(response)
            forget = control.on_cancel(lambda: _hang_up(response))
            try:
                yield response
            finally:
                forget()

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What huggingface_hub and its HTTP client raise."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        return HfHubHTTPError, OfflineModeIsEnabled, _http().HTTPError, _http().InvalidURL

    def is_interruption(self, error: Exception) -> bool:
        """Whether the connection failed, so that another try may go well."""
        return isinstance(error, _http().TransportError)

    def status_of(self, error: Exception) -> tuple[int, Any] | None:
        """The status and the headers of an answer that was an error, None if there was no answer."""
        response = getattr(error, "response", None)
        return None if response is None else (response.status_code, response.headers)

    def failure(self, error: Exception, repo: str, revision: str | None = None) -> LollmsError:
        """What `error` means, in our words: its own may hold addresses with a signature in them."""
        from huggingface_hub import errors

        what, host = self._what, self.host
        log_in = "log in with: hf auth login"
        known: dict[type[Exception], LollmsError] = {
            errors.OfflineModeIsEnabled: BackendUnavailable(f"{what}: HF_HUB_OFFLINE is set"),
            errors.GatedRepoError: AuthenticationError(
                f"{what}: {repo} is gated; ask for access at {self._endpoint}/{repo}, and {log_in}"
            ),
            errors.RevisionNotFoundError: ModelNotFound(f"{what}: {repo} has no revision {revision or 'main'!r}"),
            errors.EntryNotFoundError: ModelNotFound(f"{what}: {repo} has no such file"),
            errors.RepositoryNotFoundError: ModelNotFound(
                f"{what}: {host} has no repository {repo}, or a private one, for which you {log_in}"
            ),
        }
        for kind, ours in known.items():
            if isinstance(error, kind):
                return ours
        answered = self.status_of(error)
        if answered is not None:
            return self._refusal(*answered, said=getattr(error, "server_message", None))
        if isinstance(error, _http().TimeoutException):
            return BackendTimeout(f"{what}: {host} does not answer within {self._timeout} seconds")
        failed = "cannot reach" if isinstance(error, _http().ConnectError) else "the connection broke off to"
        return BackendUnavailable(f"{what}: {failed} {host}: {self._shown(str(error) or type(error).__name__)}")

    def _refusal(self, status: int, headers: Any, said: str | None) -> LollmsError:
        words = f" ({self._shown(said)})" if said else ""
        text = f"{self._what}: {self.host} answers with status {status}{words}"
        if status in {401, 403}:
            return AuthenticationError(f"{text}; log in with: hf auth login")
        if status == 429:
            return RateLimited(text, retry_after=parse_retry_after(headers.get("retry-after")))
        return BackendError(text)

    def _shown(self, said: str) -> str:
        return self._redaction.text(" ".join(said.split())[:_LONGEST_WORD])


def _http() -> Any:
    """The HTTP package of this huggingface_hub: httpx, or from 2.0 on httpx2."""
    from huggingface_hub.errors import HfHubHTTPError

    return sys.modules[HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]


def _hang_up(response: Any) -> None:
    """End a read that waits for bytes in another thread; does not block."""
    import socket

    stream = response.extensions.get("network_stream")
    connection = None if stream is None else stream.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

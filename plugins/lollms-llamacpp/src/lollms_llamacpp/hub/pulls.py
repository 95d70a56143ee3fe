"""``pull`` and ``apull`` of the binding."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lollms_core import AsyncPullStream, BackendError, EventBinding, Progress, PullStream
from lollms_core.control import Control
from lollms_core.pulling import ProgressCallback
from lollms_llamacpp.hub.session import check_extra
from lollms_llamacpp.stores.hub_names import HubName
from lollms_llamacpp.stores.hugging_face import HuggingFace
from lollms_llamacpp.stores.places import hub_cache
from lollms_llamacpp.stores.stored import is_link, is_there

__all__ = ["HubPulls"]

_log = logging.getLogger(__name__)

_PREFIX: Final = HuggingFace.prefix


class HubPulls(EventBinding):
    """A binding that fetches models from the Hugging Face Hub."""

    def pull(self, model_name: str, *, progress: ProgressCallback | None = None) -> PullStream:
        """Fetch a model from the Hugging Face Hub into the cache that Hugging Face's packages share.

        Afterwards it is listed, and is loaded by the same name. What an interrupted or cancelled pull has fetched
        stays, and the next one goes on from there. ``HF_TOKEN`` or ``hf auth login`` opens private and gated
        repositories.

        Args:
            model_name: ``hf:OWNER/REPO/FILE.gguf``; ``hf:OWNER/REPO:Q4_K_M`` for the model of a quantisation;
                ``hf:OWNER/REPO`` where there is only one. ``@REVISION`` after the repository is a commit, a tag or a
                branch. Of a split model all files are fetched.
            progress: gets each :class:`Progress` and stops the pull by returning False; with it, all is fetched at
                once. Each file has its own ``completed`` and ``total`` (bytes), and its checksum as ``digest``.

        Raises:
            CapabilityNotSupported: huggingface_hub is not installed.
            TypeError, ValueError: `model_name` is no such name.
            ModelNotFound: on reading: there is no such repository, revision or file, or several models are meant.
            AuthenticationError: on reading: it is gated, or the token is refused.
            BackendUnavailable, BackendTimeout: on reading: the hub cannot be reached, or ``HF_HUB_OFFLINE`` is set.
            StreamInterrupted: on reading: the connection broke off again and again.
            BackendError: on reading: it is no GGUF file, came damaged, or there is no room for it.
        """
        _check(model_name)
        return super().pull(model_name, progress=progress)

    def apull(self, model_name: str, *, progress: ProgressCallback | None = None) -> AsyncPullStream:
        """:meth:`pull` for asyncio."""
        _check(model_name)
        return super().apull(model_name, progress=progress)

    def _pull(self, model_name: str, control: Control) -> Iterator[Progress]:
        from lollms_llamacpp.hub.lookup import look_up
        from lollms_llamacpp.hub.session import Hub
        from lollms_llamacpp.hub.transfer import Transfer

        name = HubName.parse(model_name.removeprefix(_PREFIX))
        assert name is not None  # pull() has looked
        with Hub(f"cannot fetch {model_name}") as hub:
            yield Progress(f"looking up {_PREFIX}{name.place}")
            model = look_up(hub, name)
            repository = hub_cache() / f"models--{model.repo.replace('/', '--')}"
            transfers = [Transfer(hub, model.repo, model.commit, file, repository, control) for file in model.files]
            _check_room(repository, sum(transfer.missing() for transfer in transfers))
            for transfer in transfers:
                yield from transfer.run()
                if control.cancelled:
                    return
            # Not before: a split model is none until its last file is there.
            _place(repository, model.commit, name.revision or "main", transfers)
        yield Progress("success")


def _check(model_name: object) -> None:
    """Raises:
    CapabilityNotSupported: huggingface_hub is not installed.
    ValueError: `model_name` is none that can be fetched.
    """
    if isinstance(model_name, str) and model_name.strip():
        known = model_name.startswith(_PREFIX)
        if not known or HubName.parse(model_name.removeprefix(_PREFIX)) is None:
            raise ValueError(
                f"cannot fetch {model_name!r}: what can be fetched is hf:OWNER/REPO/FILE.gguf, "
                "hf:OWNER/REPO:QUANTISATION or hf:OWNER/REPO, with @REVISION after REPO if it is not the newest"
            )
    check_extra()


def _check_room(folder: Path, missing: int) -> None:
    """Raises:
    BackendError: there is no room for so many bytes.
    """
    while not is_there(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        _log.debug("cannot tell how much room there is in %s: %s", folder, error)
        return
    if missing > free:
        raise BackendError(f"{missing} bytes are to be fetched, and {folder} has room for {free}")


def _place(repository: Path, commit: str, revision: str, transfers: list[Any]) -> None:
    """Give the blobs their names in the revision, as huggingface_hub does."""
    try:
        for transfer in transfers:
            depth = transfer.file.path.count("/") + 2
            path = transfer.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if is_there(path):
                continue
            if is_link(path):  # to a blob that somebody has deleted
                path.unlink()
            try:
                path.symlink_to("../" * depth + f"blobs/{transfer.blob.name}")
            except (OSError, NotImplementedError):
                if not is_there(path):  # no links on this system: then the file itself is there
                    transfer.blob.replace(path)
        if revision != commit:
            ref = repository / "refs" / revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            beside = ref.with_name(f".{ref.name}.{os.getpid()}")
            try:
                beside.write_text(commit, encoding="ascii")
                beside.replace(ref)
            finally:
                with suppress(FileNotFoundError):
                    beside.unlink()
    except OSError as error:
        raise BackendError(f"cannot write {error.filename}: {error.strerror}") from None

"""A redirect to another host is not followed: the key that a binding was given goes to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from lollms_core import BackendError, LollmsLLMBinding
from lollms_core.testing import MARKER, Dialect, FaultServer, response
from lollms_core.testing.playing import Factory, places_of

pytestmark = pytest.mark.faults
Note = Callable[[str, object], None]


def _ask(binding: LollmsLLMBinding) -> None:
    with binding:
        binding.chat("Why?")


def _ask_in_loop(binding: LollmsLLMBinding) -> None:
    async def main() -> None:
        async with binding:
            await binding.achat("Why?")

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_host_is_never_asked(
    status: int, mode: str, peer: tuple[Dialect, Factory], record_property: Note
) -> None:
    dialect, factory = peer
    # Another port is another origin, as another host is.
    with FaultServer() as server, FaultServer() as elsewhere:
        places_of(elsewhere, dialect)
        elsewhere.on(dialect.chat_path, lambda asked: (dialect.answer(asked.body),))
        away = response(dialect.refusal("moved"), f"{status} Moved", Location=elsewhere.url + dialect.chat_path)
        places_of(server, dialect)
        server.on(dialect.chat_path, (away,))
        binding = factory(host_address=server.url + dialect.address, service_key=MARKER, model_name=dialect.model)
        ask = _ask if mode == "sync" else _ask_in_loop
        with pytest.raises(BackendError, match=str(status)):
            ask(binding)
        assert elsewhere.connections == 0
        asked = server.asked_at(dialect.chat_path)
        assert [MARKER in request.headers.get("authorization", "") for request in asked] == [True]
    record_property("requests", len(asked))

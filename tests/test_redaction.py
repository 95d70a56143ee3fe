"""What no text shows; most of it is shown by the bindings' own tests and by every row of the faults."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from lollms_core.redaction import LogGuard, Redaction

SECRET = "sk-marker-4711"


class _Told(logging.Logger):
    """A logger that tells when its filters change, as the garbage collector may come at that moment."""

    then: Callable[[], None] | None = None

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "filters" and self.then is not None:
            then, self.then = self.then, None
            then()


@pytest.fixture
def logger() -> Iterator[_Told]:
    logger = logging.getLogger("tests.redaction")
    told = _Told(logger.name)
    logging.Logger.manager.loggerDict[logger.name] = told
    told.parent = logger.parent
    yield told
    del logging.Logger.manager.loggerDict[logger.name]


def guard(logger: logging.Logger) -> LogGuard:
    return LogGuard(Redaction([SECRET]), [logger.name])


def test_a_record_shows_no_secret_while_a_guard_stands(logger: _Told, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        standing = guard(logger)
        logger.warning("refused %s", SECRET)
        standing.close()
        standing.close()
        logger.warning("free again: %s", SECRET)
    assert [record.getMessage() for record in caplog.records] == ["refused ***", f"free again: {SECRET}"]
    assert logger.filters == []


@pytest.mark.parametrize("changing", ["making", "closing"])
def test_a_guard_is_closed_while_another_one_changes_the_logger(logger: _Told, changing: str) -> None:
    """The collector runs finalizers in whatever thread, also in the middle of such a change: none may wait there."""
    forgotten, other = guard(logger), guard(logger)
    logger.then = forgotten.close
    if changing == "making":
        made = guard(logger)
        assert logger.filters == [other.filter, made.filter]
    else:
        other.close()
        assert logger.filters == []


def test_a_guard_that_leaves_takes_none_out_of_the_middle_of_a_record(
    logger: _Told, caplog: pytest.LogCaptureFixture
) -> None:
    """Two guards, the first of which leaves as it is asked: the second is asked all the same."""
    leaving = guard(logger)

    def leave(record: logging.LogRecord) -> bool:
        leaving.close()
        return True

    logger.filters.insert(0, leave)
    other = guard(logger)
    with caplog.at_level(logging.DEBUG):
        logger.warning("refused %s", SECRET)
    assert caplog.messages == ["refused ***"]
    other.close()
    assert logger.filters == [leave]

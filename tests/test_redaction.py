"""What no text shows; most of it is shown by the bindings' own tests and by every row of the faults."""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


_WRITTEN: tuple[Callable[[str], str], ...] = (
    str,
    lambda secret: json.dumps(secret)[1:-1],
    lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    lambda secret: repr(secret)[1:-1],
    quote,
    html.escape,
)
_AROUND = st.text(st.sampled_from("ab'\"\\/ \n\u00e9"), max_size=4)


@given(
    secret=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=4, max_size=12),
    write=st.sampled_from(_WRITTEN),
    before=_AROUND,
    after=_AROUND,
)
@example(secret="it's", write=str, before='"', after="")
@example(secret="a/b/c", write=_WRITTEN[2], before="", after="")
def test_whatever_of_json_has_a_secret_in_it_is_found(
    secret: str, write: Callable[[str], str], before: str, after: str
) -> None:
    redaction = Redaction([secret])
    text = f"{before}{write(secret)}{after}"
    hidden = redaction.text(text)
    value: Any = {"a": [1, {"b": text}], text: None}
    assert redaction.value(value) == {"a": [1, {"b": hidden}], hidden: None}


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner) | st.tuples(inner)))
def test_what_has_no_secret_in_it_stays_the_same_object(value: Any) -> None:
    assert Redaction([SECRET]).value({"a": value})["a"] is value
    assert Redaction().value([value])[0] is value


def test_what_is_nested_too_deep_to_be_looked_at_is_hidden() -> None:
    value: Any = SECRET
    for _ in range(100_000):
        value = [value]
    found = Redaction([SECRET]).value(value)
    levels = 0
    while isinstance(found, list):
        (found,), levels = found, levels + 1
    assert found == "***"
    assert levels > 50

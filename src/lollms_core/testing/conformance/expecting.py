"""What checks say when something else happens than the contract promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["name_of", "raises", "text"]

_E = TypeVar("_E", bound=BaseException)


def raises(kind: type[_E] | tuple[type[_E], ...], call: Callable[[], Any], what: str) -> _E:
    """The error of `kind` that `call` raises.

    Raises:
        AssertionError: it raises another one, or none.
    """
    names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
    try:
        result = call()
    except kind as error:
        return error
    except Exception as error:
        raise AssertionError(f"{what} raises {name_of(error)}: {error}, not {names}") from error
    raise AssertionError(f"{what} gives {_short(result)} and raises no {names}")


def text(result: Any, what: str) -> str:
    """`result`, which must be a text that is not empty.

    Raises:
        AssertionError: it is something else.
    """
    assert isinstance(result, str), f"{what} gives {_short(result)}, which is no str"
    assert result.strip(), f"{what} gives no text"
    return result


def name_of(error: BaseException) -> str:
    """The name of an error's type."""
    return type(error).__name__


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."

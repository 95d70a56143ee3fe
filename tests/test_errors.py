"""The error tree and its dict form."""

from __future__ import annotations

import pickle
import re

import pytest

from lollms_core import errors
from lollms_core.errors import (
    BackendError,
    InvalidOutput,
    LollmsError,
    ModelNotFound,
    close_names,
    error_from_dict,
    error_to_dict,
)

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, LollmsError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_its_dict_and_pickling(cls: type[LollmsError]) -> None:
    error = cls("what failed", partial="half")
    again = error_from_dict(error_to_dict(error))
    assert type(again) is cls
    assert (str(again), again.partial) == ("what failed", "half")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), copy.partial) == (cls, "what failed", "half")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"[├└]── ([A-Z]\w+)", errors.__doc__ or ""))
    assert drawn == {cls.__name__ for cls in CLASSES} - {"LollmsError"}


def test_unknown_types_are_backend_errors() -> None:
    assert type(error_from_dict({"status": False, "error": "x", "error_type": "Novel"})) is BackendError
    assert "without saying which" in str(error_from_dict({}))


def test_misuse_is_also_a_builtin() -> None:
    assert issubclass(errors.UnsupportedParameter, TypeError)
    assert issubclass(errors.CapabilityNotSupported, ValueError)
    assert issubclass(errors.ImageError, ValueError)
    assert not issubclass(ModelNotFound, (TypeError, ValueError))


def test_invalid_output_keeps_the_text() -> None:
    error = InvalidOutput(text="{", reason="cut short")
    assert (str(error), error.text, error.partial) == ("cut short", "{", "{")


def test_close_names() -> None:
    assert close_names("temprature", ["temperature", "seed"]) == " Did you mean temperature?"
    assert close_names("zzz", ["temperature"]) == ""

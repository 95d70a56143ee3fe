"""HTTP responses that are no answers, and the errors that they mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lollms_core import errors
from lollms_core.responses import check_content_type, error_of_message, error_of_response

JSON = {"content-type": "application/json"}
KEY = "sk-very-secret-0123456789"


def error(
    status: int, body: Any, headers: dict[str, str] | None = None, model: str | None = "m1"
) -> errors.LollmsError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_of_response(
        status, {**JSON, **(headers or {})}, data, who="x at http://h", model=model, secrets=[KEY, None]
    )


OPENAI_OVERFLOW = {
    "error": {"message": "This model's maximum context length is 5", "type": "e", "code": "context_length_exceeded"}
}
LLAMA_OVERFLOW = {"error": {"code": 400, "message": "the request exceeds", "type": "exceed_context_size_error"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (400, {"error": "bad"}, errors.BadRequest, "x at http://h refuses the request (status 400): bad"),
        (400, OPENAI_OVERFLOW, errors.ContextOverflow, "maximum context length"),
        (400, LLAMA_OVERFLOW, errors.ContextOverflow, "the request exceeds"),
        (400, {"error": "model 'm1' not found"}, errors.ModelNotFound, "'m1'"),
        (401, {"error": {"message": "no"}}, errors.AuthenticationError, "refuses the key (status 401): no"),
        (403, b"", errors.AuthenticationError, "refuses the key (status 403)"),
        (404, {"error": "model 'm1' not found, try pulling it first"}, errors.ModelNotFound, "try pulling"),
        (404, b"<html>", errors.ModelNotFound, "a web page"),
        (408, b"", errors.BackendTimeout, "408"),
        (409, b"", errors.BadRequest, "409"),
        (422, {"detail": [{"msg": "a"}, {"msg": "b"}]}, errors.BadRequest, ": a; b"),
        (429, {"message": "slow"}, errors.RateLimited, "slow"),
        (500, {"error": {"message": None}}, errors.BackendError, "failed (status 500)"),
        (503, b"busy\n\nnow\x00", errors.Overloaded, ": busy now?"),
        (529, b"", errors.Overloaded, "529"),
        (500, [1], errors.BackendError, ": 1"),
    ],
)
def test_each_status_has_its_error(status: int, body: Any, kind: type[errors.LollmsError], text: str) -> None:
    found = error(status, body)
    assert type(found) is kind
    assert text in str(found)
    assert "\n" not in str(found)


def test_404_without_a_model_is_a_bad_request() -> None:
    assert type(error(404, b"404 page not found", model=None)) is errors.BadRequest


def test_retry_after_is_kept() -> None:
    found = error(429, {}, {"retry-after": "3"})
    assert isinstance(found, errors.RateLimited)
    assert found.retry_after == 3


def test_a_redirect_names_the_place_and_never_the_key() -> None:
    found = error(302, b"", {"location": f"https://other/?key={KEY}"})
    assert "https://other/?key=***" in str(found)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_the_key_is_taken_out(status: int) -> None:
    for body in ({"error": f"Incorrect API key provided: {KEY}."}, f"bad {KEY}".encode()):
        assert KEY not in str(error(status, body))
    assert KEY not in str(error_of_message({"message": f"bad {KEY}"}, who="x", secrets=[KEY]))


def test_long_words_are_cut() -> None:
    assert len(str(error(500, b"word " * 10_000))) < 700


def test_an_error_inside_a_stream() -> None:
    assert str(error_of_message("boom", who="x")) == "x failed: boom"
    assert (
        type(error_of_message({"type": "exceed_context_size_error", "message": "m"}, who="x")) is errors.ContextOverflow
    )
    assert "without saying why" in str(error_of_message(None, who="x"))


def test_content_types() -> None:
    check_content_type({"content-type": "Application/JSON; charset=utf-8"}, ("application/json",), who="x")
    check_content_type({}, ("application/json",), who="x")
    with pytest.raises(errors.ProtocolError, match=r"x answered with text/html instead of application/json"):
        check_content_type({"content-type": "text/html"}, ("application/json",), who="x")

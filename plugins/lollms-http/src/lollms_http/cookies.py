"""Cookies: a balancer sends the requests that bring its cookie to one server, the one whose cache has the prompt.

What a cookie goes with is for :mod:`http.cookiejar` to say, which is imported for the first that a server sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

__all__ = ["Cookies"]

_MAX_COOKIES: Final = 50
_MAX_BYTES: Final = 4096
"""What a client should have room for: of a server, and in a cookie (RFC 6265, section 6.1)."""


class Cookies:
    """What one server has set, from any thread; kept in memory alone."""

    def __init__(self) -> None:
        self._jar: CookieJar | None = None

    def __repr__(self) -> str:
        return f"Cookies({0 if self._jar is None else len(self._jar)})"

    def keep(self, url: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep what the answer from `url` sets in its `headers`, and drop what it takes back.

        What is too long is left out; where they would be too many, those of earlier answers are forgotten.
        """
        from email.message import Message
        from http.cookiejar import CookieJar
        from types import SimpleNamespace
        from urllib.request import Request

        found = [value for name, value in headers if name.lower() == b"set-cookie" and len(value) <= _MAX_BYTES]
        message = Message()
        for value in found[:_MAX_COOKIES]:
            message["Set-Cookie"] = value.decode("latin-1")
        jar = self._jar
        if jar is None or len(jar) + len(found) > _MAX_COOKIES:
            jar = self._jar = CookieJar()
        answer: Any = SimpleNamespace(info=lambda: message)  # all that is asked of an answer
        jar.extract_cookies(answer, Request(url))  # noqa: S310  # nothing opens it

    def header(self, url: str) -> bytes | None:
        """The Cookie header of a request to `url`, None if there is none."""
        if self._jar is None:
            return None
        from urllib.request import Request

        request = Request(url)  # noqa: S310  # nothing opens it
        self._jar.add_cookie_header(request)
        found = request.get_header("Cookie")
        return None if found is None else found.encode("latin-1")

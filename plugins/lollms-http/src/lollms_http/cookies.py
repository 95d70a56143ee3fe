"""Cookies: a balancer sends the requests that bring its cookie to one server, the one whose cache has the prompt.

What a cookie goes with is for :mod:`http.cookiejar` to say, which is imported for the first that a server sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
        """Keep what the answer from `url` sets in its `headers`, and drop what it takes back."""
        from email.message import Message
        from http.cookiejar import CookieJar
        from urllib.request import Request

        class Answer:
            def info(self) -> Message:
                found = Message()
                for name, value in headers:
                    if name.lower() == b"set-cookie" and len(value) <= _MAX_BYTES:
                        found["Set-Cookie"] = value.decode("latin-1")
                return found

        jar = self._jar
        if jar is None or len(jar) >= _MAX_COOKIES:
            jar = self._jar = CookieJar()
        request = Request(url)  # noqa: S310  # nothing opens it
        jar.extract_cookies(Answer(), request)  # type: ignore[arg-type]  # all that it asks of an answer

    def header(self, url: str) -> bytes | None:
        """The Cookie header of a request to `url`, None if there is none."""
        if self._jar is None:
            return None
        from urllib.request import Request

        request = Request(url)  # noqa: S310  # nothing opens it
        self._jar.add_cookie_header(request)
        found = request.get_header("Cookie")
        return None if found is None else found.encode("latin-1")

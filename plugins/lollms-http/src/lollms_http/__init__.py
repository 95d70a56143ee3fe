"""lollms-http: everything that a lollms-core binding over HTTP needs, but for what its backend says.

A binding subclasses :class:`HttpBinding` and writes what is sent (:class:`Call`) and what the records of the answer
mean (:class:`Reader`). Importing this package is cheap: httpcore is imported with the first request.
"""

from __future__ import annotations

from lollms_http.answer import Reader
from lollms_http.binding import HttpBinding
from lollms_http.call import Call
from lollms_http.framing import JsonLines, ServerSentEvents
from lollms_http.options import HttpOptions
from lollms_http.steps import Several, Steps, Wait, Work

__all__ = [
    "Call",
    "HttpBinding",
    "HttpOptions",
    "JsonLines",
    "Reader",
    "ServerSentEvents",
    "Several",
    "Steps",
    "Wait",
    "Work",
]

__version__ = "0.1.0"

"""Renders hostile templates in this process, which is bounded in memory and time, and says what came of each.

Run as a program, with a number of which one in so many is taken:
one JSON line for each template, a list of the kind of what it gave (``text``, ``error``, ``wrong``)
and what it said or how long it was.
"""

from __future__ import annotations

import json
import resource
import sys

from hostile_templates import HARMLESS, REFUSED

from lollms_core import BadRequest
from lollms_llamacpp import sandbox
from lollms_llamacpp.chat_template import ChatTemplate

MEMORY = 1 << 30
SECONDS = 100
TALK = [{"role": "user", "content": "hi"}]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    sandbox.MAX_SECONDS = 1.0  # type: ignore[misc] # enough to show that it is the clock that ends them
    good = ChatTemplate("{{ messages[0].content }}!", origin="good")
    for source in (*REFUSED, *HARMLESS)[:: int(sys.argv[1])]:
        try:
            found: list[object] = ["text", len(ChatTemplate(source, origin="model x").render(TALK))]
        except BadRequest as error:
            found = ["error", str(error)]
        if good.render(TALK) != "hi!":
            found = ["wrong", "the next template"]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""The Python that runs the blocks of a page, one after the other, in one namespace: started by tests/docs.

One line of JSON on standard input is one block; one on standard output says what it printed, or what it raised.
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import sys
import traceback


def main() -> None:
    """Run blocks until there are no more."""
    replies = sys.stdout
    sys.path.insert(0, "")  # as for a program that lies in the current directory
    names: dict[str, object] = {"__name__": "__main__"}
    for line in sys.stdin:
        block = json.loads(line)
        printed = io.StringIO()
        error = ""
        try:
            # The lines before it are left empty, so that a traceback names the page's own lines. dataclasses and
            # inspect look for the source too.
            source = "\n" * (block["line"] - 1) + block["text"]
            linecache.cache[block["page"]] = (len(source), None, source.splitlines(keepends=True), block["page"])
            with contextlib.redirect_stdout(printed):
                exec(compile(source, block["page"], "exec"), names)  # noqa: S102 - our own pages
        except BaseException:  # noqa: BLE001 - the test shows it
            error = traceback.format_exc()
        print(json.dumps({"printed": printed.getvalue(), "error": error}), file=replies, flush=True)


if __name__ == "__main__":
    main()

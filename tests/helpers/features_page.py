"""The tables of docs/features.md, made from what the bindings declare. `nox -s docs` writes them, a test compares."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from lollms_core import Capability, LollmsLLMBinding
from lollms_core.request import PARAMETERS

BEGIN = "<!-- made from what the bindings declare: nox -s docs -->"
END = "<!-- up to here -->"
OURS = ("lollms-llamacpp", "lollms-ollama", "lollms-openai")
CARE = ("pull", "delete", "ps", "unload")
_COLUMNS = {
    "images": Capability.VISION,
    "tools": Capability.TOOLS,
    "schema": Capability.JSON_SCHEMA,
    "thinking": Capability.REASONING,
    "logprobs": Capability.LOGPROBS,
    "embeddings": Capability.EMBED,
    "exact tokens": Capability.TOKENIZE,
    "native async": Capability.ASYNC,
}


def classes() -> dict[str, type[LollmsLLMBinding]]:
    """The bindings of this repository's distributions by name; of a class with several names, the first."""
    found: dict[str, type[LollmsLLMBinding]] = {}
    for point in sorted(entry_points(group="lollms.llm_bindings"), key=lambda point: point.name):
        if point.dist is not None and point.dist.name in OURS:
            cls = point.load()
            if cls not in found.values():
                found[point.name] = cls
    return found


def tables() -> str:
    """The generated part of the page."""
    bindings = classes()
    every = [Capability.TEXT, Capability.CHAT, Capability.STREAM]
    for name, cls in bindings.items():
        assert cls.capabilities.issuperset(every), f"{name} lacks what the page takes for granted"
    rest = frozenset(Capability) - frozenset([*every, *_COLUMNS.values(), Capability.PULL])
    assert not rest, f"the page has no column for {rest}"
    columns = _COLUMNS.values()
    able = ([f"`{name}`", *(_mark(one in cls.capabilities) for one in columns)] for name, cls in bindings.items())
    capabilities = table(["binding", *_COLUMNS], able)
    parameters = table(
        ["parameter", *(f"`{name}`" for name in bindings)],
        (
            [f"`{parameter}`", *(_mark(parameter in cls.uses) for cls in bindings.values())]
            for parameter in sorted(PARAMETERS)
        ),
    )
    care = table(
        ["binding", *(f"`{method}`" for method in CARE)],
        (
            [f"`{name}`", *(_mark(_can(cls, method)) for method in CARE)]
            for name, cls in bindings.items()
            if any(_can(cls, method) for method in CARE)
        ),
    )
    parts = {"What each binding can do": capabilities, "Parameters that count": parameters, "Care for models": care}
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts.items())


def page(text: str) -> str:
    """`text` with its generated part made anew."""
    return with_part(text, BEGIN, tables())


def with_part(text: str, begin: str, part: str) -> str:
    """`text` with `part` in the place of what stands between `begin` and :data:`END`."""
    before, found, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    assert found, "the page has lost the mark where its tables begin"
    assert end, "the page has lost the mark where its tables end"
    return f"{before}{begin}\n\n{part}\n\n{END}{after}"


def _can(cls: type[LollmsLLMBinding], method: str) -> bool:
    if method == "pull":
        return Capability.PULL in cls.capabilities
    return getattr(cls, method) is not getattr(LollmsLLMBinding, method)


def _mark(there: bool) -> str:
    return "yes" if there else "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(page(target.read_text(encoding="utf-8")), encoding="utf-8")

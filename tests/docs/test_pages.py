"""What holds for the pages as a whole."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest
from doc_pages import ROOT, blocks_of, pages
from markdown_it import MarkdownIt

MOST_NOT_RUN = 3
"""How many blocks may have a reason not to be run. Think twice before you raise it."""

NAMED = (
    "lollms_core",
    "lollms_core.hookspecs",
    "lollms_core.testing",
    "lollms_core.testing.conformance",
    "lollms_http",
)
"""Modules whose public names each have a directive."""

WHOLE = ("lollms_core.framing", "lollms_core.retry", "lollms_core.responses", "lollms_core.failures")
"""Modules that are documented whole."""

BINDINGS = ("lollms_llamacpp.LlamaCppBinding", "lollms_ollama.OllamaBinding", "lollms_openai.OpenAIBinding")
"""Classes that are documented with their options."""


def test_few_blocks_are_not_run(tell: list[str]) -> None:
    """Each of them says why; the report counts them."""
    blocks = [block for page in pages() for block in blocks_of(page)]
    not_run = [block for block in blocks if block.not_run is not None]
    tell.append(f"{len(blocks)} code blocks, {len(not_run)} of them not run:")
    tell += [f"  {block}: {block.not_run}" for block in not_run]
    assert [str(block) for block in not_run if not block.not_run] == []
    assert len(not_run) <= MOST_NOT_RUN


def reference() -> set[str]:
    """The names that the reference pages document."""
    directive = re.compile(r"^ *\.\. (?:auto\w+|data|function):: ([\w.]+)", re.MULTILINE)
    return {name for page in ROOT.glob("docs/reference/*.md") for name in directive.findall(page.read_text("utf-8"))}


@pytest.mark.parametrize("module", NAMED)
def test_the_reference_has_every_public_name(module: str) -> None:
    last = {name.rpartition(".")[2] for name in reference()}
    assert set(importlib.import_module(module).__all__) - last <= {"__version__", "hookspec"}


def test_the_reference_has_modules_and_bindings() -> None:
    assert {*WHOLE, *BINDINGS} <= reference()
    for name in BINDINGS:
        package, _, attribute = name.rpartition(".")
        options = getattr(importlib.import_module(package), attribute).options
        assert f"{options.__module__}.{options.__name__}" in reference()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_block_is_indented(page: Path) -> None:
    """An indented block has no language, so nothing could be said about it."""
    assert [str(block) for block in blocks_of(page) if not block.language] == []


@pytest.mark.skipif("LOLLMS_PACKAGING" in os.environ, reason="beside the wheels only some of the files are there")
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page: Path) -> None:
    """Also where the site's tool does not look: a README is read elsewhere, too."""
    tokens = [child for token in MarkdownIt().parse(page.read_text("utf-8")) for child in token.children or ()]
    targets = {str(token.attrGet("href")).partition("#")[0] for token in tokens if token.type == "link_open"}
    files = {target for target in targets if target and "://" not in target}
    assert [target for target in sorted(files) if not (page.parent / target).is_file()] == []

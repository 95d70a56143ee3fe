"""Every code block of the documentation runs, and prints what its page says; doc_pages has the rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from doc_pages import Run, pages, runs_of
from doc_runner import PageRun

RUNS = [run for page in pages() for run in runs_of(page)]


@pytest.mark.skipif(os.name == "nt", reason="the shell lines are those of a Unix shell")
@pytest.mark.parametrize("run", RUNS, ids=str)
def test_blocks(run: Run, tmp_path: Path, server: str, sessions: list[str]) -> None:
    """In their order, in a directory and a home of their own."""
    with PageRun(tmp_path, server, sessions) as started:
        for block in run.blocks:
            started.run(block)

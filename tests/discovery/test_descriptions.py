"""A folder's description.yaml in ``records()``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from installed import Site

from lollms_core.discovery.descriptions import MAX_BYTES
from lollms_core.discovery.records import BindingRecord

TEXT = """
title: Mine
creation_date: 2025-08-13
input_parameters:
  - name: host_address
    mandatory: false
    default: "http://localhost"
"""


def described(site: Site, text: str) -> BindingRecord:
    folder = site.folder("mine", "raise AssertionError('it was run')")
    (folder / "description.yaml").write_text(text, "utf-8")
    (record,) = site.manager().records()
    assert record.description_file == str(folder / "description.yaml")
    return record


def test_it_is_shown_as_plain_data(site: Site) -> None:
    """A record that has one is as usable as any other: as a key, as JSON."""
    record = described(site, TEXT)
    expected = {
        "title": "Mine",
        "creation_date": "2025-08-13",
        "input_parameters": [{"name": "host_address", "mandatory": False, "default": "http://localhost"}],
    }
    assert record.description == json.loads(json.dumps(expected))
    assert {record: 1}[record] == 1


def test_without_pyyaml_it_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert described(site, TEXT).description is None


def test_pyyaml_is_not_imported_where_nothing_needs_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "yaml", raising=False)
    site.folder("mine")
    (record,) = site.manager().records()
    assert (record.description_file, "yaml" in sys.modules) == (None, False)


@pytest.mark.parametrize(
    "text",
    [
        "title: [",
        "- a list",
        "",
        "title: !!python/object/apply:os.getpid []",
        "a: &a [x, x]\nb: *a",
        "x" * (MAX_BYTES + 1),
        "[" * 5000,
        "\x00",
    ],
    ids=["broken", "list", "empty", "code", "aliases", "long", "deep", "nul"],
)
def test_a_file_that_is_none_costs_nothing(site: Site, text: str) -> None:
    assert described(site, text).description is None


@pytest.mark.skipif(os.name == "nt", reason="links as POSIX has them")
def test_a_link_out_of_the_directory_is_not_followed(site: Site, tmp_path: Path) -> None:
    folder = site.folder("mine")
    (tmp_path / "secret.yaml").write_text("key: secret")
    (folder / "description.yaml").symlink_to(tmp_path / "secret.yaml")
    (record,) = site.manager().records()
    assert (record.description_file, record.description) == (None, None)

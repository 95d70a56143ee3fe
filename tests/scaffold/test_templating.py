"""Templates: strict, and nothing of Python's or of a workflow's own syntax in their way."""

from __future__ import annotations

import pytest

from lollms_core.scaffold.templating import render, tree


def test_values_are_put_in_once() -> None:
    """A value that looks like a place stays as it is."""
    assert render("a = <<a>>, <<b>>\n", {"a": "<<b>>", "b": "2"}) == "a = <<b>>, 2\n"


def test_a_place_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="other"):
        render("<<name>> <<other>>", {"name": "x"})


def test_a_line_for_an_empty_value_goes_away() -> None:
    assert render("one\n    <<none>>\ntwo <<none>>\n", {"none": ""}) == "one\ntwo \n"


@pytest.mark.parametrize("text", ["${{ matrix.python }}", "{name} % $name", "1 << 2 >> 3", "<< name >>"])
def test_other_syntax_is_left_alone(text: str) -> None:
    assert render(text, {}) == text


def test_a_tree_has_the_paths_that_its_files_are_for() -> None:
    """Hidden files among them, and no suffix of a template."""
    paths = tree("distribution").keys()
    assert {".gitignore", ".github/workflows/test.yml", "src/__package__/py.typed"} <= paths
    assert not [path for path in paths if path.endswith(".tmpl")]

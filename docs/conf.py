"""The site: Sphinx with MyST and Furo. `nox -s docs` builds it into site/, with every warning an error."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from lollms_core import __version__

project = "lollms-core"
author = "The lollms-core authors"
copyright = author  # noqa: A001 - Sphinx's own name for it
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

# A reference to a name of ours that does not exist is an error. Others' names are not looked up: that would take their
# inventories from the internet.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!lollms_).*"), ("py:.*", r"lollms_.*\.(_\w+|T)")]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
default_role = "code"  # what a docstring has between single backticks is a name in the code
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
viewcode_line_numbers = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"lollms-core {version}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# The reader's own fonts: nothing is fetched.
html_theme_options = {
    "light_css_variables": {"font-stack--monospace": "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"},
    "navigation_with_keys": True,
}


def setup(app: Sphinx) -> None:
    """Signatures of dataclasses as Python: one with ``<factory>`` in it cannot be parsed, and breaks at every comma."""

    def readable(*about: Any) -> tuple[str, str | None] | None:
        *_, signature, returned = about
        return (signature.replace("<factory>", "..."), returned) if signature else None

    app.connect("autodoc-process-signature", readable)

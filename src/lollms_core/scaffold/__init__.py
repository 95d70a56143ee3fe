"""Bindings to start from: what ``lollms new-binding`` writes.

``templates/distribution`` is what every distribution has, ``templates/local`` what every folder of the bindings
directory has, and one folder for each shape holds its code and its tests. They are data, no Python of this package:
``<<name>>`` in them stands for a value, and ``__package__`` in a path for the package's name.
"""

from __future__ import annotations

from lollms_core.scaffold.naming import Names
from lollms_core.scaffold.projects import LICENCES, SHAPES, distribution_files, folder_files
from lollms_core.scaffold.writing import write_tree

__all__ = ["LICENCES", "SHAPES", "Names", "distribution_files", "folder_files", "write_tree"]

"""The names that other APIs have for a parameter lead to parameters that there are."""

from __future__ import annotations

from lollms_core.arguments import COMMON_NAMES
from lollms_core.other_names import OTHER_NAMES
from lollms_core.request import REQUEST_FIELDS
from lollms_llamacpp.options import LlamaCppOptions


def test_each_leads_to_one_of_the_contract_or_of_ours() -> None:
    ours = frozenset(LlamaCppOptions.__annotations__)
    assert frozenset(OTHER_NAMES.values()) <= REQUEST_FIELDS | COMMON_NAMES | ours
    assert not ours & OTHER_NAMES.keys()

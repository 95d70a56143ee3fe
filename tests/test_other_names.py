"""Who brings a parameter's name along from another API is told ours, wherever one can be given."""

from __future__ import annotations

import pytest

from lollms_core import GenerationRequest, UnsupportedParameter
from lollms_core.arguments import COMMON_NAMES
from lollms_core.other_names import OTHER_NAMES, close_parameters
from lollms_core.request import REQUEST_FIELDS
from lollms_core.testing import ScriptedBinding

CONTRACT = REQUEST_FIELDS | COMMON_NAMES


@pytest.mark.parametrize("name", sorted(OTHER_NAMES))
def test_no_name_of_the_contract_is_taken_for_another_ones(name: str) -> None:
    assert name not in CONTRACT


@pytest.mark.parametrize("name", ["max_tokens", "max-tokens", "MAX_TOKENS"])
def test_it_is_the_only_one_named(name: str) -> None:
    assert close_parameters(name, CONTRACT) == " Did you mean n_predict?"


def test_a_name_that_a_binding_has_no_use_for_is_not_named() -> None:
    assert "gpu" not in close_parameters("gpu_layers", CONTRACT)
    assert close_parameters("gpu_layers", CONTRACT | {"n_gpu_layers"}) == " Did you mean n_gpu_layers?"


def test_one_that_nobody_uses_has_close_names() -> None:
    assert close_parameters("temprature", CONTRACT) == " Did you mean temperature?"


def test_the_constructor_says_it() -> None:
    with pytest.raises(UnsupportedParameter, match=r"no option 'n_ctx'\. Did you mean ctx_size\?"):
        ScriptedBinding([], n_ctx=2048)


def test_a_request_of_a_binding_says_it() -> None:
    with pytest.raises(UnsupportedParameter, match=r"no parameter 'max_tokens'\. Did you mean n_predict\?"):
        ScriptedBinding([]).chat("x", max_tokens=5)


def test_a_changed_request_says_it() -> None:
    with pytest.raises(UnsupportedParameter, match=r"no field 'num_predict'\. Did you mean n_predict\?"):
        GenerationRequest(prompt="x").replace(num_predict=5)

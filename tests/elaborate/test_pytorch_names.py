"""PyTorch's names: each is one of torch's, and advice is given of those only that the language lacks."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.bodies import mistakes_of
from trtdsl.elaborate.builtins import prelude
from trtdsl.ops import pytorch_names

PLACES = (torch.nn, torch.nn.functional, torch, torch.Tensor)


@pytest.mark.parametrize("name", sorted(pytorch_names.NAMES))
def test_torch_has_it(name: str) -> None:
    assert any(hasattr(place, name) for place in PLACES)


def test_what_is_written_instead_is_in_the_language() -> None:
    assert set(pytorch_names.SYNONYMS) <= pytorch_names.NAMES
    assert set(pytorch_names.SYNONYMS.values()) <= set(prelude())
    assert not {*pytorch_names.SYNONYMS, *pytorch_names.INSTEAD} & set(prelude())


def test_other_names_get_a_guess() -> None:
    assert mistakes_of("output y = relux(x)") == ["unknown name `relux`, did you mean `relu`?"]

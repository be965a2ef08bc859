"""Outputs are called after the keys and fields under which `forward` returns them."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils import _pytree as pytree

from trtdsl.importers.output_names import output_names


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        (0, ["output"]),
        ((0, 0), ["output_0", "output_1"]),
        ({"logits": 0, "aux": {"scores": 0}}, ["logits", "scores"]),
        ({"aux": {"masks": [0, 0]}}, ["masks_0", "masks_1"]),
        ({"past": [[0, 0], [0]], "y": 0}, ["past_0_0", "past_0_1", "past_1_0", "y"]),
        ({"a": {"x": 0}, "b": {"x": 0}}, ["a_x", "b_x"]),
        ({"a": {"x": [0, 0]}, "b": {"x": [0]}}, ["a_x_0", "a_x_1", "b_x_0"]),
        ((0, {"a b": 0}, {3: 0}), ["output_0", "a_b", "output_2_3"]),
    ],
)
def test_names(returned: Any, names: list[str]) -> None:
    leaves, spec = pytree.tree_flatten(returned)
    assert output_names(spec, len(leaves)) == names

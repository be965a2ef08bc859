"""Where a TensorRT slice that pads differs from PyTorch's padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.pad import Pad
from trtdsl.ops.pad_modules import CircularPad1d, ConstantPad2d, ReflectionPad2d
from trtdsl.types import DType, TensorType, equal, symbol

ROWS = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)


def test_reflection_excludes_the_edge() -> None:
    (found,) = check_equals_torch(Pad((2, 1), mode="reflect"), torch.tensor([[1.0, 2.0, 3.0]]))
    assert found.tolist() == [[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pad", [(1, 2), (0, 3), (2, 0, 1, 3), (-1, -2), (-2, 3), (3, -1), (-1, 2, 3, -1)])
def test_every_mode_pads_and_crops(mode: Any, pad: tuple[int, ...]) -> None:
    """Wrapping goes round what is left after cropping, the others look at the whole."""
    check_equals_torch(Pad(pad, mode=mode), ROWS[0] if len(pad) == 2 else ROWS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.int64, torch.bool])
def test_fills_every_dtype(dtype: torch.dtype) -> None:
    check_equals_torch(Pad((1, 2, 0, 1), value=1), ROWS.to(dtype))
    check_equals_torch(Pad((1, 2, 0, 1)), ROWS.to(dtype))


@pytest.mark.parametrize("dtype", ["bool", "float16", "bfloat16", "int32", "int64", "uint8"])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_moves_the_values_of_every_dtype(spatial: int, mode: Any, dtype: str) -> None:
    """Also of those that PyTorch, or a release of it, does not pad itself."""
    x = torch.arange(3**spatial).reshape(1, *(3,) * spatial).to(getattr(torch, dtype))
    (found,) = check_equals_torch(Pad((1, 2) * spatial, mode=mode), x)
    assert found.dtype == x.dtype
    order = {"reflect": [1, 0, 1, 2, 1, 0], "replicate": [0, 0, 1, 2, 2, 2], "circular": [2, 0, 1, 2, 0, 1]}
    for dim in range(1, spatial + 1):
        x = x.index_select(dim, torch.tensor(order[mode]))
    assert torch.equal(found, x)


def test_fills_infinity() -> None:
    check_equals_torch(Pad((1, 2), value=float("-inf")), ROWS)


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (Pad((1, 2, 3)), "float32[3, 4]", "needs an even count of numbers"),
        (Pad((1, 2, 3, 4)), "float32[4]", "names 2 dimensions of a tensor of rank 1"),
        (Pad((-3, -2)), "float32[4]", "cropping dimension 4 leaves -1"),
        (Pad((-5, 2)), "float32[4]", "cropping dimension 4 leaves -1"),
        (Pad((4, 0), mode="reflect"), "float32[3, 4]", "reflection by 4 needs a dimension larger than 4"),
        (Pad((5, 0), mode="circular"), "float32[3, 4]", "circular padding by 5"),
        (Pad((1, 1), mode="replicate", value=2.0), "float32[3, 4]", "`value` has no meaning"),
        (Pad((1, 1), mode="reflect"), "float32[4]", "here are 2 numbers for rank 1"),
        (Pad((1, 1, 1, 1), mode="reflect"), "float32[1, 2, 3, 4, 5]", "here are 4 numbers for rank 5"),
        (ReflectionPad2d((1, 1)), "float32[1, 2, 3, 4]", "`padding` needs one number or 4, not 2"),
        (CircularPad1d(1), "float32[4]", "needs a tensor of rank 2 to 3"),
        (ConstantPad2d(1, 0.0), "float32[4]", "needs a tensor of rank 2 to 8"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Pad, type: str, message: str) -> None:
    assert message in refused(op, t(type))


def test_a_reflection_must_fit_the_smallest_size() -> None:
    dynamic = TensorType(DType.FLOAT32, (3, symbol("L", 2, 8, 16)))
    assert "for every size in range" in refused(Pad((2, 0), mode="reflect"), dynamic)


def test_pads_to_a_multiple() -> None:
    """An amount may be computed from the size."""
    size = symbol("L", 2, 8, 16)
    padded = Pad((0, -size % 4)).infer(TensorType(DType.FLOAT32, (3, size))).shape[1]
    assert equal(padded, 4 * ((size + 3) // 4))

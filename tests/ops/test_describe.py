"""What `trtdsl ops NAME` says of a name that no operator has."""

from __future__ import annotations

import pytest

from trtdsl.diagnostics import UsageError
from trtdsl.ops.base import OPERATORS, Op
from trtdsl.ops.describe import describe_operator


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conv", "there are `Conv1d`, `Conv2d`, `Conv3d`, `ConvTranspose1d`"),
        ("MAX_POOL", "there are `max_pool1d`, `max_pool2d`, `max_pool3d`"),
        ("a", ", …"),
        ("attention", "there are `MultiheadAttention`, `scaled_dot_product_attention`"),
        ("max_pool_2d", "there is no operator `max_pool_2d`, did you mean `max_pool2d`?"),
        ("relux", "there is no operator `relux`, did you mean `relu`?"),
        ("nanquantile", "PyTorch has it, trtdsl does not"),
    ],
)
def test_a_name_that_no_operator_has(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe_operator(name)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["", "xyzzy"])
def test_a_name_like_none_gets_no_guess(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe_operator(name)
    assert str(caught.value) == f"error: there is no operator `{name}`"


def test_a_function_that_takes_weights_shows_them() -> None:
    text = describe_operator("conv2d")
    assert text.startswith(
        "conv2d(input, weight, bias = none, stride = 1, padding = 0, dilation = 1, groups = 1)\n"
    )
    assert "training = false" in describe_operator("batch_norm").partition("\n")[0]


@pytest.mark.parametrize("op", [op for op in OPERATORS.values() if op.weight_slots], ids=lambda op: op.name)
def test_weights_may_be_given_by_name(op: type[Op]) -> None:
    lines = [line for line in describe_operator(op.name).splitlines() if line.startswith("weights: ")]
    if op.name in ("Parameter", "Constant"):
        assert lines == []
        return
    (line,) = lines
    names, _, call = line.removeprefix("weights: ").partition("; the checkpoint's, or given by name: ")
    assert tuple(names.split(", ")) == op.weight_slots
    assert call.startswith(f"label: {op.name}(…)(")
    assert f"{op.weight_slots[0]} = …" in call

"""What `trtdsl ops NAME` says of an operator's weights, and of a name that no operator has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ops.examples import EXAMPLES, Example
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
    _, found, rest = describe_operator(op.name).partition("weights, the checkpoint's or given by name:\n")
    if op.name in ("Parameter", "Constant"):
        assert not found
        return
    listed, _, _ = rest.partition("examples:\n")
    *slots, call = listed.splitlines()
    assert tuple(line.strip().partition(": ")[0] for line in slots) == op.weight_slots
    assert call.startswith(f"  y = label: {op.name}(…)(")
    assert f"{op.weight_slots[0]} = …" in call


@pytest.mark.parametrize("op", [op for op in OPERATORS.values() if op.weight_shapes], ids=lambda op: op.name)
def test_the_shapes_of_weights_are_what_is_said(op: type[Op]) -> None:
    """Of each weight, in the words that are shown, for every example."""
    seen: set[str] = set()
    for example in EXAMPLES:
        if type(example.op) is op:
            types, names = example.op.weights(**example.operands), _sizes(example)
            found = {slot: eval(op.weight_shapes[slot], names) for slot in types}
            assert found == {slot: list(type.shape) for slot, type in types.items()}
            seen |= {*types}
    assert seen == {*op.weight_shapes} == {*op.weight_slots}


def _sizes(example: Example) -> dict[str, Any]:
    """The parameters by name, also those that are inferred; what may be one number for all axes as each's."""
    op: Any = example.op
    sizes = {name: getattr(op, name) for name in op.parameters} | op.torch_arguments(**example.operands)
    for name, axes in (("kernel_size", getattr(op, "spatial", 2)), ("normalized_shape", 1)):
        if isinstance(sizes.get(name), int):
            sizes[name] = (sizes[name],) * axes
    return sizes

"""The meaning of graphs in PyTorch: values in and out, dynamic sizes, weights, and what is checked."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

from trtdsl import reference
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, Node, Output, Value
from trtdsl.ops.base import Function
from trtdsl.ops.lowering import Network, Tensor
from trtdsl.ops.pointwise import Add
from trtdsl.reference import (
    ProfilePoint,
    ReferenceMismatch,
    carried,
    random_inputs,
    random_weights,
    run,
    solve,
    to_numpy,
    to_torch,
)
from trtdsl.types import DType, TensorType, symbol

MODEL = """
model m() {
  dim N = 1 .. 2 .. 3
  dim S = 2 .. 4 .. 8
  input x: float32[N, 2 * S]
  y = x -> fc: Linear(3) -> relu
  output y
  output z = reshape(x, N, S, 2)
}
"""


def test_whole_graph_against_the_same_modules() -> None:
    torch.manual_seed(0)
    graph = elaborate_text(MODEL.replace("2 * S", "8").replace("reshape(x, N, S, 2)", "x * 2"))
    fc = torch.nn.Linear(8, 3)
    x = torch.randn(2, 8)
    found = run(
        graph, {"x": x.numpy()}, {f"fc.{name}": p.detach().numpy() for name, p in fc.named_parameters()}
    )
    assert torch.equal(found["y"], fc(x).relu())
    assert torch.equal(found["z"], x * 2)


def test_sizes_in_parameters_follow_the_inputs() -> None:
    text = "model m() {\n  dim S = 2 .. 4 .. 8\n  input x: float32[2 * S]\n  output y = reshape(x, S, 2)\n}"
    assert run(elaborate_text(text), {"x": torch.zeros(6)})["y"].shape == (3, 2)


def test_sizes_that_no_symbol_gives_are_refused() -> None:
    s, n = symbol("S", 2, 4, 8), symbol("N", 1, 2, 3)
    assert solve([(2 * s + n, 11), (n, 3)]) == {"S": 4, "N": 3}
    with pytest.raises(ValueError, match="no value of S makes"):
        solve([(2 * s, 7)])
    with pytest.raises(ValueError, match="size 3 is declared as `N`, which is 2"):
        solve([(n, 2), (n, 3)])


def test_inputs_and_weights_must_fit() -> None:
    graph = elaborate_text(MODEL.replace("2 * S", "8").replace("  output z = reshape(x, N, S, 2)\n", ""))
    x = np.zeros((1, 8), np.float32)
    with pytest.raises(ValueError, match="input `x` is missing"):
        run(graph, {})
    with pytest.raises(ValueError, match=r"input `x` has shape \[8\]"):
        run(graph, {"x": x[0]})
    with pytest.raises(ValueError, match=r"input `x` is float16\[1, 8\], but it should be float32\[1, 8\]"):
        run(graph, {"x": x.astype(np.float16)})
    with pytest.raises(ValueError, match=r"weight `fc.weight` has no data"):
        run(graph, {"x": x})
    with pytest.raises(ValueError, match=r"weight `fc.weight` is float32\[3, 7\]"):
        run(graph, {"x": x}, {"fc.weight": np.zeros((3, 7), np.float32), "fc.bias": np.zeros(3, np.float32)})


class Forgets(Function, abstract=True):
    """An addition whose type rule forgets to broadcast."""

    torch, name, operands = Add.torch, Add.name, Add.operands

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        return input

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        return net.elementwise("SUM", input, other)


def test_a_wrong_type_rule_is_found() -> None:
    a, b = (Value(name, TensorType(DType.FLOAT32, shape)) for name, shape in (("a", (1,)), ("b", (3,))))
    y = Value("y", a.type)
    graph = Graph("m", (a, b), (Node(Forgets(), (a, b), ("input", "other"), (y,)),), (Output("y", y),))
    with pytest.raises(ReferenceMismatch, match=r"`add` \(`y`\) is float32\[3\] in PyTorch"):
        run(graph, {"a": torch.zeros(1), "b": torch.zeros(3)})


@pytest.mark.parametrize("dtype", DType)
def test_every_dtype_travels_unchanged(dtype: DType) -> None:
    # Powers of two have no 0.
    numbers = np.array([[0, 1, 1], [1, 0, 1]]) + (dtype is DType.FLOAT8_E8M0)
    array = numbers.astype(dtype.numpy)
    tensor = to_torch(array)
    # Where PyTorch has no such type, its numbers are in a wider one.
    carrier = carried(TensorType(dtype, ())).dtype
    assert str(tensor.dtype) == f"torch.{carrier}"
    assert tensor.tolist() == array.astype(carrier.numpy).tolist() == numbers.tolist()
    back = to_numpy(tensor)
    assert back.dtype == carrier.numpy
    back = back.astype(dtype.numpy)
    assert back.tobytes() == array.tobytes()


def test_bits_of_bfloat16_are_kept() -> None:
    values = np.array([np.nan, np.inf, -0.0, 1e-40, 3.14], dtype=np.float32).astype(ml_dtypes.bfloat16)
    assert to_numpy(to_torch(values)).tobytes() == values.tobytes()


def test_single_numbers_and_read_only_arrays_travel() -> None:
    assert to_torch(np.float32(2.5).reshape(())).shape == ()
    frozen = np.ones(3, np.float32)
    frozen.flags.writeable = False
    assert to_torch(frozen).tolist() == [1, 1, 1]


def test_random_values_are_reproducible_and_fit() -> None:
    graph = random_weights(
        elaborate_text(MODEL.replace("2 * S", "8").replace("reshape(x, N, S, 2)", "x")), seed=3
    )
    points: tuple[tuple[ProfilePoint, int], ...] = (("min", 1), ("opt", 2), ("max", 3))
    for at, size in points:
        inputs = random_inputs(graph, at, seed=1)
        assert inputs["x"].shape == (size, 8)
        assert np.array_equal(inputs["x"], random_inputs(graph, at, seed=1)["x"])
        assert run(graph, inputs)["y"].shape == (size, 3)


def test_variances_are_positive() -> None:
    text = "model m() {\n  input x: float32[2, 4, 3, 3]\n  output y = x -> bn: BatchNorm2d\n}"
    weights = {w.key: w.data for w in random_weights(elaborate_text(text)).weights}
    variance = weights["bn.running_var"]
    assert variance is not None
    assert variance.min() > 0


def test_torch_is_found_by_its_path() -> None:
    assert reference.resolve("torch.nn.functional.relu") is torch.nn.functional.relu
    with pytest.raises(ModuleNotFoundError):
        reference.resolve("torch.nn.functional.no_such_function")

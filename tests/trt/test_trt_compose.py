"""What TensorRT 8.5 lacks and is composed of other layers there: values, types, and what is refused.

Everything is lowered by what 8.5.3 has, over tensorrt_rtx, and held against PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import tensorrt_rtx as trt
import torch

from tests.closeness import LIMIT, expected, require_outputs
from tests.ops.examples import EXAMPLES
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.evaluate.readback import layer_classes
from trtdsl.ir import Graph
from trtdsl.reference import random_weights, type_of
from trtdsl.trt.build import build
from trtdsl.trt.lower import LoweredNetwork, lower

NAN, INF = float("nan"), float("inf")
SPECIAL = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, -3e38])
INTEGERS = torch.tensor([-(2**31) + 1, -(2**24) - 1, -1, 0, 1, 2**24 + 1, 2**31 - 1], dtype=torch.int32)


def oldest(graph: Graph) -> LoweredNetwork:
    return lower(graph, RecordingDialect(facts("8.5.3")))


def require_pytorchs_values(graph: Graph, x: torch.Tensor, limit: float = 0.0) -> None:
    """Hold the layers of 8.5 against PyTorch. Integers of 64 bits are of 32 there."""
    lowered = oldest(graph)
    dialect = lowered.dialect
    assert isinstance(dialect, RecordingDialect)
    given = {"x": x.int() if x.dtype == torch.int64 else x}
    found = evaluate(dialect.network, given, weights=lowered.weights)
    wanted = {name: output.in_32_bits for name, output in expected(graph, {"x": x}).items()}
    require_outputs(found, wanted, limit)


def model(call: str, x: torch.Tensor) -> Graph:
    return elaborate_text(f"model m() {{ input x: {type_of(x)}  output y = {call} }}")


@pytest.mark.parametrize("call", ["isnan(x)", "isinf(x)", "isfinite(x)"])
@pytest.mark.parametrize(
    "x", [SPECIAL, SPECIAL.half(), SPECIAL.reshape(7, 1), SPECIAL[0], SPECIAL[:0], INTEGERS], ids=type_of
)
def test_tests_for_nan_and_infinity(call: str, x: torch.Tensor) -> None:
    require_pytorchs_values(model(call, x), x)


TIES = torch.tensor([[3, 2**24 + 1, 2**24, 2**24 + 1], [-5, -7, -(2**24) - 1, -(2**24)]])


@pytest.mark.parametrize(
    "call", ["argmax(x, 1)", "argmin(x, 1)", "argmax(x, 0, true)", "argmax(x)", "argmin(x, -1, true)"]
)
@pytest.mark.parametrize("x", [TIES, TIES.int()], ids=type_of)
def test_places_of_integers_that_floating_point_cannot_tell_apart(call: str, x: torch.Tensor) -> None:
    require_pytorchs_values(model(call, x), x)


@pytest.mark.parametrize("call", ["neg(x)", "abs(x)", "sign(x)", "relu(x)"])
@pytest.mark.parametrize("x", [INTEGERS, INTEGERS.long(), INTEGERS[0], INTEGERS[:0], SPECIAL], ids=type_of)
def test_signs(call: str, x: torch.Tensor) -> None:
    require_pytorchs_values(model(call, x), x)


@pytest.mark.parametrize(
    "call", ["relu(x)", "sign(x)", "to(x, int32)", "to(x, bool)", "x -> to(int32) -> to(uint8)"]
)
def test_bytes(call: str) -> None:
    x = torch.tensor([0, 1, 127, 128, 255], dtype=torch.uint8)
    require_pytorchs_values(model(call, x), x)


@pytest.mark.parametrize(
    ("call", "x"),
    [
        ("pad(x, (2, 1), value = 1.0)", torch.tensor([[True, False, True]])),
        ("pad(x, (2, 1), value = 1.0)", torch.tensor([[0, 128, 255]], dtype=torch.uint8)),
        ('pad(x, (1, 2), mode = "replicate")', torch.tensor([[0, 128, 255]], dtype=torch.uint8)),
    ],
)
def test_padding_single_bytes(call: str, x: torch.Tensor) -> None:
    graph = model(call, x)
    require_pytorchs_values(graph, x)
    assert ("SLICE", "INT32", "INT32") in layers(oldest(graph).network.real)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_sums_up_to_each_element(size: int, dim: int) -> None:
    shape = (size, 2, 3) if dim == 0 else (2, size, 3) if dim == 1 else (2, 3, size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(size))
    require_pytorchs_values(model(f"cumsum(x, {dim})", x), x, LIMIT)


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([1.0, INF, 2.0, 3.0]),
        torch.tensor([1.0, INF, 2.0, -INF, 1.0]),
        torch.tensor([1.0, NAN, 2.0]),
        torch.tensor([2**24, 1, 1, 1, -(2**30), 3], dtype=torch.int32),
        torch.tensor([2**24, 1, 1, 1, -(2**30), 3]),
        torch.tensor([True, False, True, True]),
        torch.tensor([255, 255, 1], dtype=torch.uint8),
        torch.tensor([0.5, 1.25, 64.0], dtype=torch.float16),
        torch.tensor(2.0),
    ],
    ids=str,
)
def test_sums_of_other_numbers(x: torch.Tensor) -> None:
    require_pytorchs_values(model("cumsum(x, 0)", x), x)


@pytest.mark.parametrize("size", range(2, 10))
def test_sums_along_a_dynamic_dimension(size: int) -> None:
    graph = elaborate_text("model m() { dim S = 2 .. 5 .. 9  input x: int32[2, S]  output y = cumsum(x, 1) }")
    require_pytorchs_values(graph, torch.arange(2 * size, dtype=torch.int32).reshape(2, size))


def test_a_sum_takes_as_many_steps_as_its_largest_size_has_doublings() -> None:
    text = "model m() { dim S = 1 .. 4 .. 1024  input x: float32[S]  output y = cumsum(x, 0) }"
    assert kinds(oldest(elaborate_text(text)).network.real).count("ELEMENTWISE SUM") == 10


@pytest.mark.parametrize(
    ("body", "native"),
    [
        ("output y = cumsum(x, 1)  output z = cumsum(x, 2)", 1),
        ("output y = cumsum(x, -1)  output z = cumsum(neg(x), 2)", 2),
        ("output y = cumsum(x, 1)  output z = cumsum(flatten(x), 0)  output w = cumsum(x, 1)", 2),
        ("output y = cond(any(x), along_0, along_1, [x])  output z = cumsum(x, 1)", 1),
    ],
)
def test_a_network_has_one_kind_of_cumulative_layers(body: str, native: int) -> None:
    """Of two kinds TensorRT 10.8 and later compute both along one axis."""
    blocks = """
        block along_0()(x) { return cumsum(x, 0) }
        block along_1()(x) { return cumsum(x, 1) }
    """
    graph = elaborate_text(f"{blocks} model m() {{ dim S = 2 .. 3 .. 5  input x: int32[2, S, 4]  {body} }}")
    lowered = lower(graph)
    assert [layer.type.name for layer in lowered.network].count("CUMULATIVE") == native
    for size in (2, 3, 5):
        x = torch.arange(8 * size, dtype=torch.int32).reshape(2, size, 4)
        found = evaluate(lowered.network, {"x": x}, weights=lowered.weights)
        require_outputs(found, expected(graph, {"x": x}), 0.0)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("cumsum(x, 0, dtype = int32)", ["CUMULATIVE SUM"]),
        ("isnan(x)", ["CAST", "UNARY ISNAN"]),
        ("isinf(x)", ["CAST", "UNARY ISINF"]),
        ("neg(x)", ["UNARY NEG"]),
        ("abs(x)", ["UNARY ABS"]),
        ("relu(x)", ["ACTIVATION"]),
        ("pow(x, x)", ["ELEMENTWISE POW"]),
    ],
)
def test_a_release_that_has_the_layer_uses_it(call: str, expected: list[str]) -> None:
    assert kinds(lower(model(call, INTEGERS)).network) == expected


@pytest.mark.parametrize(
    ("call", "x", "message"),
    [
        (
            "topk(x, 1)[0]",
            INTEGERS,
            "supports TopKOperation.MAX for floating-point tensors only, not for int32",
        ),
        (
            "min(x, 0)[0]",
            INTEGERS.long(),
            "supports TopKOperation.MIN for floating-point tensors only, not for int64",
        ),
        (
            "pow(x, x)",
            INTEGERS,
            "supports ElementWiseOperation.POW for floating-point tensors only, not for int32",
        ),
        ("to(x, int8)", SPECIAL, "supports int8 for quantised values only"),
        ("to(x, bfloat16)", SPECIAL, "does not support bfloat16"),
    ],
)
def test_what_cannot_be_composed_is_refused_where_it_stands(call: str, x: torch.Tensor, message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        oldest(model(call, x))
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.message.startswith("tensorrt ") and diagnostic.message.endswith(message)
    assert diagnostic.span is not None and diagnostic.help
    assert diagnostic.span.text == call.partition("(")[0]
    lower(model(call, x))


FLOATS = {"FLOAT", "HALF"}
NUMBERS = FLOATS | {"INT32"}
TAKEN: Mapping[str, set[str]] = {
    "UNARY NOT": {"BOOL"},
    "UNARY SIGN": NUMBERS,
    "ELEMENTWISE AND": {"BOOL"},
    "ELEMENTWISE OR": {"BOOL"},
    "ELEMENTWISE XOR": {"BOOL"},
    "ELEMENTWISE POW": FLOATS,
    "ELEMENTWISE": NUMBERS,
    "REDUCE": NUMBERS,
    **dict.fromkeys(["CONCATENATION", "GATHER", "SHUFFLE", "SLICE"], NUMBERS),
    "SHAPE": NUMBERS | {"BOOL"},
    "SCATTER": NUMBERS,
    "SELECT": {"BOOL"},
    "CAST": NUMBERS | {"BOOL"},
}
"""What 8.5 takes as a layer's first operand; floating point of those that are not here.

It is what NvInfer.h says, but for bools that are sliced, gathered, joined or reshaped: 8.5.3 cannot build
all of those, and of two dynamic dimensions joined it makes other values.
"""


def kinds(network: Any) -> list[str]:
    return [kind for kind, _, _ in layers(network)]


def layers(network: Any) -> Iterator[tuple[str, str, str]]:
    """Each layer's type with its operation, and the types of its first operand and of its result.

    The stand-in of an identity layer that converts is a cast.
    """
    classes = layer_classes(trt)
    for layer in network:
        kind = layer.type.name
        layer.__class__ = classes[kind]
        if kind not in ("CONSTANT", "IDENTITY"):
            operation = getattr(layer, "op", None)
            name = f"{kind} {operation.name}" if operation is not None else kind
            # Layers that bound a loop or a conditional have no outputs.
            operand, result = layer.get_input(0), layer.get_output(0)
            if operand is not None and result is not None:
                yield name, operand.dtype.name, result.dtype.name


def test_layers_are_given_types_that_they_take() -> None:
    """TensorRT 8.5 refuses others while it builds, at a layer that it names in its own way."""
    for example in EXAMPLES:
        try:
            lowered = oldest(example.graph())
        except DiagnosticError:
            continue
        wrong = [each for each in layers(lowered.network.real) if not taken(*each)]
        assert not wrong, example.text


def test_an_index_into_bools_is_made_of_numbers() -> None:
    """Where 8.5.3 joins the dimensions of bools, it cannot build the layer that gathers from them."""
    text = (
        "model m() { dim S = 1 .. 2 .. 4  input x: bool[S, 2, 3]  input i: int64[3]  output y = x[i, i, i] }"
    )
    network = oldest(elaborate_text(text)).network.real
    assert "CAST" in kinds(network)
    moved = {operand for kind, operand, _ in layers(network) if kind in ("SHUFFLE", "GATHER")}
    assert "BOOL" not in moved


@pytest.mark.parametrize(
    ("call", "shape", "is_widened"),
    [
        ("Conv3d(4, 1, groups = 2)", (1, 4, 2, 3, 3), True),
        ("Conv3d(4, 1)", (1, 4, 2, 3, 3), False),
        ("Conv2d(4, 3, groups = 2, dilation = 2)", (1, 4, 6, 6), False),
        ("ConvTranspose2d(4, 3, groups = 2, dilation = 2)", (1, 4, 3, 3), True),
        ("ConvTranspose2d(4, 3, groups = 2)", (1, 4, 3, 3), False),
        ("ConvTranspose2d(4, 3, dilation = 2)", (1, 4, 3, 3), False),
        ("ConvTranspose3d(4, 2, groups = 2)", (1, 4, 2, 3, 3), True),
    ],
)
def test_convolutions_without_a_kernel_in_float16(
    call: str, shape: tuple[int, ...], is_widened: bool
) -> None:
    """Those of 8.5.3 that have none are computed in float32, and their result is rounded."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).half()
    graph = random_weights(model(f"x -> conv: {call}", x), seed=0)
    require_pytorchs_values(graph, x, 2e-3)
    types = {operand for kind, operand, _ in layers(oldest(graph).network.real) if "CONVOLUTION" in kind}
    assert types == ({"FLOAT"} if is_widened else {"HALF"})


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions_build_in_bfloat16(rank: int) -> None:
    """TensorRT-RTX has no such layer in bfloat16: it is float32 within."""
    x = torch.randn((1, 4, *[6] * rank), generator=torch.Generator().manual_seed(0)).bfloat16()
    graph = random_weights(model(f"x -> conv: ConvTranspose{rank}d(4, 2)", x), seed=0)
    assert build(lower(graph))


LOOPS = {"ITERATOR", "LOOP_OUTPUT", "RECURRENCE", "TRIP_LIMIT"}
BOUNDS = LOOPS | {"CONDITION", "CONDITIONAL_INPUT", "CONDITIONAL_OUTPUT"}
"""Layers at the bounds of loops and conditionals, which pass on numbers of every type."""


def taken(kind: str, operand: str, result: str) -> bool:
    if kind.split()[0] in BOUNDS:
        return operand == result
    if kind == "CAST" and "UINT8" in (operand, result):
        return bool({operand, result} & FLOATS)
    if kind == "CAST" and operand == "INT64":
        # Sizes, which the stand-in for 8.5 turns into 32 bits.
        return result == "INT32"
    return operand in TAKEN.get(kind, TAKEN.get(kind.split()[0], FLOATS))

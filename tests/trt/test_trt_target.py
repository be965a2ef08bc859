"""Graphs lowered into a network that is not TensorRT's: one class, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.ops.examples import EXAMPLES
from tests.trt import networks as nets
from tests.trt.listing import Listing
from trtdsl.diagnostics import DiagnosticError
from trtdsl.ir import Value
from trtdsl.ops.refused import Refused
from trtdsl.trt.lower import lower_into
from trtdsl.trt.target import CompilerBug
from trtdsl.types import DType, TensorType, symbol

N = symbol("N", 1, 4, 16)
DATA = Value("data", TensorType(nets.F32, (2, 3, 8, 8)))


def test_a_model_as_a_listing() -> None:
    listing = Listing()
    tensors = lower_into(nets.conv_relu(), listing)
    assert listing.lines == [
        "input data: float32[2, 3, 8, 8]",
        "conv1 = convolution_nd(data, 8, (3, 3), float32[8, 3, 3, 3], float32[8], padding_nd = (1, 1))",
        "relu = activation(conv1, ActivationType.RELU)",
        "output logits = relu",
    ]
    assert {value.name for value in tensors} == {"data", "conv1.weight", "conv1.bias", "c", "r"}


def test_sizes_at_run_time_are_read_off_the_inputs() -> None:
    listing = Listing()
    data = Value("data", TensorType(nets.F32, (2 * N, 3)))
    sizes = nets.Lambda(lambda net, x: net.shape_tensor((N,)), TensorType(DType.INT64, (1,)))
    lower_into(nets.one(sizes, data), listing)
    assert listing.lines == [
        "input data: float32[2 * N, 3]",
        "lambda = shape(data)",
        "lambda_1 = slice(lambda, (0,), (1,), (1,))",
        "lambda_2 = elementwise(lambda_1, constant int64[1], ElementWiseOperation.FLOOR_DIV)",
        "output y = lambda_2",
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.text)
def test_every_operator_can_be_listed(example: Any) -> None:
    listing = Listing()
    graph = example.graph()
    lower_into(graph, listing)
    inputs = [f"input {value.name}: {value.type}" for value in graph.inputs]
    assert listing.lines[: len(inputs)] == inputs
    assert sum(line.startswith("output ") for line in listing.lines) == len(graph.outputs)


def test_what_an_operator_refuses_stands_at_its_place() -> None:
    def body(net: Any, x: Any) -> Any:
        raise Refused("there is no such thing", help="do without")

    with pytest.raises(DiagnosticError, match="there is no such thing") as error:
        lower_into(nets.one(nets.Lambda(body, DATA.type), DATA), Listing())
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.span is not None and diagnostic.help == ("do without",)


def test_a_lowering_that_contradicts_its_type_rule_is_a_bug() -> None:
    lie = nets.Lambda(lambda net, x: net.activation("RELU", x), TensorType(nets.F32, (6, 8, 8)))
    with pytest.raises(CompilerBug, match=r"lowers to float32\[2, 3, 8, 8\] where its type rule says"):
        lower_into(nets.one(lie, DATA), Listing())


def test_no_tensorrt_is_needed() -> None:
    program = (
        "from tests.trt import networks as nets; import sys\n"
        "from tests.trt.listing import Listing\n"
        "from trtdsl.trt.lower import lower_into\n"
        "lower_into(nets.conv_relu(), Listing())\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "trtdsl.trt.lower" in done.stdout.split()
    assert not {"tensorrt", "tensorrt_rtx"} & {*done.stdout.split()}

"""The checked network and lowering, against the real tensorrt_rtx."""

from __future__ import annotations

import gc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from tests.trt import networks as nets
from trtdsl.diagnostics import DiagnosticError
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Output, Value
from trtdsl.ops.refused import Refused
from trtdsl.trt.lower import LoweredNetwork, lower
from trtdsl.trt.target import CompilerBug
from trtdsl.types import DType, TensorType, evaluate_shape, maximum, minimum, symbol

N = symbol("N", 1, 4, 16)
H = symbol("H", 8, 16, 64)
DATA = Value("data", TensorType(nets.F32, (2, 3, 8, 8)))


def layer_names(lowered: LoweredNetwork) -> list[str]:
    return [layer.name for layer in lowered.network]


def computed(lowered: LoweredNetwork, **inputs: np.ndarray[Any, Any]) -> dict[str, torch.Tensor]:
    return evaluate(lowered.network, inputs, weights=lowered.weights)


def message(error: pytest.ExceptionInfo[Any]) -> str:
    return str(error.value)


# TensorRTNames, places, weights


def test_layers_and_tensors_are_named_after_the_graph() -> None:
    lowered = lower(nets.conv_relu(shape=(N, 3, 8, 8)))
    network = lowered.network
    assert network.name == "cnn"
    assert layer_names(lowered) == ["conv1", "relu"]
    assert [layer.get_output(0).name for layer in network] == ["c", "logits"]
    assert network.get_input(0).name == "data"
    assert network.get_input(0).get_dimension_name(0) == "N"
    assert network.get_layer(0).metadata == "conv1 cnn.trtnet:1:13"
    assert lowered.nodes["conv1"].op.name == "Conv"


def test_weights_are_neither_copied_nor_lost() -> None:
    graph = nets.conv_relu()
    lowered = lower(graph)
    kernel, bias = (weight.data for weight in graph.weights)
    assert lowered.weights["conv1"]["kernel"] is kernel
    assert lowered.weights["conv1"]["bias"] is bias


def test_temporary_arrays_outlive_the_operator_that_made_them() -> None:
    def body(net: Any, x: Any) -> Any:
        return net.elementwise("SUM", x, net.constant(np.full((2, 3, 8, 8), 3.0, np.float32)))

    lowered = lower(nets.one(nets.Lambda(body, DATA.type), DATA))
    gc.collect()
    # What would show a dangling pointer: other arrays where the constant was.
    noise = [np.full((2, 3, 8, 8), 99.0, np.float32) for _ in range(100)]
    result = computed(lowered, data=np.zeros((2, 3, 8, 8), np.float32))["y"]
    assert noise and torch.equal(result, torch.full((2, 3, 8, 8), 3.0))


def test_a_view_in_another_order_is_read_in_its_own_order() -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4).T

    def body(net: Any, x: Any) -> Any:
        return net.elementwise("SUM", x, net.weight("table", table))

    data = Value("data", TensorType(nets.F32, (4, 3)))
    result = computed(lower(nets.one(nets.Lambda(body, data.type), data)), data=np.zeros((4, 3), np.float32))
    assert np.array_equal(result["y"].numpy(), table)


def test_bfloat16_weights() -> None:
    lowered = lower(nets.conv_relu(dtype=DType.BFLOAT16))
    assert str(lowered.network.get_layer(0).get_output(0).dtype) == "DataType.BF16"
    # TensorRT gives no access to them: evaluation reads our table.
    assert lowered.weights["conv1"]["kernel"].dtype == ml_dtypes.bfloat16
    zeros = torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16)
    result = evaluate(lowered.network, {"data": zeros}, weights=lowered.weights)["logits"]
    bias = torch.from_numpy(lowered.weights["conv1"]["bias"].astype(np.float32))
    assert torch.equal(result[0, :, 3, 3].float(), torch.relu(bias))


def test_a_shared_weight_is_one_constant() -> None:
    shared = nets.weight("table", np.ones((2, 3, 8, 8), np.float32))
    first = nets.apply(nets.Add(), DATA, shared, name="a")
    second = nets.apply(nets.Add(), first.result, shared, name="b")
    lowered = lower(Graph("tied", (DATA,), (first, second), (Output("y", second.result),)))
    assert layer_names(lowered) == ["table", "add", "add_1"]


def test_equal_scalars_are_one_constant() -> None:
    def body(net: Any, x: Any) -> Any:
        for _ in range(3):
            x = net.elementwise("PROD", x, net.scalar(2.0, x))
        return x

    lowered = lower(nets.one(nets.Lambda(body, DATA.type), DATA))
    assert sum(layer.type.name == "CONSTANT" for layer in lowered.network) == 1
    data = np.ones((2, 3, 8, 8), np.float32)
    assert torch.equal(computed(lowered, data=data)["y"], torch.full((2, 3, 8, 8), 8.0))


def test_a_weight_without_data_is_a_mistake_of_the_caller() -> None:
    unbound = nets.Weight("w", DATA.type, key="conv1.weight")
    with pytest.raises(ValueError, match=r"`conv1.weight` has no data"):
        lower(nets.one(nets.Add(), DATA, unbound))


def test_a_long_name_is_cut_and_stays_unique() -> None:
    first = nets.apply(nets.Relu(), DATA, scope="s" * 5000, name="a" * 5000)
    second = nets.apply(nets.Relu(), first.result, scope="s" * 5000, name="a" * 5000 + "b")
    lowered = lower(Graph("long", (DATA,), (first, second), (Output("y", second.result),)))
    assert len(set(layer_names(lowered))) == 2


# Outputs


def test_outputs_that_are_inputs_weights_or_marked_twice_pass_through_identities() -> None:
    table = nets.weight("table", np.ones((2, 3, 8, 8), np.float32))
    node = nets.apply(nets.Add(), DATA, table)
    outputs = tuple(
        Output(name, value)
        for name, value in (("a", node.result), ("b", node.result), ("c", DATA), ("d", table))
    )
    lowered = lower(Graph("outputs", (DATA,), (node,), outputs))
    network = lowered.network
    assert [network.get_output(index).name for index in range(4)] == ["a", "b", "c", "d"]
    assert layer_names(lowered)[2:] == ["b/identity", "c/identity", "d/identity"]


def test_an_operator_without_layers_gives_its_output_the_right_name() -> None:
    relu = nets.apply(nets.Relu(), DATA, name="r")
    same = nets.apply(nets.Same(), relu.result, name="s")
    lowered = lower(Graph("same", (DATA,), (relu, same), (Output("y", same.result),)))
    assert (layer_names(lowered), lowered.network.get_output(0).name) == (["relu"], "y")


def test_an_output_may_have_the_name_of_another_value() -> None:
    first = nets.apply(nets.Relu(), DATA, name="y")
    second = nets.apply(nets.Relu(), first.result, name="z")
    lowered = lower(Graph("names", (DATA,), (first, second), (Output("y", second.result),)))
    assert [layer.get_output(0).name for layer in lowered.network] == ["y_1", "y"]


def test_an_output_with_the_name_of_an_input_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="two inputs or outputs are called `data`"):
        lower(nets.one(nets.Relu(), DATA, outputs=("data",)))


# Refusals: TensorRT's, and ours


def refused_conv(**properties: Any) -> Graph:
    graph = nets.conv_relu()
    conv = graph.nodes[0]
    op = nets.Conv(8, properties=tuple(properties.items()))
    node = nets.Node(op, conv.operands, conv.slots, conv.results, conv.scope, conv.origins)
    return graph.replace(nodes=(node, *graph.nodes[1:]))


def test_a_property_that_does_not_take_is_refused_at_its_source() -> None:
    with pytest.raises(DiagnosticError) as error:
        lower(refused_conv(padding_nd=(1, 1), stride_nd=(0, 1)))
    text = message(error)
    assert "does not accept `stride_nd` = (0, 1) of this `convolution_nd` layer" in text
    assert "--> cnn.trtnet:1:13" in text
    assert "= help: IConvolutionLayer::setStrideNd" in text
    assert "cudaError 35" not in text


def test_floats_are_compared_in_32_bits() -> None:
    def body(net: Any, x: Any) -> Any:
        return net.activation("LEAKY_RELU", x, alpha=0.1)

    lower(nets.one(nets.Lambda(body, DATA.type), DATA))


def test_a_layer_that_tensorrt_refuses() -> None:
    def body(net: Any, x: Any) -> Any:
        return net.add("convolution_nd", x, 8, (3, 3, 3, 3), np.ones(1, np.float32), None)

    with pytest.raises(DiagnosticError) as error:
        lower(nets.one(nets.Lambda(body, DATA.type), DATA))
    assert "TensorRT refuses this `convolution_nd` layer" in message(error)
    assert "nbDims == 2" in message(error)
    assert "--> cnn.trtnet:1:36" in message(error)


def test_an_input_that_a_layer_does_not_take() -> None:
    def body(net: Any, x: Any) -> Any:
        return net.add("shuffle", x, inputs={7: net.shape_tensor((2, 192))})

    with pytest.raises(DiagnosticError) as error:
        lower(nets.one(nets.Lambda(body, DATA.type.with_shape((2, 192))), DATA))
    assert "does not accept input 7 of this `shuffle` layer: int64[2]" in message(error)


def test_a_layer_whose_shape_cannot_be_computed() -> None:
    def body(net: Any, x: Any) -> Any:
        return net.add("shuffle", x, result=x.type, first_transpose=(0, 2, 3, 3))

    with pytest.raises(DiagnosticError) as error:
        lower(nets.one(nets.Lambda(body, DATA.type), DATA))
    assert "TensorRT cannot compute this `shuffle` layer" in message(error)
    assert "`first_transpose` is not valid" in message(error)


def test_an_operator_may_refuse_while_lowering() -> None:
    def body(net: Any, x: Any) -> Any:
        raise Refused("TensorRT has no such thing", help="do without")

    with pytest.raises(DiagnosticError) as error:
        lower(nets.one(nets.Lambda(body, DATA.type), DATA))
    assert "TensorRT has no such thing" in message(error)
    assert "= help: do without" in message(error)


def test_an_input_that_tensorrt_refuses() -> None:
    with pytest.raises(DiagnosticError) as error:
        lower(nets.one(nets.Add(), DATA, Value("data", DATA.type)))
    assert "TensorRT refuses the input `data`: float32[2, 3, 8, 8]" in message(error)
    assert "= help: INetworkDefinition::addInput" in message(error)


@pytest.mark.parametrize("rank", [8, 9])
def test_tensors_have_at_most_eight_dimensions(rank: int) -> None:
    many = TensorType(nets.F32, (1,) * rank)
    op = nets.Lambda(lambda net, x: net.reshape(x, many.shape), many)
    graph = nets.one(op, Value("x", TensorType(nets.F32, (1,))))
    if rank == 8:
        lower(graph)
        return
    with pytest.raises(DiagnosticError, match="at most 8 dimensions; this one has 9"):
        lower(graph)


# Our own faults


def bug(type: TensorType, body: Any) -> CompilerBug:
    with pytest.raises(CompilerBug) as error:
        lower(nets.one(nets.Lambda(body, type), DATA))
    assert "please report" in message(error)
    assert error.value.diagnostic.span is not None
    return error.value


@pytest.mark.parametrize(
    "lie",
    [
        DATA.type.with_shape((2, 3, 8, 9)),
        DATA.type.with_dtype(DType.FLOAT16),
        DATA.type.with_shape((2, 3, 64)),
    ],
    ids=["shape", "dtype", "rank"],
)
def test_a_type_rule_that_disagrees_with_tensorrt(lie: TensorType) -> None:
    found = bug(lie, lambda net, x: net.add("activation", x, net.enum("ActivationType.RELU")))
    assert f"TensorRT makes float32[2, 3, 8, 8] of this `activation` layer where trtdsl expects {lie}" in str(
        found
    )


def test_a_lowering_that_disagrees_with_its_type_rule() -> None:
    found = bug(TensorType(nets.F32, (6, 8, 8)), lambda net, x: net.activation("RELU", x))
    assert "lowers to float32[2, 3, 8, 8] where its type rule says float32[6, 8, 8]" in str(found)


def test_arguments_that_the_api_does_not_take() -> None:
    found = bug(DATA.type, lambda net, x: net.add("activation", x, "RELU"))
    assert "add_activation does not accept these arguments" in str(found)


def test_a_property_that_does_not_exist() -> None:
    found = bug(DATA.type, lambda net, x: net.add("softmax", x, axis=1))
    assert "`softmax` layer has no property `axis`" in str(found)


def test_a_static_size_where_ours_is_symbolic_is_a_contradiction() -> None:
    def copied(promised: TensorType) -> Graph:
        return nets.one(nets.Lambda(lambda net, x: net.add("identity", x), promised), DATA)

    lower(copied(DATA.type.with_shape((2, symbol("K", 3, 3, 3), 8, 8))))
    with pytest.raises(CompilerBug):
        lower(copied(DATA.type.with_shape((N, 3, 8, 8))))


# Sizes at run time


@pytest.mark.parametrize(
    ("shape", "n", "h"),
    [
        ((N * H, 24), 3, 10),
        ((H, N, 24), 2, 8),
        ((N * H * 2, 12), 2, 8),
        ((N, 4, H, 6), 16, 64),
        ((2, N * H // 2, 24), 2, 9),
    ],
    ids=str,
)
def test_reshape_to_dynamic_sizes(shape: tuple[Any, ...], n: int, h: int) -> None:
    data = Value("data", TensorType(nets.F32, (N, 3, H, 8)))
    lowered = lower(nets.one(nets.Reshape(shape), data))
    values = np.arange(n * 3 * h * 8, dtype=np.float32).reshape(n, 3, h, 8)
    result = computed(lowered, data=values)["y"]
    sizes = evaluate_shape(shape, {"N": n, "H": h})
    assert np.array_equal(result.numpy(), values.reshape(sizes))


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ((N,), [5]),
        ((N, H), [5, 19]),
        ((N * H + 3, 7, H * H), [98, 7, 361]),
        ((H // 2, (H - 1) // 4 + 1, 2 * H // N), [9, 5, 7]),
        ((minimum(N, H // 4), maximum(N * 3, H)), [4, 19]),
        ((-N + 20, N - H), [15, -14]),
        ((1, 2), [1, 2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(N, H), (2 * N + 1, H - 3)], ids=["exact", "linear"])
def test_shape_tensors(dims: tuple[Any, ...], expected: list[int], shape: tuple[Any, ...]) -> None:
    data = Value("data", TensorType(nets.F32, shape))
    promised = TensorType(DType.INT64, (len(dims),))
    lowered = lower(nets.one(nets.Lambda(lambda net, x: net.shape_tensor(dims), promised), data))
    sizes = evaluate_shape(shape, {"N": 5, "H": 19})
    assert computed(lowered, data=np.zeros(sizes, np.float32))["y"].tolist() == expected


def test_equal_expressions_are_computed_once() -> None:
    data = Value("data", TensorType(nets.F32, (N, H)))

    def body(net: Any, x: Any) -> Any:
        first = net.shape_tensor((N * H, 1))
        return net.elementwise("SUM", first, net.shape_tensor((2, N * H)))

    lowered = lower(nets.one(nets.Lambda(body, TensorType(DType.INT64, (2,))), data))
    kinds = [layer.type.name for layer in lowered.network]
    assert kinds.count("SHAPE") == 1
    assert kinds.count("ELEMENTWISE") == 2


def test_a_symbol_that_no_input_tells() -> None:
    data = Value("data", TensorType(nets.F32, (N * H, 4)))
    with pytest.raises(DiagnosticError) as error:
        lower(nets.one(nets.Reshape((N, H, 4)), data))
    assert "the value of `N` cannot be found at run time" in message(error)
    assert "--> cnn.trtnet:1:36" in message(error)

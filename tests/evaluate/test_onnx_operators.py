"""Single ONNX operators: onnxruntime = evaluate(NVIDIA's reading of the same node).

An independent witness for the layers that exports of whole models rarely use: recurrent networks become
TensorRT loops, If and Loop its control flow, Resize every mode.  A difference here is either ours or the
parser's; no case is left out for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorrt_rtx as trt
import torch
from onnx import TensorProto, helper, numpy_helper

from trtdsl.evaluate import evaluate

_LOGGER = trt.Logger(trt.Logger.INTERNAL_ERROR)
# Kernels of two libraries in float32 on values of order one.
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


Draw = Callable[..., np.ndarray]


def normal() -> Draw:
    """What draws float32 arrays of a shape from the normal distribution, the same ones in every test."""
    random = np.random.default_rng(0)
    return lambda *shape: random.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A node: operator, what draws its inputs (None: left out), which of them are constants, attributes."""

    operator: str
    inputs: Callable[[Draw], Sequence[Any]]
    constants: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    label: str = ""
    opset: int = 20

    def __str__(self) -> str:
        return self.label or self.operator


def _model(case: Case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    inputs = case.inputs(normal())
    arrays = {f"x{i}": np.asarray(value) for i, value in enumerate(inputs) if value is not None}
    fixed = {f"x{i}" for i in case.constants}
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.operator, names, outputs, **case.attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
            if name not in fixed
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(arrays[name], name) for name in sorted(fixed)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=9)
    typed = onnx.shape_inference.infer_shapes(model)
    for output in typed.graph.output:
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return typed, {name: array for name, array in arrays.items() if name not in fixed}


def _compare(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> None:
    raw = model.SerializeToString()
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    want = session.run(None, inputs)
    network = trt.Builder(_LOGGER).create_network()
    parser = trt.OnnxParser(network, _LOGGER)
    assert parser.parse(raw), parser.get_error(0).desc()
    got = evaluate(network, inputs)
    for output, expected in zip(session.get_outputs(), want, strict=True):
        value = got[output.name]
        torch.testing.assert_close(value, torch.from_numpy(expected).to(value.dtype), **CLOSE)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def _recurrent(operator: str, gates: int, direction: str) -> Case:
    count = 2 if direction == "bidirectional" else 1
    size, width = 3, 4
    shapes = [
        (5, 2, width),
        (count, gates * size, width),
        (count, gates * size, size),
        (count, 2 * gates * size),
    ]
    extra = {"linear_before_reset": 1} if operator == "GRU" else {}
    return Case(
        operator,
        lambda r: [r(*shape) for shape in shapes],
        (1, 2, 3),
        {"hidden_size": size, "direction": direction, **extra},
        outputs=2,
        label=f"{operator} {direction}",
    )


def _resize(mode: str, transform: str, target: tuple[int, ...], **attributes: Any) -> Case:
    sizes = ints(1, 2, *target)
    settings = {"mode": mode, "coordinate_transformation_mode": transform, **attributes}
    label = " ".join(["Resize", mode, transform, *map(str, target), *map(str, attributes.values())])
    return Case("Resize", lambda r: [r(1, 2, 5, 4), None, None, sizes], (3,), settings, label=label)


POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
RESIZES = [
    *(
        _resize("nearest", transform, target, nearest_mode=rounding)
        for transform in ("asymmetric", "half_pixel", "align_corners")
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for target in ((8, 7), (3, 3))
    ),
    *(
        _resize("linear", t, s)
        for t in ("asymmetric", "half_pixel", "align_corners")
        for s in ((8, 7), (3, 2))
    ),
    *(_resize("cubic", t, (8, 7)) for t in ("asymmetric", "half_pixel", "align_corners")),
    _resize("cubic", "half_pixel", (8, 7), cubic_coeff_a=-0.5, exclude_outside=1),
    _resize("linear", "pytorch_half_pixel", (1, 7)),
]
GRIDS = [
    Case(
        "GridSample",
        lambda r: [r(1, 2, 5, 4), r(1, 3, 3, 2)],
        attributes={"mode": mode, "padding_mode": border, "align_corners": aligned},
        label=f"GridSample {mode} {border} {aligned}",
    )
    for mode in ("linear", "nearest", "cubic")
    for border in ("zeros", "border", "reflection")
    for aligned in (0, 1)
]
PADS = [
    Case("Pad", lambda r: [r(2, 3, 4), ints(0, 1, 2, 0, 0, 1)], (1,), {"mode": mode}, label=f"Pad {mode}")
    for mode in ("constant", "reflect", "edge", "wrap")
]
REDUCTIONS = [
    Case(
        f"Reduce{name}",
        lambda r: [np.abs(r(2, 3, 4)) + 0.1, ints(0, 2)],
        (1,),
        {"keepdims": keep},
        label=f"Reduce{name} {keep}",
    )
    for name in ("Sum", "Prod", "Max", "Min", "Mean", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    for keep in (0, 1)
]
UNARY_NAMES = """
    Abs Acos Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity
    IsInf IsNaN LeakyRelu Log LogSoftmax Mish Neg Reciprocal Relu Round Selu Shape Sigmoid Sign Sin Sinh Size
    Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu
"""
UNARIES = [Case(name, lambda r: [np.clip(np.abs(r(3, 4)), 0.1, 0.9)]) for name in UNARY_NAMES.split()] + [
    Case("Acosh", lambda r: [np.abs(r(3, 4)) + 1.1])
]
BINARIES = [
    Case(name, lambda r: [r(3, 1, 4), r(2, 4)])
    for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Greater", "Less")
] + [
    Case("Pow", lambda r: [np.abs(r(3, 4)), r(4)]),
    Case("Mod", lambda r: [r(3, 4), r(4)], attributes={"fmod": 1}),
    Case("PRelu", lambda r: [r(2, 3, 4), r(3, 1)]),
]
WINDOWS = (
    [
        Case(
            "MaxPool",
            lambda r: [r(1, 2, 8, 7)],
            attributes={**POOL, "ceil_mode": ceil},
            label=f"MaxPool ceil {ceil}",
        )
        for ceil in (0, 1)
    ]
    + [
        Case(
            "AveragePool",
            lambda r: [r(1, 2, 8, 7)],
            attributes={**POOL, "count_include_pad": include},
            label=f"AveragePool include {include}",
        )
        for include in (0, 1)
    ]
    + [
        Case(
            "MaxPool",
            lambda r: [r(1, 2, 8, 7)],
            attributes={"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": pad},
            label=f"MaxPool {pad}",
        )
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ]
    + [
        Case("GlobalAveragePool", lambda r: [r(2, 3, 5, 4)]),
        Case("GlobalMaxPool", lambda r: [r(2, 3, 5, 4)]),
        Case("LpPool", lambda r: [r(1, 2, 8, 7)], attributes={"kernel_shape": [2, 2], "p": 2}),
        Case(
            "Conv",
            lambda r: [r(2, 4, 8, 7), r(6, 2, 3, 3), r(6)],
            (1, 2),
            {"group": 2, "pads": [1, 0, 2, 1], "dilations": [1, 2]},
        ),
        Case("Conv", lambda r: [r(2, 4, 9), r(6, 4, 3)], (1,), {"strides": [2]}, label="Conv 1D"),
        Case(
            "Conv",
            lambda r: [r(1, 2, 5, 6, 7), r(3, 2, 2, 3, 2)],
            (1,),
            {"pads": [1, 0, 1, 0, 1, 0]},
            label="Conv 3D",
        ),
        Case(
            "Conv",
            lambda r: [r(1, 2, 8, 7), r(3, 2, 3, 3)],
            (),
            {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
            label="Conv kernel tensor",
        ),
        Case(
            "ConvTranspose",
            lambda r: [r(2, 4, 5, 6), r(4, 3, 3, 3), r(6)],
            (1, 2),
            {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        ),
        Case(
            "ConvTranspose",
            lambda r: [r(1, 2, 5), r(2, 3, 4)],
            (1,),
            {"strides": [3]},
            label="ConvTranspose 1D",
        ),
        Case(
            "ConvTranspose",
            lambda r: [r(1, 2, 4, 4), r(2, 3, 2, 2)],
            (1,),
            {"dilations": [2, 2]},
            label="ConvTranspose dilated",
        ),
        Case(
            "ConvTranspose",
            lambda r: [r(1, 2, 4, 4), r(2, 3, 3, 3)],
            (1,),
            {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
            label="ConvTranspose same",
        ),
    ]
)
NORMS = [
    Case("LRN", lambda r: [r(2, 7, 3, 3)], attributes={"size": 5, "alpha": 0.5, "beta": 0.6, "bias": 1.5}),
    Case("BatchNormalization", lambda r: [r(2, 3, 4, 4), r(3), r(3), r(3), np.abs(r(3)) + 0.1], (1, 2, 3, 4)),
    Case("InstanceNormalization", lambda r: [r(2, 3, 4, 4), r(3), r(3)], (1, 2), {"epsilon": 1e-3}),
    Case("LayerNormalization", lambda r: [r(2, 3, 4), r(4), r(4)], (1, 2), {"epsilon": 1e-3}),
    Case(
        "LayerNormalization",
        lambda r: [r(2, 3, 4), r(3, 4), r(3, 4)],
        (1, 2),
        {"axis": 1},
        label="LayerNormalization 2 axes",
    ),
    Case("GroupNormalization", lambda r: [r(2, 6, 4, 4), r(6), r(6)], (1, 2), {"num_groups": 3}, opset=21),
    Case("LpNormalization", lambda r: [r(2, 3, 4)], attributes={"axis": 1, "p": 2}),
    Case("MeanVarianceNormalization", lambda r: [r(2, 3, 4, 4)]),
]
SHAPES = [
    Case("Reshape", lambda r: [r(2, 3, 4), ints(0, -1)], (1,)),
    Case("Transpose", lambda r: [r(2, 3, 4)], attributes={"perm": [2, 0, 1]}),
    Case("Flatten", lambda r: [r(2, 3, 4)], attributes={"axis": 2}),
    Case("Squeeze", lambda r: [r(2, 1, 4), ints(1)], (1,)),
    Case("Unsqueeze", lambda r: [r(2, 4), ints(1, -1)], (1,)),
    Case("Concat", lambda r: [r(2, 3), r(2, 4)], attributes={"axis": -1}),
    Case("Split", lambda r: [r(7, 2), ints(2, 5)], (1,), {"axis": 0}, outputs=2),
    Case("Expand", lambda r: [r(3, 1), ints(2, 1, 4)], (1,)),
    Case("Tile", lambda r: [r(2, 3), ints(2, 3)], (1,)),
    Case("Slice", lambda r: [r(6, 7), ints(5, 1), ints(-7, 6), ints(0, 1), ints(-2, 3)], (1, 2, 3, 4)),
    Case("DepthToSpace", lambda r: [r(1, 8, 2, 3)], attributes={"blocksize": 2, "mode": "DCR"}),
    Case(
        "DepthToSpace",
        lambda r: [r(1, 8, 2, 3)],
        attributes={"blocksize": 2, "mode": "CRD"},
        label="DepthToSpace CRD",
    ),
    Case("SpaceToDepth", lambda r: [r(1, 2, 4, 6)], attributes={"blocksize": 2}),
    Case("Trilu", lambda r: [r(4, 5)], attributes={"upper": 0}),
    Case("Where", lambda r: [np.array([[True], [False]]), r(2, 3), r(3)]),
    Case("Cast", lambda r: [r(3, 4) * 3], attributes={"to": TensorProto.INT32}),
    Case("Clip", lambda r: [r(3, 4), np.float32(-0.5), np.float32(0.25)], (1, 2)),
    Case("Range", lambda r: [np.int64(2), np.int64(11), np.int64(3)], (0, 1, 2), label="Range constant"),
    Case("ReverseSequence", lambda r: [r(4, 3), ints(4, 2, 3)], (1,), {"time_axis": 0, "batch_axis": 1}),
    Case(
        "OneHot",
        lambda r: [ints(0, 2, 1), np.int64(3), np.array([2.0, 5.0], np.float32)],
        (1, 2),
        {"axis": 1},
    ),
    Case("CumSum", lambda r: [r(3, 4), np.int64(1)], (1,), {"exclusive": 1, "reverse": 1}),
]
INDICES = [
    Case("Gather", lambda r: [r(4, 5), np.array([[3, 0], [1, -1]])], attributes={"axis": 1}),
    Case(
        "GatherElements", lambda r: [r(3, 4), np.array([[2, 0, 1, 1], [0, 0, 2, -1]])], attributes={"axis": 0}
    ),
    Case("GatherND", lambda r: [r(3, 4, 2), np.array([[2, 0], [1, 3]])]),
    Case(
        "GatherND",
        lambda r: [r(2, 4, 3), np.array([[2], [0]])],
        attributes={"batch_dims": 1},
        label="GatherND batch",
    ),
    Case("ScatterElements", lambda r: [r(3, 4), np.array([[2, 0, 1, 1]]), r(1, 4)], attributes={"axis": 0}),
    Case("ScatterND", lambda r: [r(4, 3), np.array([[2], [0]]), r(2, 3)]),
    Case("TopK", lambda r: [r(3, 6), ints(2)], (1,), {"axis": 1, "largest": 0}, outputs=2),
    Case("ArgMax", lambda r: [r(3, 6)], attributes={"axis": 1, "keepdims": 0}),
    Case("ArgMin", lambda r: [r(3, 6)], attributes={"axis": 0}),
]
PRODUCTS = [
    Case("MatMul", lambda r: [r(2, 3, 4), r(4, 5)]),
    Case("MatMul", lambda r: [r(2, 3, 4), r(4)], label="MatMul vector"),
    Case(
        "Gemm",
        lambda r: [r(4, 3), r(5, 4), r(5)],
        attributes={"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0},
    ),
    Case("Einsum", lambda r: [r(2, 3, 4), r(2, 5, 4)], attributes={"equation": "bij,bkj->bik"}),
    Case(
        "QuantizeLinear", lambda r: [r(3, 4) * 9, np.float32(0.1), np.int8(0)], (1, 2), label="QuantizeLinear"
    ),
]
RECURRENT = [
    _recurrent(operator, gates, direction)
    for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    for direction in ("forward", "reverse", "bidirectional")
]
WHOLE = [ints(-7, 7, -7, 7), ints(2, -2, -2, 2)]
INTEGERS = [
    Case(name, lambda r: WHOLE, label=f"{name} of integers")
    for name in ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min")
] + [
    Case("ReduceSum", lambda r: [ints([1, -2], [3, 4]), ints(1)], (1,), label="ReduceSum of integers"),
    Case(
        "ReduceMean",
        lambda r: [ints([1, -2], [-3, -4]).astype(np.int32), ints(1)],
        (1,),
        label="ReduceMean of integers",
    ),
]
FAMILIES = (
    RESIZES, GRIDS, PADS, REDUCTIONS, UNARIES, BINARIES, INTEGERS, WINDOWS, NORMS, SHAPES, INDICES, PRODUCTS,
    RECURRENT,
)  # fmt: skip
CASES = [case for family in FAMILIES for case in family]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(case: Case) -> None:
    _compare(*_model(case))


def _value(name: str, dtype: int, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


@pytest.mark.parametrize("flag", [True, False])
def test_if(flag: bool) -> None:
    """The branches take ``x`` from outside of them."""
    out = [_value("b", TensorProto.FLOAT, (3,))]
    branches = {
        "then_branch": helper.make_graph([helper.make_node("Exp", ["x"], ["b"])], "then", [], out),
        "else_branch": helper.make_graph([helper.make_node("Neg", ["x"], ["b"])], "else", [], out),
    }
    graph = helper.make_graph(
        [helper.make_node("If", ["flag"], ["y"], **branches)],
        "if",
        [_value("flag", TensorProto.BOOL, ()), _value("x", TensorProto.FLOAT, (3,))],
        [_value("y", TensorProto.FLOAT, (3,))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    _compare(model, {"flag": np.array(flag), "x": normal()(3)})


@pytest.mark.parametrize("trips", [1, 4])
def test_loop(trips: int) -> None:
    """``x = x * c + i``, with the values of every iteration stacked."""
    body = helper.make_graph(
        [
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "c"], ["m"]),
            helper.make_node("Add", ["m", "f"], ["next"]),
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Neg", ["next"], ["scanned"]),
        ],
        "body",
        [
            _value("i", TensorProto.INT64, ()),
            _value("going", TensorProto.BOOL, ()),
            _value("x", TensorProto.FLOAT, (2,)),
        ],
        [
            _value("goes", TensorProto.BOOL, ()),
            _value("next", TensorProto.FLOAT, (2,)),
            _value("scanned", TensorProto.FLOAT, (2,)),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "true", "start"], ["last", "all"], body=body)],
        "loop",
        [_value("start", TensorProto.FLOAT, (2,)), _value("c", TensorProto.FLOAT, (2,))],
        [_value("last", TensorProto.FLOAT, (2,)), _value("all", TensorProto.FLOAT, (trips, 2))],
        [numpy_helper.from_array(np.array(trips), "trips"), numpy_helper.from_array(np.array(True), "true")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    r = normal()
    _compare(model, {"start": r(2), "c": r(2)})


@pytest.mark.parametrize("backwards", [0, 1])
def test_scan(backwards: int) -> None:
    """A running sum over the rows, forwards and backwards."""
    body = helper.make_graph(
        [helper.make_node("Add", ["total", "row"], ["sum"]), helper.make_node("Exp", ["sum"], ["out"])],
        "body",
        [_value("total", TensorProto.FLOAT, (3,)), _value("row", TensorProto.FLOAT, (3,))],
        [_value("sum", TensorProto.FLOAT, (3,)), _value("out", TensorProto.FLOAT, (3,))],
    )
    directions = {"scan_input_directions": [backwards], "scan_output_directions": [backwards]}
    graph = helper.make_graph(
        [
            helper.make_node(
                "Scan", ["start", "x"], ["last", "all"], body=body, num_scan_inputs=1, **directions
            )
        ],
        "scan",
        [_value("start", TensorProto.FLOAT, (3,)), _value("x", TensorProto.FLOAT, (4, 3))],
        [_value("last", TensorProto.FLOAT, (3,)), _value("all", TensorProto.FLOAT, (4, 3))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    r = normal()
    _compare(model, {"start": r(3), "x": r(4, 3)})

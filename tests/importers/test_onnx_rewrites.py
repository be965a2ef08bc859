"""Layers that exporters take apart: recognised, and left as they are where they are something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtdsl import elaborate_text
from trtdsl.importers.onnx_file import read_model
from trtdsl.importers.onnx_import import import_onnx_program
from trtdsl.importers.onnx_rewrites import recognized
from trtdsl.reference import run, to_numpy

make_node: Any = helper.make_node


def model_of(lines: list[str], shapes: dict[str, list[int]], arrays: dict[str, Any]) -> Any:
    """A model of lines ``y = Add a b``; the last makes the output; numbers are constants."""
    nodes: list[Any] = []
    constants = dict(arrays)
    for line in lines:
        result, _, call = line.partition(" = ")
        operator, *words = call.split()
        attributes: dict[str, Any] = {}
        inputs: list[str] = []
        for word in words:
            name, has, value = word.partition("=")
            if has:
                attributes[name] = [int(each) for each in value.split(",")] if "," in value else int(value)
            else:
                inputs.append(word)
                if word[0].isdigit():
                    constants[word] = np.float32(float(word))
        nodes.append(make_node(operator, inputs, [result], **attributes))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def body(model: Any) -> str:
    """The imported text behind its inputs, once its values are those of the file as it stands."""
    program, arrays = read_model(model, "m")
    found = import_onnx_program(program, arrays)
    random = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    for name, type in program.inputs.items():
        shape: Any = type.shape
        inputs[name] = random.standard_normal(shape).astype(np.float32)
    graph = elaborate_text(found.text)
    (mine,) = run(graph, inputs, found.constants).values()
    assert np.allclose(to_numpy(mine), plain(model, inputs), atol=1e-5)
    return found.text.partition("\n\n")[2].removesuffix("}\n").strip()


def plain(model: Any, inputs: Any) -> Any:
    """What ONNX's own evaluator gives."""
    from onnx.reference import ReferenceEvaluator

    (found,) = ReferenceEvaluator(model).run(None, inputs)
    return found


GELU = ["a = Div x 1.4142135", "e = Erf a", "b = Add e 1.0"]
TANH = [
    "c = Mul x x",
    "d = Mul c x",
    "f = Mul d 0.044715",
    "g = Add x f",
    "h = Mul g 0.7978845608",
    "t = Tanh h",
    "b = Add 1.0 t",
]
NORM = [
    "m = ReduceMean x last",
    "d = Sub x m",
    "s = Mul d d",
    "v = ReduceMean s last",
    "w = Add v 0.00001",
    "r = Sqrt w",
    "n = Div d r",
]
ATTENTION = ["kt = Transpose k perm=0,1,3,2", "p = MatMul q kt"]
GUARD = [
    "s = Softmax l axis=-1",
    "i = IsNaN s",
    "g = Where i 0.0 s",
    "y = MatMul g v",
]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([*GELU, "h = Mul x b", "y = Mul h 0.5"], "gelu(x)"),
        ([*GELU, "h = Mul 0.5 x", "y = Mul b h"], "gelu(x)"),
        ([*TANH, "h2 = Mul 0.5 x", "y = Mul h2 b"], 'gelu(x, approximate = "tanh")'),
        (["s = Sigmoid x", "y = Mul x s"], "silu(x)"),
        (["o = Mul x 1.0", "s = Sigmoid o", "y = Mul x s"], "silu(x)"),
        (["a = Add x 3.0", "c = Clip a zero six", "p = Mul x c", "y = Div p 6.0"], "hardswish(x)"),
        ([*NORM[:-1], "y = Div d r"], "x -> LayerNorm(8, elementwise_affine = false, bias = false)"),
        (
            ["s = Mul x x", "v = ReduceMean s last", "w = Add v 0.00001", "r = Sqrt w", "y = Div x r"],
            "x -> RMSNorm(8, eps = 1e-05, elementwise_affine = false)",
        ),
    ],
)
def test_recognised(lines: list[str], text: str) -> None:
    arrays = {"zero": np.float32(0), "six": np.float32(6), "last": np.array([-1])}
    found = body(model_of(lines, {"x": [2, 4, 8]}, arrays))
    assert found == f"output y = {text}"


@pytest.mark.parametrize(
    "lines",
    [
        [*GELU, "h = Mul x b", "y = Mul h 0.6"],
        ["o = Mul x 1.702", "s = Sigmoid o", "y = Mul x s"],
        ["a = Add x 2.0", "c = Clip a zero six", "p = Mul x c", "y = Div p 6.0"],
        ["s = Mul x x", "v = ReduceMean s first", "w = Add v 0.00001", "r = Sqrt w", "y = Div x r"],
    ],
)
def test_what_is_something_else_is_left(lines: list[str]) -> None:
    arrays = {"zero": np.float32(0), "six": np.float32(6), "first": np.array([0])}
    model = model_of(lines, {"x": [2, 4, 8]}, arrays)
    program, _ = read_model(model, "m")
    assert recognized(program).operations == program.operations
    body(model)


def test_a_norms_weights_are_its_own() -> None:
    arrays = {
        "last": np.array([-1]),
        "ln.weight": np.linspace(1, 2, 8, dtype=np.float32),
        "ln.bias": np.linspace(0, 1, 8, dtype=np.float32),
    }
    lines = [*NORM, "q = Mul n ln.weight", "y = Add q ln.bias"]
    assert body(model_of(lines, {"x": [2, 4, 8]}, arrays)) == "output y = x -> ln: LayerNorm(8)"


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        ([*ATTENTION, "l = Mul p 0.35355339"], ""),
        ([*ATTENTION, "l0 = Div p 2.8284271", "l = Add l0 mask"], "mask"),
        (
            [
                "q2 = Mul q 0.594603558",
                "kt = Transpose k perm=0,1,3,2",
                "k2 = Mul kt 0.594603558",
                "p = MatMul q2 k2",
                "l = Add mask p",
            ],
            "mask",
        ),
        ([*ATTENTION, "l = Mul p 0.25"], "scale"),
    ],
)
def test_attention(lines: list[str], more: str) -> None:
    shapes = {"q": [2, 3, 5, 8], "k": [2, 3, 7, 8], "v": [2, 3, 7, 8]}
    shapes |= {"mask": [2, 1, 5, 7]} if "mask" in more else {}
    found = body(model_of([*lines, *GUARD], shapes, {}))
    assert "scaled_dot_product_attention(" in found
    assert "softmax" not in found
    assert ("scale" in found.replace("scaled_", "")) == (more == "scale")


# --- Moves that are undone --------------------------------------------------------------------------------

MOVES = {
    ("t = Transpose x perm=1,0,2", "u = Transpose t perm=1,0,2", "y = Relu u"): "relu(x)",
    ("r = Reshape x split", "f = Reshape r back", "y = Relu f"): "relu(x)",
    ("r = Reshape x one", "t = Transpose r perm=0,2,1,3", "f = Reshape t back", "y = Relu f"): "relu(x)",
    ("t = Transpose x perm=1,2,0", "u = Transpose t perm=1,2,0", "y = Relu u"): (
        "x -> permute(1, 2, 0) -> permute(1, 2, 0) -> relu"
    ),
    ("r = Reshape x split", "t = Transpose r perm=0,2,1,3", "f = Reshape t back", "y = Relu f"): (
        "x -> reshape(3, 2, 2, 5) -> permute(0, 2, 1, 3) -> reshape(3, 4, 5) -> relu"
    ),
}


@pytest.mark.parametrize(("lines", "found"), MOVES.items())
def test_a_move_that_is_undone_goes(lines: tuple[str, ...], found: str) -> None:
    shapes = {"split": [3, 2, 2, 5], "one": [3, 1, 4, 5], "back": [3, 4, 5]}
    arrays = {name: np.array(each) for name, each in shapes.items()}
    assert body(model_of(list(lines), {"x": [3, 4, 5]}, arrays)) == f"output y = {found}"

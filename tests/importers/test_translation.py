"""One rule at a time: a program of some operations before, a text after.

A program is written as its operations, ``"y = add.Tensor(self = x, other = 2, alpha = 1)"``; what they are
called with is what torch.export has them called with.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.importers.programs import statements, text_of
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.inlined import LARGEST
from trtdsl.importers.module import import_program
from trtdsl.importers.program import Array, Call, ModuleFacts, Operation, Program, Ref
from trtdsl.types import DType, TensorType, symbol, symbols

N = symbol("N", 1, 8, 32)
HEAD = "  dim N = 1 .. 8 .. 32\n  input x: float32[N, 4, 6]\n"


def operation(text: str, calls: tuple[Call, ...] = ()) -> Operation:
    """``"y = relu(self = x)"``: names are values, strings dtypes where they are one's name."""
    results, _, call = text.partition(" = ")
    name, _, arguments = call.partition("(")
    parsed = ast.parse(f"f({arguments}", mode="eval").body
    assert isinstance(parsed, ast.Call)
    given = {str(each.arg): _argument(each.value) for each in parsed.keywords}
    return Operation(name, given, tuple(results.split(", ")), calls)


def _argument(node: ast.expr) -> Any:
    match node:
        case ast.Name(id="N"):
            return N
        case ast.Name(id=name):
            return Ref(name)
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(map(_argument, items))
        case _:
            value = ast.literal_eval(node)
            return DType(value) if isinstance(value, str) and value in DType else value


def program(
    operations: list[Operation],
    types: Mapping[str, TensorType],
    *,
    weights: Mapping[str, str] = {},
    constants: Mapping[str, Array] = {},
    modules: Mapping[str, ModuleFacts] = {},
) -> Program:
    x = TensorType(DType.FLOAT32, (N, 4, 6))
    return Program(
        name="m",
        symbols=tuple(symbols(N)),
        inputs={"x": x},
        weights=weights,
        constants=constants,
        operations=tuple(operations),
        outputs=(("y", Ref(operations[-1].results[0])),),
        types={"x": x, **types},
        modules=modules,
        input_names={"x": "x"},
    )


def f32(*shape: Any) -> TensorType:
    return TensorType(DType.FLOAT32, shape)


RULES: dict[str, tuple[list[str], dict[str, TensorType], str]] = {
    "weight norm": (
        [
            "a = sum.dim_IntList(self = x, dim = (0, 1), keepdim = True)",
            "y = _weight_norm(v = x, g = a, dim = 2)",
        ],
        {"a": f32(1, 1, 6), "y": f32(N, 4, 6)},
        "output y = x * (sum(x, (0, 1), keepdim = true) / vector_norm(x, dim = (0, 1), keepdim = true))",
    ),
    "infix": (
        ["a = mul.Tensor(self = x, other = 2)", "y = add.Tensor(self = a, other = x, alpha = 1)"],
        {"a": f32(N, 4, 6), "y": f32(N, 4, 6)},
        "output y = x * 2 + x",
    ),
    "a chain is piped": (
        ["a = relu(self = x)", "y = sigmoid(self = a)"],
        {"a": f32(N, 4, 6), "y": f32(N, 4, 6)},
        "output y = x -> relu -> sigmoid",
    ),
    "dropout goes": (
        ["a = dropout(input = x, p = 0.5, train = False)", "y = relu(self = a)"],
        {"a": f32(N, 4, 6), "y": f32(N, 4, 6)},
        "output y = relu(x)",
    ),
    "what nobody reads goes": (
        ["a = exp(self = x)", "y = relu(self = x)"],
        {"a": f32(N, 4, 6), "y": f32(N, 4, 6)},
        "output y = relu(x)",
    ),
    "a reshape to the same shape goes": (
        ["a = view(self = x, size = (N, 4, 6))", "y = relu(self = a)"],
        {"a": f32(N, 4, 6), "y": f32(N, 4, 6)},
        "output y = relu(x)",
    ),
    "softmax has its dimension": (
        ["y = softmax.int(self = x, dim = -1, dtype = None)"],
        {"y": f32(N, 4, 6)},
        "output y = softmax(x, -1)",
    ),
    "a slice is an index": (
        ["y = slice.Tensor(self = x, dim = 2, start = 1, end = 5, step = 2)"],
        {"y": f32(N, 4, 2)},
        "output y = x[:, :, 1:5:2]",
    ),
    "select is an index": (
        ["y = select.int(self = x, dim = 1, index = 0)"],
        {"y": f32(N, 6)},
        "output y = x[:, 0]",
    ),
    "cat": (
        ["y = cat(tensors = (x, x), dim = 1)"],
        {"y": f32(N, 8, 6)},
        "output y = cat([x, x], 1)",
    ),
    "flatten": (
        ["y = flatten.using_ints(self = x, start_dim = 1, end_dim = -1)"],
        {"y": f32(N, 24)},
        "output y = flatten(x, 1)",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rule(name: str) -> None:
    operations, types, line = RULES[name]
    found = import_program(program([operation(each) for each in operations], types)).text
    assert found == f"model m {{\n{HEAD}\n  {line}\n}}\n"


def test_weights_decide_the_label() -> None:
    steps = [operation("y = linear(input = x, weight = w, bias = b)", (Call("a.b", "mine.Linear2"),))]
    types = {"w": f32(3, 6), "b": f32(3), "y": f32(N, 4, 3)}
    weights = {"w": "a.b.weight", "b": "a.b.bias"}
    assert "output y = x -> a.b: Linear(3)" in import_program(program(steps, types, weights=weights)).text


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1.5, 2, 3, 4, 5, 6], np.float32), "tensor([1.5, 2.0, 3.0, 4.0, 5.0, 6.0])"),
        (np.full((4, 6), 0.5, np.float32), "full((4, 6), 0.5)"),
        (np.arange(24, dtype=np.float32).reshape(4, 6), "c: Constant(4, 6)"),
    ],
    ids=["short", "regular", "long"],
)
def test_constants(array: Array, text: str) -> None:
    steps = [operation("y = add.Tensor(self = x, other = c, alpha = 1)")]
    types = {"c": f32(*array.shape), "y": f32(N, 4, 6)}
    found = import_program(program(steps, types, constants={"c": array}))
    assert text in found.text
    assert [*found.constants] == (["c"] if "Constant" in text else [])


def siblings(activations: int) -> tuple[list[Operation], dict[str, TensorType], dict[str, str]]:
    """Three layers, each a product, some activations and what it was given."""
    steps: list[Operation] = []
    weights: dict[str, str] = {}
    types: dict[str, TensorType] = {}
    x = "x"
    for number in range(3):
        calls = (Call(f"layers.{number}", "mine.Layer"),)
        w = f"w{number}"
        weights[w] = f"layers.{number}.fc.weight"
        steps.append(operation(f"a{number} = linear(input = {x}, weight = {w}, bias = None)", calls))
        last = f"a{number}"
        types[w] = f32(6, 6)
        for step in range(activations):
            made = f"a{number}_{step}"
            steps.append(operation(f"{made} = relu(self = {last})", calls))
            types[last], last = f32(N, 4, 6), made
        steps.append(operation(f"y{number} = add.Tensor(self = {last}, other = {x}, alpha = 1)", calls))
        types |= {last: f32(N, 4, 6), f"y{number}": f32(N, 4, 6)}
        x = f"y{number}"
    return steps, types, weights


def test_siblings_become_a_loop_of_a_block() -> None:
    steps, types, weights = siblings(LARGEST - 1)
    text = import_program(program(steps, types, weights=weights)).text
    assert "block Layer()(x) {" in text
    assert 'for i in range(3) {\n    x = x -> "layers.{i}": Layer\n  }' in text
    flat = import_program(program(steps, types, weights=weights), is_flat=True).text
    assert "block" not in flat
    assert "layers.2.fc: Linear(6, bias = false)" in flat


def test_a_small_block_is_written_where_it_is_used_once() -> None:
    steps, types, weights = siblings(LARGEST - 2)
    text = import_program(program(steps, types, weights=weights)).text
    assert "block" not in text
    assert 'y = x -> "layers.{i}.fc": Linear(6, bias = false) -> relu -> relu\n    x = y + x\n' in text


def test_all_that_is_missing_is_told_at_once() -> None:
    steps = [
        operation("a = igamma(self = x, other = x)", (Call("one", "mine.One"),)),
        operation("b = igamma(self = a, other = x)", (Call("two", "mine.Two"),)),
        operation("y = polygamma(n = 1, self = b)"),
    ]
    types = {name: f32(N, 4, 6) for name in "aby"}
    with pytest.raises(DiagnosticError) as error:
        import_program(program(steps, types))
    messages = [each.message for each in error.value.diagnostics]
    assert messages == [
        "`igamma` (2 times) cannot be imported: the language does not have it",
        "`polygamma` cannot be imported: the language does not have it",
    ]
    assert error.value.diagnostics[0].help == ("in `one` (One) and 1 more",)


def test_slices_of_several_dimensions_are_one_subscript() -> None:
    def sliced(*lines: str) -> list[str]:
        program, items = statements("\n".join(["x: float32[N, 8, 8]", *lines]))
        return text_of(program, items)

    rows = "a: float32[N, 4, 8] = slice.Tensor(x, 1, 0, 8, 2)"
    columns = "b: float32[N, 4, 4] = slice.Tensor(a, 2, 0, 4, 1)"
    assert sliced(rows, columns, "return b") == ["output out_b = x[:, ::2, :4]"]
    again = "b: float32[N, 2, 8] = slice.Tensor(a, 1, 0, 2, 1)"
    assert sliced(rows, again, "return b") == ["a = x[:, ::2]", "output out_b = a[:, :2]"]
    assert sliced(rows, columns, "return a, b")[0] == "a = x[:, ::2]"

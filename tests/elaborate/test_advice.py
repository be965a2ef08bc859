"""Words for what people write first: what is said leads to what the language takes."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.bodies import graph_of
from trtdsl import reference
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate, elaborate_text
from trtdsl.elaborate.builtins import prelude
from trtdsl.elaborate.values import OperatorRef
from trtdsl.ops.base import OPERATORS
from trtdsl.ops.describe import signature


def said(text: str, declared: str = "input x: float32[N, 3, 8, 8]\n") -> str:
    """What is said of statements behind a declaration; N is from 1 to 8."""
    with pytest.raises(DiagnosticError) as error:
        graph_of(text, declared=f"dim N = 1 .. 4 .. 8\n{declared}")
    return str(error.value)


@pytest.mark.parametrize("name", ["tril", "triu"])
def test_a_triangle_is_written_as_in_pytorch(name: str) -> None:
    graph = elaborate_text(f"model m() {{ input x: float32[3, 4] output y = {name}(x) }}")
    x = torch.randn(3, 4)
    assert torch.equal(reference.run(graph, {"x": x})["y"], getattr(torch, name)(x))


FUNCTIONS = {
    name: op.operands[0].name
    for name, op in OPERATORS.items()
    if isinstance(ref := prelude()[name], OperatorRef) and not ref.is_module and op.operands
    if not (op.operands[0].optional or op.operands[0].variadic)
}


def test_a_number_in_the_place_of_the_first_tensor() -> None:
    """Of no function is something else asked for first; those with parameters say how they are called."""
    for name, operand in FUNCTIONS.items():
        found = said(f"output y = {name}(2)")
        assert f"`{operand}` of `{name}` must be a tensor, not `2`" in found
        told = f"the tensor comes first: `{name}(x, …)`, or `x -> {name}(…)`" in found
        assert told is bool(OPERATORS[name].parameters)
    assert "the tensor comes first: `mean(x, …)`" in said("output y = mean((2, 3))")
    assert "the tensor comes first: `to(x, …)`" in said("output y = to(float32)")
    assert "the tensor comes first: `layer_norm(x, …)`" in said("output y = layer_norm(8)")
    assert "comes first" not in said("output y = lerp(x, x, none)")


def test_a_choice_by_a_size() -> None:
    for text in (
        "if N > 4 { y = x } else { y = 2 * x }",
        "y = x if N in [2, 4] else 2 * x",
        'assert N > 4, "few"',
    ):
        found = said(f"{text}\noutput z = x")
        assert "the text is read once, for every `N` in 1 .. 8: narrow the range" in found
        assert "`cond` and `where` choose; `full((), N)` is the size as a tensor" in found
    assert "if `N` only takes multiples of 2, say so" in said("if N % 2 == 0 { y = x }\noutput z = x")
    graph = graph_of(
        "output y = where(full((), N) > 4, x, 2 * x)", declared="dim N = 1 .. 4 .. 8\ninput x: float32[N]\n"
    )
    assert [reference.run(graph, {"x": torch.ones(n)})["y"][0].item() for n in (4, 5)] == [2.0, 1.0]


@pytest.mark.parametrize(
    "call", ["x, [0.4, 0.4, 0.4], [0.2, 0.2, 0.2]", "x, 0.5, 0.5", "x, mean = [0.4], std = [0.2]"]
)
def test_torchvisions_normalize(call: str) -> None:
    found = said(f"output y = normalize({call})")
    assert "torchvision's `normalize(x, mean, std)` is another function: write `(x - mean) / std`" in found


def test_a_tensor_that_is_piped_in_and_written_once_more() -> None:
    for call in "reshape(x, N, -1)", "max_pool2d(x, 2)", "relu(x)":
        assert "`x` is piped in as the first argument: leave it out here" in said(f"output y = x -> {call}")
    assert "piped" not in said("output y = x -> max_pool2d(2 * x)")
    graph_of("output y = x -> mul(x)")


def test_a_squeeze_of_a_dynamic_batch() -> None:
    declared = "input x: float32[N, 3, 1, 1]\ninput v: float32[N, 1]\n"
    assert "say which it drops: `squeeze((2, 3))`" in said("output y = squeeze(x)", declared)
    assert "say which it drops: `squeeze(1)`" in said("output y = v -> squeeze", declared)
    assert "say which" not in said("output y = squeeze(x, 0)", declared)


def test_more_elements_than_a_dimension_has_at_least() -> None:
    found = said("output y = topk(x, 5, dim = 0)[0]")
    assert "5 elements cannot be taken out of N for every size in range" in found
    assert "the range allows sizes that are 4 too small" in found


def test_layers_by_the_names_of_onnx() -> None:
    assert "write `Linear`" in said("output y = x -> fc: Gemm(10)")
    assert "write `BatchNorm2d`" in said("output y = x -> bn: BatchNormalization")


def test_numbers_as_python_makes_them_of_strings() -> None:
    assert "this number is written `-inf`" in said('output y = masked_fill(x, x > 0, float("-inf"))')
    assert "this number is written `nan`" in said('output y = where(x > 0, x, "NaN")')


def test_a_flatten_that_folds_the_batch() -> None:
    def warned(text: str) -> bool:
        declared = (
            "model m() {\n  dim N = 1 .. 2 .. 4\n  input x: float32[N, 3, 4]\n  input v: float32[N, 1]\n"
        )
        found = elaborate(f"{declared}  output y = {text}\n}}", "m.trtnet").warnings
        return any("flatten folds the batch" in each.message for each in found)

    assert warned("flatten(x)") and warned("x -> flatten")
    assert not any(map(warned, ("flatten(x, 1)", "x -> Flatten()", "flatten(v)", "flatten(x, 0, 1)")))


def test_infinity_is_a_number() -> None:
    x = torch.tensor([1.0, -2.0, 3.0])
    graph = elaborate_text("model m() { input x: float32[3] output y = where(x > 0, x, -inf) }")
    assert reference.run(graph, {"x": x})["y"].tolist() == [1.0, -torch.inf, 3.0]


def test_what_is_not_a_number_is_named() -> None:
    x = torch.tensor([1.0, -2.0])
    graph = elaborate_text("model m() { input x: float32[2] output y = where(x > 0, x, nan) }")
    assert reference.run(graph, {"x": x})["y"].isnan().tolist() == [False, True]


def test_a_dynamic_end_of_arange_is_not_called_its_start() -> None:
    graph = graph_of("output y = arange(N)", declared="dim N = 1 .. 4 .. 8\ninput x: float32[N]\n")
    assert str(graph.outputs[0].value.type) == "int64[N]"
    found = said("output y = arange(N, 4)")
    assert "whether a step of 1 reaches 4 from N depends on the input's size" in found


def test_a_reshape_that_fits_some_sizes_depends_on_the_size() -> None:
    declared = "input x: float32[N, 8]\n"
    assert "divide into [-1, 12] depends on the input's size" in said(
        "output y = reshape(x, -1, 12)", declared
    )
    assert "do not divide into [N, -1, 5]" in said("output y = reshape(x, N, -1, 5)", declared)


def test_a_tuple_of_tensors_is_called_a_tuple() -> None:
    found = said("p = (x, x)\noutput y = p + [x]")
    assert "`+` does not take a tuple of 2 tensors and a list of 1 tensor" in found


def test_a_caret_may_have_been_meant_for_bools() -> None:
    assert "logical_xor" in said("output y = (x > 0) ^ (x < 1)")


def test_bytes_are_divided() -> None:
    graph = elaborate_text(
        "model m() { input x: uint8[4] output y = x // 3 output z = x % 7"
        ' output t = div(x, 5, rounding_mode = "trunc") }'
    )
    x = torch.tensor([0, 5, 200, 255], dtype=torch.uint8)
    found = reference.run(graph, {"x": x})
    assert [found[name].tolist() for name in "yzt"] == [[0, 1, 66, 85], [0, 5, 4, 3], [0, 1, 40, 51]]


@pytest.mark.parametrize("cls", [cls for cls in OPERATORS.values() if cls.order], ids=lambda cls: cls.name)
def test_the_signature_has_the_order_that_the_language_takes(cls: type) -> None:
    listed = signature(cls).partition("(")[2].rstrip(")").split(", ")
    assert tuple(each.partition(" = ")[0] for each in listed) == cls.order


def test_what_a_name_fixes_is_not_among_its_parameters() -> None:
    op = OPERATORS["to"]
    shown = {spelling.name: signature(op, spelling) for spelling in op.spellings}
    assert shown["half"] == "half(input)"

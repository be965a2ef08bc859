"""The functions that take a module's weights: what PyTorch's own compute, with every tensor an input."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from tests.closeness import require_close
from tests.ops.examples import SYMBOLS
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Weight, difference, show, verify
from trtdsl.ops.base import OPERATORS, REQUIRED, SPELLINGS, Module, Spelling
from trtdsl.options import CompileOptions
from trtdsl.reference import random_inputs, resolve, run, to_torch
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.types import symbols

FUNCTIONS = [
    (spelling, example)
    for cls in OPERATORS.values()
    for spelling in cls.spellings
    if spelling.configure
    for example in spelling.examples
]
functions = pytest.mark.parametrize(("spelling", "example"), FUNCTIONS, ids=lambda each: str(each)[:60])
TYPE = re.compile(r"\w+\[[^\]]*\]")


def call_of(example: str) -> tuple[str, list[str], str]:
    """The call with inputs in place of types, the types, and what stands behind the arrow."""
    call, _, result = example.partition(" -> ")
    types = TYPE.findall(call)
    for index in range(len(types)):
        call = TYPE.sub(f"x{index}", call, count=1)
    return call, types, result


def graph_of(example: str) -> Graph:
    call, types, _ = call_of(example)
    found = (next(iter(symbols(dim))) for dim in SYMBOLS.values())
    dims = [f"dim {s.name} = {s.minimum} .. {s.optimum} .. {s.maximum}" for s in found]
    inputs = [f"input x{index}: {type}" for index, type in enumerate(types)]
    return elaborate_text("\n".join(["model m() {", *dims, *inputs, f"y = {call}", "output y", "}"]))


@functions
def test_computes_what_pytorch_does(spelling: Spelling, example: str) -> None:
    graph = graph_of(example)
    assert verify(graph) == ()
    assert [str(output.value.type) for output in graph.outputs] == [example.partition(" -> ")[2]]
    assert not graph.weights
    arrays = {name: abs(array) for name, array in random_inputs(graph, seed=3).items()}
    names: dict[str, Any] = {
        "true": True,
        "false": False,
        "none": None,
        spelling.name: resolve(spelling.torch),
    }
    tensors = {name: to_torch(array) for name, array in arrays.items()}
    found, expected = run(graph, arrays)["y"], eval(call_of(example)[0], names | tensors)
    if expected.dtype is torch.float16 and not torch.equal(found, expected):
        # Not every release of PyTorch squares in float32, as `rms_norm` is defined here.
        wide = {name: x.float() if x.is_floating_point() else x for name, x in tensors.items()}
        expected = eval(call_of(example)[0], names | wide).half()
    assert torch.equal(found, expected)
    lowered = lower(graph)
    require_close(evaluate(lowered.network, arrays, weights=lowered.weights)["y"], expected, 1e-5)
    assert len(build(lowered, CompileOptions(targets=("sm89",)))) > 0


@functions
def test_prints_as_the_module_and_parses_back(spelling: Spelling, example: str) -> None:
    graph = graph_of(example)
    again = elaborate_text(show(graph))
    assert difference(graph, again) is None
    assert spelling.name not in {node.op.name for node in again.nodes}


MODEL = """
model m() {{
  dim N = 1 .. 2 .. 4
  input x: float32[N, 8]
  input w: float32[4, 8]
  input b: float32[4]
  output y = {call}
}}
"""


@pytest.mark.parametrize(
    ("call", "keys"),
    [
        ("fc: Linear(4)(x, weight = w)", ["fc.bias"]),
        ("fc: Linear(4)(x, bias = b)", ["fc.weight"]),
        ("fc: Linear(4)(x, weight = w, bias = b)", []),
        ("Linear(4)(x, weight = w, bias = b)", []),
        ("Linear(4, bias = false)(x, weight = w * 2)", []),
        ("linear(x, w, b)", []),
    ],
)
def test_what_is_not_given_comes_from_the_checkpoint(call: str, keys: list[str]) -> None:
    graph = elaborate_text(MODEL.format(call=call))
    assert verify(graph) == ()
    assert [weight.key for weight in graph.weights] == keys
    assert difference(graph, elaborate_text(show(graph))) is None


def test_two_uses_of_a_label_may_give_different_weights() -> None:
    text = MODEL.format(call="fc: Linear(4)(x, weight = w)\n  output z = fc: Linear(4)(x, weight = w * 2)")
    graph = elaborate_text(text)
    assert [weight.key for weight in graph.weights] == ["fc.bias"]
    values = [value for node in graph.nodes for value in node.operands if isinstance(value, Weight)]
    assert len(values) == 2
    assert values[0] is values[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "fc: Linear(4)(x, weight = x)",
            "the weight `weight` of `Linear` must be float32[4, 8], not float32[N, 8]",
        ),
        ("fc: Linear(4)(x, weight = to(w, float16))", "must be float32[4, 8], not float16[4, 8]"),
        ("fc: Linear(4)(x, bias = none)", "`bias` of `Linear` cannot be none"),
        ("fc: Linear(4)(x, gain = w)", "`Linear` has no tensor `gain`"),
        ("Linear(4)(x, weight = w)", "`Linear` has weights, so it needs a label"),
        (
            "Linear(4, bias = false)(x, weight = w, bias = b)",
            "`Linear` as it is configured here has no weight `bias`",
        ),
        ("linear(x)", "`linear` needs the tensor `weight`"),
        ("linear(x, b)", "the weight of linear needs a tensor of rank 2, not 1"),
        ("linear(x, w, 3)", "`bias` of `linear` must be a tensor, not `3`"),
        ("instance_norm(unsqueeze(x, 1), b, b)", "instance_norm takes the statistics of each instance only"),
        ("instance_norm(unsqueeze(x, 1), 3)", "`running_mean` of `instance_norm` must be a tensor, not `3`"),
        ("batch_norm(w, none, none, training = true, bias = b)", "the weight `bias` of `batch_norm` must be"),
        ("batch_norm(x, b)", "`batch_norm` needs the tensor `running_var`"),
        (
            "conv2d(unsqueeze(x, 0), unsqueeze(w, 0), padding = true)",
            "`padding` of `conv2d` must be an integer",
        ),
    ],
)
def test_mistakes_are_told(call: str, message: str) -> None:
    with pytest.raises(DiagnosticError) as info:
        elaborate_text(MODEL.format(call=call))
    assert message in info.value.diagnostics[0].message


def without_number(text: str) -> str:
    return re.sub(r"\d", "", text)


def is_a_name(word: str) -> bool:
    """Not a word of plain English, as `groups` is."""
    return "_" in word or not word.islower()


def mistaken(type: str) -> list[str]:
    """Types of which few fit where the given one does."""
    dtype, _, sizes = type.removesuffix("]").partition("[")
    dims = sizes.split(", ") if sizes else []
    fewer = [", ".join(dims[1:]), ", ".join(dims[:-1])] if dims else []
    other = [", ".join(["5", *dims[1:]]), ", ".join([*dims[:-1], "5"]), ", ".join(["0", *dims[1:]])]
    shapes = [*fewer, ", ".join(["2", *dims]), *(other if dims else []), ", ".join([*dims[:-1], "N"])]
    return [f"int8[{sizes}]", f"bool[{sizes}]", *(f"{dtype}[{shape}]" for shape in shapes)]


@functions
def test_mistakes_are_told_in_the_functions_terms(spelling: Spelling, example: str) -> None:
    """No name of the module, nor of a parameter that only the module has."""
    cls, _ = SPELLINGS[spelling.name]
    related = {op for op in OPERATORS if without_number(op) == without_number(cls.name)}
    inferred = cls.inferred if issubclass(cls, Module) else ()
    foreign = {*related, *cls.parameters, *inferred} - {*spelling.parameters, *cls.weight_slots}
    types = call_of(example)[1]
    told = 0
    for index, type in enumerate(types):
        for wrong in mistaken(type):
            text = TYPE.sub("{}", example.partition(" -> ")[0]).format(
                *types[:index], wrong, *types[index + 1 :]
            )
            try:
                graph_of(f"{text} -> ")
            except DiagnosticError as error:
                told += 1
                for found in error.diagnostics:
                    words = " ".join((found.message, *found.help))
                    names = {*re.findall(r"`(\w+)`", words), *filter(is_a_name, re.findall(r"\w+", words))}
                    assert not foreign & names, (text, words)
    assert told


@pytest.mark.parametrize("call", ["groups = 0", "groups = -1", "groups = 3", "stride = 0", "padding = -1"])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_convolutions_tell_their_own_parameters(name: str, call: str) -> None:
    with pytest.raises(DiagnosticError) as info:
        graph_of(f"{name}(float32[N, 4, H, W], float32[4, 4, 3, 3], {call}) -> ")
    (found,) = info.value.diagnostics
    assert not re.search("Conv|out_channels|kernel_size", found.message)


@pytest.mark.parametrize(
    "name", sorted(name for name, (_, spelling) in SPELLINGS.items() if spelling.configure)
)
def test_what_is_left_out_is_told(name: str) -> None:
    cls, spelling = SPELLINGS[name]
    left_out = [p for p in spelling.parameters[1:] if p not in spelling.defaults]
    tensors = {*cls.weight_slots, *(operand.name for operand in cls.operands)}
    needed = [p for p in left_out if p in tensors or cls.default(p) is REQUIRED]
    if not needed:
        assert name == "instance_norm"
        return
    with pytest.raises(DiagnosticError) as info:
        elaborate_text(MODEL.format(call=f"{name}(x)"))
    assert any(f"`{p}`" in info.value.diagnostics[0].message for p in needed)


def test_a_cast_is_advised_of_what_the_text_says() -> None:
    with pytest.raises(DiagnosticError) as info:
        elaborate_text(MODEL.format(call="linear(x, to(w, float16) * 2)"))
    assert info.value.diagnostics[0].help == ("cast it: `to(to(w, float16) * 2, float32)`",)

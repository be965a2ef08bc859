"""What the lowering asks of TensorRT's API exists in every release: 8.5, 10 and 11, by their signatures.

The signatures in `api/` were read off the real bindings of each release. Of these only tensorrt_rtx can be
installed everywhere, so models are lowered by the dialect that each release's facts lead to, over
tensorrt_rtx, and every method, argument, property and enum member is looked up.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from benchmarks.zoo_entries import Entry, read_zoo
from tests.closeness import expected, require_close
from tests.ops.examples import EXAMPLES
from tests.trt.recording import RecordingDialect, Use
from tests.trt.releases import RELEASES, api, facts, narrowed
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_file, elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Value, rebuild
from trtdsl.ops.base import OPERATORS
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.in_precision import in_precision
from trtdsl.recipe import Recipe
from trtdsl.trt.facts import Facts, facts_of
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import make_manifest
from trtdsl.types import DType, evaluate_shape
from trtdsl.weights import bind


def test_signatures_tell_the_same_facts_as_the_module() -> None:
    read, looked = facts("rtx-1.7.1"), facts_of(trt)
    for name in [field.name for field in dataclasses.fields(Facts) if field.name != "enums"]:
        assert getattr(read, name) == getattr(looked, name), name
    for name, members in read.enums.items():
        assert members == looked.enums[name], name


def signatures(release: str, method: str) -> list[list[tuple[str, bool]]]:
    """The overloads of a network method: each argument's type, and whether it may be left out."""
    stated = api(release)["add_methods"][method]
    texts = [stated] if isinstance(stated, str) else stated
    return [list(_arguments(text)) for text in texts]


def _arguments(text: str) -> Iterator[tuple[str, bool]]:
    inside = text[text.index("(") + 1 : text.rindex(") ->")]
    for argument in re.split(r", (?=\w+: )", inside)[1:]:
        type, _, default = argument.partition(": ")[2].partition(" = ")
        yield type.replace("List[", "Sequence["), bool(default)


def fits(wanted: str, given: str) -> bool:
    """Whether an argument of the type ``given`` may stand where ``wanted`` is stated."""
    return wanted == given.partition(".")[0] or (wanted, given) in {("DimsHW", "Dims"), ("float", "int")}


def accepted(signature: list[tuple[str, bool]], given: tuple[str, ...]) -> bool:
    if len(given) > len(signature) or any(not optional for _, optional in signature[len(given) :]):
        return False
    return all(fits(wanted, one) for (wanted, _), one in zip(signature, given, strict=False))


PARTS: Mapping[str, Mapping[str, str]] = {
    "ILoop": {
        "name": "",
        "add_trip_limit": "(self, tensor: ITensor, kind: TripLimit) -> ITripLimitLayer",
        "add_iterator": "(self, tensor: ITensor, axis: int = 0, reverse: bool = False) -> IIteratorLayer",
        "add_recurrence": "(self, initial_value: ITensor) -> IRecurrenceLayer",
        "add_loop_output": "(self, tensor: ITensor, kind: LoopOutput, axis: int = 0) -> ILoopOutputLayer",
    },
    "IIfConditional": {
        "name": "",
        "set_condition": "(self, condition: ITensor) -> IConditionLayer",
        "add_input": "(self, input: ITensor) -> IIfConditionalInputLayer",
        "add_output": "(self, true: ITensor, false: ITensor) -> IIfConditionalOutputLayer",
    },
}
"""What loops and conditionals have in every release from 8.5 on, which `api/` does not tell."""


def part_problem(use: Use) -> str | None:
    """Why a loop or a conditional does not have what was used, or None."""
    known = PARTS[use.owner]
    if use.member not in known:
        return "no such member"
    signature = list(_arguments(known[use.member])) if known[use.member] else None
    return None if signature is None or accepted(signature, use.arguments) else f"takes {signature}"


def problem(release: str, use: Use) -> str | None:
    """Why the release does not have what was used, or None."""
    known = api(release)
    for argument in use.arguments:
        enum, _, member = argument.partition(".")
        if member and member not in facts(release).enums.get(enum, frozenset()):
            return f"no {argument}"
    if use.owner in PARTS:
        return part_problem(use)
    if use.member.startswith("add_"):
        if use.member not in known["add_methods"]:
            return "no such method"
        overloads = signatures(release, use.member)
        return None if any(accepted(one, use.arguments) for one in overloads) else f"takes {overloads}"
    if use.owner == "INetworkDefinition":
        return None if use.member in known["network_members"] else "no such member"
    if use.owner == "ITensor":
        return None if use.member in {*known["tensor_members"], "shape", "dtype"} else "no such member"
    if use.owner == "IAttention":
        # Two layers behind one object, which the signatures leave out.
        return None if hasattr(vars(trt)["IAttention"], use.member) else "no such member"
    members = {*known["layers"].get(use.owner, ()), *known["layer_methods"].get(use.owner, ())}
    return None if use.member in members | {*known["ilayer_base"]} else "no such member"


def problems(release: str, dialect: RecordingDialect) -> list[str]:
    found = [(use, problem(release, use)) for use in sorted(dialect.uses)]
    return [f"{use.owner}.{use.member}{use.arguments}: {reason}" for use, reason in found if reason]


def with_zeros(graph: Graph) -> Graph:
    """The graph with zeros for weights."""
    zeros: dict[Value, Value] = {
        weight: weight.replace(
            data=np.zeros(evaluate_shape(weight.type.shape, {}), weight.type.dtype.numpy), stored=None
        )
        for weight in graph.weights
    }
    return rebuild(graph, graph.nodes, zeros)


def models() -> list[Any]:
    """The zoo; of each file the first model is a quick run, the others are with those of their tier."""
    seen: set[str] = set()
    found: list[Any] = []
    for entry in read_zoo().values():
        further = pytest.mark.whole if entry.tier == "whole" else pytest.mark.zoo
        found.append(pytest.param(entry, id=entry.name, marks=[further] if entry.file in seen else []))
        seen.add(entry.file)
    return found


class Graphs(NamedTuple):
    """A model as it is lowered for every release: optimised, and of that the strongly typed float16."""

    optimized: Graph
    half: Graph


@lru_cache(maxsize=1)  # the releases of a model come one after the other
def graphs(name: str) -> Graphs:
    entry = read_zoo()[name]
    graph = optimize(with_zeros(elaborate_file(entry.path, model=entry.model, defines=entry.defines)))
    return Graphs(graph, in_precision(graph, DType.FLOAT16, None).graph)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("entry", models())
def test_models_use_what_the_release_has(entry: Entry, release: str) -> None:
    graph, half = graphs(entry.name)
    dialect = RecordingDialect(facts(release))
    lower(graph, dialect)
    assert problems(release, dialect) == []
    lower(half, dialect)
    if dialect.mixes_types:
        found = in_precision(graph, DType.FLOAT16, dialect)
        lower(found.graph, dialect, mixed=found.mixed, wide=found.wide)
    assert problems(release, dialect) == []
    pins = {use.member for use in dialect.uses} & {"precision", "set_output_type"}
    assert bool(pins) == (not dialect.facts.strongly_typed)


@pytest.mark.parametrize("release", RELEASES)
def test_operators_use_what_the_release_has(release: str) -> None:
    dialect = RecordingDialect(facts(release))
    refused: dict[str, str] = {}
    for example in EXAMPLES:
        try:
            lower(example.graph(), dialect)
        except DiagnosticError as error:
            message, _, _ = error.diagnostics[0].message.partition(", the type of the input")
            refused[example.text] = message.removeprefix(f"{dialect} ")
    assert problems(release, dialect) == []
    if not dialect.facts.has("DataType.BF16"):
        halves = {each.text for each in EXAMPLES if "bfloat16" in each.text} - NARROW.keys()
        assert {refused.pop(text) for text in halves} == {"does not support bfloat16"}
    # What a release lacks else is said by name, and the list can only change on purpose.
    assert refused == REFUSED[release]


CACHES = dict.fromkeys(
    OPERATORS["kv_cache_update"].examples, "no cache is updated in place before TensorRT 10.15"
)
VOLUMES = dict.fromkeys(
    (example for example in OPERATORS["grid_sample"].examples if "S, 4, 3])" in example),
    "samples images at points, not volumes: float32[N, 2, 4, 5, 6]",
)
PLUGINS = {
    example: f"has no plugin `{example.split(chr(34))[1]}`" for example in OPERATORS["plugin"].examples
}
NARROW = {
    "quantize(float8_e4m3fn)(float16[N, 8], float16[]) -> float8_e4m3fn[N, 8]": (
        "TensorRT 8 quantises to int8 only, not to float8_e4m3fn"
    ),
    "quantize(int4, axis = 1)(float16[4, 64], float16[4, 2]) -> int4[4, 64]": (
        "TensorRT 8 quantises to int8 only, not to int4"
    ),
    **dict.fromkeys(
        (each for each in OPERATORS["dynamic_quantize"].examples if "bfloat16" not in each),
        "nothing is quantised as it comes before TensorRT 10.8",
    ),
    "dequantize()(float8_e4m3fn[N, 8], bfloat16[]) -> bfloat16[N, 8]": "does not support float8_e4m3fn",
    "dequantize(axis = 1)(int4[4, 64], float16[4, 2]) -> float16[4, 64]": "does not support int4",
    "dequantize(axis = 1)(float4_e2m1fn[4, 64], float16[4, 4]) -> float16[4, 64]": (
        "does not support float4_e2m1fn"
    ),
    "dequantize(float16, axis = 1)(float8_e4m3fn[4, 64], float8_e8m0fnu[4, 2]) -> float16[4, 64]": (
        "does not support float8_e4m3fn"
    ),
    # What is quantised in the network may be dequantised; an input of int8 or a reshaped tensor may not.
    **dict.fromkeys(
        (
            "quantize()(float32[], float32[]) -> int8[]",
            "dequantize()(int8[N, 8], float32[]) -> float32[N, 8]",
            "dequantize(axis = 0)(int8[8, 4, 3, 3], float16[8]) -> float16[8, 4, 3, 3]",
            "dequantize()(int8[], float32[]) -> float32[]",
        ),
        "supports int8 for quantised values only",
    ),
}
WIDE = (
    "bitwise_or(int64[N, 8], int32[8])",
    "bitwise_left_shift(int64[N, 8], int64[])",
    "bitwise_right_shift(int64[N, 8], int64[])",
)
REFUSED: dict[str, dict[str, str]] = {
    "8.5.3": {
        **{call: reason for call, reason in CACHES.items() if "bfloat16" not in call},
        **VOLUMES,
        **PLUGINS,
        **NARROW,
        **dict.fromkeys(
            (f"{call} -> int64[N, 8]" for call in WIDE),
            "has 32-bit integers only, and a constant here does not fit",
        ),
        "topk(1, dim = 0)(int32[S]) -> int32[1], int64[1]": (
            "supports TopKOperation.MAX for floating-point tensors only, not for int32"
        ),
        "max(dim = -1, keepdim = true)(int64[N, S]) -> int64[N, 1], int64[N, 1]": (
            "supports TopKOperation.MAX for floating-point tensors only, not for int64"
        ),
    },
    "10.13": {**CACHES, **VOLUMES, **PLUGINS},
    "11.4": {**PLUGINS},
}


def halved(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of numbers that float16 has: rounding the inputs is not the network's error."""
    return {
        name: array.astype(np.float16).astype(array.dtype) if array.dtype == np.float32 else array
        for name, array in arrays.items()
    }


@pytest.mark.parametrize("precision", [DType.FLOAT32, DType.FLOAT16])
def test_the_oldest_dialect_computes_the_same(precision: DType) -> None:
    """What the facts of 8.5 lead to, casts by identity layers and composed layers, is still the operator."""
    for example in EXAMPLES:
        dialect = RecordingDialect(facts("8.5.3"))
        graph = example.graph()
        half = precision is DType.FLOAT16
        try:
            lowered = lower(convert_precision(precision)(graph) if half else graph, dialect)
        except DiagnosticError:
            continue
        inputs = halved(example.arrays("opt")) if half else example.arrays("opt")
        given = narrowed(inputs)
        found = evaluate(dialect.network, given, weights=lowered.weights)
        for name, wanted in expected(graph, inputs).items():
            # A half rounds at every layer, and composed operators have a few.
            rounded = half or wanted.own.dtype == torch.float16
            limit = 5e-3 if rounded else example.op.tolerance
            require_close(found[name], wanted.in_32_bits, limit)


@pytest.mark.parametrize("op", ["LayerNorm(8, elementwise_affine = false)", "GroupNorm(2, affine = false)"])
def test_norms_of_float16_are_composed_in_float32(op: str) -> None:
    """Squares of half precision overflow above 256."""
    text = f"model m() {{ input x: float16[2, 4, 8]  output y = x -> n: {op} }}"
    graph = elaborate_text(text)
    dialect = RecordingDialect(facts("8.5.3"))
    lowered = lower(graph, dialect)
    inputs = {"x": np.random.default_rng(0).normal(0, 1e3, (2, 4, 8)).astype(np.float16)}
    found = evaluate(dialect.network, inputs, weights=lowered.weights)
    for name, wanted in expected(graph, inputs).items():
        require_close(found[name], wanted, 4e-3)


NET = """
model m() {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 3]
  a = x -> fc: Linear(4) -> relu
  b = exp(to(a, float16))
  output c = to(b, float32)
  output i = argmax(b, 1)
}
"""


def pins(*, mixed: bool, text: str = NET) -> set[Use]:
    dialect = RecordingDialect(facts("8.5.3"))
    graph = elaborate_text(text)
    lower(with_zeros(graph), dialect, mixed=mixed)
    return {use for use in dialect.uses if use.member in ("precision", "set_output_type")}


def test_a_weakly_typed_network_is_pinned_to_the_types_of_the_text() -> None:
    """A mixed one to float16 only: TensorRT may choose it for float32 too, or must. Casts have their types in
    both."""
    spelled = {(use.owner, use.member, *use.arguments) for use in pins(mixed=False)}
    assert ("IMatrixMultiplyLayer", "precision", "DataType.FLOAT") in spelled
    assert ("IUnaryLayer", "precision", "DataType.HALF") in spelled
    left, halved = pins(mixed=False) - pins(mixed=True), pins(mixed=True) - pins(mixed=False)
    assert {use.arguments[-1] for use in left} == {"DataType.FLOAT"}
    owners = {"IMatrixMultiplyLayer", "IElementWiseLayer", "IActivationLayer"}
    assert {(use.owner, *use.arguments) for use in halved} == {(owner, "DataType.HALF") for owner in owners}
    kept = {(use.owner, use.arguments[-1]) for use in pins(mixed=True)}
    assert {owner for owner, type in kept if type == "DataType.FLOAT"} == {"IIdentityLayer"}
    assert ("IUnaryLayer", "DataType.HALF") in kept


@pytest.mark.parametrize(
    ("body", "halved"),
    [
        ("x -> a: Linear(6) -> relu", {"IMatrixMultiplyLayer", "IElementWiseLayer", "IActivationLayer"}),
        ("x -> a: Linear(6) -> n: LayerNorm(6)", {"IMatrixMultiplyLayer", "IElementWiseLayer"}),
        ("x -> a: Conv1d(5, 1) -> relu -> b: Linear(6, bias = false)", {"IMatrixMultiplyLayer"}),
        ("softmax(matmul(x, x), -1) -> a: Conv1d(6, 1)", {"IMatrixMultiplyLayer"}),
        ("softmax(matmul(x, x), -1) -> matmul(x)", {"IMatrixMultiplyLayer", "ISoftMaxLayer"}),
    ],
)
def test_what_lies_around_products_is_of_their_type(body: str, halved: set[str]) -> None:
    """Where most layers with a choice are products; norms, which compute in float32, are not."""
    text = f"model m {{ dim N = 1 .. 2 .. 4  input x: float32[N, 6, 6]  output y = {body} }}"
    used = {use for use in pins(mixed=True, text=text) if use.member == "precision"}
    assert {use.arguments for use in used} == {("DataType.HALF",)}
    assert {use.owner for use in used} == halved


@pytest.mark.parametrize(("release", "mixed"), [("8.5.3", True), ("10.13", False)])
def test_float16_converts_the_graph_where_networks_are_strongly_typed(release: str, mixed: bool) -> None:
    graph = elaborate_text("model m() { input x: float32[2]  output y = tanh(x) }")
    dialect = RecordingDialect(facts(release))
    found, is_mixed, *_ = in_precision(graph, DType.FLOAT16, dialect)
    assert is_mixed == mixed
    assert (found is graph) == mixed
    lowered = lower(found, dialect, mixed=is_mixed)
    assert make_manifest(lowered, b"").precision == "float16"
    kept = in_precision(huge(), DType.FLOAT16, dialect)
    assert [note.message for note in kept.notes] == [
        "`fc` (Linear) stayed float32, because `fc.weight` reaches 1e+06, beyond float16's 65504"
    ]
    assert lower(kept.graph, dialect, mixed=mixed, wide=kept.wide)


NEEDS_FLOAT32 = {
    "numbers that float16 has no digits for": ("x * 3e-6", "IElementWiseLayer"),
    "numbers beyond float16": ("x * 1e5 * 1e-5", "IElementWiseLayer"),
    "large angles": ("cos(x * arange(0, 4096))", "IUnaryLayer"),
    "what the user keeps": ("tanh(x)", "IActivationLayer"),
    "a product that the user keeps": ("matmul(x, x)", "IMatrixMultiplyLayer"),
}


@pytest.mark.parametrize("what", NEEDS_FLOAT32)
def test_what_needs_float32_is_pinned_to_it_where_tensorrt_chooses(what: str) -> None:
    body, owner = NEEDS_FLOAT32[what]
    graph = elaborate_text(
        f"model m() {{ input x: float32[4096]  output y = {body}  output z = sigmoid(x) }}"
    )
    dialect = RecordingDialect(facts("8.5.3"))
    kept = {"float32": [body.partition("(")[0]]} if "keeps" in what else {}
    recipe = Recipe(precision="float16", keep=kept)
    found = in_precision(graph, DType.FLOAT16, dialect, recipe)
    assert found.mixed and all("stayed float32" in note.message for note in found.notes) and found.notes
    lower(found.graph, dialect, mixed=True, wide=found.wide)
    pinned = {(use.owner, *use.arguments) for use in dialect.uses if use.member == "precision"}
    assert (owner, "DataType.FLOAT") in pinned
    assert "sigmoid" in {node.op.name for node in {*found.graph.nodes} - found.wide}


def huge() -> Graph:
    graph = elaborate_text("model m() { input x: float32[2, 1]  output y = fc: Linear(1, bias = false)(x) }")
    return bind(graph, {"fc.weight": np.full((1, 1), 1e6, "f4")}).graph


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("tf32", [None, False, True])
def test_builder_flags_exist(release: str, tf32: bool | None) -> None:
    asked = RecordingDialect(facts(release)).flags_set(float16=True, tf32=tf32)
    assert asked["flags"] <= {*api(release)["builder_flags"]}
    assert asked["members"] <= {*api(release)["builder_config"]}
    assert ("FP16" in asked["flags"]) == (release == "8.5.3")


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (Use("INetworkDefinition", "add_cast", "call", ("ITensor", "DataType.HALF")), "no such method"),
        (Use("INetworkDefinition", "add_topk", "call", ("ITensor", "TopKOperation.MAX", "int")), "takes"),
        (Use("INetworkDefinition", "add_unary", "call", ("ITensor", "UnaryOperation.ISNAN")), "no Unary"),
        (Use("ITopKLayer", "indices_type", "set", ("DataType.INT32",)), "no such member"),
        (Use("ITensor", "strides", "read"), "no such member"),
        (Use("ILoop", "add_iterator", "call", ("ITensor", "bool", "bool")), "takes"),
        (Use("IIfConditional", "add_condition", "call", ("ITensor",)), "no such member"),
    ],
)
def test_a_use_that_is_not_there_is_found(use: Use, reason: str) -> None:
    assert reason in str(problem("8.5.3", use))


@pytest.mark.parametrize(("release", "orders"), [("8.5.3", True), ("10.13", False)])
def test_tensorrt_8_is_made_to_order_the_layers(release: str, orders: bool) -> None:
    """It does where an input is set anew, of whatever layer, and adds residuals in faster kernels then."""
    graph = with_zeros(
        elaborate_text(
            """model m {
              input x: float32[1, 4, 8, 8]
              output y = relu((x -> a: Conv2d(8, 3, padding = 1)) + (x -> b: Conv2d(8, 1)))
            }"""
        )
    )
    dialect = RecordingDialect(facts(release))
    lower(graph, dialect)
    assert (Use("ILayer", "set_input", "call", ("int", "ITensor")) in dialect.uses) == orders

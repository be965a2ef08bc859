"""Random operators: PyTorch, the reference and the TensorRT layers agree, also on what is refused.

A small number of cases runs each time, always the same ones. With ``TRTDSL_RANDOM=1000`` in the environment
that many new ones are tried for each family.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from tests.closeness import NARROW, expected, require_close
from tests.ops.examples import sample, with_positions
from tests.ops.random_cases import FAMILIES, FLOATS, FOUND, Case, make, shape_step, shapes
from tests.ops.random_families import FURTHER
from trtdsl import reference
from trtdsl.diagnostics import Origin, Source, Span
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Node, Output, Value, Weight, require_valid
from trtdsl.ops.base import Module, Op
from trtdsl.ops.refused import Refused
from trtdsl.passes import optimize
from trtdsl.reference import ProfilePoint, point, random_weight, run_node, to_torch, torch_dtype, type_of
from trtdsl.trt.lower import lower
from trtdsl.types import DType, TensorType, evaluate_shape, symbols

WANTED = os.environ.get("TRTDSL_RANDOM")
RANDOM = settings(
    max_examples=int(WANTED or 25),
    derandomize=WANTED is None,
    database=None,
    deadline=None,
    suppress_health_check=(
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ),
    phases=(Phase.generate, Phase.shrink),
)

STRICTER: Mapping[str, str] = {
    r"needs one dtype": "which mixtures PyTorch takes differs from function to function",
    r"does not sum .* tensors": "TensorRT's matrix products are of floating point",
    r"value does not fit into": "PyTorch cuts it to the tensor's dtype without a word",
    r"does not take bool tensors here": "no layer adds, and what is meant can be said with `logical_or`",
    r"wraps round": "TensorRT's narrow integers are for quantisation and promise no overflow",
    r"(clamp|square) does not take bool": "of a bool it is the bool itself",
    r"logsumexp needs at least one": "PyTorch takes an empty list for all, but only with `keepdim`",
    r"is out of the range of": "what such a bound means differs between releases of PyTorch",
    r"`alpha` does not apply to two bool tensors": "true times anything is true",
    r"have no common dtype": "PyTorch's is int16, which TensorRT lacks",
    r"pairwise_distance needs a tensor of rank 1": "PyTorch's documentation has vectors, and so it is meant",
    r"leaves an output of 0|leaves .* of": "an engine computes no empty tensor",
}
"""What we refuse and PyTorch takes, with the reason."""

DYNAMIC = r"depends on|not sure|do not broadcast for every size|must be known|is the dynamic|dynamic"
"""Words of a refusal because a size is not known."""

POINTS: tuple[ProfilePoint, ...] = ("min", "opt", "max")


# --- One operator -----------------------------------------------------------------------------------------


ALL_FAMILIES = {**FAMILIES, **FURTHER}


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_an_operator_is_pytorchs(family: str) -> None:
    @RANDOM
    @given(ALL_FAMILIES[family], st.integers(0, 2**32 - 1))
    def check(case: Case, seed: int) -> None:
        event(check_case(case, seed))

    check()


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_right(name: str) -> None:
    check_case(FOUND[name], 0)


def check_case(case: Case, seed: int) -> str:
    """PyTorch at the middle of all ranges decides whether the case is valid, and what it computes.

    Returns which of the ways it went.
    """
    static = at_point(case, "opt")
    problem = refusal(static)
    try:
        theirs = pytorchs(static)
    except NotBuilt:
        return "not built for PyTorch's CPU"
    if theirs is None:
        assert problem is not None, "PyTorch refuses this, we do not"
        return "refused by both"
    if problem is not None:
        assert any(re.search(pattern, problem) for pattern in STRICTER), f"we refuse alone: {problem}"
        return "refused by us alone"
    compare(static, seed, ("opt",))
    if not _is_dynamic(case):
        return "static"
    problem = refusal(case)
    if problem is None:
        compare(case, seed, POINTS)
        return "dynamic"
    invalid_elsewhere = any(pytorchs(at_point(case, at)) is None for at in POINTS)
    stricter = any(re.search(pattern, problem) for pattern in STRICTER)
    assert invalid_elsewhere or stricter or re.search(DYNAMIC, problem), f"we refuse alone: {problem}"
    return "refused for a dynamic size"


def compare(case: Case, seed: int, points: Sequence[ProfilePoint]) -> None:
    graph = graph_of(case, seed)
    lowered = lower(graph)
    for at in points:
        arrays = arrays_of(case, at, seed)
        found = evaluate(lowered.network, arrays, weights=lowered.weights)
        for name, wanted in expected(graph, arrays).items():
            require_close(found[name], wanted, max(case.op.tolerance, rounding(wanted.own)))


def rounding(value: torch.Tensor) -> float:
    """Few random terms may cancel to less than their own size, and the error is relative to what is left."""
    return 4 * NARROW.get(value.dtype, 0.0)


def graph_of(case: Case, seed: int) -> Graph:
    """A graph of the operator alone."""
    slots = list(_slots(case))
    inputs = tuple(Value(f"x{index}", type) for index, (_, type) in enumerate(slots))
    weights = list(_weights(case, seed))
    operands = (*inputs, *(weight for _, weight in weights))
    node = Node(case.op, operands, (*(s for s, _ in slots), *(s for s, _ in weights)), (), "op")
    results = tuple(Value(f"y{index}", type) for index, type in enumerate(node.infer()))
    node = Node(case.op, operands, node.slots, results, "op")
    return Graph("one", inputs, (node,), tuple(Output(f"o{i}", v) for i, v in enumerate(results)))


def _slots(case: Case) -> Sequence[tuple[str, TensorType]]:
    return [
        (name, single)
        for name, type in case.operands.items()
        for single in (type if isinstance(type, list) else [type])
    ]


def _weights(case: Case, seed: int) -> Sequence[tuple[str, Weight]]:
    if not isinstance(case.op, Module):
        return []
    random = np.random.default_rng(seed)
    types = case.op.weights(**case.operands)
    return [
        (name, Weight(f"op.{name}", t, f"op.{name}", random_weight(name, t, random)))
        for name, t in types.items()
    ]


def arrays_of(case: Case, at: ProfilePoint, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    static = at_point(case, at)
    allowed = static.op.positions(**static.operands)
    with np.errstate(all="ignore"):
        slots = _slots(static)
        positions = [each for _, each in with_positions((slot for slot, _ in slots), allowed)]
        return {
            f"x{i}": sample(case.op.name, slot, type, random, positions[i])
            for i, (slot, type) in enumerate(slots)
        }


def _is_dynamic(case: Case) -> bool:
    return any(not type.is_static for _, type in _slots(case))


def at_point(case: Case, at: ProfilePoint) -> Case:
    """The case with every dimension a number."""
    found = frozenset(s for _, type in _slots(case) for dim in type.shape for s in symbols(dim))
    sizes = point(found, at)

    def fixed(type: Any) -> Any:
        if isinstance(type, list):
            return [fixed(each) for each in type]
        return type.with_shape(evaluate_shape(type.shape, sizes))

    return Case(case.op.at(sizes), {name: fixed(type) for name, type in case.operands.items()})


def refusal(case: Case) -> str | None:
    try:
        case.op.infer(**case.operands)
    except Refused as refused:
        return refused.message
    return None


REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)


POSITIONS = ("index", "indices")
"""Operands of which 1 may be too large."""


class NotBuilt(Exception):
    """PyTorch has no kernel for this dtype on the CPU, which says nothing about the case."""


def pytorchs(case: Case) -> tuple[torch.Tensor, ...] | None:
    """What PyTorch makes of ones of these types, and of positions 0, or None where it refuses."""

    def ones(type: Any, value: int = 1) -> Any:
        if isinstance(type, list):
            return [ones(each, value) for each in type]
        return torch.full(type.shape, value, dtype=torch_dtype(type.dtype))

    weights = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if isinstance(case.op, Module):
                weights = {name: ones(t) for name, t in case.op.weights(**case.operands).items()}
            operands = {name: ones(type, int(name not in POSITIONS)) for name, type in case.operands.items()}
            return run_node(case.op, operands, weights)
        except Refused as error:  # weights that depend on operands which are refused
            raise NotBuilt from error
        except REFUSALS as error:
            if re.search("not implemented for '(Half|BFloat16)'", str(error)):
                raise NotBuilt from error
            return None


# --- Chains -----------------------------------------------------------------------------------------------


ORIGINS = (Origin(Span(Source("chain", "x"), 0, 1)),)


@st.composite
def chains(draw: Any) -> Graph:
    """Up to six steps that move elements about, each reading the last one's first result; then a cat of what
    can be joined."""
    type = TensorType(draw(st.sampled_from((*FLOATS, DType.INT64, DType.BOOL))), draw(shapes(1, 4, 1, 4)))
    first = Value("x", type)
    nodes: list[Node] = []
    values = [first]
    for _ in range(draw(st.integers(1, 6))):
        op = draw(shape_step(values[-1].type))
        node = _step(op, (values[-1],), len(nodes))
        if node is not None:
            nodes.append(node)
            values.append(node.results[0])
    op = make("cat", {}, dim=draw(st.integers(-2, 1))).op
    joined = _step(op, (values[-1], values[-1], draw(st.sampled_from(values))), len(nodes))
    if joined is not None:
        nodes.append(joined)
        values.append(joined.results[0])
    return require_valid(Graph("chain", (first,), tuple(nodes), (Output("y", values[-1]),)))


def _step(op: Op, operands: tuple[Value, ...], number: int) -> Node | None:
    """The operator applied, or None where it is refused, has no result or makes no elements."""
    slots = (op.operands[0].name,) * len(operands)
    node = Node(op, operands, slots, (), "", ORIGINS)
    try:
        types = node.infer()
    except Refused:
        return None
    if not types or any(dim == 0 for dim in types[0].shape):
        return None
    results = tuple(Value(f"v{number}_{i}", type) for i, type in enumerate(types))
    return node.replace(results=results)


def test_chains_are_pytorchs() -> None:
    @RANDOM
    @given(chains(), st.integers(0, 2**32 - 1))
    def check(graph: Graph, seed: int) -> None:
        check_chain(graph, seed)

    check()


def check_chain(graph: Graph, seed: int) -> None:
    """PyTorch's methods, the reference, and the network before and after the passes, at each size."""
    optimized = optimize(graph)
    networks = (lower(optimized), lower(graph))
    for at in POINTS:
        inputs = reference.random_inputs(graph, at, seed)
        expected = _by_torch(graph, inputs, at)
        found = [*reference.run(graph, inputs).values(), *reference.run(optimized, inputs).values()]
        for network in networks:
            found += evaluate(network.network, inputs, weights=network.weights).values()
        assert all(torch.equal(each, expected) for each in found)


def _by_torch(graph: Graph, inputs: Mapping[str, Any], at: ProfilePoint) -> torch.Tensor:
    """The chain step by step, without the graph's own machinery."""
    sizes = point(frozenset(s for v in graph.inputs for dim in v.type.shape for s in symbols(dim)), at)
    values = {value: to_torch(inputs[value.name]) for value in graph.inputs}
    for node in graph.nodes:
        op: Any = node.op.at(sizes)
        x, *others = (values[value] for value in node.operands)
        result = torch.cat([x, *others], op.dim) if op.name == "cat" else _applied(op, x)
        values.update(
            zip(node.results, result if isinstance(result, (tuple, list)) else [result], strict=True)
        )
    return values[graph.outputs[0].value]


def _applied(op: Any, x: torch.Tensor) -> Any:
    """The tensor method of the operator's name; slices are written as Python has them."""
    parameters = {name: getattr(op, name) for name in op.parameters}
    if op.name == "slice":
        where = [slice(None)] * x.dim()
        where[op.dim] = slice(op.start, op.end, op.step)
        return x[tuple(where)]
    if op.name == "squeeze" and op.dim is None:
        return x.squeeze()
    if op.name == "repeat_interleave":
        # Not every release of PyTorch repeats what has no dimension along one.
        x = torch.atleast_1d(x)
    positional = {"permute": "dims", "reshape": "shape", "expand": "size", "flip": "dims", "tile": "dims"}
    positional["repeat"] = "repeats"
    if op.name in positional:
        return getattr(x, op.name)(parameters[positional[op.name]])
    return getattr(x, op.name)(**parameters)


def test_types_are_pytorchs() -> None:
    """The comparison itself compares dtypes: bool is not uint8."""
    with pytest.raises(AssertionError):
        require_close(torch.ones(2, dtype=torch.uint8), torch.ones(2, dtype=torch.bool), 1e-5)
    assert type_of(torch.ones(2, dtype=torch.bool)) == TensorType(DType.BOOL, (2,))

"""Remainders and whole quotients of floats are PyTorch's to the bit, whatever the quotient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl import reference
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.passes.fold_constants import fold_constants
from trtdsl.trt.lower import lower
from trtdsl.types import DType

REMAINDERS = ("x % d", "fmod(x, d)")
CALLS = (*REMAINDERS, "x // d", 'div(x, d, rounding_mode = "floor")')
DIVISORS = (
    "0.7",
    "-0.7",
    "0.1",
    "3.0",
    "-3.0",
    "pi",
    "2 * pi",
    "1.0",
    "0.5",
    "256.0",
    "-8.0",
    "1e-3",
    "7e30",
)
INF, NAN = math.inf, math.nan


def graph_of(call: str, divisor: str | None, count: int, dtype: str = "float32") -> Graph:
    """A division by a number in the text, or by an input ``d``."""
    given = f"input d: {dtype}[{count}]" if divisor is None else f"pi = {math.pi}\n d = {divisor}\n"
    return elaborate_text(f"model m() {{ {given} input x: {dtype}[{count}] output y = {call} }}")


def numbers(divisor: torch.Tensor, bits: int, count: int = 1000) -> torch.Tensor:
    """Numbers of either sign up to ``2 ** bits`` times the divisor: anywhere, and at and beside multiples."""
    random = torch.Generator().manual_seed(bits)
    size = torch.exp2(torch.empty(count).uniform_(-3, bits, generator=random).double())
    sign = torch.sign(torch.rand(count, generator=random) - 0.5)
    whole = torch.where(torch.rand(count, generator=random) < 0.5, torch.round(size).clamp(1, 2**30), size)
    x = (whole * sign * divisor).clamp(-3e38, 3e38).float()
    beside = torch.nextafter(x, torch.full_like(x, INF) * sign)
    return torch.where(torch.rand(count, generator=random) < 0.3, beside, x)


def networks(graph: Graph) -> Iterator[tuple[Any, Any]]:
    """Those of RTX and of 8.5, with their weights."""
    new = lower(graph)
    yield new.network, new.weights
    oldest = RecordingDialect(facts("8.5.3"))
    if all(value.type.dtype is not DType.BFLOAT16 for value in graph.inputs):
        old = lower(graph, oldest)
        yield oldest.network, old.weights


def require_equal(graph: Graph, inputs: Mapping[str, torch.Tensor], rounded: bool) -> None:
    """The layers of RTX and those of 8.5, to the bit; where ``rounded``, beyond 2 ** 23 but the last one."""
    wanted = reference.run(graph, inputs)["y"]
    for network, weights in networks(graph):
        (found,) = evaluate(network, inputs, weights=weights).values()
        same = (found == wanted) | (found.isnan() & wanted.isnan())
        if rounded:
            same |= (wanted.abs() >= 2**23) & ((found - wanted).abs() <= 2**-22 * wanted.abs())
        wrong = [inputs["x"][~same][:5], found[~same][:5], wanted[~same][:5]]
        assert same.all(), f"of {wrong[0]}: {wrong[1]}, not {wrong[2]}"


@pytest.mark.parametrize("bits", [6, 24, 70])
@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("call", CALLS)
def test_by_a_number(call: str, divisor: str, bits: int) -> None:
    x = numbers(torch.tensor(eval(divisor, {"pi": math.pi})), bits)
    require_equal(graph_of(call, divisor, len(x)), {"x": x}, call not in REMAINDERS)


@pytest.mark.parametrize("bits", [6, 24, 70])
@pytest.mark.parametrize("call", CALLS)
def test_by_a_tensor(call: str, bits: int) -> None:
    random = torch.Generator().manual_seed(1)
    d = torch.exp2(torch.empty(1000).uniform_(-40, 40, generator=random))
    d = d * torch.sign(torch.rand(1000, generator=random) - 0.5)
    require_equal(graph_of(call, None, 1000), {"x": numbers(d, bits), "d": d}, call not in REMAINDERS)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("call", REMAINDERS)
def test_of_narrow_floats(call: str, dtype: str) -> None:
    x = numbers(torch.tensor(0.7), 10).to(getattr(torch, dtype))
    require_equal(graph_of(call, "0.7", len(x), dtype), {"x": x}, rounded=False)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_of_integers_by_a_fraction(dtype: str) -> None:
    x = torch.tensor([0, 1, 7, 100, 255], dtype=getattr(torch, dtype))
    graph = graph_of("x % d", "0.7", len(x), dtype)
    wanted = reference.run(graph, {"x": x})["y"]
    lowered = lower(graph)
    assert torch.equal(evaluate(lowered.network, {"x": x}, weights=lowered.weights)["y"], wanted)


@pytest.mark.parametrize("divisor", ["3.0", "-3.0", "0.7", "2.0", None])
@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_finite(call: str, divisor: str | None) -> None:
    x = torch.tensor([INF, -INF, NAN, 0.0, -0.0, 1e20, 2.0, 2.0, 2.0, -2.0, 2.0, INF])
    d = torch.tensor([3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 0.0, NAN, INF, INF, -INF, INF])
    inputs = {"x": x} if divisor else {"x": x, "d": d}
    require_equal(graph_of(call, divisor, len(x)), inputs, call not in REMAINDERS)


@pytest.mark.parametrize(
    ("call", "x", "value"),
    [
        ("x % 0.1", 1.0, 1.0 % torch.tensor(0.1).item()),
        ("x % 0.1", 1e6, 1e6 % torch.tensor(0.1).item()),
        ("x % 3.0", 1e20, torch.tensor(1e20).item() % 3),
        ("x % 0.7", 2.1, torch.tensor(2.1).item() % torch.tensor(0.7).item()),
        ("x // 0.1", 1.0, 9.0),
        ("x % 0.7", 3e38, None),
        ("x % 1e-30", 3e38, None),
    ],
)
def test_a_remainder_lies_between_0_and_its_divisor(call: str, x: float, value: float | None) -> None:
    """Values by Python's own arithmetic; beyond what is exact only the range is promised."""
    graph = graph_of(call, "1", 1)
    lowered = lower(graph)
    (found,) = evaluate(lowered.network, {"x": torch.tensor([x])}, weights=lowered.weights)["y"].tolist()
    if value is None:
        assert 0 <= found <= float(call.split()[-1])
    else:
        assert found == pytest.approx(value, rel=1e-6, abs=0)


@pytest.mark.parametrize("call", ["2.1 % 0.7", "fmod(-2.1, 0.7)", "-1.0 % 0.1", "7 % 3", "-7 % 3"])
def test_folding_is_pytorchs(call: str) -> None:
    left, _, right = call.removeprefix("fmod(").removesuffix(")").replace(",", " %").partition(" % ")
    operands = f"tensor({left}), tensor({right})"
    name = "fmod" if "fmod" in call else "remainder"
    text = f"model m() {{ input x: float32[1] output y = {name}({operands}) output z = x }}"
    graph = elaborate_text(text)
    folded = fold_constants(graph)
    assert [node.op.name for node in folded.nodes if node.op.name in ("remainder", "fmod")] == []
    inputs = {"x": torch.ones(1)}
    assert torch.equal(reference.run(folded, inputs)["y"], reference.run(graph, inputs)["y"])


@pytest.mark.parametrize(
    ("call", "most"),
    [
        ("x % 1.0", 3),
        ("x // 2.0", 3),
        ("fmod(x, 0.5)", 7),
        ("x % 0.7", 50),
        ("x // 0.7", 50),
    ],
)
def test_layers_are_few_where_the_divisor_allows(call: str, most: int) -> None:
    layers = [layer.type.name for layer in lower(graph_of(call, "1", 4)).network]
    assert len(layers) - layers.count("CONSTANT") <= most

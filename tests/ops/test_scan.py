"""Recurrences and choices at run time: the reference, the network and a loop written in PyTorch agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from tests.closeness import require_close
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts, narrowed
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate, evaluate_all
from trtdsl.ir import Graph, difference, graphs, show, verify, walk
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, operator_counts, optimize
from trtdsl.reference import random_weights, run
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.types import DType

Arrays = Mapping[str, torch.Tensor]
DIMS = "dim N = 1 .. 2 .. 4\ndim T = 0 .. 3 .. 8\n"


def model(body: str, head: str = "") -> Graph:
    return random_weights(elaborate_text(f"{head}\nmodel m {{\n{DIMS}{body}\n}}"), seed=0)


def check(graph: Graph, inputs: Arrays, wanted: Arrays) -> None:
    """Every way to compute the graph gives what is wanted."""
    for each in (graph, optimize(graph)):
        assert verify(each, "lowerable") == ()
        assert difference(each, elaborate_text(show(each))) is None
        lowered = lower(each)
        found = evaluate(lowered.network, inputs, weights=lowered.weights)
        computed = run(each, inputs)
        for name, value in wanted.items():
            require_close(computed[name], value)
            require_close(found[name], value)
    oldest = RecordingDialect(facts("8.5.3"))
    lowered = lower(graph, oldest)
    arrays = narrowed({name: value.numpy() for name, value in inputs.items()})
    found = evaluate(oldest.network, arrays, weights=lowered.weights)
    for name, value in wanted.items():
        require_close(found[name], value.int() if value.dtype == torch.int64 else value)


LENGTHS = pytest.mark.parametrize("length", [0, 1, 2, 8])

RUNNING = model("""
  input x: float32[T, N, 4]
  input h0: float32[N, 4]
  scan xt in x with h = h0 {
    h = tanh(h + xt)
    emit y = h * 2
  }
  output y, h
""")


@LENGTHS
def test_a_recurrence_of_every_length(length: int) -> None:
    x, h = torch.randn(length, 2, 4), torch.randn(2, 4)
    inputs = {"x": x, "h0": h}
    rows: list[torch.Tensor] = []
    for row in x:
        h = torch.tanh(h + row)
        rows.append(h * 2)
    check(RUNNING, inputs, {"y": torch.stack(rows) if rows else torch.zeros(0, 2, 4), "h": h})


REVERSED = model("""
  input x: float32[N, T, 4]
  scan xt in x, dim = 1, reverse = true with h = zeros(N, 4), count = zeros((), dtype = int64) {
    h = h + xt
    count = count + 1
    emit y = h
  }
  output y, h, count
""")


@LENGTHS
def test_from_the_end_and_along_another_dimension(length: int) -> None:
    """The sums from the end, in the order of the elements."""
    x = torch.randn(3, length, 4)
    wanted = x.flip(1).cumsum(1).flip(1)
    check(REVERSED, {"x": x}, {"y": wanted, "h": x.sum(1), "count": torch.tensor(length)})


TOGETHER = model("""
  input x: float16[T, N, 4]
  input m: bool[N, T]
  input k: int64[T]
  scan xt, mt, kt in x, m, k, dim = [0, 1, 0] with best = full((N, 4), -9.0, dtype = float16), n = tensor(0) {
    best = where(unsqueeze(mt, 1), maximum(best, xt), best)
    n = n + kt
    emit sums = n
    emit taken = mt
  }
  output best, n, sums, taken
""")


def test_several_sequences_of_several_types() -> None:
    x, m, k = torch.randn(5, 2, 4).half(), torch.rand(2, 5) > 0.4, torch.arange(5)
    best = torch.full((2, 4), -9.0).half()
    for row, keep in zip(x, m.T, strict=True):
        best = torch.where(keep[:, None], torch.maximum(best, row), best)
    wanted = {"best": best, "n": k.sum(), "sums": k.cumsum(0), "taken": m.T.contiguous()}
    check(TOGETHER, {"x": x, "m": m, "k": k}, wanted)


UNCHANGING = model("""
  input x: float32[T, N, 4]
  input w: float32[N, 4]
  input i: int64[2]
  scan xt in x with a = w, b = w, c = w, last = w {
    a, b = (b, a)
    c = w * 2
    last = xt
    emit outer = w
    emit constant = full((2,), 7)
    emit carried = a
    emit element = xt
    emit chosen = i
  }
  output outer, constant, carried, element, chosen, a, b, c, last
""")


@LENGTHS
def test_what_does_not_change_with_the_iterations(length: int) -> None:
    """A tensor from outside is emitted, carried on, or becomes what is carried."""
    x, w, i = torch.randn(length, 2, 4), torch.randn(2, 4), torch.tensor([3, 1])
    wanted = {
        "outer": w.expand(length, 2, 4),
        "constant": torch.full((length, 2), 7),
        "carried": w.expand(length, 2, 4),
        "element": x,
        "chosen": i.expand(length, 2),
        "a": w,
        "b": w,
        "c": w * 2 if length else w,
        "last": x[-1] if length else w,
    }
    check(UNCHANGING, {"x": x, "w": w, "i": i}, wanted)


NESTED = model(
    """
    input x: float32[T, N, 4]
    input m: float32[3, 4]
    scan xt in x with h = zeros(N, 4) {
      scan row in m, reverse = true with s = h {
        s = (s + row * xt) -> inner.fc: Linear(4) -> tanh
        emit steps = s[0]
      }
      h = s
      emit y = sum(steps, 1)
    }
    z = h -> outer: Twice
    output y, h, z
    """,
    head="""
    block Twice()(x: [N, D]) {
      scan e in x with total = zeros(D) { total = total + (e -> fc: Linear(D, bias = false)) }
      return total * 2
    }
    """,
)


@pytest.mark.parametrize("length", [1, 4])
def test_scans_within_scans_and_blocks(length: int) -> None:
    x, m = torch.randn(length, 2, 4), torch.randn(3, 4)
    weights = {weight.key: torch.as_tensor(weight.data) for weight in NESTED.weights}
    h, rows = torch.zeros(2, 4), list[torch.Tensor]()
    for xt in x:
        steps = list[torch.Tensor]()
        for row in m.flip(0):
            h = torch.nn.functional.linear(
                h + row * xt, weights["inner.fc.weight"], weights["inner.fc.bias"]
            ).tanh()
            steps.append(h[0])
        rows.append(torch.stack(steps).flip(0).sum(1))
    z = (h @ weights["outer.fc.weight"].T).sum(0) * 2
    check(NESTED, {"x": x, "m": m}, {"y": torch.stack(rows), "h": h, "z": z})


BYTES = model("""
  input x: uint8[T, 4]
  input b: bool[4]
  scan xt in x with m = zeros(4, dtype = uint8), any = b {
    m = maximum(m, xt)
    any = any or xt > 250
    emit y = m
    emit z = any
  }
  output y, z, m, any
""")


def test_bytes_and_bools_are_carried() -> None:
    """TensorRT has no uint8 inside of a network: within it these are int32."""
    x = torch.randint(0, 256, (6, 4), dtype=torch.uint8)
    b = torch.tensor([True, False, False, False])
    z = torch.stack([b | (x[: i + 1] > 250).any(0) for i in range(6)])
    wanted = {"y": x.cummax(0).values, "z": z, "m": x.amax(0), "any": z[-1]}
    check(BYTES, {"x": x, "b": b}, wanted)


@pytest.mark.parametrize(
    "graph", [RUNNING, REVERSED, TOGETHER, UNCHANGING, NESTED, BYTES], ids=lambda graph: graph.outputs[0].name
)
def test_builds(graph: Graph) -> None:
    assert len(build(lower(optimize(graph)), CompileOptions(targets=("sm89",)))) > 0


INNER = """
block Inner()(a: [N, C], b) {
  scan row, other in a, b with s = zeros(C) {
    s = s + row - other
    emit rows = s
  }
  return rows
}
def swapped(a, b) { return b - a }"""


@pytest.mark.parametrize(
    "second",
    [
        "with h = left { h = (left, h) -> Inner  emit rows = h }",
        "with h = o { h = (e, left) -> Inner  emit rows = left }",
        "with h = left { h = cond(sum(e) > 0, Inner, swapped, (left, h))  emit rows = h }",
    ],
)
def test_what_a_loop_leaves_is_read_by_a_loop_within_another(second: str) -> None:
    body = f"""input x: float32[T, N, 4]
input o: float32[N, 4]
scan e in x with g = o {{ g = g * 0.5 + e }}
left = g
scan e in x {second}
output rows, h"""
    graph = model(body, INNER)
    assert len(build(lower(optimize(graph)), CompileOptions(targets=("sm89",)))) > 0
    x, o = torch.randn(3, 2, 4), torch.randn(2, 4)
    wanted = run(graph, {"x": x, "o": o})
    check(graph, {"x": x, "o": o}, wanted)


def test_layers_have_names_and_places() -> None:
    lowered = lower(NESTED)
    layers = [lowered.network.get_layer(index) for index in range(lowered.network.num_layers)]
    assert not [layer.name for layer in layers if "Unnamed" in layer.name or not layer.metadata]
    loops = {layer.loop.name for layer in map(_typed, layers) if layer is not None}
    assert loops == {"scan/loop", "scan/loop_1", "outer.scan/loop"}


def _typed(layer: Any) -> Any:
    """A loop's boundary layer as itself, None for any other."""
    import tensorrt_rtx

    trt: Any = tensorrt_rtx

    classes = {
        trt.LayerType.TRIP_LIMIT: trt.ITripLimitLayer,
        trt.LayerType.ITERATOR: trt.IIteratorLayer,
        trt.LayerType.RECURRENCE: trt.IRecurrenceLayer,
        trt.LayerType.LOOP_OUTPUT: trt.ILoopOutputLayer,
    }
    if layer.type not in classes:
        return None
    layer.__class__ = classes[layer.type]
    return layer


# --- Passes ----------------------------------------------------------------------------------------------


def test_passes_reach_into_bodies() -> None:
    graph = model("""
      input x: float32[T, N, 4]
      scan xt in x with h = zeros(N, 4) {
        unused = exp(xt)
        scale = full((), 3.0) * 2
        h = dropout(h + sin(xt) * scale + sin(xt) * scale)
        emit y = h
      }
      output y
    """)
    before, after = operator_counts(graph), operator_counts(optimize(graph))
    assert (before["exp"], before["dropout"], before["sin"]) == (1, 1, 2)
    assert (after["exp"], after["dropout"], after["sin"]) == (0, 0, 1)
    assert after["scan"] == 1


def test_equal_scans_become_one() -> None:
    text = """
      input x: float32[T, N, 4]
      scan xt in x with h = zeros(N, 4) { h = h + xt }
      scan xt in x with k = zeros(N, 4) { k = k SIGN xt }
      output y = h * k
    """
    assert operator_counts(optimize(model(text.replace("SIGN", "+"))))["scan"] == 1
    assert operator_counts(optimize(model(text.replace("SIGN", "-"))))["scan"] == 2


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
@pytest.mark.parametrize("graph", [RUNNING, TOGETHER, UNCHANGING, NESTED], ids=["h", "best", "w", "nested"])
def test_what_is_carried_keeps_one_type_in_any_precision(graph: Graph, dtype: DType) -> None:
    converted = convert_precision(dtype)(graph)
    assert verify(converted, "lowerable") == ()
    floats = {
        value.type.dtype
        for body in graphs(converted)
        if body is not converted
        for value in (*body.inputs, *(result for node in body.nodes for result in node.results))
        if value.type.dtype.is_floating
    }
    assert floats == {dtype}
    lower(converted)


def test_a_cast_within_the_body_is_computed_in_the_precision() -> None:
    graph = model("""
      input x: float16[T, N, 4]
      scan xt in x with h = zeros(N, 4) {
        h = h + to(xt, float32)
        emit y = to(h, float16)
      }
      output y, h
    """)
    for dtype in (DType.FLOAT16, DType.FLOAT32):
        converted = convert_precision(dtype)(graph)
        assert verify(converted, "lowerable") == ()
        found = {value.type.dtype for node in walk(converted) for value in node.results}
        assert DType.FLOAT32 in found and {output.value.type.dtype for output in converted.outputs} == {
            DType.FLOAT16,
            DType.FLOAT32,
        }


# --- Choices ---------------------------------------------------------------------------------------------

CHOICE = model(
    """
    input flag: bool[1]
    input x: float32[T, N, 4]
    input y: float32[N, 4]
    p = cond(flag, Small, Large(4), (x, y))
    z, k = cond(any(x > 0), Sorted, Counted, [y])
    output p, z, k
    """,
    head="""
    block Small()(x, y) { return sum(x, 0) + y }
    block Large(width)(x: [T, N, D], y) {
      scan e in x with h = y { h = e + (h -> large.fc: Linear(width)) }
      return h
    }
    block Sorted()(y) { return sort(y, dim = 1) }
    block Counted()(y: [N, D]) { return y * 2, full((N, D), 5) }
    """,
)


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_flag_chooses(flag: bool, sign: float) -> None:
    x, y = torch.rand(3, 2, 4) * sign, torch.randn(2, 4)
    weights = {weight.key: torch.as_tensor(weight.data) for weight in CHOICE.weights}
    h = y
    for row in x:
        h = row + torch.nn.functional.linear(h, weights["large.fc.weight"], weights["large.fc.bias"])
    ordered = y.sort(dim=1)
    wanted = {
        "p": x.sum(0) + y if flag else h,
        "z": ordered.values if sign > 0 else y * 2,
        "k": ordered.indices if sign > 0 else torch.full((2, 4), 5),
    }
    check(CHOICE, {"flag": torch.tensor([flag]), "x": x, "y": y}, wanted)


LEFT_ALONE = model(
    """
    input flag: bool[]
    input x: float32[N, 4]
    input y: float32[N, 4]
    a = cond(flag, First, Second, (x, y))
    b = cond(flag, Ones, First, (x, x))
    c, d = cond(flag, Both, Swapped, (x, y))
    e = cond(flag, Ones, Zeros, (x, y))
    output a, b, c, d, e
    """,
    head="""
    block First()(x, y) { return x }
    block Second()(x, y) { return y }
    block Ones()(x: [N, D], y) { return full((N, D), 1.0) }
    block Zeros()(x: [N, D], y) { return zeros(N, D) }
    block Both()(x, y) { return x, y }
    block Swapped()(x, y) { return y, x }
    """,
)


@pytest.mark.parametrize("flag", [True, False])
def test_branches_that_compute_nothing(flag: bool) -> None:
    x, y = torch.randn(2, 4), torch.randn(2, 4)
    one, other = (x, y) if flag else (y, x)
    wanted = {
        "a": one,
        "b": torch.ones(2, 4) if flag else x,
        "c": one,
        "d": other,
        "e": torch.full((2, 4), float(flag)),
    }
    check(LEFT_ALONE, {"flag": torch.tensor(flag), "x": x, "y": y}, wanted)


INSIDE = model(
    """
    input x: float32[T, N, 4]
    scan xt in x with h = zeros(N, 4) {
      h = cond(sum(h) > 1, Reset, add, (h, xt))
      emit y = h
    }
    output y
    """,
    head="""block Reset()(h, x) { return cond(sum(x) > 0, First, Second, (h, x)) }
    block First()(h, x) { return h * 0 }
    block Second()(h, x) { return x }""",
)


def test_choices_within_scans_and_choices() -> None:
    x = torch.rand(8, 2, 4) * 0.3 - 0.1
    h, rows = torch.zeros(2, 4), list[torch.Tensor]()
    for row in x:
        h = (h * 0 if row.sum() > 0 else row) if h.sum() > 1 else h + row
        rows.append(h)
    check(INSIDE, {"x": x}, {"y": torch.stack(rows)})


@pytest.mark.parametrize("graph", [CHOICE, LEFT_ALONE, INSIDE], ids=["choice", "alone", "inside"])
def test_choices_build(graph: Graph) -> None:
    lowered = lower(optimize(graph))
    assert len(build(lowered, CompileOptions(targets=("sm89",)))) > 0
    layers = [lowered.network.get_layer(index) for index in range(lowered.network.num_layers)]
    assert not [layer.name for layer in layers if "Unnamed" in layer.name or not layer.metadata]


@pytest.mark.parametrize(("flag", "name", "other"), [(True, "exp", "log"), (False, "log", "exp")])
def test_only_the_branch_that_is_taken_is_computed(flag: bool, name: str, other: str) -> None:
    graph = model("input flag: bool[] input x: float32[N] output y = cond(flag, exp, log, [x])")
    lowered = lower(graph)
    inputs = {"flag": np.array(flag), "x": np.ones(3, np.float32)}
    values = evaluate_all(lowered.network, inputs, weights=lowered.weights)
    assert name in values and other not in values


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("cond(flag", "cond(x"), "must be a bool, not float32"),
        (lambda text: text.replace("cond(flag", "cond(many"), "must be one element, not bool[3]"),
        (lambda text: text.replace("relu,", "argmax,"), "must give the same types"),
    ],
)
def test_what_is_refused(change: Callable[[str], str], says: str) -> None:
    text = "input flag: bool[] input many: bool[3] input x: float32[N] output y = cond(flag, relu, tanh, [x])"
    with pytest.raises(DiagnosticError) as caught:
        model(change(text))
    assert says in str(caught.value)

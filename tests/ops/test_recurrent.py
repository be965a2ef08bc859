"""LSTM, GRU, RNN and their cells: torch's keys and weights in, torch's results out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.closeness import require_close
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, difference, show
from trtdsl.passes import convert_precision, optimize
from trtdsl.reference import random_weights, run, to_numpy
from trtdsl.trt.lower import lower
from trtdsl.types import DType
from trtdsl.weights import bind

DIMS = "dim N = 1 .. 2 .. 4\ndim T = 1 .. 5 .. 9\n"
NAMES = {"LSTM": ("y", "h", "c"), "GRU": ("y", "h"), "RNN": ("y", "h")}


def model(body: str, head: str = "") -> Graph:
    return elaborate_text(f"{head}\nmodel m {{\n{DIMS}{body}\n}}")


def bound(graph: Graph, module: torch.nn.Module) -> Graph:
    """The graph with the weights of a torch module, whose keys are the graph's, in its order."""
    state = {f"rnn.{key}": to_numpy(value) for key, value in module.state_dict().items()}
    assert [weight.key for weight in graph.weights] == list(state)
    return bind(graph, state).graph


def check(graph: Graph, inputs: dict[str, torch.Tensor], wanted: Sequence[torch.Tensor]) -> None:
    """The reference, the network, its passes and the oldest dialect give what the module gives."""
    for each in (graph, optimize(graph)):
        lowered = lower(each)
        found = evaluate(lowered.network, inputs, weights=lowered.weights)
        for one, other, value in zip(run(each, inputs).values(), found.values(), wanted, strict=True):
            require_close(one, value)
            require_close(other, value)
    assert difference(graph, elaborate_text(show(graph))) is None
    oldest = RecordingDialect(facts("8.5.3"))
    lowered = lower(graph, oldest)
    found = evaluate(oldest.network, inputs, weights=lowered.weights)
    for other, value in zip(found.values(), wanted, strict=True):
        require_close(other, value)


OPTIONS = [
    {},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "batch_first": True, "dropout": 0.5},
    {"bidirectional": True, "batch_first": True, "bias": False},
]


def spelled(options: dict[str, Any]) -> str:
    return "".join(f", {name} = {str(value).lower()}" for name, value in options.items())


def recurrent(kind: str, states: bool, rank: int, extra: dict[str, Any]) -> tuple[Graph, Any]:
    """A text of one module, and that module."""
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(4, 6, **extra).eval()
    rows = module.num_layers * (1 + module.bidirectional)
    between = ", N" if rank == 3 else ""
    sizes = ("N, T" if module.batch_first else "T, N") if rank == 3 else "T"
    names = ["h0", "c0"][: len(NAMES[kind]) - 1]
    widths = [module.proj_size or 6, 6]
    lines = [
        f"input {name}: float32[{rows}{between}, {width}]" for name, width in zip(names, widths, strict=False)
    ]
    given = f"(x, {', '.join(names)})" if states else "x"
    results = ", ".join(NAMES[kind])
    text = f"input x: float32[{sizes}, 4]\n" + ("\n".join(lines) if states else "")
    text += f"\n{results} = {given} -> rnn: {kind}(6{spelled(extra)})\noutput {results}"
    return bound(model(text), module), module


@pytest.mark.parametrize("extra", OPTIONS, ids=spelled)
@pytest.mark.parametrize(("states", "rank"), [(False, 3), (True, 3), (True, 2), (False, 2)])
@pytest.mark.parametrize("kind", list(NAMES))
def test_equals_torchs_module(kind: str, states: bool, rank: int, extra: dict[str, Any]) -> None:
    graph, module = recurrent(kind, states, rank, extra)
    for length, batch in ((1, 1), (5, 2)):
        order = (batch, length) if module.batch_first else (length, batch)
        x = torch.randn(*(order if rank == 3 else (length,)), 4)
        rows = module.num_layers * (1 + module.bidirectional)
        between = (batch,) if rank == 3 else ()
        count = len(NAMES[kind]) - 1
        given = [torch.randn(rows, *between, 6) for _ in range(count)] if states else []
        hx = tuple(given) if count == 2 else given[0] if given else None
        with torch.no_grad():
            y, last = module(x, hx if given else None)
        wanted = (y, *(last if isinstance(last, tuple) else (last,)))
        check(graph, {"x": x, **dict(zip(("h0", "c0"), given, strict=False))}, wanted)


def test_relu_of_rnn() -> None:
    call = 'rnn: RNN(6, num_layers = 2, nonlinearity = "relu")'
    graph = model(f"input x: float32[T, N, 4]\ny, h = x -> {call}\noutput y, h")
    module = torch.nn.RNN(4, 6, 2, "relu").eval()
    x = torch.randn(5, 2, 4)
    with torch.no_grad():
        check(bound(graph, module), {"x": x}, module(x))


def test_the_states_of_an_lstm_nest_as_in_pytorch() -> None:
    text = """
        input x: float32[T, N, 4]
        input h0: float32[1, N, 6]
        input c0: float32[1, N, 6]
        y, (h, c) = rnn: LSTM(6)(x, (h0, c0))
        z, (h, c) = (x, (h, c)) -> rnn: LSTM(6)
        hidden, cell = z[0] -> cell: LSTMCell(6)(((h + y[0])[0], c[0]))
        output y, z, hidden, cell
    """
    flat = {"(h, c) =": "h, c =", "(h0, c0)": "h0, c0", "(x, (h, c))": "(x, h, c)"}
    flat |= {"(((h": "((h", "[0]))": "[0])"}
    other = text
    for nested, side_by_side in flat.items():
        other = other.replace(nested, side_by_side)
    assert other.count("(") < text.count("(") and show(model(text)) == show(model(other))


def test_a_projection_narrows_what_is_carried() -> None:
    """`proj_size` is the width of `h`, `hidden_size` that of `c`."""
    graph, module = recurrent("LSTM", True, 3, {"num_layers": 2, "bidirectional": True, "proj_size": 3})
    x, h, c = torch.randn(5, 2, 4), torch.randn(4, 2, 3), torch.randn(4, 2, 6)
    with torch.no_grad():
        y, last = module(x, (h, c))
    check(graph, {"x": x, "h0": h, "c0": c}, (y, *last))
    assert "rnn.weight_hr_l1_reverse" in {weight.key for weight in graph.weights}


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_cells_equal_torchs(kind: str, bias: bool, rank: int, states: bool) -> None:
    module = getattr(torch.nn, f"{kind}Cell")(4, 6, bias=bias).eval()
    batch = (2,) if rank == 2 else ()
    names = ["h", "c"][: 2 if kind == "LSTM" else 1]
    shape = "N, " if rank == 2 else ""
    lines = [f"input {name}0: float32[{shape}6]" for name in names] if states else []
    given = f"(x, {', '.join(f'{name}0' for name in names)})" if states else "x"
    results = ", ".join(names)
    flag = str(bias).lower()
    text = f"input x: float32[{shape}4]\n" + "\n".join(lines)
    text += f"\n{results} = {given} -> rnn: {kind}Cell(6, bias = {flag})\noutput {results}"
    graph = bound(model(text), module)
    x, before = torch.randn(*batch, 4), [torch.randn(*batch, 6) for _ in names]
    hx = (tuple(before) if kind == "LSTM" else before[0]) if states else None
    with torch.no_grad():
        after = module(x, hx)
    inputs = {"x": x}
    if states:
        inputs |= {f"{name}0": value for name, value in zip(names, before, strict=True)}
    check(graph, inputs, after if isinstance(after, tuple) else (after,))


def test_a_cell_in_a_scan_is_the_module() -> None:
    text = """
      input x: float32[T, N, 4]
      scan xt in x with h = zeros(N, 6), c = zeros(N, 6) {
        h, c = (xt, h, c) -> rnn: LSTMCell(6)
        emit y = h
      }
      output y, h, c
    """
    module = torch.nn.LSTM(4, 6).eval()
    cell = torch.nn.LSTMCell(4, 6)
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in module.state_dict().items()})
    x = torch.randn(5, 2, 4)
    with torch.no_grad():
        y, (h, c) = module(x)
    check(bound(model(text), cell), {"x": x}, (y, h[0], c[0]))


@pytest.mark.parametrize(("kind", "bidirectional"), [*itertools.product(NAMES, [False, True])])
def test_one_product_is_ahead_of_the_loop_and_one_inside(kind: str, bidirectional: bool) -> None:
    """Both directions of a layer take one loop, and one product of an iteration."""
    graph, _ = recurrent(kind, False, 3, {"bidirectional": bidirectional})
    network = lower(graph).network
    kinds = [network.get_layer(index).type.name for index in range(network.num_layers)]
    begins, ends = kinds.index("TRIP_LIMIT"), kinds.index("LOOP_OUTPUT")
    assert kinds.count("TRIP_LIMIT") == 1
    products = [index for index, each in enumerate(kinds) if each == "MATRIX_MULTIPLY"]
    assert [begins < index < ends for index in products] == [False, True]


@pytest.mark.parametrize(("kind", "bidirectional"), [*itertools.product(NAMES, [False, True])])
def test_both_products_are_inside_where_the_builder_hoists_them(kind: str, bidirectional: bool) -> None:
    """The bias stands behind their sum: before it, 8.5.3 takes a kernel more an iteration."""
    graph, _ = recurrent(kind, False, 3, {"bidirectional": bidirectional, "batch_first": True})
    oldest = RecordingDialect(facts("8.5.3"))
    lower(graph, oldest)
    layers = [oldest.network.get_layer(index) for index in range(oldest.network.num_layers)]
    kinds = [layer.type.name for layer in layers]
    begins, ends = kinds.index("TRIP_LIMIT"), kinds.index("LOOP_OUTPUT")
    products = [index for index, each in enumerate(kinds) if each == "MATRIX_MULTIPLY"]
    assert len(products) == 2 and all(begins < index < ends for index in products)
    assert kinds.count("ITERATOR") == 1 + bidirectional
    both = [layers[index].get_output(0) for index in products]
    readers = [x for x in layers if [x.get_input(index) for index in range(x.num_inputs)] == both]
    # A GRU's reset gate stands between the two.
    assert [x.type.name for x in readers] == ([] if kind == "GRU" else ["ELEMENTWISE"])


def test_weights_may_be_computed() -> None:
    text = """
      input x: float32[T, N, 4]
      input w: float32[24, 4]
      y, h, c = rnn: LSTM(6)(x, weight_ih_l0 = w * 2)
      output y, h, c
    """
    graph = random_weights(model(text), seed=0)
    assert [weight.key for weight in graph.weights] == [
        f"rnn.{n}_l0" for n in ("weight_hh", "bias_ih", "bias_hh")
    ]
    module = torch.nn.LSTM(4, 6).eval()
    w, x = torch.randn(24, 4), torch.randn(5, 2, 4)
    known = {weight.key.removeprefix("rnn."): torch.as_tensor(weight.data) for weight in graph.weights}
    module.load_state_dict({**known, "weight_ih_l0": w * 2})
    with torch.no_grad():
        y, (h, c) = module(x)
    check(graph, {"x": x, "w": w}, (y, h, c))


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
@pytest.mark.parametrize("kind", list(NAMES))
def test_in_another_precision(kind: str, dtype: DType) -> None:
    graph, module = recurrent(kind, True, 3, {"num_layers": 2, "bidirectional": True})
    step = convert_precision(dtype)
    lowered = lower(step(graph))
    x = torch.randn(9, 4, 4)
    states = [torch.randn(4, 4, 6) for _ in NAMES[kind][1:]]
    inputs = {"x": x, **dict(zip(("h0", "c0"), states, strict=False))}
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    with torch.no_grad():
        wanted, _ = module(x, tuple(states) if len(states) == 2 else states[0])
    error = float((found["y"] - wanted).norm() / wanted.norm())
    assert 1e-5 < error < step.tolerance


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("x -> rnn: LSTM(0)", "`hidden_size` must be at least 1, not 0"),
        ("x -> rnn: LSTM(6, num_layers = 0)", "`num_layers` must be at least 1, not 0"),
        ("x -> rnn: LSTM(6, proj_size = 6)", "`proj_size` must be smaller than `hidden_size`, 6, not 6"),
        ("(x, h) -> rnn: LSTM(6)", "LSTM begins with both `h_0` and `c_0`, or with neither"),
        ("(x, wide, h) -> rnn: LSTM(6)", "`h_0` of LSTM must be float32[1, N, 6], not float32[1, N, 7]"),
        (
            "(x, h) -> rnn: GRU(6, bidirectional = true)",
            "`hx` of GRU must be float32[2, N, 6], not float32[1, N, 6]",
        ),
        ("(x, to(h, float16)) -> rnn: RNN(6)", "`hx` of RNN must be float32 as its input is, not float16"),
        ("to(x, int64) -> rnn: GRU(6)", "GRU needs a floating-point tensor, not int64"),
        ("x[none] -> rnn: GRU(6)", "GRU needs a tensor of rank 2 or 3, not 4"),
        ("transpose(x, 0, 2) -> rnn: GRU(6)", "the number of features, which GRU maps, must be known"),
        ("x[:0] -> rnn: RNN(6)", "RNN along time needs elements along dimension 0"),
        ('x -> rnn: RNN(6, nonlinearity = "gelu")', 'must be "tanh" or "relu", not the string "gelu"'),
        ("x -> rnn: LSTM(6, input_size = 4)", "`LSTM` infers `input_size` from its input, leave it out"),
        ("rnn: LSTM(6)(x, weight_ih_l1 = h)", "`LSTM` has no tensor `weight_ih_l1`"),
        ("x -> LSTM(6)", "`LSTM` has weights, so it needs a label"),
        ("x[0] -> rnn: LSTMCell(6, bias = 3)", "`bias` of `LSTMCell` must be true or false, not `3`"),
        (
            "(x[0], h[0], h[0, :, :5]) -> rnn: LSTMCell(6)",
            "`c_0` of LSTMCell must be float32[N, 6], not",
        ),
        ("x -> rnn: GRUCell(6)", "GRUCell needs a tensor of rank 1 or 2, not 3"),
    ],
)
def test_what_is_refused(call: str, says: str) -> None:
    text = f"""
      input x: float32[T, N, 4]
      input h: float32[1, N, 6]
      input wide: float32[1, N, 7]
      result = {call}
      output y = x
    """
    with pytest.raises(DiagnosticError) as caught:
        model(text)
    assert says in str(caught.value)

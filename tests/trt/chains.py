"""Random networks of several operators, and whether TensorRT makes of them what PyTorch makes.

``tests/trt/test_trt_chains.py`` tries a few, always the same; this tries as many as one likes:

    python tests/trt/chains.py SECONDS [SEED]
"""

from __future__ import annotations

import random
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.closeness import LIMIT, NARROW, Expected, IllConditioned, expected, require_outputs
from tests.trt.recording import RecordingDialect
from tests.trt.releases import LACKING, facts, narrowed
from trtdsl import reference
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import EvaluationError, evaluate
from trtdsl.ir import Graph
from trtdsl.passes import optimize
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.types import evaluate_shape

DTYPES = ("float32", "float16", "bfloat16", "int32", "int64", "uint8", "int8", "bool")
UNARY = [
    "relu",
    "neg",
    "abs",
    "sqrt",
    "exp",
    "sign",
    "floor",
    "round",
    "sigmoid",
    "tanh",
    "gelu",
    "softplus",
    "isnan",
    "erf",
    "square",
]
BINARY = [
    "maximum",
    "minimum",
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "remainder",
    "floor_divide",
    "fmod",
    "atan2",
]
LOGICAL = ["logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or"]
COMPARISONS = [">", "<", "==", "!=", ">=", "<="]
REDUCTIONS = [
    "sum",
    "mean",
    "amax",
    "amin",
    "prod",
    "any",
    "all",
    "argmax",
    "argmin",
    "logsumexp",
    "var",
    "std",
    "norm",
]


def tensors(rng: random.Random) -> str:
    """A text over tensors of rank 3, of all dtypes."""
    inputs = [
        f"{rng.choice(DTYPES)}{rng.choice(['[N, 3, 4]', '[2, 3, 4]', '[1, 3, 4]', '[N, 0, 4]'])}"
        for _ in range(rng.randint(1, 2))
    ]
    return _program(rng, inputs, _step_over_tensors, ("tensor([[[2]]])", "tensor([[[1.5]]])"))


def images(rng: random.Random) -> str:
    """A text over float32 images."""
    sizes = rng.choice(["[N, 4, H, W]", "[N, 4, 8, 8]", "[2, 4, 8, 8]", "[N, 4, H, 8]", "[N, 4, 2 * H, 8]"])
    return _program(rng, [f"float32{sizes}"], _step_over_images, ())


def _program(
    rng: random.Random,
    inputs: Sequence[str],
    step: Callable[[random.Random, str, str], str],
    others: Sequence[str],
) -> str:
    """Steps are drawn until a few are valid; the last is the output, at times with another."""
    lines = ["dim N = 1 .. 2 .. 4", "dim H = 6 .. 8 .. 13", "dim W = 6 .. 7 .. 12"]
    lines += [f"input i{index}: {type}" for index, type in enumerate(inputs)]
    names = [f"i{index}" for index in range(len(inputs))]
    made: list[str] = []
    wanted = rng.randint(2, 7)
    for _ in range(40):
        name = f"v{len(made)}"
        line = f"{name} = {step(rng, rng.choice(names[-2:]), rng.choice([*names, *others]))}"
        try:
            elaborate_text(_text([*lines, line, f"output y = {name}"]))
        except DiagnosticError:
            continue
        lines.append(line)
        names.append(name)
        made.append(name)
        if len(made) == wanted:
            break
    outputs = {made[-1], rng.choice(made)} if made else {"i0"}
    return _text([*lines, *(f"output y{n} = {name}" for n, name in enumerate(sorted(outputs)))])


def _text(lines: Sequence[str], head: str = "") -> str:
    return f"{head}model m() {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


BRANCHES = """
def first(a, b) { return a }
def swapped(a, b) { return b - a }
block Inner(a: [N, C], b) {
  scan row, other in a, b, reverse = true with s = zeros(C, dtype = a.dtype) {
    s = s + row - other
    emit rows = s
  }
  return rows
}
""".replace("block Inner(", "block Inner()(")


def recurrences(rng: random.Random) -> str:
    """A text of scans along sequences, with choices and scans inside of them, and of recurrent modules."""
    low, dtype = rng.choice([0, 1]), rng.choice(["float32", "float32", "float16", "int64"])
    lines = [f"dim N = 1 .. 2 .. 4\n  dim T = {low} .. 3 .. 6"]
    lines += [f"input i0: {dtype}[T, N, 4]", f"input i1: {dtype}[N, T, 4]", f"input o: {dtype}[N, 4]"]
    sequences, matrices = [("i0", 0), ("i1", 1)], ["o"]
    wanted = rng.randint(1, 4)
    for _ in range(30):
        number = len(lines)
        line, stacks, lasts = _recurrence(rng, number, sequences, matrices)
        outputs = [f"output r{n} = {name}" for n, name in enumerate((*(s for s, _ in stacks), *lasts))]
        try:
            elaborate_text(_text([*lines, line, *outputs], BRANCHES))
        except DiagnosticError:
            continue
        lines.append(line)
        sequences += stacks
        matrices += lasts
        wanted -= 1
        if not wanted:
            break
    names = [*(name for name, _ in sequences[-2:]), *matrices[-2:]]
    return _text([*lines, *(f"output y{n} = {name}" for n, name in enumerate(names))], BRANCHES)


def _recurrence(
    rng: random.Random, number: int, sequences: Sequence[tuple[str, int]], matrices: Sequence[str]
) -> tuple[str, list[tuple[str, int]], list[str]]:
    """A statement, the sequences that it leaves (each with its time's dimension), and the matrices."""
    (x, dim), (z, other) = rng.choice(sequences), rng.choice(sequences)
    if rng.random() < 0.2:
        kind = rng.choice(["GRU", "RNN", "LSTM"])
        options = f"batch_first = {str(dim == 1).lower()}, bidirectional = {rng.choice(['true', 'false'])}"
        states = f", c{number}" if kind == "LSTM" else ""
        line = f"v{number}, h{number}{states} = {x} -> l{number}: {kind}(4, {rng.choice([1, 2])}, {options})"
        return line, [(f"v{number}[:, :, :4]", dim)], [f"h{number}[0]"]
    names = ["e", "h", *(["d"] if (two := rng.random() < 0.3) else []), rng.choice(matrices)]
    body = [f"a = {_step_inside(rng, names)}", f"h = {_step_inside(rng, [*names, 'a'])}"]
    body += [f"emit v{number} = {rng.choice(['h', 'a', 'e', names[-1]])}"]
    heads = f"e, d in {x}, {z}, dim = [{dim}, {other}]" if two else f"e in {x}, dim = {dim}"
    reverse = rng.choice(["", ", reverse = true"])
    carried = f"h = {rng.choice(matrices)}"
    line = f"scan {heads}{reverse} with {carried} {{ {' '.join(body)} }} m{number} = h"
    return line, [(f"v{number}", dim)], [f"m{number}"]


def _step_inside(rng: random.Random, names: Sequence[str]) -> str:
    """An expression of matrices that is one of the same type."""
    a, b = rng.choice(names), rng.choice(names)
    c, d = rng.choice(names[:2]), rng.choice(names[:2])
    return rng.choice(
        [
            f"{a} + {b}",
            f"maximum({a}, {b}) - {a}",
            f"tanh({a}) * {b}",
            f"where({a} > {b}, {a}, {b})",
            f"sort({a}, 1)[0] + {b}",
            f"softmax({a}, 1) + {b} * 0.5",
            f"cumsum({a}, 1) * 0.3",
            f"matmul({a}, transpose({b}, 0, 1)) @ {a} * 0.1",
            f"to(argmax({a}, 1, keepdim = true), {a}.dtype) + {b}",
            f"{a} -> fc: Linear(4) -> sigmoid",
            f"cond(sum({c}) > 1, first, swapped, ({c}, {d}))",
            f"cond(any({c} > {d}), swapped, Inner, ({c}, {d}))",
            f"({a}, {b}) -> Inner",
        ]
    )


def _step_over_tensors(rng: random.Random, v: str, o: str) -> str:
    dim = rng.randrange(3)
    return rng.choice(
        [
            f"{rng.choice(UNARY)}({v})",
            f"to({v}, {rng.choice(DTYPES)})",
            f"{rng.choice(BINARY)}({v}, {o})",
            f"{rng.choice(LOGICAL)}({v}, {o})",
            f"{v} {rng.choice(['+', '-', '*', '/', '//', '%'])} {rng.choice(['2', '3', '1.5'])}",
            f"{v} {rng.choice(COMPARISONS)} {rng.choice([o, '1'])}",
            f"where({v} > {rng.choice(['0', '1', '0.5'])}, {v}, {o})",
            f"masked_fill({v}, {o} > 0, 1)",
            f"clamp({v}, {rng.choice(['0', '-1', '0.0'])}, {rng.choice(['3', '3.5', '1'])})",
            f"{rng.choice(REDUCTIONS)}({v}, {dim}, keepdim = true)",
            f"{rng.choice(['max', 'min'])}({v}, {dim}, keepdim = true)[0]",
            f"{rng.choice(['softmax', 'log_softmax', 'cumsum'])}({v}, {dim})",
            f"{rng.choice(['topk(' + v + ', 1, ', 'sort(' + v + ', '])}{dim})[0]",
            f"matmul({v}, transpose({v}, 1, 2))",
            f"normalize({v}, dim = 1)",
            f"type_as({v}, {o})",
            f"cat([{v}, {o}], {dim})",
            f"stack([{v}, {v}], 1) -> flatten(1, 2)",
            f"{v}[:, {rng.choice(['0:1', '1:', '::2', '-1:', '0:2'])}]",
            f"pad({v}, ({rng.randrange(3)}, {rng.randrange(3)}){rng.choice(['', ', value = 1'])})",
            f"index_select({v}, 1, tensor([0, 0]))",
            f"permute({v}, {', '.join(map(str, rng.sample(range(3), 3)))})",
            f"flatten({v}, 1) -> unsqueeze({dim})",
            f"squeeze(unsqueeze({v}, 1), 1)",
        ]
    )


def _step_over_images(rng: random.Random, v: str, o: str) -> str:
    channels, kernel = rng.choice([2, 4, 6]), rng.choice([1, 2, 3])
    stride, padding, flag = rng.choice([1, 1, 2]), rng.choice([0, 1]), rng.choice(["true", "false"])
    mode = rng.choice(["zeros", "reflect", "circular", "replicate"])
    scaling = rng.choice(["nearest", "bilinear", "bicubic", "nearest-exact"])
    size = f"({rng.choice([3, 5, 8])}, {rng.choice([3, 8])})"
    where = rng.choice(["constant", "reflect", "replicate", "circular"])
    windows = f"{rng.choice([2, 3])}, stride = {rng.choice([1, 2])}, padding = {padding}, ceil_mode = {flag}"
    convolution = f"{channels}, {kernel}, stride = {stride}, padding = {padding}"
    layers = [
        f"Conv2d({convolution}, dilation = {rng.choice([1, 2])})",
        f'Conv2d({convolution}, groups = 2, bias = false, padding_mode = "{mode}")',
        f'Conv2d({channels}, ({kernel}, 1), padding = "same")',
        f"ConvTranspose2d({convolution})",
        f"Linear({channels})",
        *("BatchNorm2d", "GroupNorm(2)", "InstanceNorm2d", "LayerNorm(8)", "PReLU"),
        f"max_pool2d({windows})",
        f"avg_pool2d({windows}, count_include_pad = {rng.choice(['true', 'false'])})",
        f"adaptive_avg_pool2d({rng.choice(['1', '2', '(3, 2)', '(none, 1)'])})",
        f"adaptive_max_pool2d({rng.choice(['1', '2'])})",
        f'interpolate(scale_factor = {rng.choice(["2.0", "1.5", "0.5"])}, mode = "{scaling}")',
        f'interpolate(size = {size}, mode = "bilinear", align_corners = {flag})',
        f'pad(({rng.randint(-1, 2)}, {rng.randrange(3)}, {rng.randrange(2)}, 1), mode = "{where}")',
        rng.choice(["relu", "gelu", "hardswish", "silu", "leaky_relu(0.2)", "mish", "celu", "normalize"]),
        *("softmax(1)", "log_softmax(3)", "local_response_norm(3)", "cumsum(2)", "Dropout"),
        *(
            "pixel_shuffle(2)",
            "pixel_unshuffle(2)",
            "permute(0, 2, 3, 1)",
            "transpose(2, 3)",
            "movedim(1, 3)",
        ),
        *("mean((2, 3), keepdim = true)", "amax(1, keepdim = true)", "std(1, keepdim = true)"),
        *("flatten(2) -> unsqueeze(2)", "clamp(-0.5, 0.5)", "logsumexp(1, keepdim = true)"),
    ]
    expressions = [
        *(f"{v} + {o}", f"{v} * {o}", f"{v} - mean({v})", f"{v} / ({o} * {o} + 1.0)", f"maximum({v}, {o})"),
        *(f"cat([{v}, {o}], 1)", f"where({v} > 0.1, {v}, {o})", f"stack([{v}, {v}], 1) -> flatten(1, 2)"),
        f"softmax(matmul({v}, transpose({v}, 2, 3)) / 3.0, 3)",
        *(f"{v}[:, :, 1:]", f"{v}[:, :, ::2, ::2]", f"chunk({v}, 2, 1)[0]", f"topk({v}, 1, 1)[0]"),
    ]
    label = f"l{rng.randrange(10**6)}: "
    layer = rng.choice(layers)
    labelled = layer[0].isupper() and not layer.startswith(("Dropout", "InstanceNorm"))
    return f"{v} -> {label if labelled else ''}{layer}" if rng.random() < 0.75 else rng.choice(expressions)


def attempt(text: str, rng: random.Random) -> str:
    """Build the network, and hold it and the one of TensorRT 8.5 against PyTorch at some size.

    Returns ``"equal"``, or why nothing was compared; raises AssertionError or what went wrong.
    """
    seed = rng.randrange(1000)
    graph = reference.random_weights(elaborate_text(text), seed=seed)
    optimized = optimize(graph)
    lowered = lower(optimized)
    assert build(lowered)
    inputs = _inputs(graph, rng)
    try:
        wanted = expected(graph, inputs)
        values = reference.run(reference.random_weights(_with_all_values(text), seed=seed), inputs)
    except RuntimeError as error:
        assert "ZeroDivisionError" in str(error)
        return "division by zero"
    if any(bool(value.isnan().any()) for value in values.values()):
        return "not a number, which extremes and orders of TensorRT's may lose"
    limit = _limit(graph)
    try:
        require_outputs(evaluate(lowered.network, inputs, weights=lowered.weights), wanted, limit)
    except EvaluationError as error:
        assert "cannot hold" in str(error)
        return "numbers beyond a dtype"
    except IllConditioned:
        return "ill-conditioned"
    return _on_the_oldest_release(optimized, inputs, wanted, limit)


def _limit(graph: Graph) -> float:
    """What the narrowest floats in a graph allow, whichever its outputs have."""
    dtypes = {reference.torch_dtype(value.type.dtype) for node in graph.nodes for value in node.results}
    return max([LIMIT, *(NARROW[dtype] for dtype in dtypes & NARROW.keys())])


def _with_all_values(text: str) -> Graph:
    names = re.findall(r"^  (v\d+) = |emit (v\d+) = ", text, re.MULTILINE)
    outputs = "".join(f"  output all_{n} = {n}\n" for pair in names for n in pair if n)
    return elaborate_text(f"{text[: text.rindex('}')]}{outputs}}}\n")


def _inputs(graph: Graph, rng: random.Random) -> dict[str, Any]:
    sizes = {"N": rng.choice([1, 2, 4]), "H": rng.choice([6, 7, 13]), "W": rng.choice([6, 7, 12])}
    (low,) = [symbol.minimum for symbol in graph.symbols if symbol.name == "T"] or [0]
    sizes["T"] = rng.choice([low, 1, 3, 6])
    random_numbers = np.random.default_rng(rng.randrange(1 << 30))
    return {
        value.name: reference.random_array(
            value.type.with_shape(evaluate_shape(value.type.shape, sizes)), random_numbers, (0, 4)
        )
        for value in graph.inputs
    }


_TOO_WIDE = "has 32-bit integers only, and a constant here does not fit"


def _on_the_oldest_release(graph: Graph, inputs: Any, wanted: Mapping[str, Expected], limit: float) -> str:
    dialect = RecordingDialect(facts("8.5.3"))
    try:
        lowered = lower(graph, dialect)
    except DiagnosticError as error:
        message = error.diagnostics[0].message
        # Bits of int64 are taken apart with powers of two that 32 bits do not hold.
        is_wide = _TOO_WIDE in message and "bitwise_" in str(error)
        assert is_wide or any(lack in message for lack in LACKING), error
        return "8.5 lacks it"
    found = evaluate(dialect.network, narrowed(inputs), weights=lowered.weights)
    require_outputs(found, {name: output.in_32_bits for name, output in wanted.items()}, limit)
    return "equal"


def main() -> None:
    seconds, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    rng, counted, until = random.Random(seed), Counter[str](), time.monotonic() + seconds
    while time.monotonic() < until:
        make = rng.choice([tensors, images, recurrences])
        text = make(rng)
        try:
            counted[f"{make.__name__}: {attempt(text, rng)}"] += 1
        except Exception:
            counted["wrong"] += 1
            print(text, traceback.format_exc(), sep="\n", flush=True)
    print(dict(counted))


if __name__ == "__main__":
    main()

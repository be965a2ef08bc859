"""Random programs over every operator, with recurrences and choices whose bodies are such programs too.

Each statement is one of the operators' examples, of values that are there already wherever the types agree;
now and then it is something that a pass looks for. What is refused is left out again, so that every text is
accepted. A text is a function of a ``random.Random``, so a seed names it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.ops.examples import EXAMPLES, SYMBOLS, Example
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.ops.base import OPERATORS
from trtdsl.reference import ProfilePoint, random_array
from trtdsl.types import DType, TensorType, evaluate_shape, symbols

LEFT_OUT: Mapping[str, str] = {
    "plugin": "a registry of TensorRT's has it or has not",
}
"""Operators that no text here has, and why."""

FRESH = {
    *("pow", "div", "floor_divide", "remainder", "fmod", "bitwise_left_shift", "bitwise_right_shift"),
    *("topk", "sort", "argsort", "max", "min", "argmax", "argmin", "kthvalue", "median", "msort", "cummax"),
    *("cummin", "unique_consecutive", "acosh", "bucketize", "searchsorted", "quantize", "dequantize"),
    *("dynamic_quantize", "nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "box_iou"),
    *("signbit", "copysign"),  # the sign of a NaN says nothing
}
"""Operators that read inputs of their own: not every number is one for them, or a last bit moves results."""


@dataclass
class Pool:
    """The names in reach with their types, and where statements about them go."""

    values: list[tuple[str, TensorType]] = field(default_factory=list[tuple[str, TensorType]])
    lines: list[str] = field(default_factory=list[str])

    def of(self, wanted: Callable[[TensorType], bool]) -> list[tuple[str, TensorType]]:
        return [each for each in self.values if wanted(each[1])]


@dataclass
class Program:
    """A text under construction: the model's inputs with what makes their values, functions, statements."""

    rng: random.Random
    names: Sequence[str] = ()
    """operators to write; any where there are none"""
    inputs: dict[str, tuple[TensorType, Example | None, str]] = field(
        default_factory=dict[str, tuple[TensorType, "Example | None", str]]
    )
    """by name: its type, the example that it is an operand of, and as which of the example's inputs"""
    defs: list[str] = field(default_factory=list[str])
    used: set[str] = field(default_factory=set[str])
    count: int = 0

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def text(self, pool: Pool) -> str:
        """The model so far; all that nothing reads is an output."""
        ranges = [next(iter(symbols(dim))) for dim in SYMBOLS.values()]
        lines = [f"dim {s.name} = {s.minimum} .. {s.optimum} .. {s.maximum}" for s in ranges]
        lines += ["input sizes: float32[N, H, W, S]"]
        lines += [f"input {name}: {type}" for name, (type, *_) in self.inputs.items()]
        body = "\n".join(pool.lines)
        made = [name for name, _ in pool.values if name not in self.inputs]
        outputs = [f"output o{i} = {name}" for i, name in enumerate(made) if body.count(f"{name}") < 2]
        outputs = outputs or [f"output o = {(made or ['sizes'])[-1]}"]
        parts = [*self.defs, "model m() {", *lines, *pool.lines, *outputs, "}"]
        return "\n".join(parts) + "\n"

    # Statements

    def add(self, pool: Pool, inner: bool = False) -> None:
        """One statement, or none where it is refused."""
        before = (dict(self.inputs), list(self.defs), list(pool.lines), list(pool.values))
        kinds: list[Callable[[Pool], None]] = [self.example] * 6 + [self.pattern] * 4
        kinds += [] if inner else [self.scan, self.choice]
        try:
            self.rng.choice(kinds)(pool)
            if not inner:
                elaborate_text(self.text(pool))
        except (DiagnosticError, _Nothing):
            self.inputs, self.defs, pool.lines[:], pool.values[:] = before

    def example(self, pool: Pool) -> None:
        name = self.rng.choice(self.names or NAMES)
        example = self.rng.choice(_BY_NAME[name])
        operands: list[str] = []
        for (slot, type), given in zip(example.slots(), example.inputs, strict=False):
            same = pool.of(lambda other, type=type: other == type)
            may = name not in FRESH and slot not in _positions(example)
            if may and same and self.rng.random() < 0.9:
                operands.append(self.rng.choice(same)[0])
            else:
                operands.append(self.operand(pool, example, type, given, may))
        label = self.fresh("l") if self.rng.random() < 0.8 else f"s.{self.fresh('l')}"
        results = [self.fresh("v") for _ in example.results]
        pool.lines.append(f"{', '.join(results)} = {example.call(operands, label)}")
        pool.values += zip(results, example.results, strict=True)
        self.used.add(name)

    def operand(self, pool: Pool, example: Example, type: TensorType, given: str, may: bool) -> str:
        """A new input; beside it something that was computed, where the operator takes any numbers."""
        name = self.fresh("x")
        self.inputs[name] = (type, example, given)
        floats = pool.of(lambda other: other.dtype is DType.FLOAT32)
        if may and floats and type.dtype is DType.FLOAT32 and self.rng.random() < 0.7:
            return f"({name} + tanh(mean({self.rng.choice(floats)[0]})))"
        return name

    def pattern(self, pool: Pool) -> None:
        """Something that passes look for, of the same type as what it is made of."""
        floats = pool.of(lambda type: type.dtype.is_floating and not type.dtype.is_quantised)
        if not floats:
            raise _Nothing
        source, type = self.rng.choice(floats[-4:])
        name = self.fresh("v")
        pool.lines.append(f"{name} = {self.rng.choice(self.patterns(source, type))}")
        pool.values.append((name, type))

    def patterns(self, v: str, type: TensorType) -> list[str]:
        """Expressions of a value that have its type."""
        options = [
            *(
                f"({v} * 1)",
                f"(0 + {v})",
                f"(-(-{v}))",
                f"dropout({v})",
                f"(exp({v} * 0.1) - exp({v} * 0.1))",
            ),
            *(f"({v} * sigmoid({v}))", f"(0.5 * {v} * (1 + erf({v} / 1.4142135623730951)))"),
            *(f"where(full((), true), {v}, {v} * 2)", f"stack([{v}, tanh({v})])[1]"),
            *(
                f"({v} * exp(full((), 0.25)) + exp(full((), 0.25)))",
                f"(tanh({v}) -> unsqueeze(0) -> squeeze(0))",
            ),
        ]
        if type.rank:
            options += self._of_rows(v, type)
        if type.rank in (3, 4) and type.dtype is DType.FLOAT32 and isinstance(type.shape[1], int):
            options += self._of_images(v, type)
        return options

    def _of_rows(self, v: str, type: TensorType) -> list[str]:
        shape, last = ", ".join(map(str, type.shape)), type.shape[-1]
        spread = f"(mean({v} ** 2, -1, keepdim = true) + 0.25)"
        largest = f"(amax(abs({v}), -1, keepdim = true) + 1)"
        options = [
            *(f"({v} * rsqrt{spread})", f"({v} / sqrt{spread})", f"({v} / expand({largest}, ({shape},)))"),
            *(f"cat([{v}, tanh({v})], 0)[0 : {type.shape[0]}]", f"reshape(flatten({v}), ({shape},))"),
            *(f"(tanh({v}) -> flip(0) -> flip(0))", f"split(cat([{v}, {v}], -1), {last}, -1)[1]"),
        ]
        if isinstance(last, int):
            keys = [self.fresh("p") for _ in range(2)]
            options += [
                f"(({v} @ ({keys[0]}: Parameter({last}, {last}))) + ({keys[1]}: Parameter({last})))",
                f"(({v} -> {keys[0]}: Linear({last})) * ({keys[1]}: Parameter({last})))",
                f"({v} -> {keys[0]}: Linear({last}) -> {keys[1]}: Linear({last}, bias = false))",
                f"({v} - mean({v}, -1, keepdim = true) -> {keys[0]}: LayerNorm({last}))",
            ]
        if isinstance(last, int) and last > 2:
            options.append(f"cat([{v}[..., 1:][..., ::2], {v}[..., : {last - last // 2}]], -1)")
        if type.rank > 1:
            options += [
                f"({v} -> transpose(0, -1) -> tanh -> transpose(0, -1))",
                f"({v} -> flatten -> unsqueeze(0) -> relu -> reshape({shape}))",
                f"({v} -> transpose(0, 1) -> transpose(-1, 0) -> transpose(-1, 0) -> transpose(0, 1))",
            ]
        if type.rank > 2:
            turned = f"transpose({v}, -2, -1)"
            options.append(f"(softmax({v} @ {turned} / 2 + 0.5, -1) @ {v})")
        if type.rank == 3 and isinstance(last, int):
            options.append(self._attention(v, type, last))
        return options

    def _attention(self, v: str, type: TensorType, width: int) -> str:
        """Heads of one product cut in three, or of a product for each."""
        rows = f"({type.shape[0]}, {type.shape[1]}, 2, {width})"
        key = self.fresh("q")
        if self.rng.random() < 0.5:
            parts = [f"chunk({v} -> {key}: Linear({6 * width}), 3, -1)[{place}]" for place in range(3)]
        else:
            parts = [f"({v} -> {key}.{part}: Linear({2 * width}))" for part in "abc"]
        q, k, v = (f"transpose(reshape({part}, {rows}), 1, 2)" for part in parts)
        return f"mean(scaled_dot_product_attention({q}, {k}, {v}), 1)"

    def _of_images(self, v: str, type: TensorType) -> list[str]:
        channels, spatial = type.shape[1], type.rank - 2
        a, b, c = (self.fresh("c") for _ in range(3))
        conv, norm = f"Conv{spatial}d", f"BatchNorm{spatial}d"
        return [
            f"({v} -> {a}: {conv}({channels}, 3, padding = 1) -> {b}: {norm})",
            f"({v} -> {b}: {norm} -> {a}: {conv}({channels}, 1))",
            f"(({v} -> {a}: {conv}({channels}, 3, padding = 1)) + ({v} -> {b}: {conv}({channels}, 1)))",
            f"({v} -> {a}: {conv}(16, 3, padding = 1, bias = false) -> {b}: {conv}({channels}, 1))",
            f"({v} -> {a}: {conv}(16, 1) -> {c}: {norm} -> {b}: {conv}({channels}, 3, padding = 1))",
        ]

    # Bodies

    def body(self, pool: Pool, inside: Pool) -> None:
        """A few statements about what a body sees."""
        for _ in range(self.rng.randint(1, 3)):
            self.add(inside, inner=True)

    def scan(self, pool: Pool) -> None:
        """A recurrence along the first dimension of something, of which a number is carried."""
        sequence, type = self._one(pool, lambda type: type.rank > 0 and type.dtype is DType.FLOAT32)
        t, h, s = self.fresh("t"), self.fresh("h"), self.fresh("v")
        element = type.with_shape(type.shape[1:])
        inside = Pool([(t, element), (h, element)])
        self.body(pool, inside)
        last = inside.of(lambda other: other.dtype is DType.FLOAT32)[-1][0]
        direction = self.rng.choice(("", ", reverse = true"))
        lines = [f"scan {t} in {sequence}{direction} with {h} = {sequence}[0] {{", *inside.lines]
        pool.lines += [*lines, f"{h} = tanh({h} * 0.5 + {t} + mean({last}))", f"emit {s} = {last}", "}"]
        emitted = next(type for name, type in inside.values if name == last)
        pool.values += [(h, element), (s, emitted.with_shape((type.shape[0], *emitted.shape)))]

    def choice(self, pool: Pool) -> None:
        """A condition on something that was computed, and two functions of a few values."""
        given = [self._one(pool, lambda type: type.dtype is DType.FLOAT32) for _ in range(2)]
        shared, bodies = Pool([(f"{name}_", type) for name, type in given]), list[Pool]()
        before = set(self.inputs)
        for _ in range(2):
            bodies.append(Pool(list(shared.values)))
            self.body(pool, bodies[-1])
        added = [name for name in self.inputs if name not in before]
        parameters = list(dict.fromkeys([*(name for name, _ in shared.values), *added]))
        if len(parameters) < len(added) + 2 and given[0][0] != given[1][0]:
            raise _Nothing
        names: list[str] = []
        for inside in bodies:
            last = inside.of(lambda type: type.dtype is DType.FLOAT32)[-1][0]
            names.append(self.fresh("f"))
            result = f"return tanh({parameters[0]}) + mean({last})"
            self.defs += [f"def {names[-1]}({', '.join(parameters)}) {{", *inside.lines, result, "}"]
        operands = [*dict.fromkeys(name for name, _ in given), *added]
        name = self.fresh("v")
        call = f"cond(mean({given[-1][0]}) > 0.01, {', '.join(names)}, ({', '.join(operands)},))"
        pool.lines.append(f"{name} = {call}")
        pool.values.append((name, given[0][1]))

    def _one(self, pool: Pool, wanted: Callable[[TensorType], bool]) -> tuple[str, TensorType]:
        found = pool.of(wanted)
        if not found:
            raise _Nothing
        return self.rng.choice(found)


class _Nothing(Exception):
    """There is nothing to write such a statement about."""


def _positions(example: Example) -> set[str]:
    """Operands that hold positions, which must be in range."""
    return set(example.op.positions(**example.operands))


_BY_NAME = {
    name: [example for example in EXAMPLES if example.name == name and not example.op.bodies]
    for name in OPERATORS
    if name not in LEFT_OUT
}
NAMES = [name for name, examples in _BY_NAME.items() if examples]
"""Operators that statements are written of; recurrences and choices are statements of their own."""


@dataclass(frozen=True)
class Written:
    """A text, its graph without weights, and what makes its inputs' values."""

    text: str
    graph: Graph
    inputs: Mapping[str, tuple[TensorType, Example | None, str]]
    used: frozenset[str]

    def arrays(self, at: ProfilePoint, seed: int) -> dict[str, Any]:
        """An array for each input."""
        rng = np.random.default_rng(seed)
        bound = {"min": "minimum", "opt": "optimum", "max": "maximum"}[at]
        sizes = {s.name: getattr(s, bound) for dim in SYMBOLS.values() for s in symbols(dim)}
        found: dict[str, Any] = {}
        for number, value in enumerate(self.graph.inputs):
            _, example, given = self.inputs.get(value.name, (None, None, ""))
            if example is None:
                static = value.type.with_shape(evaluate_shape(value.type.shape, sizes))
                found[value.name] = random_array(static, rng)
            else:
                found[value.name] = example.arrays(at, seed + number)[given]
        return found


def program(rng: random.Random, names: Sequence[str] = ()) -> Written:
    """A text of some statements, which is accepted."""
    writer, pool = Program(rng, names), Pool()
    for _ in range(rng.randint(4, 9)):
        writer.add(pool)
    text = writer.text(pool)
    return Written(text, elaborate_text(text), writer.inputs, frozenset(writer.used))

"""The operators' examples, ``name(parameters)(operand types) -> result types``, as graphs and arrays.

The text is also an expression of Python, once ``float32[N, 3]`` and the names are given their meaning.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trtdsl import ops
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, Node, Output, Profile, Value, Weight, infer
from trtdsl.ops.arguments import coerce, hints
from trtdsl.ops.base import OPERATORS, SPELLINGS, Module, Op
from trtdsl.ops.positions import Positions
from trtdsl.reference import Array, ProfilePoint, random_array, random_weight
from trtdsl.types import (
    Dim,
    DType,
    Symbol,
    SymbolicDim,
    TensorType,
    evaluate,
    evaluate_shape,
    symbol,
    symbols,
)

SYMBOLS: Mapping[str, SymbolicDim] = {
    "N": symbol("N", 1, 2, 3),
    "H": symbol("H", 16, 20, 33),
    "W": symbol("W", 16, 20, 33),
    "S": symbol("S", 2, 5, 9),
}
POINTS: tuple[ProfilePoint, ...] = ("min", "opt", "max")


class _Element:
    """A dtype's name in an example: ``float32`` as a parameter, ``float32[N, 3]`` as a type."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype

    def __getitem__(self, shape: Dim | tuple[Dim, ...]) -> TensorType:
        return TensorType(self.dtype, shape if isinstance(shape, tuple) else (shape,))


_NAMES: dict[str, Any] = {
    "true": True,
    "false": False,
    "none": None,
    "inf": math.inf,
    **SYMBOLS,
    **{dtype.value: _Element(dtype) for dtype in DType},
}


@dataclass(frozen=True)
class Example:
    """One example of an operator."""

    text: str

    @property
    def name(self) -> str:
        return self.text.partition("(")[0]

    @cached_property
    def _split(self) -> tuple[str, str, str]:
        """The parameters (an empty list may be left out), the operands and the results, each as text."""
        call, _, results = self.text.partition(" -> ")
        depths = itertools.accumulate((char == "(") - (char == ")") for char in call)
        end = next(i for i, depth in enumerate(depths) if depth == 0 and i >= len(self.name))
        first, second = call[len(self.name) + 1 : end], call[end + 2 : -1]
        return (first, second, results) if end + 1 < len(call) else ("", first, results)

    @property
    def parameters(self) -> str:
        """The parameters as they are written."""
        return self._split[0]

    @cached_property
    def op(self) -> Op:
        """The operator with the parameters of the example."""
        arguments, named = _evaluate(f"_call({self._split[0]})")
        bodies = OPERATORS[self.name].bodies if self.name in OPERATORS else ()
        return make(self.name, arguments, {key: value for key, value in named.items() if key not in bodies})

    @cached_property
    def operands(self) -> Mapping[str, Any]:
        """The operands' types by name, a list of them for a variadic operand."""
        values, _ = _evaluate(f"_call({self._split[1]})")
        named: dict[str, Any] = {}
        for operand in self.op.operands:
            if operand.variadic and values and isinstance(values[0], (list, tuple)):
                named[operand.name] = list(values[0])
            elif operand.variadic:
                named[operand.name] = list(values)
            elif values and values[0] is not None:
                named[operand.name] = values[0]
            values = values[1:]
        return named

    @cached_property
    def results(self) -> tuple[TensorType, ...]:
        """What stands right of the arrow."""
        found = _evaluate(self._split[2])
        return found if isinstance(found, tuple) else (found,)

    def slots(self) -> Iterator[tuple[str, TensorType]]:
        """Every single operand with its slot."""
        for name, type in self.operands.items():
            for single in type if isinstance(type, list) else [type]:
                yield name, single

    def sizes(self, at: ProfilePoint) -> dict[str, int]:
        """The value of every symbol at one end or the middle of its range."""
        bound = {"min": "minimum", "opt": "optimum", "max": "maximum"}[at]
        found = (next(iter(symbols(dim))) for dim in SYMBOLS.values())
        return {each.name: getattr(each, bound) for each in found}

    def infer(self) -> tuple[TensorType, ...]:
        """What the operator says its results are."""
        return infer(self.op, self.operands, self._bodies)

    @cached_property
    def _bodies(self) -> tuple[Graph, ...]:
        """The functions that the example names, as graphs."""
        return elaborate_text(self.model()).nodes[-1].bodies if self.op.bodies else ()

    def graph(self, seed: int = 0) -> Graph:
        """A graph of this one node, weights included."""
        values = [Value(name, type) for name, type in self.inputs.items()]
        results = tuple(Value(f"y{i}", type) for i, type in enumerate(self.results))
        slots = (slot for slot, _ in self.slots())
        pairs = [*zip(slots, values, strict=False), *self._weights(seed)]
        operands, slots = tuple(v for _, v in pairs), tuple(s for s, _ in pairs)
        node = Node(self.op, operands, slots, results, "op", bodies=self._bodies)
        used = tuple(sorted(_symbols(self.inputs.values()), key=str))
        return Graph(
            self.name,
            tuple(values),
            (node,),
            tuple(Output(f"out{i}", value) for i, value in enumerate(results)),
            used,
            (Profile("default", {s.name: (s.minimum, s.optimum, s.maximum) for s in used}),),
        )

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The graph's inputs: the operands, and one more for dimensions that no operand has."""
        types = [type for _, type in self.slots()]
        missing = sorted((_symbols(self.results) | self._of_parameters()) - _symbols(types), key=str)
        inputs = {f"x{index}": type for index, type in enumerate(types)}
        if missing:
            inputs["sizes"] = TensorType(DType.FLOAT32, tuple(SYMBOLS[symbol.name] for symbol in missing))
        return inputs

    def _of_parameters(self) -> set[Symbol]:
        values = (getattr(self.op, name) for name in self.op.parameters)
        parts = (part for value in values for part in (value if isinstance(value, tuple) else (value,)))
        return {symbol for part in parts if isinstance(part, SymbolicDim) for symbol in symbols(part)}

    def _weights(self, seed: int) -> Iterator[tuple[str, Weight]]:
        if not isinstance(self.op, Module):
            return
        random = np.random.default_rng(seed)
        for name, type in self.op.weights(**self.operands).items():
            key = self.op.key(name, "op")
            yield name, Weight(key, type, key, random_weight(key, type, random))

    def arrays(self, at: ProfilePoint, seed: int = 0) -> dict[str, Array]:
        """An array for each input of :meth:`graph`."""
        random = np.random.default_rng(seed)
        sizes = self.sizes(at)
        slots = [*(slot for slot, _ in self.slots()), "sizes"]
        static = {name: t.with_shape(evaluate_shape(t.shape, sizes)) for name, t in self.inputs.items()}
        allowed = self.op.at(sizes).positions(**_at(self.operands, sizes))
        pairs = zip(with_positions(slots, allowed), static.items(), strict=False)
        return {name: sample(self.name, slot, type, random, p) for (slot, p), (name, type) in pairs}

    def model(self) -> str:
        """A text whose only statement is the example."""
        ranges = (next(iter(symbols(dim))) for dim in SYMBOLS.values())
        dims = [f"  dim {s.name} = {s.minimum} .. {s.optimum} .. {s.maximum}" for s in ranges]
        inputs = [f"  input {name}: {type}" for name, type in self.inputs.items()]
        outputs = ", ".join(f"y{i}" for i in range(len(self.results)))
        call = self.call([*self.inputs])
        return "\n".join(["model m() {", *dims, *inputs, f"  {outputs} = {call}", f"  output {outputs}", "}"])

    def call(self, operands: Sequence[str], label: str = "op") -> str:
        """The example as a text writes it, its operands in order by these names."""
        names = iter(operands)
        given = [
            f"[{', '.join(next(names) for _ in type)}]" if isinstance(type, list) else next(names)
            for type in self.operands.values()
        ]
        if self.op.order or list(self.operands) != [o.name for o in self.op.operands[: len(self.operands)]]:
            given = [f"{name} = {value}" for name, value in zip(self.operands, given, strict=True)]
        if self.op.in_two_lists:
            return f"{self.name}({self.parameters})({', '.join(given)})"
        if isinstance(self.op, Module):
            return f"{label}: {self.name}({self.parameters})" + (f"({', '.join(given)})" if given else "")
        return f"{self.name}({', '.join(filter(None, [*given, self.parameters]))})"

    def __str__(self) -> str:
        return self.text


def _at(operands: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The operands' types with every dimension a number."""

    def fixed(type: Any) -> Any:
        if isinstance(type, list):
            return [fixed(each) for each in type]
        return type.with_shape(evaluate_shape(type.shape, sizes))

    return {name: fixed(type) for name, type in operands.items()}


def _symbols(types: Iterable[TensorType]) -> set[Symbol]:
    return {symbol for type in types for dim in type.shape for symbol in symbols(dim)}


def _evaluate(text: str) -> Any:
    """The meaning of a part of an example; ``float32[]`` is not Python yet."""
    names = _Names(_NAMES, _call=lambda *arguments, **named: (list(arguments), named))
    return eval(re.sub(r"(?<=\w)\[\]", "[()]", text), {"__builtins__": {}}, names)


class _Names(dict[str, Any]):
    """What the names of an example mean; any other is that of a function, which is a body."""

    def __missing__(self, name: str) -> str:
        return name


def make(name: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Op:
    """The operator of this name (or spelling) with these parameters."""
    cls, spelling = (OPERATORS[name], None) if name in OPERATORS else SPELLINGS[name]
    order = cls.parameters if spelling is None else spelling.parameters
    given: dict[str, Any] = {} if spelling is None else {**spelling.defaults, **spelling.fixed}
    if (
        cls.variadic
        and order[:1] == (cls.variadic,)
        and arguments
        and not isinstance(arguments[0], (list, tuple))
    ):
        arguments = [tuple(arguments)]
    given |= dict(zip(order, arguments, strict=False)) | dict(named)
    if cls.further:
        further = {key: given.pop(key) for key in [*given] if key not in cls.parameters}
        given[cls.further] = [(key, cls.further_value(key, _plain(value))) for key, value in further.items()]
    return cls(**{key: coerce(_plain(value), hints(cls)[key]) for key, value in given.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value.dtype if isinstance(value, _Element) else value


# Integers that stand for numbers may have any sign; elsewhere they are places, and must be small.
_NUMBERS = (
    "activation",
    "piecewise_linear",
    "unary",
    "pointwise",
    "logic",
    "reduction",
    "vector_norm",
    "softmax",
    "matrix",
    "scattering",
    "index_writing",
    "comparing",
    "products",
    "special",
    "pairs",
    "bits",
    "cumulative",
    "statistics",
    "distance",
    "quantization",
)
assert set(_NUMBERS) <= set(ops.__all__), "a family has another name"
_DIVISIONS = ("div", "floor_divide", "remainder", "fmod")
_SHIFTS = ("bitwise_left_shift", "bitwise_right_shift")
_ORDERINGS = ("topk", "sort", "argsort", "max", "min", "argmax", "argmin", "kthvalue", "median")


def sample(
    name: str,
    slot: str,
    type: TensorType,
    random: np.random.Generator,
    positions: Positions | None = None,
) -> Array:
    """Random values that the operator is defined for; ``positions`` are what it says of this operand."""
    if positions is not None:
        return random_positions(positions, type, random)
    family = OPERATORS[name].__module__.rpartition(".")[2] if name in OPERATORS else ""
    if name == "pow":
        array = random_array(type, random, (0, 4))
        return np.abs(array) if slot == "input" else array
    if name in _DIVISIONS and slot == "other" and type.dtype.is_integer:
        magnitude = random_array(type, random, (1, 5))
        return magnitude * random.choice(np.array([-1, 1]), magnitude.shape).astype(magnitude.dtype)
    if name in _SHIFTS and slot == "other":
        return random_array(type, random, (0, 6))
    if name in _ORDERINGS and type.dtype.is_integer:
        # No two are equal, for among equals PyTorch and TensorRT name different places.
        size = evaluate(type.size, {})
        return random.permutation(size).reshape(type.shape).astype(type.dtype.numpy)
    if slot in ("boundaries", "sorted_sequence"):
        return np.sort(random_array(type, random, (-5, 6)), axis=-1)
    if slot == "sorter":
        shape = evaluate_shape(type.shape, {})
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(type.dtype.numpy)
    if name == "acosh":
        return np.asarray(1 + np.abs(random_array(type, random)), dtype=type.dtype.numpy)
    if family == "quantization" and slot == "scale" and type.dtype is not DType.FLOAT8_E8M0:
        shape = evaluate_shape(type.shape, {})
        return np.asarray(random.uniform(0.05, 0.2, shape), np.float32).astype(type.dtype.numpy)
    if slot == "boxes" and type.shape[-1] == 5:
        return random_boxes(type, random)
    return random_array(type, random, (-5, 6) if family in _NUMBERS else (0, 2))


def random_boxes(type: TensorType, random: np.random.Generator) -> Array:
    """Boxes of the first image, some of which reach beyond it, or have their corners the other way round."""
    boxes = random.uniform(-5, 40, [evaluate(dim, {}) for dim in type.shape])
    boxes[:, 0] = 0
    return boxes.astype(np.float32).astype(type.dtype.numpy)


def with_positions(
    slots: Iterable[str], allowed: Mapping[str, Positions | tuple[Positions, ...]]
) -> Iterator[tuple[str, Positions | None]]:
    """Each operand's slot, with the positions that it may name."""
    count: dict[str, int] = {}
    for slot in slots:
        number = count[slot] = count.get(slot, -1) + 1
        found = allowed.get(slot)
        yield slot, found[number] if isinstance(found, tuple) else found


def random_positions(allowed: Positions, type: TensorType, random: np.random.Generator) -> Array:
    """Positions within what is allowed, its ends among them wherever there is room."""
    shape, low, high = evaluate_shape(type.shape, {}), evaluate(allowed.low, {}), evaluate(allowed.high, {})
    if allowed.distinct is not None:
        axis = allowed.distinct
        orders = np.argsort(random.random((*shape[:axis], *shape[axis + 1 :], high - low)), axis=-1)
        chosen = np.moveaxis(orders[..., : shape[axis]], -1, axis) + low
        return chosen.astype(type.dtype.numpy)
    found = random.integers(low, high, shape)
    ends = found.reshape(-1)[:2]
    ends[:] = (low, high - 1)[: len(ends)]
    return found.astype(type.dtype.numpy)


EXAMPLES: tuple[Example, ...] = tuple(Example(text) for cls in OPERATORS.values() for text in cls.examples)

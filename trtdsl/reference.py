"""The meaning of a graph: PyTorch on the CPU.

In: a graph with its weights' values and one array for each input.  Out: torch tensors::

    outputs = run(graph, {"image": image})
    outputs["logits"]

Each node calls the PyTorch object that its operator names, or the operator's own ``reference`` where
PyTorch has no such object, and what comes out is held against the type that the graph promises.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph, Node, Value, Weight, bodies_by_name, rebuild
from trtdsl.ops.base import Module, Op
from trtdsl.types import (
    Dim,
    DType,
    Symbol,
    SymbolicDim,
    TensorType,
    ValueRange,
    evaluate,
    evaluate_shape,
    symbols,
)

if TYPE_CHECKING:
    import torch

Array: TypeAlias = npt.NDArray[Any]
ProfilePoint: TypeAlias = Literal["min", "opt", "max"]
Observer: TypeAlias = "Callable[[Value, torch.Tensor], object]"
"""Is shown a value of a graph and its tensor, those of bodies once for each time that these run."""


class ReferenceMismatch(Exception):
    """PyTorch computes another type than the graph says: no fault of the model."""


def require_torch(what: str, extra: str = "torch") -> None:
    """Raise :class:`UsageError` where PyTorch, which ``what`` needs and ``extra`` installs, is missing."""
    if importlib.util.find_spec("torch") is None:
        help = (f"pip install 'trtdsl[{extra}]'",)
        raise UsageError(Diagnostic(f"{what} needs PyTorch, which is not installed", help=help))


# --- A graph ----------------------------------------------------------------------------------------------


def run(
    graph: Graph,
    inputs: Mapping[str, Array | torch.Tensor],
    weights: Mapping[str, Array | torch.Tensor] | None = None,
    in_float64: bool = False,
    observe: Observer | None = None,
) -> dict[str, torch.Tensor]:
    """The outputs by name. ``weights`` by state-dict key stand in for, or replace, those bound to the graph.

    ``in_float64`` computes and keeps in float64 whatever the graph has as floats of any size, which shows
    how much of a result is their rounding. ``observe`` is shown every tensor as soon as it is known. Raises
    ValueError for an input or weight that is missing or does not fit its declaration.
    """
    import torch

    given = {value.name: to_torch(inputs[value.name]) for value in graph.inputs if value.name in inputs}
    sizes = symbol_values(graph, given)
    run = _Run(sizes, weights or {}, in_float64, observe)
    values: dict[Value, torch.Tensor] = {
        value: run.source(given[value.name], value.type, f"input `{value.name}`") for value in graph.inputs
    }
    if observe:
        for value, tensor in values.items():
            observe(value, tensor)
    with torch.no_grad(), _default_dtype(torch.float64 if in_float64 else torch.float32):
        run.nodes(graph, values)
    return {output.name: run.value(output.value, values) for output in graph.outputs}


def symbol_values(graph: Graph, inputs: Mapping[str, Array | torch.Tensor]) -> dict[str, int]:
    """The size of every dynamic dimension, from the inputs' shapes."""
    pairs: list[tuple[Dim, int]] = []
    for value in graph.inputs:
        if value.name not in inputs:
            raise ValueError(f"input `{value.name}` is missing")
        shape = tuple(inputs[value.name].shape)
        if len(shape) != value.type.rank:
            raise ValueError(f"input `{value.name}` has shape {list(shape)}, but it is {value.type}")
        pairs += zip(value.type.shape, shape, strict=True)
    return solve(pairs)


def solve(pairs: Sequence[tuple[Dim, int]]) -> dict[str, int]:
    """The symbols' values that give each dimension its size; ValueError where there are none."""
    sizes: dict[str, int] = {}
    # Dimensions that are a symbol by itself come first, so that sums and products have one unknown left.
    for dim, size in sorted(pairs, key=lambda pair: len(str(pair[0]))):
        unknown = [symbol for symbol in symbols(dim) if symbol.name not in sizes]
        if len(unknown) == 1:
            sizes[unknown[0].name] = _solve_one(dim, size, unknown[0], sizes)
    for dim, size in pairs:
        if evaluate(dim, sizes) != size:
            raise ValueError(
                f"a dimension of size {size} is declared as `{dim}`, which is {evaluate(dim, sizes)}"
            )
    return sizes


def _solve_one(dim: Dim, size: int, symbol: Symbol, sizes: Mapping[str, int]) -> int:
    if dim == SymbolicDim({(symbol,): symbol.step}):
        candidates: Sequence[int] = (size,) if size % symbol.step == 0 else ()
    else:
        candidates = range(symbol.minimum, symbol.maximum + 1, symbol.step)
    for candidate in candidates:
        if evaluate(dim, {**sizes, symbol.name: candidate}) == size:
            return candidate
    raise ValueError(f"no value of {symbol} makes `{dim}` {size}")


@dataclasses.dataclass(frozen=True)
class _Run:
    """One computation: the sizes of the dynamic dimensions, weights by key that replace bound ones, whether
    all floats are of 64 bits, and who is shown each tensor."""

    sizes: Mapping[str, int]
    weights: Mapping[str, Array | torch.Tensor]
    in_float64: bool
    observe: Observer | None = None

    def nodes(self, graph: Graph, values: dict[Value, torch.Tensor]) -> None:
        """Compute every node of a graph into ``values``."""
        for node in graph.nodes:
            results = self.node(node, [self.value(operand, values) for operand in node.operands])
            for value, result in zip(node.results, results, strict=True):
                values[value] = self._promised(result, value.type, f"`{node.op.name}` (`{value.name}`)")
                if self.observe:
                    self.observe(value, values[value])

    def value(self, value: Value, values: Mapping[Value, torch.Tensor]) -> torch.Tensor:
        """An operand: computed before, or a weight."""
        if not isinstance(value, Weight):
            return values[value]
        data = self.weights.get(value.key, value.data)
        if data is None:
            raise ValueError(f"weight `{value.key}` has no data: bind the graph to a checkpoint first")
        return self.source(to_torch(data), value.type, f"weight `{value.key}`")

    def source(self, tensor: torch.Tensor, type: TensorType, what: str) -> torch.Tensor:
        """A tensor from outside, which must be of its declared type."""
        found, wanted = type_of(tensor), type.with_shape(evaluate_shape(type.shape, self.sizes))
        if found != carried(wanted):
            raise ValueError(f"{what} is {found}, but it should be {wanted}")
        return self._widened(tensor)

    def _promised(self, tensor: torch.Tensor, type: TensorType, what: str) -> torch.Tensor:
        wanted = type.with_shape(evaluate_shape(type.shape, self.sizes))
        is_wide = self.in_float64 and tensor.is_floating_point() and type.dtype.is_floating
        found = carried(wanted).with_shape(tuple(tensor.shape)) if is_wide else type_of(tensor)
        if found != carried(wanted):
            raise ReferenceMismatch(
                f"{what} is {found} in PyTorch, but the graph says {type}, which is {wanted}"
            )
        return self._widened(tensor)

    def _widened(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.double() if self.in_float64 and tensor.is_floating_point() else tensor

    def node(self, node: Node, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The results of a node, its bodies computed by it."""
        declared = {operand.name for operand in node.op.operands}
        named = node.arguments(tensors)
        weights = {slot: named.pop(slot) for slot in node.slots if slot not in declared}
        bodies = {name: self._body(body) for name, body in bodies_by_name(node.op, node.bodies).items()}
        try:
            return run_node(node.op.at(self.sizes), named, weights, bodies, self.in_float64)
        except IndexError as error:
            text = f"`{node.op.name}` is given an index that is out of range"
            raise UsageError(Diagnostic.at(text, node.origins)) from error

    def _body(self, body: Graph) -> Callable[..., tuple[Any, ...]]:
        """A body graph as a function of its inputs."""

        def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            values = dict(zip(body.inputs, tensors, strict=True))
            self.nodes(body, values)
            return tuple(self.value(output.value, values) for output in body.outputs)

        return call


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Generator[None, None, None]:
    """What PyTorch makes of integers that are divided, and of numbers written as floats."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# --- A node -----------------------------------------------------------------------------------------------


def compute_node(
    node: Node, operands: Sequence[torch.Tensor], sizes: Mapping[str, int]
) -> tuple[torch.Tensor, ...]:
    """The results of one node of a graph, from the values of its operands in their order."""
    return _Run(sizes, {}, in_float64=False).node(node, operands)


def run_node(
    op: Op,
    operands: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor] | None = None,
    bodies: Mapping[str, Callable[..., tuple[Any, ...]]] | None = None,
    in_float64: bool = False,
) -> tuple[torch.Tensor, ...]:
    """The results of one operator without symbolic parameters, operands (lists too) and weights by name.

    With ``in_float64`` a parameter that names a float dtype means float64.
    """
    import torch

    extra = {"bodies": bodies} if bodies else {}
    results = op.reference(torch, **operands, **(weights or {}), **extra)
    if results is None and isinstance(op, Module):
        results = _call_module(op, operands, weights or {})
    elif results is None:
        results = _call_function(op, operands, in_float64)
    return tuple(results) if isinstance(results, (tuple, list)) else (results,)


def _call_function(op: Op, operands: Mapping[str, Any], in_float64: bool) -> Any:
    import torch

    function, fields = resolve(op.torch), _fields(op)
    if in_float64:
        wide = {name: torch.float64 for name in fields if _is_float_dtype(getattr(op, name))}
        fields |= wide
    if not op.order:
        return function(*_positional(op, operands), **fields)
    ordered = [operands[name] if name in operands else fields.pop(name) for name in op.order]
    return function(*ordered, **fields)


def _positional(op: Op, operands: Mapping[str, Any]) -> list[Any]:
    """The operands in order, with None for an absent one that others follow."""
    names = [operand.name for operand in op.operands]
    last = max((index for index, name in enumerate(names) if name in operands), default=-1)
    return [operands.get(name) for name in names[: last + 1]]


def _fields(op: Op) -> dict[str, Any]:
    return {name: torch_parameter(getattr(op, name)) for name in op.parameters}


def _is_float_dtype(value: object) -> bool:
    return isinstance(value, DType) and value.is_floating


def torch_parameter(value: Any) -> Any:
    """A parameter's value as PyTorch takes it."""
    return torch_dtype(value) if isinstance(value, DType) else value


def _call_module(op: Module, operands: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Any:
    import torch

    types = {name: _types_of(value) for name, value in operands.items()}
    inferred = {name: torch_parameter(value) for name, value in op.torch_arguments(**types).items()}
    with torch.device("meta"):
        module = resolve(op.torch)(**inferred, **_fields(op))
    return torch.func.functional_call(module.eval(), dict(weights), tuple(_positional(op, operands)))


def _types_of(value: Any) -> Any:
    import torch

    if isinstance(value, (list, tuple)):
        return [_types_of(item) for item in value]
    # Wide or not, what a module infers from its operands is their shapes.
    return type_of(value.float() if value.dtype == torch.float64 else value)


@cache
def resolve(path: str) -> Any:
    """The object at a dotted import path, such as ``torch.nn.functional.relu``."""
    parts = path.split(".")
    found = importlib.import_module(parts[0])
    for count, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:count]))
        found = getattr(found, part)
    return found


# --- Arrays -----------------------------------------------------------------------------------------------


def torch_dtype(dtype: DType) -> torch.dtype:
    """PyTorch's dtype of the same name, or the one that carries its numbers where PyTorch has none."""
    import torch

    return getattr(torch, _CARRIERS.get(dtype, dtype).value)


def carried(type: TensorType) -> TensorType:
    """The type that a torch tensor of this type has."""
    return type.with_dtype(_CARRIERS.get(type.dtype, type.dtype))


_CARRIERS = {
    DType.INT4: DType.INT8,
    DType.FLOAT4: DType.FLOAT32,
    DType.FLOAT8_E8M0: DType.FLOAT32,
}
"""What holds the numbers of a type that PyTorch lacks, or packs two to a byte: each exactly."""


def type_of(tensor: torch.Tensor) -> TensorType:
    """The type of a torch tensor; ValueError for a dtype that the language does not have."""
    return TensorType(DType(str(tensor.dtype).removeprefix("torch.")), tuple(tensor.shape))


# numpy has no bfloat16 and no float8, and PyTorch does not know ml_dtypes: their bits travel as integers.
_BITS = {DType.BFLOAT16: "int16", DType.FLOAT8: "uint8", DType.FLOAT8_E8M0: "uint8"}


def to_torch(array: Array | torch.Tensor) -> torch.Tensor:
    """The same values in torch, sharing memory where that is possible."""
    import torch

    if isinstance(array, torch.Tensor):
        return array if str(array.dtype) != f"torch.{DType.FLOAT8_E8M0}" else array.float()
    dtype = DType.of_numpy(array.dtype)
    if dtype in _CARRIERS:
        array, dtype = array.astype(_CARRIERS[dtype].numpy), _CARRIERS[dtype]
    bits = np.ascontiguousarray(array).reshape(array.shape).view(_BITS.get(dtype, array.dtype))
    with warnings.catch_warnings():
        # Weights are mapped read-only; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(bits).view(torch_dtype(dtype))


def to_numpy(tensor: torch.Tensor) -> Array:
    """The same values in numpy, bfloat16 and float8 as those of ml_dtypes."""
    import torch

    dtype = type_of(tensor).dtype
    tensor = tensor.detach().cpu().contiguous()
    if dtype not in _BITS:
        return tensor.numpy()
    return tensor.view(getattr(torch, _BITS[dtype])).numpy().view(dtype.numpy)


# --- Random values for tests ------------------------------------------------------------------------------


def random_array(
    type: TensorType,
    random: np.random.Generator,
    integers: tuple[int, int] = (0, 4),
    scale: float = 1.0,
    values: ValueRange | None = None,
) -> Array:
    """Normal floats, integers in ``[low, high)``, or bools, for a static type; or any of ``values``."""
    shape = evaluate_shape(type.shape, {})
    if values is not None:
        return values.draw(type.dtype, shape, random)
    if type.dtype.is_bool:
        return np.asarray(random.integers(0, 2, shape), dtype=bool)
    if type.dtype is DType.FLOAT8_E8M0:
        return np.exp2(random.integers(-3, 4, shape), dtype=np.float32).astype(type.dtype.numpy)
    if type.dtype.is_integer:
        low, high = integers
        low = max(low, 0) if type.dtype is DType.UINT8 else low
        return np.asarray(random.integers(low, high, shape), dtype=type.dtype.numpy)
    return np.asarray(random.normal(0, scale, shape), dtype=np.float32).astype(type.dtype.numpy)


def random_inputs(
    graph: Graph, at: ProfilePoint = "opt", seed: int = 0, integers: tuple[int, int] = (0, 4)
) -> dict[str, Array]:
    """An array for each input, its dynamic dimensions at one end or the middle of their ranges.

    ``integers`` are those of inputs that do not say what values they take.
    """
    random = np.random.default_rng(seed)
    sizes = point(frozenset().union(*(symbols(dim) for v in graph.inputs for dim in v.type.shape)), at)
    static = {v.name: v.type.with_shape(evaluate_shape(v.type.shape, sizes)) for v in graph.inputs}
    return {
        name: random_array(type, random, integers, values=graph.ranges.get(name))
        for name, type in static.items()
    }


def point(of: frozenset[Symbol], at: ProfilePoint) -> dict[str, int]:
    """Each symbol's minimum, optimum or maximum."""
    bound = {"min": "minimum", "opt": "optimum", "max": "maximum"}[at]
    return {symbol.name: getattr(symbol, bound) for symbol in of}


def random_weights(graph: Graph, seed: int = 0) -> Graph:
    """The graph with made-up weights, scaled so that values neither vanish nor explode over many layers."""
    random = np.random.default_rng(seed)
    bound: dict[Value, Value] = {
        weight: weight.replace(data=random_weight(weight.key, weight.type, random))
        for weight in graph.weights
    }
    return rebuild(graph, graph.nodes, bound)


def random_weight(key: str, type: TensorType, random: np.random.Generator) -> Array:
    """A weight by its name: variances positive, gains near 1, offsets small, matrices scaled by fan-in."""
    name = key.rpartition(".")[2]
    if not type.dtype.is_floating:
        return random_array(type, random)
    if name == "running_var" or (name == "weight" and type.rank == 1):
        shape = evaluate_shape(type.shape, {})
        return np.asarray(random.uniform(0.5, 1.5, shape), np.float32).astype(type.dtype.numpy)
    if name.endswith("_scale"):
        # Of quantised numbers, which TensorRT takes positive ones of only.
        shape = evaluate_shape(type.shape, {})
        return np.asarray(random.uniform(0.01, 0.02, shape), np.float32).astype(type.dtype.numpy)
    fan_in = math.prod(evaluate_shape(type.shape[1:], {})) if type.rank > 1 else 100
    return random_array(type, random, scale=1 / math.sqrt(max(fan_in, 1)))

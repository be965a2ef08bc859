"""What each weight of a graph is: an entry of the checkpoint, or what is computed of some.

In: a graph, whose weights may say where they are stored, and a checkpoint.  Out: for each weight an
:class:`Entry`, of which the shape and dtype are known and the values are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Span
from trtdsl.ir import Graph, Node, Stored, Value, Weight
from trtdsl.ops.base import Op
from trtdsl.options import WeightsDType
from trtdsl.types import PRECISIONS, DType, TensorType
from trtdsl.weights.arrays import as_array
from trtdsl.weights.checkpoint import Checkpoint
from trtdsl.weights.gptq import GptqFormat
from trtdsl.weights.packed import CONFIGURED, PackedEntry, packing_of
from trtdsl.weights.state_dict import WRAPPERS, before_parametrizations

Array: TypeAlias = npt.NDArray[Any]
Given: TypeAlias = Checkpoint | Mapping[str, Any]
"""What can be bound: numpy arrays, PyTorch's tensors, anything with ``__array__``."""


class Entry(Protocol):
    """One weight's values, not read yet."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def read(self) -> Array:
        """The values; raises DiagnosticError where they cannot be had."""
        ...


class Missing(Exception):
    """The checkpoint does not have a key, which stands at a place of the text if a section names it."""

    def __init__(self, key: str, span: Span | None = None) -> None:
        super().__init__(key)
        self.key = key
        self.span = span


def is_found(entry: Entry | Missing | DiagnosticError) -> TypeGuard[Entry]:
    """Whether the values of a weight are there, of whatever shape."""
    return not isinstance(entry, (Missing, DiagnosticError))


def packed_entry(weights: Given, key: str, dtype: DType) -> PackedEntry | None:
    """A layer's weight, ``fc.weight``, that is there in few bits; None where it is not."""
    label = key.removesuffix("weight")

    def entry(name: str) -> Entry | None:
        if name == CONFIGURED:
            return GptqFormat(weights.path) if isinstance(weights, Checkpoint) else None
        return _Stored(weights, label + name) if label + name in weights else None

    found = packing_of(entry)
    return found and PackedEntry(key, *found, dtype.numpy)


def keys_read(graph: Graph, weights: Given) -> tuple[str, ...]:
    """The keys of a checkpoint that a graph asks for, whether they are there or not."""
    entries = Entries(weights, "model")
    return tuple(dict.fromkeys(key for weight in graph.weights for key in _asked(entries, weight)))


def keys_of(weight: Weight, weights: Given) -> tuple[str, ...]:
    """Those that one weight asks for, up to the first that is not there."""
    return _asked(Entries(weights, "model"), weight)


def _asked(entries: Entries, weight: Weight) -> tuple[str, ...]:
    # What is wrong with a weight is said when it is bound.
    with suppress(Missing, DiagnosticError):
        entries.find(weight)
    return tuple(entries.keys.get(weight.key, ()))


@dataclass(frozen=True)
class _Stored:
    """One key of a checkpoint."""

    weights: Given
    key: str

    @property
    def shape(self) -> tuple[int, ...]:
        if isinstance(self.weights, Checkpoint):
            return self.weights.shape(self.key)
        return tuple(self.read().shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.weights.dtype(self.key) if isinstance(self.weights, Checkpoint) else self.read().dtype

    def read(self) -> Array:
        return as_array(self.key, self.weights[self.key])


@dataclass(frozen=True, eq=False)
class _Computed:
    """What a section computes of entries."""

    graph: Graph
    entries: Mapping[Value, tuple[Entry, DType]]

    @property
    def _value(self) -> Value:
        return self.graph.outputs[0].value

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(str(size)) for size in self._value.type.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._value.type.dtype.numpy

    def read(self) -> Array:
        known: dict[Value, Array] = {}
        for weight, (entry, dtype) in self.entries.items():
            known[weight] = entry.read().astype(dtype.numpy, copy=False)
        for node in self.graph.nodes:
            known.update(zip(node.results, _folded(node, known), strict=True))
        return np.ascontiguousarray(known[self._value], dtype=self.dtype).reshape(self.shape)


def _folded(node: Node, known: Mapping[Value, Array]) -> Sequence[Array]:
    with np.errstate(all="ignore"):
        results = node.op.fold(**node.arguments([known[value] for value in node.operands]))
    if results is None:
        raise _not_computed(node)
    return results if isinstance(results, tuple) else (results,)


def _not_computed(node: Node) -> DiagnosticError:
    text = f"`{node.op.name}` is computed in the network only, not of a checkpoint's entries"
    return DiagnosticError(Diagnostic.at(text, node.origins))


@dataclass(eq=False)
class Entries:
    """Finds what weights are made of.

    ``read`` are the keys that were asked for, in order, each once, ``keys`` those of each weight by its own.
    """

    weights: Given
    weights_dtype: WeightsDType = None
    read: dict[str, None] = field(default_factory=dict[str, None])
    keys: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def find(self, weight: Weight) -> Entry:
        """The entry of a weight; raises :class:`Missing`, and DiagnosticError for what a section asks."""
        stored = weight.stored
        if stored is None:
            return self._entry(weight, weight.key, None)
        if stored.key is not None:
            return self._entry(weight, stored.key, stored.span)
        return self._computed(weight, stored)

    def _entry(self, weight: Weight, key: str, span: Span | None) -> Entry:
        if (entry := self._packed(weight, key)) is not None:
            return entry
        names = (key, before_parametrizations(key)) if span is None else self._names(key)
        found = next((name for name in names if name in self.weights), None)
        self.read[found or key] = None
        self.keys.setdefault(weight.key, []).append(found or key)
        if found is None:
            raise Missing(key, span)
        return _Stored(self.weights, found)

    def _packed(self, weight: Weight, key: str) -> PackedEntry | None:
        """A weight that the checkpoint has in few bits, as the numbers that these stand for."""
        if weight.type.dtype not in PRECISIONS or key.rpartition(".")[2] != "weight":
            return None
        found = packed_entry(self.weights, key, weight.type.dtype)
        if found is not None:
            keys = [
                name for part in found.parts if (name := key.removesuffix("weight") + part) in self.weights
            ]
            self.read.update(dict.fromkeys(keys))
            self.keys.setdefault(weight.key, []).extend(keys)
        return found

    def _names(self, key: str) -> Iterator[str]:
        """What a section's key may be called: wrappers' prefixes are stripped when a checkpoint is opened."""
        yield key
        prefix = self.weights.prefix if isinstance(self.weights, Checkpoint) else ""
        if prefix and key.startswith(prefix):
            yield key.removeprefix(prefix)
        while wrapper := next((each for each in WRAPPERS if key.startswith(each)), ""):
            key = key.removeprefix(wrapper)
            yield key

    def _computed(self, weight: Weight, stored: Stored) -> Entry:
        entries: dict[Value, tuple[Entry, DType]] = {}

        def lookup(key: str, span: Span) -> Weight:
            entry = self._entry(weight, key, span)
            dtype = self._dtype(key, entry, weight, span)
            found = Weight(key, TensorType(dtype, entry.shape), key)
            entries[found] = entry, dtype
            return found

        graph = stored.graph(lookup)
        for node in graph.nodes:
            if type(node.op).fold is Op.fold:
                raise _not_computed(node)
        return _Computed(graph, entries)

    def _dtype(self, key: str, entry: Entry, weight: Weight, span: Span) -> DType:
        """What an entry is computed in: its own dtype, or for one the language lacks what it becomes."""
        try:
            return DType.of_numpy(entry.dtype)
        except ValueError:
            pass
        wanted = weight.type.dtype if self.weights_dtype == "model" else self.weights_dtype
        if wanted is not None and entry.dtype.kind == "f":
            return wanted
        text = f"`{key}` is {entry.dtype.name} in the checkpoint, in which no operator computes"
        help = (
            (f"`--weights-dtype {weight.type.dtype}` converts the checkpoint",)
            if entry.dtype.kind == "f"
            else ()
        )
        raise DiagnosticError(Diagnostic(text, span, help=help))

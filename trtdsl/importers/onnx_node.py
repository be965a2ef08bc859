"""A node of an ONNX graph, as the rules that translate it see it.

In: a node whose inputs are known: tensors of the program so far (:class:`~trtdsl.importers.program.Ref`), or
values that need no running (:class:`Known`).  Out: operations, which a rule emits; it returns their results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from trtdsl.importers.onnx_scopes import path_of
from trtdsl.importers.onnx_types import result_types
from trtdsl.importers.program import Argument, Array, Call, Frame, Operation, Ref, type_of_array
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, SymbolicDim, TensorType, shortest


@dataclass(frozen=True)
class Known:
    """A value that no input decides; integers that depend on dynamic dimensions are an array of objects."""

    array: Array
    dtype: np.dtype[Any]
    initialiser: str = ""
    """the tensor of the file that it is, unchanged"""
    is_transposed: bool = False
    """whether it is that tensor transposed"""
    is_weight: bool = False
    """whether the file says that it is of the module's state dict: then it stays a tensor of that key"""
    name: str = ""
    """what a constant is called, where the file knows the call that made it"""
    is_constant: bool = False
    """whether the file says that no state dict has it: then it is not a weight, wherever it stands"""

    @property
    def is_symbolic(self) -> bool:
        return self.array.dtype == object

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


Value: TypeAlias = Ref | Known
Results: TypeAlias = Value | tuple[Value | None, ...]


def known(value: Any, dtype: Any = None) -> Known:
    """A known value from an array, numbers or dimensions."""
    array = np.asarray(value)
    if array.dtype == object and not any(isinstance(each, SymbolicDim) for each in array.reshape(-1)):
        array = array.astype(dtype or np.int64)
    wanted = np.dtype(dtype or (np.int64 if array.dtype == object else array.dtype))
    return Known(array if array.dtype == object else array.astype(wanted, copy=False), wanted)


@dataclass
class Store:
    """What the program holds so far."""

    operations: list[Operation] = field(default_factory=list[Operation])
    types: dict[str, TensorType] = field(default_factory=dict[str, TensorType])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    weights: dict[str, str] = field(default_factory=dict[str, str])
    """the key of each value that is a weight"""
    arrays: dict[str, Array] = field(default_factory=dict[str, Array])
    """the weights' values by key"""
    reserved: frozenset[str] = frozenset()
    """the initialisers' names that are keys, which nothing else is called"""
    keeps_layout: bool = True
    """whether the names are of a PyTorch module, whose checkpoint shall still fit"""
    placed: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """the value that an initialiser is, in the layout that it is used in"""
    state: dict[str, Array] = field(default_factory=dict[str, Array])
    """the module's state dict, where the file has it"""
    quantised: dict[str, str] = field(default_factory=dict[str, str])
    """the key of the integers that a value was read back from"""
    called: dict[str, str] = field(default_factory=dict[str, str])
    """of a value the call of PyTorch that it is a part of, where the file says so"""
    moved: set[str] = field(default_factory=set[str])
    """the calls of PyTorch that give a weight of the file transposed, which no operation does"""
    origins: dict[str, tuple[str, tuple[Frame, ...]]] = field(
        default_factory=dict[str, tuple[str, tuple[Frame, ...]]]
    )
    """of a constant that has a name of its own what the source calls it, and the lines that made it"""
    named: dict[str, str] = field(default_factory=dict[str, str])
    """the value that a constant with a name of its own is"""

    def name(self, wish: str) -> str:
        """A name that no value has."""
        found, number = wish, 1
        while found in self.types:
            number += 1
            found = f"{wish}_{number}"
        return found

    def constant(self, array: Array, wish: str = "constant") -> Ref:
        """A tensor that is a constant of the text; one with a name of its own is there once."""
        if wish in self.named:
            return Ref(self.named[wish])
        found = type_of_array(array)
        if found is None:
            raise Refused(f"it reads a tensor of {array.dtype.name}, which TensorRT lacks")
        name = self.name(wish)
        self.types[name] = found
        self.constants[name] = array
        if wish in self.origins:
            self.named[wish] = name
            self.origins[name] = self.origins[wish]
        return Ref(name)

    def weight(self, array: Array, key: str, identity: tuple[str, str]) -> Ref:
        """A tensor of the file beside the text, under a key like this."""
        if identity[0] and identity in self.placed:
            return Ref(self.placed[identity])
        found = type_of_array(array)
        if found is None:
            raise Refused(f"it reads a weight of {array.dtype.name}, which TensorRT lacks")
        own = identity[0] == key
        stem, _, slot = key.rpartition(".")
        unique, number = key, 1
        while unique in self.arrays or (unique in self.reserved and not own):
            number += 1
            unique = f"{stem}{number}.{slot}" if stem else f"{key}{number}"
        name = self.name(unique)
        self.types[name] = found
        self.weights[name] = unique
        self.arrays[unique] = array
        if identity[0]:
            self.placed[identity] = name
        return Ref(name)

    def state_weight(self, key: str) -> Ref:
        """A tensor of the state dict, as it is there."""
        array = self.state[key]
        return self.weight(np.asarray(array, order="C"), key, (key, f" {key}" if array.ndim == 1 else ""))

    def key_of(self, value: Ref) -> str:
        """The key of a value that is a weight, "" for others."""
        return self.weights.get(value.value, "")


@dataclass
class Node:
    """A node whose inputs are known."""

    op: str
    store: Store
    inputs: Sequence[Value | None]
    attributes: Mapping[str, Any]
    outputs: Sequence[str]
    opset: int
    calls: tuple[Call, ...] = ()
    frames: tuple[Frame, ...] = ()
    scope: str = ""
    """where the weights lie that the node reads, in the names of the state dict"""
    users: Mapping[str, int] = field(default_factory=dict[str, int])
    """how many nodes read each value of the file"""
    names: Sequence[str] = ()
    """what the file calls the inputs"""
    proto: Any = None
    """the node of the file"""
    called: str = ""
    """the call of PyTorch that it is a part of, as the file has it"""

    # --- Inputs -------------------------------------------------------------------------------------------

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def __getitem__(self, index: int) -> Value:
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise Refused(f"its input {index} is missing")
        return value

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def tensor(self, value: int | Value) -> Ref:
        """An input as a tensor of the program."""
        found = self[value] if isinstance(value, int) else value
        if isinstance(found, Ref):
            return found
        if found.is_symbolic:
            return self._sizes(found)
        if found.is_weight:
            return self._of_state(found)
        if found.name:
            return self.store.constant(found.array, found.name)
        if found.initialiser and found.array.size > 1 and found.array.dtype.kind not in "bi":
            name = found.initialiser if found.initialiser in self.store.reserved else ""
            key = self._own_key(name, name) if name else f"{self.scope}.tensor".lstrip(".")
            layout = "transposed" if found.is_transposed else ""
            identity = (found.initialiser, layout if key in ("", name) else f"{layout} {key}")
            return self.store.weight(found.array, key, identity)
        return self.store.constant(found.array)

    def _of_state(self, value: Known) -> Ref:
        """A tensor of the state dict, as it is there."""
        found = self.store.state_weight(value.initialiser)
        return self.one("permute", self=found, dims=(1, 0)) if value.is_transposed else found

    def tensors(self) -> tuple[Ref, ...]:
        """All inputs as tensors."""
        return tuple(self.tensor(each) for each in self.inputs if each is not None)

    def _sizes(self, value: Known) -> Ref:
        """Integers that depend on dynamic dimensions, as a tensor."""
        dtype = dtype_of(value.dtype)
        flat = value.array.reshape(-1)
        parts = tuple(self.one("full", size=(1,), fill_value=each, dtype=dtype) for each in flat)
        joined = parts[0] if len(parts) == 1 else self.one("cat", tensors=parts, dim=0)
        return self.one("reshape", self=joined, shape=value.shape) if value.shape != (1,) else joined

    def operand(self, value: int | Value, rank: int) -> Argument:
        """An input that meets a tensor of this rank: a number where it is one, and not of the state dict."""
        found = self[value] if isinstance(value, int) else value
        is_one = isinstance(found, Known) and found.array.size == 1 and found.array.ndim <= rank
        if isinstance(found, Known) and is_one and not found.is_weight:
            return number(found)
        return self.tensor(found)

    def ints(self, index: int, what: str) -> tuple[Dim, ...]:
        """An input of integers that must be known when the text is written."""
        value = self[index]
        if isinstance(value, Ref):
            raise Refused(f"{what} must be known, but an input of the model decides it")
        return tuple(
            each if isinstance(each, SymbolicDim) else int(each) for each in value.array.reshape(-1).tolist()
        )

    def fixed(self, index: int, what: str) -> tuple[int, ...]:
        """Integers that must not depend on dynamic dimensions."""
        found = self.ints(index, what)
        if any(isinstance(each, SymbolicDim) for each in found):
            raise Refused(f"{what} must not depend on a dynamic dimension")
        return tuple(each for each in found if isinstance(each, int))

    def scalar(self, index: int, what: str) -> Any:
        """An input of one number that must be known."""
        value = self[index]
        if isinstance(value, Ref):
            raise Refused(f"{what} must be known, but an input of the model decides it")
        if value.array.size != 1:
            raise Refused(f"{what} must be one number")
        return number(value)

    def ints_or(self, index: int, name: str, default: Any = None) -> Any:
        """Integers that newer versions have as an input and older ones as an attribute."""
        if self.has(index):
            return self.ints(index, f"`{name}`")
        found = self.attribute(name, default)
        return tuple(found) if isinstance(found, list) else found

    # --- Types --------------------------------------------------------------------------------------------

    def type(self, value: int | Value) -> TensorType:
        """The type of an input or of what was emitted."""
        found = self[value] if isinstance(value, int) else value
        if isinstance(found, Ref):
            return self.store.types[found.value]
        return TensorType(dtype_of(found.dtype), found.shape)

    def rank(self, value: int | Value) -> int:
        found = self[value] if isinstance(value, int) else value
        return found.array.ndim if isinstance(found, Known) else self.type(found).rank

    def axis(self, axis: int, value: int | Value = 0) -> int:
        """An axis counted from the front."""
        rank = self.rank(value)
        if not -rank <= axis < max(rank, 1):
            raise Refused(f"axis {axis} is not one of {rank}")
        return axis % rank if rank else 0

    # --- Operations ---------------------------------------------------------------------------------------

    def emit(self, name: str, /, **arguments: Argument) -> tuple[Ref, ...]:
        """An operation of the program; its results."""
        types = result_types(name, arguments, self.store.types)
        names: list[str] = []
        for type in types:
            names.append(self.store.name(name))
            self.store.types[names[-1]] = type
            if self.called:
                self.store.called[names[-1]] = self.called
        self.store.operations.append(Operation(name, arguments, tuple(names), self.calls, self.frames))
        return tuple(map(Ref, names))

    def one(self, name: str, /, **arguments: Argument) -> Ref:
        """An operation's first result."""
        return self.emit(name, **arguments)[0]

    def reshape(self, value: int | Value, shape: Sequence[Dim]) -> Ref:
        """A tensor in another shape."""
        source = self.tensor(value)
        if self.type(source).shape == tuple(shape):
            return source
        return self.one("reshape", self=source, shape=tuple(shape))

    def cast(self, value: Ref, dtype: DType) -> Ref:
        """A tensor of another dtype."""
        return value if self.type(value).dtype is dtype else self.one("to", self=value, dtype=dtype)

    def weight(self, index: int, slot: str, label: str, layout: str = "", change: Any = None) -> Ref:
        """An input that is a module's weight: under its own name, or ``label.slot``.

        ``change`` makes the layout that the module has of the file's, and ``layout`` names it.
        """
        value = self[index]
        if isinstance(value, Ref):
            return value if change is None else change(value)
        if value.is_weight and not (layout == "flat" and value.array.ndim > 1):
            return self._of_state(
                replace(value, is_transposed=value.is_transposed != (layout == "transposed"))
            )
        if value.is_constant and layout in ("", "transposed"):
            constant = self.tensor(value)
            return self.one("permute", self=constant, dims=(1, 0)) if layout else constant
        key, own = value.initialiser, f"{label}.{slot}"
        array = value.array if change is None else change(value.array)
        # Exporters merge equal vectors, such as biases of zeros; each module has its own again.
        is_lent = array.ndim == 1 and key != own and own not in self.store.reserved
        is_kept = key in self.store.reserved and (key.endswith(f".{slot}") or self._keeps(value, layout))
        if not is_kept or is_lent:
            key = own
        if array.ndim == 1:
            layout = f"{layout} {key}"
        elif value.is_transposed:
            layout = "" if layout == "transposed" else "transposed"
        return self.store.weight(np.asarray(array, order="C"), key, (value.initialiser, layout))

    def _keeps(self, value: Known, layout: str) -> bool:
        """Whether a matrix has a key of another name, ``in_proj_weight``, in the layout that is wanted."""
        is_as_stored = value.is_transposed == (layout == "transposed")
        return self.store.keeps_layout and "." in value.initialiser and is_as_stored and value.array.ndim > 1

    def label(self, *slots: tuple[int, str]) -> str:
        """Where the weights of a module lie: what its initialisers' names say, else the node's scope.

        Vectors that lie elsewhere are some other module's, which the exporter found to be equal.
        """
        for index, slot in slots:
            value = self.inputs[index] if index < len(self.inputs) else None
            if isinstance(value, Ref):
                path, _, last = self.store.quantised.get(value.value, "").rpartition(".")
                if last == slot and path:
                    return path
            if isinstance(value, Known) and value.initialiser in self.store.reserved:
                stem, _, last = value.initialiser.rpartition(".")
                if last == slot and stem and (value.array.ndim > 1 or not self._is_foreign(stem)):
                    return stem
        return self._named_label(slots[0][0]) or self.scope

    def _named_label(self, index: int) -> str:
        """Where weights lie by what other frameworks call them: ``conv2d_3.w_0``, ``dense/kernel:0``."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if self.store.keeps_layout or not isinstance(value, Known):
            return ""
        match = _FOREIGN.fullmatch(value.initialiser)
        return path_of(match["stem"]) if match else ""

    def _is_foreign(self, path: str) -> bool:
        """Whether a path is of another module than the one that runs."""
        return bool(self.calls) and path != self.scope and not path.startswith(f"{self.scope}.")

    def _own_key(self, initialiser: str, index_name: str) -> str:
        """The key of a tensor of the file: its name, or its last part at the module that runs where an
        exporter found it equal to that of another module.
        """
        path, _, last = initialiser.rpartition(".")
        is_lent = self.users.get(index_name, 0) > 1 and not f"{self.scope}.".startswith(f"{path}.")
        own = f"{self.scope}.{last}"
        return (
            own
            if path and is_lent and self._is_foreign(path) and own not in self.store.reserved
            else initialiser
        )


def number(value: Known) -> Any:
    """A known value of one element as a number of the language; the shortest that reads back as it."""
    (found,) = value.array.reshape(-1).tolist()
    if value.array.dtype == np.float32:
        found = shortest(found)
    is_round = isinstance(found, float) and found.is_integer() and abs(found) < 2**20
    return int(found) if is_round and (found or not np.signbit(found)) else found


def dtype_of(dtype: Any) -> DType:
    """The language's dtype; refused where TensorRT has none."""
    name = np.dtype(dtype).name
    if name not in {each.value for each in DType}:
        raise Refused(f"TensorRT lacks {name}")
    return DType(name)


_FOREIGN = re.compile(r"(?P<stem>.+?)[./](w_0|weight|weights|kernel|gamma|depthwise_kernel)(:0)?")

Rule: TypeAlias = Callable[[Node], Results]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule under the names of ONNX operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register

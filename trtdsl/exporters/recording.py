"""Writing down what is asked of TensorRT's network API while a graph is lowered.

In: a release's name.  Out: a :class:`ScriptDialect`, over which :func:`trtdsl.trt.lower.lower` works as over
any other; its ``statements`` are then what a script has to do, in order. The layers are those of the
release's facts, and they are really added to a network of the installed TensorRT-RTX, which checks each of
them. Where releases differ in a call, the script has a function that looks at what its TensorRT has; here the
same is done for TensorRT-RTX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from trtdsl.ops.lowering import Array
from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.releases import release_facts


@dataclass(eq=False)
class Held:
    """Weights that a call was given: the array, and how many elements of which TensorRT type it holds."""

    real: Any
    array: Array
    data_type: Any
    count: int


@dataclass(eq=False)
class TensorMade:
    """A tensor, by the name that it has in the end."""

    name: str = ""
    dtype: Any = None
    """what it is told to be as an output of a weakly typed network"""


@dataclass(eq=False)
class AddInput:
    """``add_input``, and the names of its dimensions."""

    tensor: TensorMade
    data_type: Any
    shape: tuple[int, ...]
    dimensions: dict[int, str] = field(default_factory=dict[int, str])


@dataclass(eq=False)
class AddConstruct:
    """``add_loop`` or ``add_if_conditional``."""

    member: str
    name: str = ""


@dataclass(eq=False)
class AddLayer:
    """A layer, with all that is set of it: ``owner`` is the loop or conditional that it bounds, or None.

    ``precision`` and ``types`` are pinned where networks are weakly typed.
    """

    owner: AddConstruct | None
    member: str
    arguments: tuple[Any, ...]
    name: str = ""
    metadata: str = ""
    inputs: dict[int, TensorMade] = field(default_factory=dict[int, TensorMade])
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    precision: Any = None
    types: dict[int, Any] = field(default_factory=dict[int, Any])
    outputs: dict[int, TensorMade] = field(default_factory=dict[int, TensorMade])


@dataclass(eq=False)
class SetInput:
    """An input of a layer that is set when others have been added after it."""

    layer: AddLayer
    index: int
    tensor: TensorMade


@dataclass(eq=False)
class MarkOutput:
    """``mark_output``."""

    tensor: TensorMade


Statement: TypeAlias = AddInput | AddConstruct | AddLayer | SetInput | MarkOutput


class ScriptDialect(Dialect):
    """The dialect of a release that need not be installed, over TensorRT-RTX, written down as it is used.

    ``mixed`` leaves it to a weakly typed TensorRT what it computes in float16; else the graph says it.
    """

    def __init__(self, release: str, *, mixed: bool = False) -> None:
        facts = release_facts(release)
        # What the script has functions for is there in every release: casts, and metadata, where it counts.
        facts = dataclasses.replace(facts, layers=facts.layers | {"cast"}, metadata=True)
        self._real = load_runtime("tensorrt_rtx")
        super().__init__("tensorrt", self._real.trt, facts, self._real.log)
        self.release = release
        self._mixed = mixed
        self.statements: list[Statement] = []
        self.network: Any = None
        self._known: dict[int, tuple[Any, Any]] = {}

    def __str__(self) -> str:
        return self.release

    @cached_property
    def targets(self) -> Mapping[str, Any]:
        """None: a script builds for the GPU that it runs on."""
        return {}

    @property
    def own_target(self) -> None:
        """That of the machine where the script will run."""
        return None

    @property
    def why_no_plugins(self) -> str:
        return "a script places no plugins"

    @property
    def mixes_types(self) -> bool:
        return self._mixed and super().mixes_types

    def create_network(self, builder: Any) -> Any:
        self.network = self._real.create_network(builder)
        return NetworkWriter(self, self.network)

    def reorder(self, network: Any) -> None:
        """Nothing: the script does it."""

    def weights(self, data_type: Any, array: Array, count: int | None = None) -> Any:
        real = self._real.weights(data_type, array, count)
        return Held(real, array, data_type, array.size if count is None else count)

    def has_type(self, handle: Any, data_type: Any) -> bool:
        # The real network is strongly typed and knows.
        return bool(handle.dtype == data_type)

    def known(self, real: Any, make: Callable[[], Any]) -> Any:
        """The one stand-in of an object of TensorRT's."""
        if id(real) not in self._known:
            # With the object itself, which keeps it alive and its id its own.
            self._known[id(real)] = real, make()
        return self._known[id(real)][1]


class _StandIn:
    """An object of TensorRT's: what is read of it is read of the real one."""

    def __init__(self, dialect: ScriptDialect, real: Any, made: Any) -> None:
        vars(self).update(dialect=dialect, real=real, made=made)

    def __getattr__(self, member: str) -> Any:
        return getattr(self.real, member)


class NetworkWriter(_StandIn):
    """The network."""

    def __init__(self, dialect: ScriptDialect, real: Any) -> None:
        super().__init__(dialect, real, None)

    def __setattr__(self, member: str, value: Any) -> None:
        setattr(self.real, member, value)

    def __getattr__(self, member: str) -> Any:
        if member in ("add_loop", "add_if_conditional"):
            return lambda: self._construct(member)
        if member.startswith("add_"):
            return lambda *arguments: _added(self.dialect, self.real, None, member, arguments)
        return getattr(self.real, member)

    def add_input(self, name: str, data_type: Any, shape: tuple[int, ...]) -> Any:
        real = self.real.add_input(name, data_type, shape)
        if real is None:
            return None
        made = AddInput(TensorMade(name), data_type, shape)
        self.dialect.statements.append(made)
        return self.dialect.known(real, lambda: _InputWriter(self.dialect, real, made))

    def mark_output(self, tensor: Any) -> None:
        self.real.mark_output(tensor.real)
        self.dialect.statements.append(MarkOutput(tensor.made))

    def _construct(self, member: str) -> Any:
        made = AddConstruct(member)
        self.dialect.statements.append(made)
        return _ConstructWriter(self.dialect, getattr(self.real, member)(), made)


class _ConstructWriter(_StandIn):
    """A loop or a conditional."""

    def __setattr__(self, member: str, value: Any) -> None:
        setattr(self.made, member, value)
        setattr(self.real, member, value)

    def __getattr__(self, member: str) -> Any:
        return lambda *arguments: _added(self.dialect, self.real, self.made, member, arguments)


class _TensorWriter(_StandIn):
    """A tensor."""

    def __setattr__(self, member: str, value: Any) -> None:
        setattr(self.made, member, value)
        if member != "dtype":
            setattr(self.real, member, value)


class _InputWriter(_TensorWriter):
    """An input, whose statement has the tensor."""

    def __init__(self, dialect: ScriptDialect, real: Any, statement: AddInput) -> None:
        super().__init__(dialect, real, statement.tensor)
        vars(self).update(statement=statement)

    def set_dimension_name(self, axis: int, name: str) -> None:
        self.statement.dimensions[axis] = name
        self.real.set_dimension_name(axis, name)


def _added(
    dialect: ScriptDialect,
    owner: Any,
    construct: AddConstruct | None,
    member: str,
    arguments: tuple[Any, ...],
) -> Any:
    """Add a layer to the real network, and write it down."""
    given = (*map(_real, arguments),)
    if member in _TOLD and len(given) == 2:
        given = (*given, getattr(dialect.trt.DataType, _TOLD[member]))
    real = getattr(owner, member)(*given)
    if real is None:
        return None
    made = AddLayer(construct, member, (*map(_made, arguments),))
    dialect.statements.append(made)
    return LayerWriter(dialect, real, made)


_TOLD = {"add_quantize": "INT8", "add_dequantize": "FLOAT"}
"""Layers that later releases must be told the type of, and 8.5 cannot."""


class LayerWriter(_StandIn):
    """A layer. Where integers are of 32 bits, a shape is converted after it, as the script does."""

    def __init__(self, dialect: ScriptDialect, real: Any, made: AddLayer) -> None:
        super().__init__(dialect, real, made)
        vars(self).update(narrowing=None)

    def __setattr__(self, member: str, value: Any) -> None:
        if member in ("name", "metadata"):
            setattr(self.made, member, value)
            setattr(self.real, member, value)
            if self.narrowing is not None and member == "name":
                self.narrowing.name = narrowing_name(value)
        elif member == "precision":
            self.made.precision = value
        else:
            self.made.properties[member] = _made(value)
            setattr(self.real, member, _real(value))

    def __getattr__(self, member: str) -> Any:
        value = getattr(self.real, member)
        # Such as the mask of an attention.
        return self._tensor(value) if isinstance(value, self.dialect.trt.ITensor) else value

    def set_output_type(self, index: int, data_type: Any) -> None:
        self.made.types[index] = data_type

    def set_input(self, index: int, tensor: Any) -> None:
        self.real.set_input(index, tensor.real)
        if self.dialect.statements[-1] is self.made and self.made.member != "add_recurrence":
            self.made.inputs[index] = tensor.made
        else:
            self.dialect.statements.append(SetInput(self.made, index, tensor.made))

    def get_input(self, index: int) -> Any:
        return self._tensor(self.real.get_input(index))

    def get_output(self, index: int) -> Any:
        real = self.real.get_output(index)
        if real is None:
            return None
        if self.made.member == "add_shape" and self.dialect.facts.narrow:
            real = self._narrowed(real)
        return self._tensor(real, self.made.outputs.setdefault(index, TensorMade()))

    def _narrowed(self, real: Any) -> Any:
        layer: Any = self.narrowing
        if layer is None:
            layer = self.dialect.network.add_cast(real, self.dialect.trt.DataType.INT32)
            layer.name, layer.metadata = narrowing_name(self.made.name), self.made.metadata
            vars(self).update(narrowing=layer)
        return layer.get_output(0)

    def _tensor(self, real: Any, made: TensorMade | None = None) -> Any:
        return real and self.dialect.known(real, lambda: _TensorWriter(self.dialect, real, made))


def narrowing_name(shape: str) -> str:
    """What the layer is called that makes 32-bit integers of a shape; the script says so too."""
    return f"{shape} as int32"


def _real(value: Any) -> Any:
    """What TensorRT is given for an argument."""
    if isinstance(value, list):
        return [_real(item) for item in value]
    return value.real if isinstance(value, (_StandIn, Held)) else value


def _made(value: Any) -> Any:
    """What is written down for an argument."""
    if isinstance(value, list):
        return [_made(item) for item in value]
    return value.made if isinstance(value, _StandIn) else value

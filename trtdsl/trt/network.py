"""The checked network: every call to TensorRT's network API, and what is made of its answer.

TensorRT almost never raises.  A refused layer is None, a wrong graph shows only when a shape is asked
for, and a property out of range keeps its old value.  Here each of these is looked at after every call
and becomes a RefusedByTensorRT with the source place of the node being lowered and TensorRT's own words.
Where TensorRT takes a layer but computes another shape or type than ours, the fault is in trtdsl:
:class:`~trtdsl.trt.target.CompilerBug`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trtdsl.diagnostics import RefusedByTensorRT
from trtdsl.ir import Node
from trtdsl.ops.lowering import Array, Tensor
from trtdsl.trt.casting import CastingNetwork, in_int32
from trtdsl.trt.compose import ComposingNetwork
from trtdsl.trt.control_flow import ADDED_BY, ControlFlowNetwork
from trtdsl.trt.dialect import QUANTISING, Dialect
from trtdsl.trt.facts import Facts
from trtdsl.trt.lacks import instead_of, lacks
from trtdsl.trt.naming import TensorRTNames, metadata_of, node_name
from trtdsl.trt.plugins import NEVER_FREE, PLUGINS, PluginNetwork
from trtdsl.trt.readback import agrees, first_line, shown, shown_sizes, took
from trtdsl.trt.shapes import ShapeTensors
from trtdsl.trt.target import CompilerBug, NetworkTarget
from trtdsl.types import Dim, DType, TensorType, packed

WEIGHT_SLOTS: Mapping[str, Mapping[int, str]] = {
    "constant": {1: "weights"},
    "convolution_nd": {3: "kernel", 4: "bias"},
    "deconvolution_nd": {3: "kernel", 4: "bias"},
    "scale": {2: "shift", 3: "scale", 4: "power"},
    "scale_nd": {2: "shift", 3: "scale", 4: "power"},
}
"""The arguments of each ``add_`` method that are weights, by position."""

_SMALL = 64
"""Bytes up to which equal constants become one; larger ones are rarely equal and cost a comparison."""


class CheckedNetwork(CastingNetwork, ComposingNetwork, ControlFlowNetwork, PluginNetwork, NetworkTarget):
    """A TensorRT network under construction.

    ``raw`` is the INetworkDefinition, ``weights`` the arrays of each layer by slot (TensorRT cannot read
    bfloat16 and smaller ones back), ``nodes`` the node that each layer was lowered from. A ``mixed`` network
    leaves it to TensorRT what is computed in a narrower type, but for nodes that are ``wide``: ``free`` are
    the layers that are pinned to no type, with their kinds and nodes.
    """

    def __init__(
        self,
        dialect: Dialect,
        name: str,
        *,
        mixed: bool = False,
        wide: Collection[Node] = (),
        by_reference: bool = False,
    ) -> None:
        super().__init__()
        self.dialect = dialect
        self._by_reference = by_reference
        self._mixed = mixed
        self.wide = wide
        self.builder = dialect.create_builder()
        self.raw = dialect.create_network(self.builder)
        # The default name counts the networks of the process, and would stand in the engine.
        self.raw.name = name
        self.weights: dict[str, dict[str, Array]] = {}
        self.nodes: dict[str, Node] = {}
        self.free: list[tuple[Any, str, Node | None]] = []
        self._packed: list[Array] = []
        self._layer_names = TensorRTNames()
        self._tensor_names = TensorRTNames()
        self._shapes = ShapeTensors(self)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Tensor] = {}
        self._scope = ""
        self._metadata = ""
        self._emitted: list[tuple[Any, str]] = []
        self._emitted_around: list[list[tuple[Any, str]]] = []
        self._named: set[Tensor] = set()
        # TensorRT reads the buffers where they lie: they live as long as its network does.
        weakref.finalize(self.raw, lambda *_: None, self.weights, self._packed, self.builder).atexit = False

    # The node being lowered

    def begin(self, node: Node) -> None:
        super().begin(node)
        self._emitted_around.append(self._emitted)
        self._emitted = []
        self._place()

    def end(self) -> None:
        """Give the node's main layer the node's own name, and return to the node around.

        It is the layer that takes the weights, or else the last: what precedes prepares its input.
        """
        if self._emitted:
            self._name_main_layer()
        super().end()
        self._emitted = self._emitted_around.pop()
        self._place()

    def _place(self) -> None:
        """What the layers of the current node are called."""
        self._scope = node_name(self.node) if self.node else ""
        self._metadata = metadata_of(self.node) if self.node else ""

    def placed_here(self, make: Callable[[], Any]) -> Callable[[], Any]:
        node, scope, metadata = self.node, self._scope, self._metadata

        def placed() -> Any:
            self.node, self._scope, self._metadata = node, scope, metadata
            return make()

        return placed

    def _name_main_layer(self) -> None:
        main, _ = next((pair for pair in self._emitted if pair[1] in _TAKES_WEIGHTS), self._emitted[-1])
        old = main.name
        main.name = new = self._layer_names.claim(self._scope)
        self.nodes[new] = self.nodes.pop(old)
        if old in self.weights:
            self.weights[new] = self.weights.pop(old)

    def _check_rank(self, type: TensorType) -> None:
        limit = self.dialect.facts.max_dims
        if type.rank > limit:
            raise self.refused(
                f"TensorRT's tensors have at most {limit} dimensions; this one has {type.rank}: {type}"
            )

    def refused(self, message: str, *help: str) -> RefusedByTensorRT:
        """A mistake at the node being lowered, found before TensorRT was asked."""
        return RefusedByTensorRT(self.diagnostic(message, help))

    def _rejected(self, message: str) -> RefusedByTensorRT:
        """TensorRT's answer to the last call was no; its lines stand below the message."""
        return RefusedByTensorRT(self.diagnostic(message, self.dialect.log.take()))

    def bug(self, message: str, *help: str) -> CompilerBug:
        """A contradiction, TensorRT's lines below it."""
        return super().bug(message, *help, *self.dialect.log.take())

    # Inputs, weights and outputs

    def reserve(self, names: Iterable[str]) -> None:
        self._tensor_names = TensorRTNames(names)

    def add_input(self, name: str, type: TensorType) -> Tensor:
        self._check_rank(type)
        self.dialect.log.clear()
        shape = tuple(dim if isinstance(dim, int) else -1 for dim in type.shape)
        data_type = self.data_type(type.dtype, of=f", the type of the input `{name}`")
        handle = self.raw.add_input(name, data_type, shape)
        if handle is None:
            raise self._rejected(f"TensorRT refuses the input `{name}`: {type}")
        for axis, dim in enumerate(type.shape):
            if not isinstance(dim, int):
                handle.set_dimension_name(axis, str(dim))
        return Tensor(type, lambda: handle)

    def weight(self, key: str, array: Array) -> Tensor:
        """A weight of the checkpoint, which becomes a constant layer only where a tensor is needed."""
        type = TensorType(DType.of_numpy(array.dtype), array.shape)
        return Tensor(type, lambda: self._constant_handle(array, type, key), array)

    def mark_output(self, tensor: Tensor, name: str) -> None:
        """Make a tensor an output, through an identity where it is an input, weight or output already."""
        self.node, self._scope, self._metadata = None, name, ""
        if tensor.dtype is DType.UINT8 and tensor not in self.inputs.values():
            # A layer of its own, for TensorRT takes nothing else that is uint8 as an output.
            tensor = self.convert(self.as_numbers(tensor), DType.UINT8)
        handle = tensor.handle
        if handle.is_network_input or handle.is_network_output or tensor.array is not None:
            handle = self.add("identity", tensor, result=tensor.type).handle
        self._rename(handle, name)
        self.raw.mark_output(handle)
        if not self.facts.strongly_typed and tensor.dtype.is_floating:
            # What the layer was pinned to is not the output's type, which is float32 unless it is told.
            handle.dtype = self.data_type(tensor.dtype)

    def name_result(self, tensor: Tensor, name: str) -> None:
        unnamed = tensor.array is not None or self.stored(tensor) is not tensor
        if unnamed or tensor in self._named or tensor.handle.is_network_input:
            return
        self._named.add(tensor)
        self._rename(tensor.handle, name)

    def _rename(self, handle: Any, name: str) -> None:
        handle.name = name
        if handle.name != name:
            raise self.bug(f"TensorRT does not accept the tensor name `{name}`")

    # What operators call

    def enum(self, member: str) -> Any:
        try:
            return self.dialect.enum(member)
        except LookupError as error:
            raise self.refused(f"{error}, which this operator needs") from error

    def add(
        self,
        layer: str,
        *arguments: Any,
        result: TensorType | None = None,
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> Tensor:
        results = (result,) if result is not None else (self.result,)
        _, (tensor,) = self._add(layer, arguments, results, inputs or {}, properties)
        return tensor

    def add_multiple(
        self,
        layer: str,
        *arguments: Any,
        results: Sequence[TensorType],
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> tuple[Tensor, ...]:
        _, tensors = self._add(layer, arguments, results, inputs or {}, properties)
        return tensors

    def add_plugin(
        self, layer: str, *arguments: Any, results: Sequence[TensorType]
    ) -> tuple[Any, tuple[Tensor, ...]]:
        return self._add(layer, arguments, results, {}, {})

    def add_to(
        self,
        owner: Any,
        layer: str,
        *arguments: Any,
        results: Sequence[TensorType],
        inputs: Mapping[int, Tensor] | None = None,
    ) -> tuple[Any, tuple[Tensor, ...]]:
        return self._add(layer, arguments, results, inputs or {}, {}, owner=owner)

    def construct_name(self, kind: str) -> str:
        return self._layer_names.claim(f"{self._scope}/{kind}")

    def feed(self, layer: Any, kind: str, index: int, tensor: Tensor, result: TensorType) -> None:
        self._set_input(layer, kind, index, self.as_numbers(tensor))
        self._checked_output(layer, kind, 0, in_int32(result))

    def constant(self, array: Array) -> Tensor:
        type = TensorType(DType.of_numpy(array.dtype), array.shape)
        if array.nbytes > _SMALL:
            return Tensor(type, lambda: self._constant_handle(array, type), array)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = Tensor(type, lambda: self._constant_handle(array, type), array)
        return self._constants[key]

    @property
    def facts(self) -> Facts:
        return self.dialect.facts

    def has(self, layer: str) -> bool:
        return self.dialect.has(layer)

    def takes(self, operation: str, dtype: DType) -> bool:
        return self.dialect.facts.takes(operation, dtype)

    def shape_tensor(self, dims: Sequence[Dim]) -> Tensor:
        return self._shapes.of(dims)

    def data_type(self, dtype: DType, kind: str = "", of: str = "") -> Any:
        """TensorRT's DataType, of what a kind of layer makes; refused where this release lacks it, in words
        that may end with what it is the type ``of``."""
        found = self.dialect.data_types.get(dtype)
        if found is None:
            raise self.refused(f"{self.dialect} does not support {dtype}{of}", instead_of(dtype))
        if not self.facts.computes(dtype) and kind not in QUANTISING:
            raise self.refused(
                f"{self.dialect} supports {dtype} for quantised values only", "use int32 instead"
            )
        return found

    # One layer

    def _add(
        self,
        kind: str,
        arguments: Sequence[Any],
        results: Sequence[TensorType],
        inputs: Mapping[int, Tensor],
        properties: Mapping[str, Any],
        name: str = "",
        owner: Any = None,
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """Add a layer, set it up, and check everything about it: the layer, and its outputs.

        ``owner`` is the loop or conditional that it is a boundary layer of.
        """
        promised = results
        if kind not in _CONVERSIONS:
            arguments = [self.in_numbers(value) for value in arguments]
            inputs = {index: self.as_numbers(tensor) for index, tensor in inputs.items()}
            results = [in_int32(type) for type in results]
        arguments = [self._now(value) for value in arguments]
        inputs = {index: self.read(tensor) for index, tensor in inputs.items()}
        # TensorRT reads elements in C order from aligned memory; only other views are copied.
        arguments = [
            np.require(value, requirements=("C", "A")) if isinstance(value, np.ndarray) else value
            for value in arguments
        ]
        for type in results:
            self._check_rank(type)
        if kind in QUANTISING and "axis" not in properties and arguments[1].rank:
            # TensorRT takes a scale of shape [1], and computes no convolution in the narrow type.
            raise self.bug(f"this `{kind}` layer has the scales {arguments[1].type} along no axis")
        # The layer of a constant is added when it is first asked for: before the one that has it.
        wanted = [self._argument(value, False) for value in properties.values()]
        self.dialect.log.clear()
        layer = self._create(kind, arguments, owner)
        layer.name = name = self._layer_names.claim(name or f"{self._scope}/{kind.removesuffix('_nd')}")
        if self.dialect.facts.metadata and self._metadata:
            layer.metadata = self._metadata
        self._record(kind, name, layer, arguments)
        for index, tensor in inputs.items():
            self._set_input(layer, kind, index, tensor)
        for (property, value), given in zip(properties.items(), wanted, strict=True):
            self._set(layer, kind, property, value, given)
        self._pin(layer, kind, arguments, results)
        made = [self._output(layer, kind, index, type) for index, type in enumerate(results)]
        self.note_dependence([*arguments, *inputs.values()], made)
        return layer, tuple(
            tensor if tensor.type == type else self.as_bytes(tensor)
            for tensor, type in zip(made, promised, strict=True)
        )

    def _set_input(self, layer: Any, kind: str, index: int, tensor: Tensor) -> None:
        layer.set_input(index, tensor.handle)
        if layer.get_input(index) is not tensor.handle:
            raise self._rejected(
                f"TensorRT does not accept input {index} of this `{kind}` layer: {tensor.type}"
            )

    def _now(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._now(item) for item in value]
        return self.read(value) if isinstance(value, Tensor) else value

    def _create(self, kind: str, arguments: Sequence[Any], owner: Any) -> Any:
        if owner is None and not self.dialect.has(kind):
            raise self.refused(f"{self.dialect} has no `{kind}` layer, which this operator needs")
        names = [f"{type(value).__name__}.{getattr(value, 'name', '')}" for value in arguments]
        if lack := lacks(self.facts, kind, filter(self.facts.has, names), arguments):
            raise self.refused(f"{self.dialect} {lack.message}", lack.help)
        method = getattr(self.raw, f"add_{kind}") if owner is None else getattr(owner, ADDED_BY[kind])
        slots = WEIGHT_SLOTS.get(kind, {})
        try:
            layer = method(*(self._argument(value, index in slots) for index, value in enumerate(arguments)))
        except (TypeError, ValueError) as error:
            raise self.bug(
                f"TensorRT's add_{kind} does not accept these arguments: {first_line(error)}"
            ) from error
        if layer is None:
            raise self._rejected(f"TensorRT refuses this `{kind}` layer")
        return layer

    def _argument(self, value: Any, is_weights: bool) -> Any:
        if isinstance(value, Tensor):
            return value.handle
        if isinstance(value, np.ndarray):
            return self._weights(value)
        if value is None and is_weights:
            return self.dialect.trt.Weights()
        if isinstance(value, DType):
            return self.data_type(value)
        if isinstance(value, list):
            return [self._argument(item, False) for item in value]
        return value

    def _weights(self, array: Array) -> Any:
        """``trt.Weights`` over the array's own memory, which :meth:`_record` keeps alive."""
        dtype = DType.of_numpy(array.dtype)
        if dtype.bits >= 8:
            return self.dialect.weights(self.data_type(dtype), array)
        self._packed.append(packed(array))
        return self.dialect.weights(self.data_type(dtype), self._packed[-1], array.size)

    def _record(self, kind: str, name: str, layer: Any, arguments: Sequence[Any]) -> None:
        if kind != "constant":
            self._emitted.append((layer, kind))
        if self.node:
            self.nodes[name] = self.node
        slots = WEIGHT_SLOTS.get(kind, {})
        arrays = {
            slots.get(index, str(index)): value
            for index, value in enumerate(arguments)
            if isinstance(value, np.ndarray)
        }
        if arrays:
            self.weights[name] = arrays

    def _set(self, layer: Any, kind: str, property: str, value: Any, wanted: Any) -> None:
        """Set a property to what is ``wanted`` for a value, and see that it took."""
        if not hasattr(layer, property):
            raise self.bug(f"TensorRT's `{kind}` layer has no property `{property}`")
        try:
            setattr(layer, property, wanted)
        except (TypeError, ValueError, RuntimeError) as error:
            raise self._rejected(
                f"TensorRT refuses `{property}` = {shown(value)} of this `{kind}` layer: {first_line(error)}"
            ) from error
        if not took(getattr(layer, property), wanted):
            raise self._rejected(
                f"TensorRT does not accept `{property}` = {shown(value)} of this `{kind}` layer"
            )

    def _pin(self, layer: Any, kind: str, arguments: Sequence[Any], results: Sequence[TensorType]) -> None:
        operands = [item for value in arguments for item in (value if isinstance(value, list) else [value])]
        given = [x.dtype for x in operands if isinstance(x, Tensor)]
        floats = [dtype for dtype in given if dtype.is_floating]
        if kind in PLUGINS and not all(dtype.is_floating for dtype in (*given, *(r.dtype for r in results))):
            # Pinned to floating point, one that has integers too is found no format for (8.5.3).
            return
        types = [self.data_type(result.dtype, kind) for result in results]
        mixed = self._mixed and self.node not in self.wide
        computes_in = self.data_type(floats[0]) if floats else None
        self.dialect.pin(layer, kind, computes_in, types, mixed)
        if mixed and floats[:1] == [DType.FLOAT32] and kind not in NEVER_FREE:
            self.free.append((layer, kind, self.node))

    def _output(self, layer: Any, kind: str, index: int, expected: TensorType) -> Tensor:
        handle = self._checked_output(layer, kind, index, expected)
        handle.name = self._tensor_names.claim(layer.name if index == 0 else f"{layer.name}:{index}")
        return Tensor(expected, lambda: handle)

    def _checked_output(self, layer: Any, kind: str, index: int, expected: TensorType) -> Any:
        """One output of a layer, compared with what the operator's rule says of it."""
        handle = layer.get_output(index)
        if handle is None:
            raise (self.refused if kind in PLUGINS else self.bug)(
                f"this `{kind}` layer has no output {index}"
            )
        try:
            shape = tuple(handle.shape)
        except (RuntimeError, ValueError) as error:
            # ValueError is 8.5's: a rank of -1 that is no length of a tuple.
            raise self._rejected(f"TensorRT cannot compute this `{kind}` layer") from error
        typed = self.dialect.has_type(handle, self.data_type(expected.dtype, kind))
        if not typed or not agrees(shape, expected.shape):
            found = f"{self.dialect.spell(handle.dtype)}[{shown_sizes(shape)}]"
            if kind in PLUGINS:
                raise self.refused(
                    f"the plugin makes {found} of output {index}, where `outputs` says {expected}"
                )
            raise self.bug(f"TensorRT makes {found} of this `{kind}` layer where trtdsl expects {expected}")
        return handle

    def _constant_handle(self, array: Array, type: TensorType, name: str = "") -> Any:
        if self.dialect.facts.narrow and type.dtype is DType.INT64:
            array = self._narrowed(array)
        _, (tensor,) = self._add("constant", (type.shape, array), (type,), {}, {}, name)
        return tensor.handle

    def _narrowed(self, array: Array) -> Array:
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise self.refused(f"{self.dialect} has 32-bit integers only, and a constant here does not fit")
        return array.astype(np.int32)


_TAKES_WEIGHTS = frozenset(WEIGHT_SLOTS) - {"constant"}
_CONVERSIONS = frozenset({"cast", "identity"})

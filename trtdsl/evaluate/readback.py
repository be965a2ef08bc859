"""Read a TensorRT network back through its API.

In: an ``INetworkDefinition`` of any TensorRT module.  Out: a :class:`Program`: layers cast to their
classes, tensors by name, who produces what, and copies of the weights.

Facts the reading rests on (all of the Python bindings): iterating yields plain ``ILayer`` wrappers that
must be cast by type; weights come back as flat views that die with the network, so they are copied here;
weights of types numpy lacks cannot be read at all and come from the caller.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import torch

from .registry import EvaluationError, LayerNode

WeightTable = Mapping[str, Mapping[str, Any]]


def tensorrt_module(network: Any) -> ModuleType:
    """The module a network belongs to, e.g. ``tensorrt_rtx``, wherever it was imported from."""
    name = type(network).__module__
    module = sys.modules.get(name)
    if module is None or not hasattr(module, "ILayer"):
        raise EvaluationError(f"{type(network).__qualname__} of module {name} is not a TensorRT network")
    return module


def layer_classes(module: ModuleType) -> dict[str, type]:
    """Name of each ``LayerType`` to its class, e.g. ``NON_ZERO`` to ``INonZeroLayer``."""
    classes = {name.upper(): getattr(module, name) for name in dir(module) if name.startswith("I")}
    found: dict[str, type] = {}
    for kind in module.LayerType.__members__:
        stem = kind.replace("CONDITIONAL_", "IF_CONDITIONAL_").replace("_", "")
        cls = classes.get(f"I{stem}LAYER")
        if cls is not None:
            found[kind] = cls
    return found


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name and type name; ``tensor`` is the TensorRT object."""

    name: str
    dtype: str
    tensor: Any

    @cached_property
    def shape(self) -> tuple[int, ...] | None:
        """TensorRT's own shape, -1 for an unknown length; None where TensorRT refuses the graph."""
        try:
            return tuple(self.tensor.shape)
        except (RuntimeError, ValueError):
            return None


@dataclass
class Program:
    """A network as it was read back. Holds the network: its tensors and layers must not outlive it."""

    network: Any
    nodes: list[LayerNode]
    inputs: dict[str, TensorInfo]
    outputs: list[str]
    tensors: dict[str, TensorInfo]
    producers: dict[str, LayerNode]
    weights: WeightTable = field(default_factory=dict)
    _cache: dict[tuple[int, str], torch.Tensor | None] = field(default_factory=dict)

    def is_cast(self, node: LayerNode) -> bool:
        """Whether a layer only changes its input's type."""
        if node.kind not in ("CAST", "IDENTITY"):
            return False
        read = node.input(0)
        return read is not None and self.tensors[read].dtype != node.dtypes[0]

    def read_weights(self, node: LayerNode, slot: str, compute: torch.dtype) -> torch.Tensor | None:
        """A flat copy of a layer's weights, floats widened to ``compute``; None where empty."""
        key = (node.index, slot)
        if key not in self._cache:
            self._cache[key] = _copy_weights(node, slot, self.weights)
        value = self._cache[key]
        return value.to(compute) if value is not None and value.is_floating_point() else value


def read_network(network: Any, weights: WeightTable | None = None) -> Program:
    """Read every layer and tensor of a network; raises :class:`EvaluationError` for what has no class."""
    classes = layer_classes(tensorrt_module(network))
    tensors: dict[str, TensorInfo] = {}

    def note(tensor: Any) -> str:
        name = tensor.name
        known = tensors.get(name)
        if known is None:
            tensors[name] = TensorInfo(name, tensor.dtype.name, tensor)
        elif known.tensor is not tensor:
            raise EvaluationError(f"two tensors are named `{name}`")
        return name

    inputs = [note(network.get_input(i)) for i in range(network.num_inputs)]
    nodes = [_read_layer(network.get_layer(i), i, classes, note) for i in range(network.num_layers)]
    return Program(
        network=network,
        nodes=nodes,
        inputs={name: tensors[name] for name in inputs},
        outputs=[note(network.get_output(i)) for i in range(network.num_outputs)],
        tensors=tensors,
        producers={name: node for node in nodes for name in node.outputs},
        weights=weights or {},
    )


def _read_layer(layer: Any, index: int, classes: dict[str, type], note: Any) -> LayerNode:
    kind = layer.type.name
    incoming = [layer.get_input(i) for i in range(layer.num_inputs)]
    outgoing = [layer.get_output(i) for i in range(layer.num_outputs)]
    if kind in classes:
        layer.__class__ = classes[kind]
    return LayerNode(
        index=index,
        name=layer.name,
        kind=kind,
        layer=layer,
        inputs=tuple(None if tensor is None else note(tensor) for tensor in incoming),
        outputs=tuple(note(tensor) for tensor in outgoing),
        dtypes=tuple(tensor.dtype.name for tensor in outgoing),
    )


def _copy_weights(node: LayerNode, slot: str, table: WeightTable) -> torch.Tensor | None:
    value = getattr(node.layer, slot)
    if isinstance(value, np.ndarray):
        return None if value.size == 0 else torch.from_numpy(value.reshape(-1).copy())
    if value is None or value.size == 0:
        return None
    given = table.get(node.name, {}).get(slot)
    dtype = value.dtype.name
    if given is None:
        node.refuse(
            f"its {dtype} `{slot}` cannot be read back through TensorRT's Python API; "
            f"pass weights={{{node.name!r}: {{{slot!r}: array}}}}"
        )
    return _decode(node, slot, dtype, given, value.size)


def _decode(node: LayerNode, slot: str, dtype: str, given: Any, count: int) -> torch.Tensor:
    """A weight array of a type numpy lacks: its values, or its raw bits as unsigned integers.

    Values: a torch tensor or an array whose type casts to float32 (``ml_dtypes``). Raw bits: uint16 for
    BF16; uint8 for FP8 and E8M0; uint8 with two values a byte, low half first, for INT4 and FP4.
    """
    decoded = _values(given) if isinstance(given, torch.Tensor) else _array_values(np.asarray(given), dtype)
    if dtype in ("INT4", "FP4") and decoded.numel() == count + count % 2:
        decoded = decoded[:count]
    if decoded.numel() != count:
        node.refuse(f"`{slot}` has {count} {dtype} values, the given array has {decoded.numel()}")
    return decoded


def _values(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().cpu().reshape(-1)
    return flat.float() if flat.is_floating_point() else flat.clone()


def _array_values(array: np.ndarray[Any, Any], dtype: str) -> torch.Tensor:
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.name not in ("uint8", "uint16"):
        return torch.from_numpy(flat.astype(np.int8 if dtype == "INT4" else np.float32))
    bits = torch.from_numpy(flat.astype(np.int32))
    if dtype == "BF16":
        return (bits << 16).view(torch.float32)
    if dtype == "FP8":
        return bits.to(torch.uint8).view(torch.float8_e4m3fn).float()
    if dtype == "E8M0":
        return torch.exp2(bits.float() - 127)
    halves = torch.stack([bits & 15, bits >> 4], dim=1).reshape(-1)
    if dtype == "INT4":
        return torch.where(halves > 7, halves - 16, halves).to(torch.int8)
    if dtype == "FP4":
        return FP4_VALUES[halves.long()]
    raise EvaluationError(f"raw bits of type {dtype} cannot be decoded")


FP4_VALUES = torch.tensor(
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]
)
"""The sixteen values of FP4 (E2M1: sign, two exponent bits with bias 1, one mantissa bit)."""

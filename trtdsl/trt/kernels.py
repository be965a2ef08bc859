"""Which kernels an engine has, and in which types they compute: TensorRT's own word, at build time.

In: what TensorRT says of a build in detail, which begins ``Layers:`` and needs no GPU.  Out: its kernels, and
for each layer of a model the kernel that computes it and what that reads::

    kernels = build_with_facts(lowered, CompileOptions(targets=("sm89",)), kernels=True).kernels
    readings(kernels, lowered.graph)[conv]     # Reading(input=INT8, weight=INT8, kernel=…)

A network of quantised tensors says what may be computed in a narrow type; whether it is, this list tells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trtdsl.ir import Graph, Node, walk
from trtdsl.ops.convolution import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from trtdsl.ops.linear import Linear
from trtdsl.trt.naming import metadata_of
from trtdsl.types import DType

_DTYPES = {
    "Float": DType.FLOAT32,
    "Half": DType.FLOAT16,
    "BFloat16": DType.BFLOAT16,
    "FP8": DType.FLOAT8,
    "E8M0": DType.FLOAT8_E8M0,
    "FP4E2M1": DType.FLOAT4,
    "Int4": DType.INT4,
    "Int8": DType.INT8,
    "Int32": DType.INT32,
    "Int64": DType.INT64,
    "UInt8": DType.UINT8,
    "Bool": DType.BOOL,
}
"""Ours by TensorRT's words."""

GENERATED = "kgen"
"""The kind of kernels that TensorRT writes itself, element by element; products are of other kinds."""


@dataclass(frozen=True)
class Held:
    """A tensor that a kernel reads or writes; the shape has -1 for what is dynamic."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> DType | None:
        """The element type; None for one that the language lacks."""
        return _DTYPES.get(self.type)

    @property
    def size(self) -> int:
        return math.prod(map(abs, self.shape))

    def __str__(self) -> str:
        return f"{self.type}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Kernel:
    """One kernel of an engine: ``kind`` is ``correlation`` for convolutions, ``gemm`` for products.

    ``metadata`` is that of all layers that it computes, put together.
    """

    name: str
    kind: str
    inputs: tuple[Held, ...]
    constants: tuple[Held, ...]
    outputs: tuple[Held, ...]
    metadata: str

    def __str__(self) -> str:
        read = ", ".join(str(held) for held in (*self.inputs, *self.constants) if held.size > 1)
        return f"{self.kind} {self.name}: {read} -> {', '.join(map(str, self.outputs))}"


@dataclass(frozen=True)
class Reading:
    """How a layer is computed: the types in which its kernel reads the tensor and the weight."""

    input: DType | None
    weight: DType | None
    kernel: Kernel

    def __str__(self) -> str:
        return f"{self.input} by {self.weight}"


def read_kernels(text: str) -> tuple[Kernel, ...]:
    """The kernels of TensorRT's list, in their order; ValueError where it is not such a list."""
    begin, found, rest = text.partition("Layers:\n")
    if begin.strip() or not found:
        raise ValueError("this is not TensorRT's list of layers")
    entries = re.split(r"\n(?=Name: )", rest.partition("\n\nI/O Tensors:")[0].strip())
    return tuple(_kernel(entry) for entry in entries if entry)


def _kernel(entry: str) -> Kernel:
    head = re.match(r"Name: (.*?), LayerType: (\w+)", entry, re.DOTALL)
    if head is None:
        raise ValueError(f"this is not a layer of TensorRT's list: {entry[:80]}")
    held = {key: tuple(_held(_list(entry, key))) for key in ("Inputs", "Constants", "Outputs")}
    metadata = entry.partition(", Metadata: ")[2].strip()
    return Kernel(head[1], head[2], held["Inputs"], held["Constants"], held["Outputs"], metadata)


def _list(entry: str, key: str) -> str:
    """What stands in the brackets after a word, which may hold further ones."""
    start = entry.find(f", {key}: [")
    if start < 0:
        return ""
    start += len(key) + 5
    depth = 1
    for place in range(start, len(entry)):
        depth += {"[": 1, "]": -1}.get(entry[place], 0)
        if depth == 0:
            return entry[start:place]
    return entry[start:]


def _held(text: str) -> Iterator[Held]:
    for name, dims, type in re.findall(r"\{ Name: (.*?), Dimensions: \[(.*?)\].*?Datatype: (\w+)", text):
        yield Held(name, type, tuple(int(size) for size in dims.split(",") if size))


_LAYERS = (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, Linear)


# --- Layers ------------------------------------------------------------------------------------------------


def readings(kernels: Sequence[Kernel], graph: Graph) -> Mapping[Node, Reading]:
    """How each convolution and linear layer is computed, as far as a kernel says whose it is.

    A kernel that takes several layers in says so of each. Where several kernels name a layer, it is the one
    that is not written element by element, or else the first.
    """
    named: dict[str, list[Kernel]] = {}
    nodes = [node for node in walk(graph) if isinstance(node.op, _LAYERS)]
    known = {metadata_of(node) for node in walk(graph)}
    for kernel in kernels:
        for metadata in _parts(kernel.metadata, known):
            named.setdefault(metadata, []).append(kernel)
    found = {node: named.get(metadata_of(node), []) for node in nodes}
    return {node: _reading(each) for node, each in found.items() if each}


def _parts(metadata: str, known: set[str]) -> Iterator[str]:
    """Which of the known texts metadata was put together of: of two that fit, the longer one."""
    for text in sorted(known, key=len, reverse=True):
        pattern = rf"{re.escape(text)}(?!\d)"
        if text and re.search(pattern, metadata):
            metadata = re.sub(pattern, "\n", metadata)
            yield text


def _reading(kernels: Sequence[Kernel]) -> Reading:
    main = next((kernel for kernel in kernels if kernel.kind != GENERATED), kernels[0])
    weight = _weight(main)
    return Reading(main.inputs[0].dtype if main.inputs else None, weight and weight.dtype, main)


def _weight(kernel: Kernel) -> Held | None:
    """The largest of what a kernel reads beside its first input."""
    return max((*kernel.inputs[1:], *kernel.constants), key=lambda held: held.size, default=None)

"""What one release of TensorRT has: its layers, types, enum members, and whether networks are strongly typed.

In: a runtime module.  Out: :class:`Facts`, a plain value, so that the choices made for a release can be
tried where that release is not installed: they may as well be written down, or read from its documented API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtdsl.ops.habits import Habits
from trtdsl.ops.windows import Window
from trtdsl.types import DType

_LIMIT_OF_DIMENSIONS = 8
"""``Dims.MAX_DIMS`` of every release since 5.0; 8.5 says it of instances only."""

_FLOATING_ONLY = frozenset({"ActivationType", "UnaryOperation", "TopKOperation", "ElementWiseOperation.POW"})
_NOT_FLOATING_ONLY = frozenset({"UnaryOperation.NOT", "UnaryOperation.SIGN"})
"""What takes floating point only before TensorRT 10, whole enums or members, and their exceptions
(NvInfer.h of 8.5)."""


@dataclass(frozen=True)
class Facts:
    """One release. ``layers`` are the network's ``add_`` methods without that prefix.

    ``enums`` maps each enum of the module to its members. ``strongly_typed`` says whether networks can be
    (else each layer's types are pinned), ``metadata`` whether layers carry it, ``progress`` whether a build
    reports it, ``weights_by_address`` whether ``Weights`` takes a pointer (before 8.6 only numpy arrays),
    ``quantize_names_dtype`` whether quantise layers are told their output type, ``samples_volumes`` whether
    grids may be of points in space (from 11.2.1 on).
    """

    layers: frozenset[str]
    enums: Mapping[str, frozenset[str]]
    strongly_typed: bool
    metadata: bool
    progress: bool
    weights_by_address: bool
    quantize_names_dtype: bool
    samples_volumes: bool
    max_dims: int = _LIMIT_OF_DIMENSIONS

    def has(self, member: str) -> bool:
        """Whether there is an enum member such as ``PoolingType.MAX``."""
        enum, _, name = member.partition(".")
        return name in self.enums.get(enum, frozenset())

    def takes(self, operation: str, dtype: DType) -> bool:
        """Whether there is an operation such as ``UnaryOperation.NEG``, and for numbers of this type."""
        floating_only = {operation, operation.partition(".")[0]} & _FLOATING_ONLY
        limited = self.narrow and floating_only and operation not in _NOT_FLOATING_ONLY
        return self.has(operation) and (dtype.is_floating or not limited)

    def converts(self, dtype: DType, to: DType) -> bool:
        """Whether one layer does: before TensorRT 10, uint8 is converted from and to floating point only."""
        return not self.narrow or DType.UINT8 not in (dtype, to) or dtype.is_floating or to.is_floating

    def computes(self, dtype: DType) -> bool:
        """Whether a type is one of plain numbers: before TensorRT 10, int8 holds quantised ones only."""
        return not (self.narrow and dtype is DType.INT8)

    def pads(self, dtype: DType) -> bool:
        """Whether a slice may reach beyond its input: not of int8, whose constants are quantised numbers, and
        before TensorRT 10 not of bools."""
        return dtype is not DType.INT8 and not (self.narrow and dtype is DType.BOOL)

    @property
    def moves_bools(self) -> bool:
        """Whether layers that slice, gather, join, reshape and transpose take bools wherever they stand.

        8.5.3 cannot build some ("requires bool or uint8 I/O but node can not be handled by Myelin"),
        and joins the dynamic dimensions of ``bool[2, 2, 3]`` to other values than there were.
        """
        return not self.narrow

    @property
    def habits(self) -> Habits:
        """What the builder does by itself.

        8.5.3 takes a product that no iteration changes out of a loop, as it must for what its ONNX parser
        makes of an LSTM; one that stands ahead of the loop is slower in float16. It has no kernel for an
        attention where numbers are made of a mask of bools beside it. It does not find that a size which is a
        sum, as of what a cache holds and what is new, is that of an input which has so many: a layer of both
        is then a kernel of its own, between two regions that would have been one; and so it is with such a
        mask where all sizes are known. Of an attention with biases that are products it makes a region only
        where zeros are chosen for rows that allow nothing: else each layer is a kernel (sam_tiny 0.29 instead
        of 0.14 ms). What several layers join it copies to each of them. In a network without such an
        attention it makes regions of norms and products only where there is a choice: else each sum of a norm
        is a kernel (mixer_s32_224 1.28 instead of 0.43 ms).
        """
        if not self.narrow:
            return Habits()
        return Habits(
            hoists_products=True,
            fuses_masks=False,
            equates_sizes=False,
            fuses_computed_masks=False,
            fuses_unguarded_biases=False,
            copies_parts=True,
            fuses_norms=False,
        )

    def convolves(self, layer: str, dtype: DType, window: Window, groups: int) -> bool:
        """Whether there is such a convolution: 8.5.3 has none in float16 of groups in three dimensions, nor
        a transposed one of groups with dilation ("could not find any implementation"). TensorRT-RTX 1.7.1 has
        no transposed one in bfloat16 ("could not infer output types for operation: deconv")."""
        transposed = layer == "deconvolution_nd"
        if transposed and dtype is DType.BFLOAT16:
            return False
        spread = transposed and max(window.dilation) > 1
        lacking = groups > 1 and (len(window.kernel) > 2 or spread)
        return not (self.narrow and dtype is DType.FLOAT16 and lacking)

    @property
    def shares_profiles(self) -> bool:
        """Whether several contexts may be on one profile: not before TensorRT 10, and 8.5.3 then crashes."""
        return not self.narrow

    @property
    def narrow(self) -> bool:
        """Whether integers are 32-bit throughout, sizes and indices too, as before TensorRT 10."""
        return not self.has("DataType.INT64")


def facts_of(trt: Any) -> Facts:
    """What a runtime module has, by looking."""
    network = trt.INetworkDefinition
    enums = {name: _members(value) for name, value in vars(trt).items() if _is_enum(value)}
    return Facts(
        layers=frozenset(name.removeprefix("add_") for name in dir(network) if name.startswith("add_")),
        enums=enums,
        strongly_typed="STRONGLY_TYPED" in enums["NetworkDefinitionCreationFlag"],
        metadata=hasattr(trt.ILayer, "metadata"),
        progress=hasattr(trt, "IProgressMonitor"),
        weights_by_address="ptr" in (trt.Weights.__init__.__doc__ or ""),
        quantize_names_dtype="output_type" in (network.add_quantize.__doc__ or ""),
        samples_volumes="rank 4 or 5" in (network.add_grid_sample.__doc__ or ""),
    )


def _is_enum(value: Any) -> bool:
    return isinstance(value, type) and hasattr(value, "__members__")


def _members(enum: Any) -> frozenset[str]:
    return frozenset(enum.__members__)

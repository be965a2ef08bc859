"""Weights that a checkpoint holds in few bits, two to a byte or eight to an int32, as other tools pack them.

In: the entries of a layer.  Out: a :class:`PackedWeight`, whose numbers are ``(codes - zeros) * scales`` for
each block of a row. A row of :data:`PACKINGS` is one way to pack::

    fc.weight_packed, fc.weight_scale, fc.weight_shape              compressed-tensors: int4, int8
    fc.weight_packed, fc.weight_scale, fc.weight_global_scale       compressed-tensors: nvfp4
    fc.weight, fc.weight_scale, fc.weight_scale_2                   ModelOpt: nvfp4
    fc.weight, fc.weight_scale                                      compressed-tensors: int8
    fc.weight, fc.weight_scale, fc.pre_quant_scale                  ModelOpt: int4_awq
    fc._weight_qdata, fc._weight_scale, fc._weight_zero_point       torchao: Int4Tensor
    fc._weight_qdata, fc._weight_scale                              torchao: int4 and int8, a byte each
    fc.qweight, fc.qzeros, fc.scales, fc.g_idx                      GPTQ; AutoAWQ, in an order of its own

A model's ``fc.weight`` is bound to what these stand for, and ``--precision int4 --scales`` takes the codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.types import DType, unpacked

Array: TypeAlias = npt.NDArray[Any]
T = TypeVar("T")


class Entry(Protocol):
    """A key of a checkpoint, whose values are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def read(self) -> Array: ...


Parts: TypeAlias = Mapping[str, Entry]
"""A layer's entries, by what stands after its label."""


@dataclass(frozen=True)
class PackedWeight:
    """Codes ``[outputs, inputs]`` of a narrow type, and a scale in float32 of each block of a row.

    ``outer`` is what float8 scales are in relation to, ``zeros`` are the codes that stand for 0, and
    ``order`` is the block of each input, where these are not in order. ``inputs`` is what each input is
    multiplied by first, which the numbers have in them.
    """

    dtype: DType
    codes: Array
    scales: Array
    outer: float | None = None
    zeros: Array | None = None
    order: Array | None = None
    inputs: Array | None = None

    @property
    def block(self) -> int:
        return self.codes.shape[1] // self.scales.shape[1]

    @property
    def numbers(self) -> Array:
        """What they stand for, in float32."""
        blocks = np.arange(self.codes.shape[1]) // self.block if self.order is None else self.order
        codes = self.codes.astype(np.float32)
        if self.zeros is not None:
            codes = codes - self.zeros[:, blocks]
        numbers = codes * self.scales[:, blocks] * np.float32(1.0 if self.outer is None else self.outer)
        return numbers if self.inputs is None else numbers * self.inputs

    @property
    def lacking(self) -> str:
        """Why TensorRT cannot have the codes as they are; nothing where it can."""
        if self.zeros is not None:
            return "its numbers have zero points, which TensorRT lacks"
        if self.inputs is not None:
            return "its inputs are multiplied by factors of their own first, which the model lacks"
        return "" if self.order is None else "its inputs are not in the order of their blocks"


@dataclass(frozen=True)
class Packing:
    """One way to pack: the entries that it has and may have, which of them tell it, and how it is read.

    ``shape`` is the weight's, known before anything is read.
    """

    tool: str
    needs: tuple[str, ...]
    may: tuple[str, ...]
    fits: Callable[[Parts], bool]
    shape: Callable[[Parts], tuple[int, int]]
    read: Callable[[Parts], PackedWeight]

    def parts(self, found: Callable[[str], Entry | None]) -> dict[str, Entry] | None:
        """The entries of a layer, if it is packed so."""
        entries: dict[str, Entry] = {}
        for name in self.needs:
            if (entry := found(name)) is None:
                return None
            entries[name] = entry
        entries |= {name: entry for name in self.may if (entry := found(name)) is not None}
        return entries if self.fits(entries) else None


def packing_of(found: Callable[[str], Entry | None]) -> tuple[Packing, dict[str, Entry]] | None:
    """How a layer is packed, with its entries; None where it is not, as far as is known."""
    for packing in PACKINGS:
        if (parts := packing.parts(found)) is not None:
            return packing, parts
    return None


# --- How they are read -------------------------------------------------------------------------------------


class Unreadable(Exception):
    """What a packed weight is that is not read."""


def _floats(entry: Entry) -> Array:
    return entry.read().astype(np.float32)


def _fields(words: Array, bits: int) -> Array:
    """The unsigned numbers in the int32 of the last dimension, the first in the lowest bits."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    found = np.ascontiguousarray(words).view(np.uint32)[..., None] >> shifts & np.uint32((1 << bits) - 1)
    return found.reshape(*words.shape[:-1], -1).astype(np.int16)


def _codes(numbers: Array, bits: int) -> tuple[DType, Array]:
    dtype = {4: DType.INT4, 8: DType.INT8}[bits]
    return dtype, numbers.astype(np.int8).astype(dtype.numpy)


def _of_int32(parts: Parts) -> PackedWeight:
    """compressed-tensors' int4 and int8, with half of the range added to each."""
    rows, columns = _shape_of_int32(parts)
    words = parts["weight_packed"].read()
    bits = 4 if -(-columns * 4 // 32) == words.shape[1] else 8
    if -(-columns * bits // 32) != words.shape[1]:
        raise Unreadable(
            f"has {columns} columns and {words.shape[1]} words in a row: only 4 and 8 bits are read"
        )
    dtype, codes = _codes(_fields(words, bits)[:, :columns] - (1 << bits - 1), bits)
    scales = _floats(parts["weight_scale"]).reshape(rows, -1)
    order = _order(parts.get("weight_g_idx"), columns, scales.shape[1])
    zeros = _zeros_of_int32(parts.get("weight_zero_point"), bits, rows)
    return PackedWeight(dtype, codes, scales, zeros=zeros, order=order)


def _zeros_of_int32(entry: Entry | None, bits: int, rows: int) -> Array | None:
    """The codes that stand for 0, packed down the outputs where the weights are packed along a row."""
    if entry is None:
        return None
    zeros = entry.read()
    if zeros.dtype == np.int32:
        zeros = _fields(zeros.T, bits)[:, :rows].T - (1 << bits - 1)
    return zeros.astype(np.float32).reshape(rows, -1) if zeros.any() else None


def _shape_of_int32(parts: Parts) -> tuple[int, int]:
    rows, columns = map(int, parts["weight_shape"].read())
    return rows, columns


def _order(entry: Entry | None, columns: int, blocks: int) -> Array | None:
    """The block of each input, where these are not in order."""
    if entry is None:
        return None
    order = entry.read().astype(np.int64)
    if order.shape != (columns,):
        raise Unreadable(f"names the blocks of {order.size} inputs, of which it has {columns}")
    in_order = np.arange(columns) // max(columns // max(blocks, 1), 1)
    # Without an order compressed-tensors writes -1.
    return None if (order == -1).all() or (order == in_order).all() else order


def _of_float4(outer: Callable[[Parts], float], weight: str) -> Callable[[Parts], PackedWeight]:
    def read(parts: Parts) -> PackedWeight:
        shape = _shape_of_bytes(weight)(parts)
        codes = unpacked(np.ascontiguousarray(parts[weight].read()).reshape(-1), DType.FLOAT4, shape)
        scales = _floats(parts["weight_scale"])
        return PackedWeight(DType.FLOAT4, codes, scales, outer(parts), inputs=_factors(parts, shape[1]))

    return read


def _shape_of_bytes(weight: str) -> Callable[[Parts], tuple[int, int]]:
    return lambda parts: (parts[weight].shape[0], 2 * parts[weight].shape[1])


def _is_bytes_of_float4(weight: str) -> Callable[[Parts], bool]:
    def fits(parts: Parts) -> bool:
        return parts[weight].dtype == np.uint8 and parts["weight_scale"].dtype.name == str(DType.FLOAT8)

    return fits


def _factors(parts: Parts, columns: int, name: str = "pre_quant_scale") -> Array | None:
    """What each input is multiplied by before the layer."""
    if name not in parts:
        return None
    found = _floats(parts[name]).reshape(-1)
    if found.size not in (1, columns):
        raise Unreadable(f"has {found.size} factors for {columns} inputs")
    return None if (found == 1).all() else np.broadcast_to(found, columns)


def _number(parts: Parts, name: str) -> float:
    return float(_floats(parts[name]).reshape(()))


def _of_bytes(weight: str, scale: str) -> Packing:
    """Codes of int8, or of int4 that take a byte each, and maybe the codes that stand for 0."""
    zero = scale.replace("scale", "zero_point")

    def fits(parts: Parts) -> bool:
        return parts[weight].dtype == np.int8 and len(parts[weight].shape) == 2

    def read(parts: Parts) -> PackedWeight:
        numbers = parts[weight].read()
        scales = _floats(parts[scale])
        scales = scales.reshape(len(numbers) if scales.size > 1 else 1, -1).repeat(
            1 if scales.size > 1 else len(numbers), 0
        )
        # Several blocks in a row are those of int4: int8 has one scale for each.
        bits = 4 if scales.shape[1] > 1 and np.abs(numbers.astype(np.int16) * 2 + 1).max() <= 15 else 8
        zeros = _floats(parts[zero]) if zero in parts else np.zeros(1, np.float32)
        dtype, codes = _codes(numbers, bits)
        given = zeros.reshape(scales.shape) if zeros.any() else None
        return PackedWeight(dtype, codes, scales, zeros=given, inputs=_factors(parts, codes.shape[1]))

    of_torchao = weight.startswith("_")
    may = (zero,) if of_torchao else (zero, "pre_quant_scale")
    tool = "torchao" if of_torchao else "compressed-tensors"
    return Packing(tool, (weight, scale), may, fits, lambda parts: _two(parts[weight].shape), read)


def _is_int4_of_torchao(parts: Parts) -> bool:
    """Zero points of its other types are integers."""
    data, zeros = parts["_weight_qdata"], parts["_weight_zero_point"]
    is_packed = data.dtype.itemsize == 1 and data.dtype.kind in "iu" and len(data.shape) == 2
    return is_packed and zeros.dtype == parts["_weight_scale"].dtype


def _of_int4_of_torchao(parts: Parts) -> PackedWeight:
    """Two codes to a byte of a row. Scales stand on their side, and so do numbers that are added."""
    shape = _shape_of_bytes("_weight_qdata")(parts)
    data = np.ascontiguousarray(parts["_weight_qdata"].read()).view(np.uint8)
    codes = unpacked(data.reshape(-1), DType.INT4, shape)
    scales, added = (_floats(parts[name]).T for name in ("_weight_scale", "_weight_zero_point"))
    zeros = -added / scales if added.any() else None
    inputs = _factors(parts, shape[1], "_weight_act_pre_scale")
    return PackedWeight(DType.INT4, codes, scales, zeros=zeros, inputs=inputs)


def _is_int4_of_modelopt(parts: Parts) -> bool:
    data, scales = parts["weight"], parts["weight_scale"]
    if data.dtype != np.uint8 or len(data.shape) != 2 or len(scales.shape) != 2:
        return False
    return scales.dtype.name != str(DType.FLOAT8) and scales.shape[0] == 2 * data.shape[0]


def _of_int4_of_modelopt(parts: Parts) -> PackedWeight:
    """Two outputs to a byte, the first in the low bits."""
    if "weight_scale_2" in parts:
        raise Unreadable("is in w4a8_awq, of which the scales of int4_awq alone are read")
    data = parts["weight"].read()
    rows, columns = _shape_of_int4_of_modelopt(parts)
    both = np.stack([data & 15, data >> 4], 1).reshape(rows, columns)
    dtype, codes = _codes((both ^ 8).astype(np.int16) - 8, 4)
    scales = _floats(parts["weight_scale"])
    return PackedWeight(dtype, codes, scales, inputs=_factors(parts, columns))


def _shape_of_int4_of_modelopt(parts: Parts) -> tuple[int, int]:
    return 2 * parts["weight"].shape[0], parts["weight"].shape[1]


def _two(shape: Sequence[int]) -> tuple[int, int]:
    rows, columns = shape
    return rows, columns


CONFIGURED = "checkpoint_format"
"""A word of the configuration beside a checkpoint, which is read as if it were an entry."""


def _of_gptq(parts: Parts) -> PackedWeight:
    """qweight is packed down its inputs, the weight stands on its side, and zeros are 1 less than they are.

    A newer version, ``gptq_v2``, stores them as they are: what is in the middle of the range is symmetric in
    either.
    """
    rows, columns = _shape_of_gptq(parts)
    bits = 32 * parts["qzeros"].shape[1] // columns
    if bits not in (4, 8):
        raise Unreadable(f"has {bits} bits: only 4 and 8 are read")
    numbers = _fields(np.ascontiguousarray(parts["qweight"].read().T), bits)
    middle = 1 << bits - 1
    dtype, codes = _codes(numbers - middle, bits)
    scales = _floats(parts["scales"]).T
    order = _order(parts.get("g_idx"), rows, scales.shape[1])
    zeros = _zeros_of_gptq(parts, bits, middle)
    return PackedWeight(dtype, codes, scales, zeros=zeros, order=order)


def _zeros_of_gptq(parts: Parts, bits: int, middle: int) -> Array | None:
    words = np.ascontiguousarray(parts["qzeros"].read()).view(np.uint32)
    zeros = _fields(words, bits)
    if (zeros == middle - 1).all() or (zeros == middle).all():
        return None
    version = str(parts[CONFIGURED].read()) if CONFIGURED in parts else ""
    if version not in ("gptq", "gptq_v2"):
        raise Unreadable("has zero points, and no `config.json` beside it says of which version of GPTQ")
    if version == "gptq":
        # It subtracts 1 from each, in words as a whole.
        zeros = _fields(words + np.uint32(sum(1 << place for place in range(0, 32, bits))), bits)
    return (zeros - middle).astype(np.float32).T


def _shape_of_gptq(parts: Parts) -> tuple[int, int]:
    """Inputs and outputs."""
    columns = parts["scales"].shape[1]
    bits = 32 * parts["qzeros"].shape[1] // columns
    return parts["qweight"].shape[0] * 32 // max(bits, 1), columns


_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight outputs each four bits are, the lowest first (AutoAWQ's GEMM format)."""


def _of_awq(parts: Parts) -> PackedWeight:
    def fields(words: Array) -> Array:
        numbers = _fields(words, 4).reshape(len(words), -1, 8)
        found = np.empty_like(numbers)
        found[..., list(_AWQ_ORDER)] = numbers
        return found.reshape(len(words), -1).T

    numbers, zeros = fields(parts["qweight"].read()), fields(parts["qzeros"].read())
    dtype, codes = _codes(numbers - 8, 4)
    given = None if (zeros == 8).all() else (zeros - 8).astype(np.float32)
    return PackedWeight(dtype, codes, _floats(parts["scales"]).T, zeros=given)


def _not_read(tool: str, needs: tuple[str, ...], why: Callable[[Parts], str]) -> Packing:
    """A way to pack that is known and not read."""

    def refuse(parts: Parts) -> Any:
        raise Unreadable(why(parts))

    return Packing(tool, needs, (), lambda parts: True, refuse, refuse)


def _other_of_torchao(parts: Parts) -> str:
    data = parts["_weight_qdata"]
    held = f"{data.dtype.name}[{', '.join(map(str, data.shape))}]"
    return f"holds {held}: of its types Int4Tensor, Int8Tensor and IntxUnpackedToInt8Tensor are read"


def _swapped(shape: Callable[[Parts], tuple[int, int]]) -> Callable[[Parts], tuple[int, int]]:
    return lambda parts: _two(shape(parts)[::-1])


PACKINGS: Sequence[Packing] = (
    Packing(
        "compressed-tensors",
        ("weight_packed", "weight_scale", "weight_shape"),
        ("weight_g_idx", "weight_zero_point"),
        lambda parts: parts["weight_packed"].dtype == np.int32,
        _shape_of_int32,
        _of_int32,
    ),
    Packing(
        "compressed-tensors",
        ("weight_packed", "weight_scale", "weight_global_scale"),
        ("input_global_scale",),
        _is_bytes_of_float4("weight_packed"),
        _shape_of_bytes("weight_packed"),
        _of_float4(lambda parts: 1 / _number(parts, "weight_global_scale"), "weight_packed"),
    ),
    Packing(
        "ModelOpt",
        ("weight", "weight_scale", "weight_scale_2"),
        ("input_scale", "pre_quant_scale"),
        _is_bytes_of_float4("weight"),
        _shape_of_bytes("weight"),
        _of_float4(lambda parts: _number(parts, "weight_scale_2"), "weight"),
    ),
    Packing(
        "ModelOpt",
        ("weight", "weight_scale"),
        ("weight_scale_2", "pre_quant_scale"),
        _is_int4_of_modelopt,
        _shape_of_int4_of_modelopt,
        _of_int4_of_modelopt,
    ),
    Packing(
        "torchao",
        ("_weight_qdata", "_weight_scale", "_weight_zero_point"),
        ("_weight_act_pre_scale",),
        _is_int4_of_torchao,
        _shape_of_bytes("_weight_qdata"),
        _of_int4_of_torchao,
    ),
    _of_bytes("_weight_qdata", "_weight_scale"),
    _of_bytes("weight", "weight_scale"),
    Packing(
        "GPTQ",
        ("qweight", "qzeros", "scales"),
        ("g_idx", CONFIGURED),
        lambda parts: parts["qweight"].shape[1] == parts["scales"].shape[1],
        _swapped(_shape_of_gptq),
        _of_gptq,
    ),
    Packing(
        "AutoAWQ",
        ("qweight", "qzeros", "scales"),
        (),
        lambda parts: 8 * parts["qweight"].shape[1] == parts["scales"].shape[1],
        lambda parts: (8 * parts["qweight"].shape[1], parts["qweight"].shape[0]),
        _of_awq,
    ),
    _not_read("torchao", ("_weight_qdata",), _other_of_torchao),
    _not_read("bitsandbytes", ("weight", "weight.absmax"), lambda parts: "is not read"),
)
"""All ways that are known; of a layer the first is taken whose entries it has."""


def _require_scales(found: PackedWeight, shape: tuple[int, ...]) -> None:
    """Refuse codes without a scale, and scales of which it is not said where they belong."""
    (rows, columns), blocks = found.codes.shape, found.scales.shape[-1]
    if found.codes.shape != shape:
        raise Unreadable(f"has {rows} × {columns} codes for a weight of {' × '.join(map(str, shape))}")
    if found.zeros is not None and found.zeros.shape != found.scales.shape:
        raise Unreadable("has not a zero point for each scale")
    if found.order is not None:
        fits = blocks > 0 and found.order.min() >= 0 and found.order.max() < blocks
    else:
        fits = blocks > 0 and columns % blocks == 0
    if len(found.scales) != rows or not fits:
        text = f"has scales of {' × '.join(map(str, found.scales.shape))} for {rows} × {columns} codes"
        raise Unreadable(text)


@dataclass(frozen=True)
class PackedEntry:
    """A packed weight as an entry of the checkpoint, of the numbers that it stands for."""

    key: str
    packing: Packing
    parts: Mapping[str, Entry]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._told(lambda: self.packing.shape(self.parts))

    def packed(self) -> PackedWeight:
        """Its codes and scales; DiagnosticError for what is not read."""
        return self._told(self._packed)

    def read(self) -> Array:
        return self.packed().numbers.astype(self.dtype)

    def _packed(self) -> PackedWeight:
        found = self.packing.read(self.parts)
        _require_scales(found, self.packing.shape(self.parts))
        return found

    def _told(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except (Unreadable, ValueError) as error:
            text = f"`{self.key}` is packed as by {self.packing.tool}, and {error}"
            raise DiagnosticError(Diagnostic(text)) from error

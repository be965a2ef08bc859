"""Numbers kept in few bits beside a scale: quantised and read back.

In: a tensor and the scales of it.  Out: what the scales make of it.  A scale is for the whole tensor, for
each index of one dimension (``axis``), or for each block of elements along it; TensorRT finds these operators
around a layer and computes the layer in the narrow type.  Zero points do not exist in TensorRT.

TensorRT takes whatever scales it is given, and gives what is computed by a scale of 0 without a word. So what
is known of them at compile time is checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trtdsl.ops.base import Function, Unusable, static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_floating, require_rank, same_dim, wrap_dim
from trtdsl.types import PRECISIONS, Dim, DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor

QUANTISED = (DType.INT8, DType.INT4, DType.FLOAT8, DType.FLOAT4)
"""What `quantize` makes."""

INTEGERS = (DType.INT8, DType.INT4)
LARGEST = {DType.FLOAT8: 448.0, DType.FLOAT4: 6.0}
"""The largest numbers of the floating-point ones; what is larger becomes these."""

BLOCK = 16
"""Elements that share a scale of float4."""

OF_BLOCKS = (DType.INT4, DType.FLOAT4)
"""Types too coarse for a tensor with one scale, which TensorRT does not compute with."""


class _Scaled(Function, abstract=True):
    """Quantised numbers on one side, beside their ``scale``."""

    def unusable(self, slot: str, array: Array) -> Unusable | None:
        return problem_of_scales(array) if slot == "scale" else None


class Quantize(_Scaled):
    """``input / scale`` in a narrow type, rounded to the nearest number of it, halves to even; what is out of
    range becomes its largest or least.

    A ``scale`` of rank 0 is that of the whole tensor, one of rank 1 that of each index of dimension ``axis``,
    and one of the input's own rank that of each block: `float32[64, 2]` for `float32[64, 256]` has blocks of
    128 elements. ``dtype`` is int8, int4, float8_e4m3fn or float4_e2m1fn.
    """

    name = "quantize"
    takes_quantised = True
    examples = (
        "quantize()(float32[N, 8], float32[]) -> int8[N, 8]",
        "quantize(axis = 1)(float32[N, 8, H, W], float32[8]) -> int8[N, 8, H, W]",
        "quantize(float8_e4m3fn)(float16[N, 8], float16[]) -> float8_e4m3fn[N, 8]",
        "quantize(int4, axis = 1)(float16[4, 64], float16[4, 2]) -> int4[4, 64]",
        "quantize(float4_e2m1fn, axis = -1)(bfloat16[4, 64], bfloat16[4, 4]) -> float4_e2m1fn[4, 64]",
        "quantize()(float32[], float32[]) -> int8[]",
    )

    dtype: DType = DType.INT8
    axis: int | None = None

    def infer(self, input: TensorType, scale: TensorType) -> TensorType:
        require_floating(input, "quantize", "input")
        if self.dtype not in QUANTISED:
            names = ", ".join(map(str, QUANTISED))
            raise Refused(f"`quantize` makes {names}, not {self.dtype}", "dtype")
        _require_scale_dtype(scale, input.dtype)
        _require_scales(input.with_dtype(self.dtype), scale, self.axis)
        return input.with_dtype(self.dtype)

    def lower(self, net: Network, input: Tensor, scale: Tensor) -> Tensor:
        scale, axis = _simplest(net, input.type, scale, self.axis)
        if input.rank == 0:
            return net.reshape(net.quantize(net.reshape(input, (1,)), scale, self.dtype, axis), ())
        return net.quantize(input, scale, self.dtype, axis)

    def fold(self, input: Array, scale: Array) -> Array | None:
        if problem_of_scales(scale):
            return None
        numbers = input.astype(np.float32) / _spread(scale.astype(np.float32), input.shape, self.axis)
        if self.dtype in INTEGERS:
            least, most = self.dtype.limits
            return np.clip(np.rint(numbers), least, most).astype(np.int8).astype(self.dtype.numpy)
        largest = LARGEST[self.dtype]
        return np.clip(numbers, -largest, largest).astype(self.dtype.numpy)

    def reference(self, torch: Any, input: Any, scale: Any) -> Any:
        wide = torch.promote_types(torch.float32, scale.dtype)
        numbers = input.to(wide) / _spread(scale.to(wide), tuple(input.shape), self.axis)
        return rounded(torch, numbers, self.dtype)


class Dequantize(_Scaled):
    """``input * scale``: the numbers that quantised ones stand for, in the scale's type.

    Scales stand for what they do in `quantize`. Those of float8_e8m0fnu, which are powers of two, are of
    blocks of 32 numbers of float8_e4m3fn, and ``dtype`` says what these become.
    """

    name = "dequantize"
    takes_quantised = True
    examples = (
        "dequantize()(int8[N, 8], float32[]) -> float32[N, 8]",
        "dequantize(axis = 0)(int8[8, 4, 3, 3], float16[8]) -> float16[8, 4, 3, 3]",
        "dequantize()(float8_e4m3fn[N, 8], bfloat16[]) -> bfloat16[N, 8]",
        "dequantize(axis = 1)(int4[4, 64], float16[4, 2]) -> float16[4, 64]",
        "dequantize(axis = 1)(float4_e2m1fn[4, 64], float16[4, 4]) -> float16[4, 64]",
        "dequantize(float16, axis = 1)(float8_e4m3fn[4, 64], float8_e8m0fnu[4, 2]) -> float16[4, 64]",
        "dequantize()(int8[], float32[]) -> float32[]",
    )

    dtype: DType | None = None
    axis: int | None = None

    def infer(self, input: TensorType, scale: TensorType) -> TensorType:
        if input.dtype not in QUANTISED:
            names = ", ".join(map(str, QUANTISED))
            raise Refused(f"`dequantize` reads {names}, not {input.dtype}", "input")
        dtype = self._dtype(input, scale)
        _require_scales(input, scale, self.axis)
        return input.with_dtype(dtype)

    def _dtype(self, input: TensorType, scale: TensorType) -> DType:
        """The result's."""
        if self.dtype is not None and self.dtype not in PRECISIONS:
            names = ", ".join(map(str, PRECISIONS))
            raise Refused(f"`dequantize` makes {names}, not {self.dtype}", "dtype")
        if scale.dtype is DType.FLOAT8_E8M0:
            self._require_powers_of_two(input, scale)
            return self.dtype or DType.FLOAT32
        if scale.dtype not in PRECISIONS:
            raise Refused(f"a scale is a floating-point number, not {scale.dtype}", "scale")
        if self.dtype not in (None, scale.dtype):
            help = f"leave `dtype` out, and cast the scale: `to(…, {self.dtype})`"
            raise Refused(f"by scales of {scale.dtype} numbers become {scale.dtype}", "dtype", help)
        return scale.dtype

    def _require_powers_of_two(self, input: TensorType, scale: TensorType) -> None:
        if input.dtype is not DType.FLOAT8 or scale.rank != input.rank or self.axis is None:
            text = f"scales of {scale.dtype} are those of blocks of {DType.FLOAT8} along one `axis`"
            raise Refused(text, "scale")
        axis = wrap_dim(self.axis, input.rank, "axis")
        if not same_dim(scale.shape[axis] * 32, input.shape[axis], "blocks of 32 elements", "scale"):
            raise Refused(f"scales of {scale.dtype} are those of 32 elements each: {scale}", "scale")

    def lower(self, net: Network, input: Tensor, scale: Tensor) -> Tensor:
        dtype = net.result.dtype
        scale, axis = _simplest(net, input.type, scale, self.axis)
        if input.rank == 0:
            return net.reshape(net.dequantize(net.reshape(input, (1,)), scale, dtype, axis), ())
        return net.dequantize(input, scale, dtype, axis)

    def reference(self, torch: Any, input: Any, scale: Any) -> Any:
        # Where all is of 64 bits the scale is too, and decides.
        wide = torch.promote_types(torch.float32, scale.dtype)
        numbers = input.to(wide) * _spread(scale.to(wide), tuple(input.shape), self.axis)
        if wide == torch.float64:
            return numbers
        return numbers.to(getattr(torch, self.dtype.value) if self.dtype else scale.dtype)


class DynamicQuantize(_Scaled):
    """Blocks along ``axis``, and a scale of each that is found from the block's largest number while the
    network runs: of 16 elements in float4_e2m1fn with scales in float8_e4m3fn (nvfp4), or with
    ``dtype = float8_e4m3fn`` of 32 with scales in float8_e8m0fnu, which are powers of two (mxfp8).

    `q, s = dynamic_quantize(x, g)` stands for `dequantize(q, dequantize(s, g), axis = -1)`: a block's scale
    is its largest magnitude divided by 6 and by ``scale``, so that ``scale`` is about the tensor's largest
    magnitude divided by 6 * 448; it must be known when the engine is built. A product of two tensors that
    are kept so is computed in float4 from sm100 on.

    `q, s = dynamic_quantize(x, dtype = float8_e4m3fn)`, without ``scale``, stands for
    `dequantize(q, s, dtype = float32, axis = -1)`. How TensorRT chooses a block's power of two is not
    documented; here it is the least by which its largest magnitude becomes 448 at most. TensorRT-RTX computes
    products of these in float16.
    """

    name = "dynamic_quantize"
    takes_quantised = True
    examples = (
        "dynamic_quantize()(float16[4, 64], float16[]) -> float4_e2m1fn[4, 64], float8_e4m3fn[4, 4]",
        "dynamic_quantize()(float32[N, S, 32], float32[]) -> float4_e2m1fn[N, S, 32], float8_e4m3fn[N, S, 2]",
        "dynamic_quantize(axis = 0)(bfloat16[32, 8], bfloat16[])"
        " -> float4_e2m1fn[32, 8], float8_e4m3fn[2, 8]",
    )

    axis: int = -1
    dtype: DType = DType.FLOAT4

    def infer(self, input: TensorType, scale: TensorType | None = None) -> tuple[TensorType, TensorType]:
        require_floating(input, self.name, "input")
        require_rank(input, (2, 3), "`dynamic_quantize`", "input")
        axis = wrap_dim(self.axis, input.rank, "axis")
        if axis < input.rank - 2:
            raise Refused("TensorRT quantises blocks along the last two dimensions only", "axis")
        kind = self._kind(input, scale)
        size = static(input.shape[axis], f"dimension {axis}, which is in blocks,", "input")
        if size % kind.block:
            text = f"the {size} elements of dimension {axis} do not make blocks of {kind.block}"
            raise Refused(text, "input")
        scales = (*input.shape[:axis], size // kind.block, *input.shape[axis + 1 :])
        return input.with_dtype(self.dtype), TensorType(kind.scales, scales)

    def _kind(self, input: TensorType, scale: TensorType | None) -> _Kind:
        """That of the type; refused where its scale is missing, or one is given that it does not have."""
        if (kind := _KINDS.get(self.dtype)) is None:
            names = " and ".join(map(str, _KINDS))
            raise Refused(f"`{self.name}` makes {names}, not {self.dtype}", "dtype")
        if scale is None and self.dtype is DType.FLOAT4:
            help = "a tensor's largest magnitude divided by 6 * 448, as a parameter or constant"
            raise Refused(f"{self.dtype} needs the `scale` of the whole tensor", "input", help)
        if scale is not None:
            if self.dtype is not DType.FLOAT4:
                raise Refused(f"{self.dtype} has no `scale` of the whole tensor", "scale", "leave it out")
            _require_scale_dtype(scale, input.dtype)
            require_rank(scale, (0,), "`scale`", "scale")
        return kind

    def lower(self, net: Network, input: Tensor, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        if not net.has(self.name):
            raise Refused("nothing is quantised as it comes before TensorRT 10.8", help="use tensorrt_rtx")
        kind = _KINDS[self.dtype]
        kinds = self.axis % input.rank, kind.block, self.dtype, kind.scales
        inputs = {} if scale is None else {1: scale}
        return net.add_multiple(self.name, input, *kinds, results=net.results, inputs=inputs)

    def reference(self, torch: Any, input: Any, scale: Any = None) -> Any:
        if scale is None:
            return self._powers_of_two(torch, input)
        axis, wide = self.axis % input.ndim, torch.promote_types(torch.float32, scale.dtype)
        numbers, outer = input.to(wide), scale.to(wide)
        largest = numbers.unflatten(axis, (-1, BLOCK)).abs().amax(axis + 1)
        scales = rounded(torch, largest / LARGEST[DType.FLOAT4] / outer, DType.FLOAT8)
        divisor = (scales.to(wide) * outer).repeat_interleave(BLOCK, axis)
        # A block whose scale is rounded to 0 is 0.
        quotient = torch.where(divisor == 0, 0.0, numbers / torch.where(divisor == 0, 1.0, divisor))
        return rounded(torch, quotient, DType.FLOAT4), scales

    def _powers_of_two(self, torch: Any, input: Any) -> Any:
        axis, wide = self.axis % input.ndim, torch.promote_types(torch.float32, input.dtype)
        numbers, block = input.to(wide), _KINDS[self.dtype].block
        largest = numbers.unflatten(axis, (-1, block)).abs().amax(axis + 1)
        exponents = torch.ceil(torch.log2(largest / LARGEST[self.dtype])).clamp(-127, 127)
        scales = torch.exp2(exponents)
        quotient = numbers / scales.repeat_interleave(block, axis)
        return rounded(torch, quotient, self.dtype), scales


class _Kind(NamedTuple):
    """How many elements share a scale, and the type of that."""

    block: int
    scales: DType


_KINDS = {DType.FLOAT4: _Kind(BLOCK, DType.FLOAT8), DType.FLOAT8: _Kind(32, DType.FLOAT8_E8M0)}


# --- Scales ------------------------------------------------------------------------------------------------


def _require_scale_dtype(scale: TensorType, dtype: DType) -> None:
    """Refuse a scale of another type than the numbers that it is of: it costs a layer where it is taken."""
    if scale.dtype is dtype:
        return
    help = f"cast it: `to(…, {dtype})`" if scale.dtype in PRECISIONS else None
    raise Refused(f"the scale of {dtype} numbers must be {dtype}, not {scale.dtype}", "scale", help)


def _require_scales(input: TensorType, scale: TensorType, axis: int | None) -> None:
    """Refuse scales that do not fit what they are of, whose type is the quantised one."""
    if input.rank == 0 and scale.rank:
        raise Refused(f"a single number has a single scale, not {scale}", "scale")
    axis = None if axis is None else wrap_dim(axis, input.rank, "axis")
    if scale.rank == 0:
        _require_one(input, axis)
    elif scale.rank == 1 and axis is None and scale.shape == (1,):
        # TensorRT takes it, and computes no convolution in the narrow type.
        help = "take its element, `scale[0]`; a parameter of one number is `Parameter(())`"
        raise Refused(f"the scale of a whole tensor has the shape [], not [1]: {scale}", "scale", help)
    elif scale.rank == input.rank:
        _require_blocks(input, scale, axis)
    elif scale.rank == 1:
        _require_channels(input, scale, axis)
    else:
        text = f"scales have rank 0 or 1, or that of {input} for blocks of it: {scale}"
        raise Refused(text, "scale")


def _require_one(input: TensorType, axis: int | None) -> None:
    if axis is not None:
        raise Refused("a single scale has no `axis`", "axis", "leave it out, or give a scale for each index")
    if input.dtype in OF_BLOCKS:
        help = "give a scale for each block of elements along the `axis` that is summed over"
        raise Refused(f"{input.dtype} is too coarse for one scale of a whole tensor", "scale", help)


def _require_channels(input: TensorType, scale: TensorType, axis: int | None) -> None:
    (count,) = scale.shape
    if axis is None:
        help = "`axis` says of which dimension, as `axis = 0` for the outputs of a layer's weight"
        raise Refused(f"{scale} has a scale for each index of one dimension", "scale", help)
    what = f"whether there is a scale for each index of dimension {axis} of {input}"
    if not same_dim(count, input.shape[axis], what, "scale"):
        raise Refused(f"{count} scales for the {input.shape[axis]} indices of dimension {axis}", "scale")


def _require_blocks(input: TensorType, scale: TensorType, axis: int | None) -> None:
    divided: list[int] = []
    for dim, (count, size) in enumerate(zip(scale.shape, input.shape, strict=True)):
        if not same_dim(count, size, f"dimension {dim} of {scale} and {input}", "scale"):
            _require_division(count, size, dim)
            divided.append(dim)
    if axis is not None and (others := [str(dim) for dim in divided if dim != axis]):
        text = f"with `axis = {axis}` {scale} and {input} differ in no other dimension, as in {others[0]}"
        raise Refused(text, "scale")
    if len(divided) > 1 and len(_several(scale)) > 1:
        dims = " and ".join(map(str, divided))
        help = "TensorRT has blocks along one dimension only"
        raise Refused(f"{scale} has blocks in dimensions {dims} of {input}", "scale", help)


def _require_division(count: Dim, size: Dim, dim: int) -> None:
    what = f"dimension {dim}, which is in blocks,"
    blocks, elements = static(count, what, "scale"), static(size, what, "scale")
    if blocks < 1 or elements % blocks:
        text = f"the {elements} elements of dimension {dim} do not make {blocks} blocks of one size"
        raise Refused(text, "scale")


def _several(scale: TensorType) -> list[int]:
    """The dimensions along which scales differ."""
    return [dim for dim, count in enumerate(scale.shape) if count != 1]


def _simplest(net: Network, input: TensorType, scale: Tensor, axis: int | None) -> tuple[Tensor, int | None]:
    """The scales, and their axis, as TensorRT computes with them best.

    Blocks as large as a dimension are scales for each index of another, or one scale of all: for these it
    has kernels in the narrow type.
    """
    if scale.rank == 0:
        return scale, None
    axis = input.rank - 1 if axis is None else axis % input.rank
    if scale.rank != input.rank:
        return scale, axis
    several = _several(scale.type)
    if not several and input.dtype not in OF_BLOCKS and scale.dtype is not DType.FLOAT8_E8M0:
        return _reshaped(net, scale, ()), None
    if len(several) == 1 and scale.shape[several[0]] == input.shape[several[0]]:
        return _reshaped(net, scale, (scale.shape[several[0]],)), several[0]
    pairs = enumerate(zip(scale.shape, input.shape, strict=True))
    return scale, next((dim for dim, (count, size) in pairs if count != size), axis)


def _reshaped(net: Network, scale: Tensor, shape: tuple[Dim, ...]) -> Tensor:
    """Scales in another shape: of constants, a constant."""
    return net.reshape(scale, shape) if scale.array is None else net.constant(scale.array.reshape(shape))  # pyright: ignore[reportArgumentType]


def _spread(scale: Any, shape: Sequence[int], axis: int | None) -> Any:
    """Scales, numpy's or PyTorch's, in a shape that broadcasts with that of the tensor."""
    if scale.ndim == 1 and len(shape) != 1:
        return scale.reshape([-1 if dim == (axis or 0) % len(shape) else 1 for dim in range(len(shape))])
    for dim, count in enumerate(scale.shape):
        if count not in (1, shape[dim]):
            repeat = getattr(scale, "repeat_interleave", None) or scale.repeat
            scale = repeat(shape[dim] // count, dim)
    return scale


_LEAST = {"float32": -126, "bfloat16": -126, "float16": -14}
"""The exponent of the least number that has all digits."""


def problem_of_scales(array: Array) -> Unusable | None:
    """The first scale that TensorRT cannot compute with; None where all are right."""
    numbers, kind = array.astype(np.float64), array.dtype.name
    with np.errstate(invalid="ignore"):
        found = (
            (~np.isfinite(numbers), ", which is not finite"),
            (numbers == 0, ""),
            (numbers < 0, ", which is negative"),
            (numbers < 2.0 ** _LEAST.get(kind, -150), f", which is subnormal in {kind}"),
        )
    for wrong, why in found:
        if wrong.any():
            place = tuple(map(int, np.argwhere(wrong)[0]))
            return Unusable(place, f"is {numbers[place]:g}{why}")
    return None


def rounded(torch: Any, numbers: Any, dtype: DType) -> Any:
    """torch's numbers rounded to the nearest of a narrow type, halves to even, in what carries that type."""
    if dtype in INTEGERS:
        return torch.round(numbers).clamp(*dtype.limits).to(torch.int8)
    clamped = numbers.clamp(-LARGEST[dtype], LARGEST[dtype])
    if dtype is DType.FLOAT8:
        return clamped.to(torch.float8_e4m3fn)
    # Between its numbers are steps of a half up to 2, of 1 up to 4, and of 2.
    size = clamped.abs()
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0)).to(clamped.dtype)
    return (torch.round(clamped / step) * step).float()

"""What an operator's ``lower`` may do: the network it emits layers into.

In: operands as :class:`Tensor`.  Out: TensorRT layers, through :meth:`Network.add`, the one door to
TensorRT, which `trtdsl.trt.network` implements and checks.  Everything else here is written in
terms of ``add`` and takes care of what the raw API leaves to its caller: equal ranks, explicit
axes, PyTorch's negative dimensions, dynamic shapes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from trtdsl.ops.habits import Habits
from trtdsl.ops.refused import Refused
from trtdsl.ops.reshape_dims import is_positive, reshape_dims
from trtdsl.ops.rules import axes_mask, broadcast_shapes
from trtdsl.types import Dim, DType, SymbolicDim, TensorType, evaluate_shape
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    import numpy.typing as npt

    from trtdsl.ops.base import Op
    from trtdsl.ops.plugin import Plugin
    from trtdsl.ops.windows import Window

Array: TypeAlias = "npt.NDArray[Any]"
T = TypeVar("T")


class Tensor:
    """A tensor of the network being built.

    ``array`` holds the values of a weight or constant and is None for everything else. ``handle``
    is the TensorRT tensor; a constant layer is added when a weight's handle is first asked for, so
    weights that layers take directly, as convolutions do, cost no layer.
    """

    def __init__(self, type: TensorType, make: Callable[[], Any], array: Array | None = None) -> None:
        self.type = type
        self.array = array
        self._make = make

    @cached_property
    def handle(self) -> Any:
        return self._make()

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def rank(self) -> int:
        return len(self.type.shape)


@dataclass(frozen=True, eq=False)
class Along:
    """A tensor and the non-negative dimension along which a loop takes it apart, one element an iteration.

    For what a loop puts together it is the element, and the dimension that the whole has beside it. Either
    goes from the end where it is ``reverse``, so that a whole that is put together so has the order of what
    was taken apart so.
    """

    tensor: Tensor
    dim: int
    reverse: bool = False

    @property
    def length(self) -> Dim:
        """How many elements there are."""
        return self.tensor.shape[self.dim]


Step: TypeAlias = "Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Sequence[Along], Sequence[Tensor]]]"
"""One iteration: from the elements and the carried tensors to what is put together, and the carried ones
of the next iteration."""

Branch: TypeAlias = "Callable[[Sequence[Tensor]], Sequence[Tensor]]"
"""What a conditional runs if it takes this branch: from its operands to its results."""


class Network(ABC):
    """Emits TensorRT layers, each checked as it is added."""

    def __init__(self) -> None:
        self._applied: list[tuple[TensorType, ...]] = []
        self.multiples: set[Tensor] = set()
        """tensors that are another one times, or divided by, a single number"""
        self.conv_lines: set[Tensor] = set()
        """what a convolution gives along one dimension, computed as an image"""
        self.attending: set[Tensor] = set()
        """tensors whose attention has been added"""
        self.twins: dict[Tensor, Tensor] = {}
        """of tensors that an earlier node computes too, that node's: TensorRT makes one of both"""
        self.sums_of_products: set[Tensor] = set()
        """tensors of numbers that are not infinite, unless something overflows"""
        self.loops_vary = False
        """whether the network has a loop whose number of iterations the sizes of its inputs decide"""
        self._shared: dict[Hashable, Any] = {}

    @property
    def in_body(self) -> bool:
        """Whether what is added now stands in a loop or in the branch of a conditional."""
        return False

    @property
    def habits(self) -> Habits:
        """What the release's builder does by itself."""
        return Habits()

    @property
    @abstractmethod
    def promised(self) -> tuple[TensorType, ...]:
        """The types promised by the node that is being lowered."""

    @property
    def results(self) -> tuple[TensorType, ...]:
        """The types promised by the operator that is being lowered: the node's, or one within it."""
        return self._applied[-1] if self._applied else self.promised

    @property
    def result(self) -> TensorType:
        """The type promised by the operator that is being lowered, where it has one result."""
        (result,) = self.results
        return result

    def apply(self, op: Op, *operands: Any) -> Any:
        """Another operator's layers within this one's: its result, or a tuple of them.

        ``operands`` are tensors in the operator's order, a list for a variadic one; a number is a constant of
        rank 0 in the dtype of the first tensor.
        """
        from trtdsl.ops.composed import arguments_of

        named = arguments_of(op, operands, lambda value, dtype: self.filled((), value, dtype))
        types = {
            name: [x.type for x in value] if isinstance(value, (list, tuple)) else value.type  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            for name, value in named.items()
        }
        promised = op.infer(**types)
        self._applied.append(promised if isinstance(promised, tuple) else (promised,))
        try:
            lowered = op.lower(self, **named)
            self.check_results(lowered if isinstance(lowered, tuple) else (lowered,))
        finally:
            self._applied.pop()
        return lowered

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` emits, which later nodes that ask for the same key read too.

        Within a body each emits its own: what stands there cannot be read from outside.
        """
        if self.in_body:
            return make()
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    @abstractmethod
    def check_results(self, tensors: Sequence[Tensor]) -> None:
        """Raise where what an operator's ``lower`` returned is not what its ``infer`` promised."""

    @abstractmethod
    def enum(self, member: str) -> Any:
        """A TensorRT enum member by name: ``PoolingType.MAX``."""

    @abstractmethod
    def add(
        self,
        layer: str,
        *arguments: Any,
        result: TensorType | None = None,
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> Tensor:
        """Add a layer and return its first output.

        ``layer`` is the API's method without ``add_``; ``arguments`` are that method's, with
        tensors and arrays (as weights) in place; ``inputs`` are set by index afterwards and
        ``properties`` as attributes, each read back. ``result`` is the output's type, by default
        the node's own. Raises a diagnostic where TensorRT refuses or disagrees.
        """

    @abstractmethod
    def add_multiple(
        self,
        layer: str,
        *arguments: Any,
        results: Sequence[TensorType],
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> tuple[Tensor, ...]:
        """Like :meth:`add` for a layer with several outputs."""

    @abstractmethod
    def has(self, layer: str) -> bool:
        """Whether this TensorRT has a layer: ``net.has("normalization_v2")``."""

    @abstractmethod
    def takes(self, operation: str, dtype: DType) -> bool:
        """Whether it has an operation for numbers of a type: ``net.takes("TopKOperation.MAX", INT32)``."""

    @abstractmethod
    def constant(self, array: Array) -> Tensor:
        """A constant; its dtype is the array's (int64 and bfloat16 included)."""

    @abstractmethod
    def cast(self, x: Tensor, dtype: DType) -> Tensor:
        """``x`` in another dtype; ``x`` itself where it has it already."""

    @abstractmethod
    def shape_tensor(self, dims: Sequence[Dim]) -> Tensor:
        """A 1-D integer tensor with the values these dimensions have at run time."""

    # Control flow

    @abstractmethod
    def scan(
        self, step: Step, sequences: Sequence[Along], initial: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A loop of one iteration for each element of the sequences, which are equally long, one at least.

        ``step`` is called once, to emit what an iteration does; carried tensors keep their types. Gives what
        was put together, and the carried tensors after the last iteration: ``initial`` where there is none.
        """

    @abstractmethod
    def choose(
        self, flag: Tensor, operands: Sequence[Tensor], then: Branch, otherwise: Branch
    ) -> tuple[Tensor, ...]:
        """The results of one branch or of the other, as a bool of rank 0 says at run time.

        Both are called, once each, to emit what they do with the operands; their results have equal types.
        """

    # Plugins

    @property
    def why_no_plugins(self) -> str:
        """Why no plugin can be placed; "" where one can."""
        has = self.has("plugin_v2") or self.has("plugin_v3")
        return "" if has else "the API of this TensorRT cannot place plugins"

    @property
    def where_plugins(self) -> str:
        """Where one can be placed, as the beginning of advice."""
        return "use tensorrt 8.5, 10 or 11, or "

    @abstractmethod
    def plugin(self, plugin: Plugin, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """A layer of a plugin, made of its fields, on these tensors; its results are those promised."""

    # Element by element

    def scalar(self, value: float, like: Tensor) -> Tensor:
        """A constant of ``like``'s dtype and rank, all dimensions 1."""
        return self.filled((1,) * like.rank, value, like.dtype)

    def filled(self, shape: tuple[int, ...], value: float, dtype: DType) -> Tensor:
        """A constant with one number everywhere; refused where an integer dtype cannot hold it."""
        if not dtype.is_floating and not dtype.holds(value):
            raise Refused(f"the number {value} does not fit {dtype}")
        # As a bound, what is too large for a narrower float means the same as infinity.
        with np.errstate(over="ignore"):
            return self.constant(np.full(shape, value, dtype=dtype.numpy))

    def elementwise(self, operation: str, a: Tensor, b: Tensor) -> Tensor:
        """``ElementWiseOperation`` with PyTorch's broadcasting; dtypes must agree already."""
        rank = max(a.rank, b.rank)
        shape = broadcast_shapes(a.shape, b.shape)
        if operation in ("SUM", "SUB"):
            a, b = self._for_each_channel(a, b), self._for_each_channel(b, a)
        comparison = operation in ("EQUAL", "GREATER", "LESS")
        y = self.add(
            "elementwise",
            self.to_rank(a, rank),
            self.to_rank(b, rank),
            self.enum(f"ElementWiseOperation.{operation}"),
            result=TensorType(DType.BOOL if comparison else a.dtype, shape),
        )
        if operation in ("PROD", "DIV") and any(x.array is not None and x.array.size == 1 for x in (a, b)):
            self.multiples.add(y)
        return y

    def _for_each_channel(self, x: Tensor, other: Tensor) -> Tensor:
        """A single number once for each channel of a convolution that it is added to.

        TensorRT-RTX 1.7.1 takes what is added to a convolution for its bias, and cannot take a single number
        where it was made an image ("CHECK(nbdims_bias == 4 || nbdims_bias == 5) failed").
        """
        if other not in self.conv_lines or x.array is None or x.array.size != 1:
            return x
        channels = other.shape[-2]
        return self.constant(np.full((channels, 1), x.array.reshape(()))) if isinstance(channels, int) else x

    def unary(self, operation: str, x: Tensor) -> Tensor:
        """``UnaryOperation``; TensorRT takes no rank 0 here, so it goes through rank 1."""
        if x.rank == 0:
            return self.reshape(self.unary(operation, self.reshape(x, (1,))), ())
        result = x.type.with_dtype(DType.BOOL) if operation in ("ISINF", "ISNAN") else x.type
        return self.add("unary", x, self.enum(f"UnaryOperation.{operation}"), result=result)

    def activation(
        self, kind: str, x: Tensor, alpha: float | None = None, beta: float | None = None
    ) -> Tensor:
        """``ActivationType`` with its ``alpha`` and ``beta`` where given."""
        given: dict[str, Any] = {name: v for name, v in (("alpha", alpha), ("beta", beta)) if v is not None}
        if x.rank == 0:
            return self.reshape(self.activation(kind, self.reshape(x, (1,)), alpha, beta), ())
        return self.add("activation", x, self.enum(f"ActivationType.{kind}"), result=x.type, **given)

    def select(self, condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
        """``condition ? then : otherwise`` with broadcasting."""
        rank = max(condition.rank, then.rank, otherwise.rank)
        shape = broadcast_shapes(broadcast_shapes(condition.shape, then.shape), otherwise.shape)
        return self.add(
            "select",
            *(self.to_rank(t, rank) for t in (condition, then, otherwise)),
            result=then.type.with_shape(shape),
        )

    # Reductions and products

    def reduce(self, operation: str, x: Tensor, dims: Sequence[int], keepdim: bool) -> Tensor:
        """``ReduceOperation`` over non-negative ``dims``."""
        kept = tuple(
            1 if axis in dims else dim for axis, dim in enumerate(x.shape) if keepdim or axis not in dims
        )
        return self.add(
            "reduce",
            x,
            self.enum(f"ReduceOperation.{operation}"),
            axes_mask(dims),
            keepdim,
            result=x.type.with_shape(kept),
        )

    def cumulative_sum(self, x: Tensor, dim: int) -> Tensor:
        """The sum of the elements up to each along one non-negative dimension."""
        axis = self.constant(np.asarray(dim, np.int64))
        return self.add(
            "cumulative", x, axis, self.enum("CumulativeOperation.SUM"), False, False, result=x.type
        )

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """Softmax over one non-negative dimension."""
        return self.add("softmax", x, result=x.type, axes=axes_mask([dim]))

    def matmul(self, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
        """Matrix product of the last two dimensions, the others broadcast; ranks at least 2."""
        rank = max(a.rank, b.rank)
        a, b = self.to_rank(a, rank), self.to_rank(b, rank)
        rows = a.shape[-1] if transpose_a else a.shape[-2]
        columns = b.shape[-2] if transpose_b else b.shape[-1]
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        operation = {flag: self.enum(f"MatrixOperation.{name}") for flag, name in _MATRIX.items()}
        return self.add(
            "matrix_multiply",
            a,
            operation[transpose_a],
            b,
            operation[transpose_b],
            result=a.type.with_shape((*batch, rows, columns)),
        )

    # Quantisation

    def quantize(self, x: Tensor, scale: Tensor, dtype: DType, axis: int | None) -> Tensor:
        """``x / scale`` rounded to a narrow type. ``axis`` is that of the scales where there are several."""
        given: dict[str, Any] = {} if axis is None else {"axis": axis}
        return self.add("quantize", x, scale, dtype, result=x.type.with_dtype(dtype), **given)

    def dequantize(self, x: Tensor, scale: Tensor, dtype: DType, axis: int | None) -> Tensor:
        """``x * scale`` in a type of floating-point numbers."""
        given: dict[str, Any] = {} if axis is None else {"axis": axis}
        return self.add("dequantize", x, scale, dtype, result=x.type.with_dtype(dtype), **given)

    # Shape and data movement

    def reshape(self, x: Tensor, shape: Sequence[Dim]) -> Tensor:
        """``x`` with another shape of the same size."""
        if tuple(shape) == x.shape:
            return x
        result = x.type.with_shape(tuple(shape))
        if x.array is not None and result.is_static:
            return self.constant(x.array.reshape(evaluate_shape(result.shape, {})))
        return self._shuffle(x, shape, result)

    def _shuffle(self, x: Tensor, shape: Sequence[Dim], result: TensorType, **transposes: Any) -> Tensor:
        """A shuffle layer that gives ``shape``, between the transposes that are given."""
        first = transposes.get("first_transpose", range(x.rank))
        fixed = reshape_dims([x.shape[axis] for axis in first], shape)
        if fixed is not None:
            return self.add("shuffle", x, result=result, reshape_dims=fixed, **transposes)
        spelling = {} if all(map(is_positive, shape)) else {"zero_is_placeholder": False}
        given = {1: self.shape_tensor(shape)}
        return self.add("shuffle", x, result=result, inputs=given, **spelling, **transposes)

    def shuffle(self, x: Tensor, first: Sequence[int], shape: Sequence[Dim], second: Sequence[int]) -> Tensor:
        """``x.permute(first).reshape(shape).permute(second)``, as one layer."""
        turned = tuple(x.shape[axis] for axis in first)
        if turned == tuple(shape):
            return self.transpose(x, [first[axis] for axis in second])
        orders = {"first_transpose": tuple(first), "second_transpose": tuple(second)}
        kept = {name: order for name, order in orders.items() if list(order) != list(range(len(order)))}
        if not kept:
            return self.reshape(x, shape)
        result = x.type.with_shape(tuple(shape[axis] for axis in second))
        return self._shuffle(x, shape, result, **kept)

    def transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        """``x.permute(permutation)``."""
        if list(permutation) == list(range(x.rank)):
            return x
        result = x.type.with_shape(tuple(x.shape[axis] for axis in permutation))
        return self.add("shuffle", x, result=result, first_transpose=tuple(permutation))

    def to_rank(self, x: Tensor, rank: int) -> Tensor:
        """``x`` with dimensions of size 1 in front until it has ``rank`` dimensions."""
        if x.rank == rank:
            return x
        return self.reshape(x, (1,) * (rank - x.rank) + x.shape)

    def slice(
        self,
        x: Tensor,
        start: Sequence[Dim],
        shape: Sequence[Dim],
        stride: Sequence[int] | None = None,
        mode: str = "STRICT_BOUNDS",
        fill: Tensor | None = None,
    ) -> Tensor:
        """``shape`` elements from ``start`` (may be negative with a padding ``mode``)."""
        stride = tuple(stride or (1,) * x.rank)
        inputs = {4: fill} if fill is not None else {}
        given = {1: start, 2: shape}
        dynamic = {i: dims for i, dims in given.items() if any(isinstance(d, SymbolicDim) for d in dims)}
        fixed = [(0,) * x.rank if i in dynamic else tuple(dims) for i, dims in given.items()]
        return self.add(
            "slice",
            x,
            *fixed,
            stride,
            result=x.type.with_shape(tuple(shape)),
            inputs=inputs | {i: self.shape_tensor(dims) for i, dims in dynamic.items()},
            mode=self.enum(f"SampleMode.{mode}"),
        )

    def expand(self, x: Tensor, shape: Sequence[Dim]) -> Tensor:
        """``x`` broadcast to ``shape``: a slice whose stride is 0 where a dimension is repeated."""
        x = self.to_rank(x, len(shape))
        if x.shape == tuple(shape):
            return x
        stride = tuple(0 if old == 1 and new != 1 else 1 for old, new in zip(x.shape, shape, strict=True))
        return self.slice(x, (0,) * x.rank, shape, stride)

    def concat(self, tensors: Sequence[Tensor], dim: int) -> Tensor:
        """The tensors joined along a non-negative dimension; shapes and dtypes agree otherwise."""
        first = tensors[0]
        total = sum((t.shape[dim] for t in tensors[1:]), first.shape[dim])
        shape = (*first.shape[:dim], total, *first.shape[dim + 1 :])
        return self.add("concatenation", list(tensors), result=first.type.with_shape(shape), axis=dim)

    def convolves_in(self, layer: str, dtype: DType, window: Window, groups: int) -> DType:
        """The type that a convolution of numbers of this one is computed in."""
        return dtype

    def gather(self, x: Tensor, indices: Tensor, dim: int) -> Tensor:
        """``x`` indexed along a non-negative dimension by an integer tensor of any rank."""
        shape = (*x.shape[:dim], *indices.shape, *x.shape[dim + 1 :])
        return self.add("gather", x, indices, dim, result=x.type.with_shape(shape))

    def movable(self, x: Tensor) -> Tensor:
        """The tensor, or numbers that stand for it where layers that move elements do not take its type."""
        return x

    def gather_elements(self, x: Tensor, indices: Tensor, dim: int) -> Tensor:
        """For each element of ``indices`` the one at its position along ``dim``; elsewhere sizes agree."""
        result = x.type.with_shape(indices.shape)
        return self.add("gather_v2", x, indices, self.enum("GatherMode.ELEMENT"), result=result, axis=dim)


_MATRIX = {False: "NONE", True: "TRANSPOSE"}

"""Random operators with operands: valid for the most part, and wrong in ways that people are wrong.

Hypothesis draws a :class:`Case`; shapes are small, dimensions dynamic or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from trtdsl.ops.base import OPERATORS, Op
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, SymbolicDim, TensorType, bounds, symbol

FLOATS = (DType.FLOAT32, DType.FLOAT32, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
NUMBERS = (*FLOATS, DType.INT32, DType.INT64)
DTYPES = (*NUMBERS, DType.UINT8, DType.INT8, DType.BOOL)


@dataclass(frozen=True)
class Case:
    """An operator and its operands' types by name, a list of them for a variadic one."""

    op: Op
    operands: Mapping[str, Any]

    @property
    def is_taken(self) -> bool:
        """Whether the operator takes the operands."""
        try:
            self.op.infer(**self.operands)
        except Refused:
            return False
        return True

    def __repr__(self) -> str:
        types = ", ".join(f"{name}: {_text(type)}" for name, type in self.operands.items())
        return f"{self.op!r} of {types}"


def _text(type: Any) -> str:
    return f"[{', '.join(map(str, type))}]" if isinstance(type, list) else str(type)


def make(name: str, operands: Mapping[str, Any], **parameters: Any) -> Case:
    """The case of an operator by its name."""
    return Case(OPERATORS[name](**parameters), operands)


# --- Parts ------------------------------------------------------------------------------------------------

dtypes = st.sampled_from


def axis(name: str, low: int, high: int) -> st.SearchStrategy[Dim]:
    """A size between both, or a dimension of that range."""
    fixed = st.integers(low, high)
    return st.one_of(fixed, fixed.map(lambda size: _dynamic(name, low, size, high)))


def _dynamic(name: str, low: int, size: int, high: int) -> SymbolicDim:
    return symbol(name, max(low, size - 1), size, min(high, size + 2))


@st.composite
def shapes(draw: Any, low_rank: int = 0, high_rank: int = 4, low: int = 1, high: int = 5) -> tuple[Dim, ...]:
    rank = draw(st.integers(low_rank, high_rank))
    return tuple(draw(axis("ABCDEF"[index], low, high)) for index in range(rank))


def maybe_each(values: st.SearchStrategy[int], count: int) -> st.SearchStrategy[Any]:
    """One number for all dimensions, or one for each."""
    return st.one_of(values, st.tuples(*(values,) * count))


def _drawing_each(draw: Any, spatial: int) -> Callable[[int, int], Any]:
    return lambda low, high: draw(maybe_each(st.integers(low, high), spatial))


def dims_of(rank: int) -> st.SearchStrategy[int]:
    """A dimension, seldom one that is not there."""
    top = max(rank, 1)
    return st.one_of(st.integers(-top, top - 1), st.integers(-top - 1, top))


@st.composite
def images(draw: Any, spatial: int, channels: Any = None, low: int = 1, high: int = 9) -> TensorType:
    """``[N, C, ...]`` or ``[C, ...]``."""
    high = high if spatial < 3 else min(high, 6)
    sizes = tuple(draw(axis("HWD"[index], low, high)) for index in range(spatial))
    count = draw(st.integers(1, 4) if channels is None else channels)
    batch = () if draw(st.booleans()) and draw(st.booleans()) else (draw(axis("N", 1, 3)),)
    return TensorType(draw(dtypes(FLOATS)), (*batch, count, *sizes))


# --- Families ---------------------------------------------------------------------------------------------


@st.composite
def convolutions(draw: Any) -> Case:
    spatial = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    each = _drawing_each(draw, spatial)
    wrong = draw(st.integers(0, 9)) == 0
    multiples = st.integers(1, 4) if wrong else st.integers(1, 2).map(lambda count: count * groups)
    named = draw(st.sampled_from([None, None, "same", "valid"]))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    return make(
        f"Conv{spatial}d",
        {"input": draw(images(spatial, multiples, low=1 if wrong else 4))},
        out_channels=draw(multiples),
        kernel_size=each(1, 3),
        stride=1 if named == "same" and not wrong else each(1, 3),
        padding=named or each(0, 3 if wrong or mode == "zeros" else 2),
        dilation=each(1, 2 if spatial < 3 else 1),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )


@st.composite
def transposed_convolutions(draw: Any) -> Case:
    spatial = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    multiples = st.integers(1, 2).map(lambda count: count * groups)
    each = _drawing_each(draw, spatial)
    strides = each(1, 3)
    dilations = each(1, 3)
    smallest = min(
        max(pair) for pair in zip(_every(strides, spatial), _every(dilations, spatial), strict=True)
    )
    return make(
        f"ConvTranspose{spatial}d",
        {"input": draw(images(spatial, multiples, high=5))},
        out_channels=draw(multiples),
        kernel_size=each(1, 4),
        stride=strides,
        padding=each(0, 2),
        # Which must be smaller than the stride or the dilation; now and then it is not.
        output_padding=each(0, max(smallest - 1, int(draw(st.integers(0, 9)) == 0))),
        groups=groups,
        bias=draw(st.booleans()),
        dilation=dilations,
    )


def _every(value: Any, count: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * count


@st.composite
def pools(draw: Any) -> Case:
    spatial = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["max", "avg"]))
    each = _drawing_each(draw, spatial)
    wrong = draw(st.integers(0, 9)) == 0
    kernel = each(1, 4)
    parameters: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": draw(st.none()) if draw(st.booleans()) else each(1, 4),
        "padding": each(0, 2 if wrong else min(_every(kernel, spatial)) // 2),
        "ceil_mode": draw(st.booleans()),
    }
    if kind == "avg":
        parameters["count_include_pad"] = draw(st.booleans())
    if kind == "avg" and spatial > 1:
        parameters["divisor_override"] = draw(st.sampled_from([None, None, 3]))
    return make(
        f"{kind}_pool{spatial}d", {"input": draw(images(spatial, low=1 if wrong else 3))}, **parameters
    )


@st.composite
def adaptive_pools(draw: Any) -> Case:
    spatial = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["max", "avg"]))
    sizes = st.integers(1, 5) if spatial == 1 else st.one_of(st.none(), st.integers(1, 5))
    size = draw(st.one_of(st.integers(1, 5), st.tuples(*(sizes,) * spatial)))
    type = draw(images(spatial))
    if draw(st.booleans()):
        type = type.with_shape((*type.shape[:-spatial], *draw(st.tuples(*(st.integers(1, 9),) * spatial))))
    return make(f"adaptive_{kind}_pool{spatial}d", {"input": type}, output_size=size)


_MODES = {
    1: ["nearest", "nearest-exact", "linear", "area"],
    2: ["nearest", "nearest-exact", "bilinear", "bicubic", "area"],
    3: ["nearest", "nearest-exact", "trilinear", "area"],
}


@st.composite
def interpolations(draw: Any) -> Case:
    spatial = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(_MODES[spatial]))
    parameters: dict[str, Any] = {"mode": mode}
    if draw(st.booleans()):
        parameters["size"] = draw(maybe_each(st.integers(1, 9), spatial))
    else:
        scales: Any = st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 0.3, 1.7])
        parameters["scale_factor"] = draw(maybe_each(scales, spatial))
        parameters["recompute_scale_factor"] = draw(st.sampled_from([None, None, True]))
    if mode in ("linear", "bilinear", "bicubic", "trilinear"):
        parameters["align_corners"] = draw(st.sampled_from([None, False, True]))
    parameters["antialias"] = draw(st.integers(0, 3)) == 0
    sizes = [draw(axis("HWD"[index], 2, 8)) for index in range(spatial)]
    type = TensorType(draw(dtypes(FLOATS[:-1])), (draw(axis("N", 1, 3)), draw(st.integers(1, 3)), *sizes))
    return make("interpolate", {"input": type}, **parameters)


@st.composite
def samplings(draw: Any) -> Case:
    """Windows as columns and back, and images read at points."""
    kind = draw(st.sampled_from(["unfold", "fold", "grid_sample"]))
    wrong = draw(st.integers(0, 9)) == 0
    each = _drawing_each(draw, 2)
    window = {"kernel_size": each(1, 3), "dilation": each(1, 2), "padding": each(0, 2), "stride": each(1, 3)}
    image = draw(images(2, low=1 if wrong else 5))
    if kind == "unfold":
        return make(kind, {"input": image}, **window)
    if kind == "fold":
        # The image that these columns are of.
        image = image.with_shape(tuple(dim if isinstance(dim, int) else 6 for dim in image.shape))
        assume(Case(OPERATORS["unfold"](**window), {"input": image}).is_taken)
        columns = OPERATORS["unfold"](**window).infer(image)
        assert isinstance(columns, TensorType)
        length = columns.shape[-1] + wrong
        return make(
            kind,
            {"input": columns.with_shape((*columns.shape[:-1], length))},
            output_size=image.shape[-2:],
            **window,
        )
    batch = draw(axis("N", 1, 3))
    grid = (batch, draw(axis("A", 1, 4)), draw(axis("B", 1, 4)), 3 if wrong else 2)
    types = {"input": image.with_shape((batch, *image.shape[-3:])), "grid": image.with_shape(grid)}
    return make(
        kind,
        types,
        mode=draw(st.sampled_from(["bilinear", "nearest", "bicubic"])),
        padding_mode=draw(st.sampled_from(["zeros", "border", "reflection"])),
        align_corners=draw(st.sampled_from([None, False, True])),
    )


@st.composite
def pads(draw: Any) -> Case:
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "replicate", "circular"]))
    type = TensorType(draw(dtypes(NUMBERS)), draw(shapes(1, 5, 1, 5)))
    count = draw(st.integers(1, max(1, type.rank if mode == "constant" else min(3, type.rank - 1))))
    # PyTorch takes cropping and wrapping round at once unless the copies happen to overlap in its memory.
    least = 0 if mode == "circular" else -1
    amounts = tuple(draw(st.lists(st.integers(least, 3), min_size=2 * count, max_size=2 * count)))
    value = draw(st.sampled_from([None, 0.0, 2.0])) if mode == "constant" else None
    return make("pad", {"input": type}, pad=amounts, mode=mode, value=value)


def broadcast(draw: Any, shape: Sequence[Dim], dtype: DType) -> TensorType:
    """A type that broadcasts to the shape: leading dimensions left out, others 1."""
    kept = shape[draw(st.integers(0, len(shape))) :] if draw(st.booleans()) else shape
    return TensorType(dtype, tuple(1 if draw(st.integers(0, 3)) == 0 else dim for dim in kept))


_BINARY = (
    *("add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "maximum", "minimum", "pow", "atan2"),
    *("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"),
    *("bitwise_and", "bitwise_or", "bitwise_xor"),
    *("hypot", "logaddexp", "logaddexp2", "xlogy", "copysign", "fmax", "fmin", "ldexp", "heaviside"),
    *("isclose", "clamp_min", "clamp_max", "bitwise_left_shift", "bitwise_right_shift"),
)


@st.composite
def binaries(draw: Any) -> Case:
    name = draw(st.sampled_from(_BINARY))
    shape = draw(shapes())
    names = [operand.name for operand in OPERATORS[name].operands]
    operands = {each: broadcast(draw, shape, draw(dtypes(DTYPES))) for each in names}
    # Random bools hold false, and PyTorch divides no integer by 0.
    divides = "div" in name or name in ("remainder", "fmod")
    assume(not divides or operands["other"].dtype is not DType.BOOL)
    parameters: dict[str, Any] = {}
    if name in ("add", "sub"):
        parameters["alpha"] = draw(st.sampled_from([1, 1, 2, 0.5]))
    if name == "div":
        parameters["rounding_mode"] = draw(st.sampled_from([None, "floor", "trunc"]))
    return make(name, operands, **parameters)


@st.composite
def ternaries(draw: Any) -> Case:
    name = draw(st.sampled_from(["where", "lerp", "addcmul", "clamp"]))
    shape = draw(shapes())
    if name == "clamp":
        bounds = [draw(st.sampled_from([None, -1, 0, 0.5, 2, 300, -(10**10), 1e6])) for _ in range(2)]
        operand = TensorType(draw(dtypes(DTYPES)), shape)
        return make("clamp", {"input": operand}, min=bounds[0], max=bounds[1])
    operands: dict[str, Any] = {}
    common = draw(dtypes(NUMBERS))
    for operand in OPERATORS[name].operands:
        dtype = draw(st.sampled_from([common, common, common, draw(dtypes(NUMBERS))]))
        dtype = DType.BOOL if operand.name == "condition" else dtype
        operands[operand.name] = broadcast(draw, shape, dtype)
    return make(name, operands)


def _pointwise_names() -> list[str]:
    """The operators of one operand that have no parameters, whatever their family."""
    families = ("unary", "activation", "piecewise_linear", "special")
    return [
        name
        for name, cls in OPERATORS.items()
        if cls.__module__.rpartition(".")[2] in families
        and not cls.parameters
        and len(cls.operands) == 1
        and name != "PReLU"
    ]


@st.composite
def unaries(draw: Any) -> Case:
    name = draw(st.sampled_from(_pointwise_names()))
    return make(name, {"input": TensorType(draw(dtypes(DTYPES)), draw(shapes()))})


@st.composite
def reductions(draw: Any) -> Case:
    names = ["amax", "amin", "sum", "mean", "prod", "all", "any", "var", "std", "logsumexp", "argmax"]
    name = draw(st.sampled_from(names))
    type = TensorType(draw(dtypes(DTYPES)), draw(shapes(0, 4)))
    several = st.lists(dims_of(type.rank), max_size=3).map(tuple)
    dim = draw(st.one_of(st.none(), dims_of(type.rank), several))
    parameters: dict[str, Any] = {"dim": dim, "keepdim": draw(st.booleans())}
    if name == "prod" or name == "argmax":
        parameters["dim"] = draw(st.one_of(st.none(), dims_of(type.rank)))
    if name == "logsumexp":
        parameters["dim"] = draw(st.one_of(dims_of(type.rank), several))
    if name in ("sum", "mean", "prod"):
        parameters["dtype"] = draw(st.sampled_from([None, None, DType.FLOAT32, DType.INT64]))
    if name in ("var", "std"):
        parameters["correction"] = draw(st.integers(0, 1))
    return make(name, {"input": type}, **parameters)


@st.composite
def softmaxes(draw: Any) -> Case:
    name = draw(st.sampled_from(["softmax", "softmin", "log_softmax", "cumsum", "glu"]))
    type = TensorType(draw(dtypes(NUMBERS)), draw(shapes(0, 4)))
    parameters: dict[str, Any] = {"dim": draw(dims_of(type.rank))}
    if name != "glu":
        parameters["dtype"] = draw(st.sampled_from([None, None, DType.FLOAT32]))
    return make(name, {"input": type}, **parameters)


@st.composite
def norms(draw: Any) -> Case:
    name = draw(st.sampled_from(["LayerNorm", "GroupNorm", "InstanceNorm", "BatchNorm", "normalize", "lrn"]))
    spatial = draw(st.integers(1, 3))
    type = draw(images(spatial, st.integers(1, 6), low=1, high=5))
    eps = draw(st.sampled_from([1e-5, 1e-3]))
    if name == "LayerNorm":
        count = draw(st.integers(1, type.rank))
        shape = type.shape[-count:]
        sizes = tuple(dim if isinstance(dim, int) else 4 for dim in shape)
        affine = draw(st.booleans())
        # A single value less its mean is 0 but for PyTorch's rounding.
        assume(math.prod(sizes) > 1)
        return make(name, {"input": type}, normalized_shape=sizes, eps=eps, elementwise_affine=affine)
    if name == "GroupNorm":
        groups, channels = draw(st.integers(1, 6)), type.shape[1]
        assume(isinstance(channels, int) and groups != channels)  # again a single value, perhaps
        return make(name, {"input": type}, num_groups=groups, eps=eps, affine=draw(st.booleans()))
    if name in ("InstanceNorm", "BatchNorm"):
        flags = {"affine": draw(st.booleans()), "track_running_stats": draw(st.booleans())}
        return make(f"{name}{spatial}d", {"input": type}, eps=eps, **flags)
    if name == "lrn":
        size = draw(st.integers(1, 5))
        return make(
            "local_response_norm", {"input": type}, size=size, alpha=draw(st.sampled_from([1e-4, 0.5]))
        )
    p = draw(st.sampled_from([1.0, 2.0, 3.0]))
    return make("normalize", {"input": type}, p=p, dim=draw(dims_of(type.rank)))


@st.composite
def products(draw: Any) -> Case:
    """Matrix products, with inner dimensions that seldom differ."""
    inner = draw(axis("K", 1, 5))
    other = draw(axis("L", 1, 5)) if draw(st.integers(0, 9)) == 0 else inner
    batch = draw(shapes(0, 2, 1, 3))
    dtype = draw(dtypes(FLOATS))
    left = [draw(axis("M", 1, 5))] if draw(st.integers(0, 3)) else []
    right = [draw(axis("P", 1, 5))] if draw(st.integers(0, 3)) else []
    first = (*(broadcast(draw, batch, dtype).shape if left else ()), *left, inner)
    second = (*broadcast(draw, batch, dtype).shape, other, *right) if right else (other,)
    return make("matmul", {"input": TensorType(dtype, first), "other": TensorType(dtype, second)})


@st.composite
def attentions(draw: Any) -> Case:
    """Attention with a mask of some shape, or none, and seldom with dimensions that differ."""
    grouped = draw(st.integers(0, 3)) == 0
    wrong = draw(st.integers(0, 9)) == 0
    queries, keys = draw(axis("L", 1, 4)), draw(axis("S", 1, 4))
    heads = draw(st.sampled_from([2, 4, 6])) if grouped else draw(axis("H", 1, 3))
    shared = draw(st.sampled_from([1, 2, 3] if wrong else [1, 2])) if grouped else heads
    batch = draw(shapes(0, 2, 1, 3))
    leading = (*batch, heads) if grouped or draw(st.integers(0, 5)) else ()
    served = (*leading[:-1], shared) if leading else ()
    width, dtype = draw(st.integers(1, 8)), draw(dtypes(FLOATS))
    types = {
        "query": TensorType(dtype, (*leading, queries, width)),
        "key": TensorType(dtype, (*served, keys, width + wrong * draw(st.integers(0, 1)))),
        "value": TensorType(dtype, (*served, keys, draw(st.sampled_from([width, width, 3])))),
    }
    if draw(st.booleans()):
        scores = (*leading, queries, keys)
        shape = tuple(dim if draw(st.integers(0, 3)) else 1 for dim in scores)
        kept = draw(st.integers(0 if wrong else min(2, len(shape)), len(shape)))
        mask = draw(st.sampled_from([DType.BOOL, DType.BOOL, dtype, DType.FLOAT32, DType.INT32]))
        types["attn_mask"] = TensorType(mask, shape[len(shape) - kept :])
    return make(
        "scaled_dot_product_attention",
        types,
        is_causal=draw(st.integers(0, 3)) == 0,
        scale=draw(st.sampled_from([None, None, 0.5, 1.0])),
        enable_gqa=grouped,
    )


@st.composite
def sums_of_products(draw: Any) -> Case:
    """Equations of one to three operands over few letters, some dimensions of size 1."""
    sizes = {letter: draw(axis(letter.upper(), 1, 4)) for letter in "ijkm"}
    letters = st.sampled_from("iijjkkm")
    terms = draw(st.lists(st.lists(letters, max_size=3).map("".join), min_size=1, max_size=3))
    dots = draw(shapes(0, 2, 1, 3)) if draw(st.booleans()) else None
    dtype, shapes_of = draw(dtypes((*FLOATS, DType.INT32))), []
    for index, term in enumerate(terms):
        dims = [1 if draw(st.integers(0, 9)) == 0 else sizes[letter] for letter in term]
        if dots is not None and draw(st.booleans()):
            place = draw(st.integers(0, len(term)))
            terms[index] = f"{term[:place]}...{term[place:]}"
            dims[place:place] = broadcast(draw, dots, dtype).shape
        shapes_of.append(tuple(dims))
    equation = ",".join(terms)
    if draw(st.booleans()):
        known = sorted({*equation} & {*"ijkm"})
        result = "".join(draw(st.permutations(known))[: draw(st.integers(0, 3))])
        equation += f"->{'...' * draw(st.integers(0, 1))}{result}"
    operands = [TensorType(dtype, shape) for shape in shapes_of]
    return make("einsum", {"operands": operands}, equation=equation)


@st.composite
def shape_step(draw: Any, type: TensorType) -> Op:
    """One operator that moves a tensor's elements about, for a tensor of this type."""
    rank = type.rank
    dim = dims_of(rank)
    small = st.one_of(st.none(), st.integers(-4, 4))
    parameters: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        "flatten": st.fixed_dictionaries({"start_dim": dim, "end_dim": dim}),
        "squeeze": st.fixed_dictionaries({"dim": st.one_of(st.none(), dim)}),
        "unsqueeze": st.fixed_dictionaries({"dim": dims_of(rank + 1)}),
        "permute": st.fixed_dictionaries({"dims": st.permutations(range(rank)).map(tuple)}),
        "transpose": st.fixed_dictionaries({"dim0": dim, "dim1": dim}),
        "movedim": st.fixed_dictionaries({"source": dim, "destination": dim}),
        "select": st.fixed_dictionaries({"dim": dim, "index": st.integers(-3, 2)}),
        "slice": st.fixed_dictionaries({"dim": dim, "start": small, "end": small, "step": st.integers(1, 3)}),
        "reshape": st.fixed_dictionaries({"shape": _other_shapes(type)}),
        "expand": st.fixed_dictionaries({"size": _wider(type)}),
        "chunk": st.fixed_dictionaries({"chunks": st.integers(1, 3), "dim": dim}),
        "unbind": st.fixed_dictionaries({"dim": dim}),
        **_rearranging(rank, dim),
    }
    name = draw(st.sampled_from(sorted(parameters)))
    return OPERATORS[name](**draw(parameters[name]))


def _rearranging(rank: int, dim: st.SearchStrategy[int]) -> dict[str, st.SearchStrategy[dict[str, Any]]]:
    """The parameters of operators that turn, shift and repeat."""
    counts = st.lists(st.integers(1, 3), min_size=rank, max_size=rank + 1).map(tuple)
    two = st.tuples(dim, dim)
    return {
        "roll": st.one_of(
            st.fixed_dictionaries({"shifts": st.integers(-9, 9), "dims": st.one_of(st.none(), dim)}),
            st.fixed_dictionaries({"shifts": st.tuples(st.integers(-2, 2), st.just(1)), "dims": two}),
        ),
        "flip": st.fixed_dictionaries({"dims": st.lists(dim, max_size=2).map(tuple)}),
        "rot90": st.fixed_dictionaries({"k": st.integers(-3, 4), "dims": two}),
        "repeat": st.fixed_dictionaries({"repeats": counts}),
        "tile": st.fixed_dictionaries({"dims": st.lists(st.integers(1, 2), max_size=3).map(tuple)}),
        "repeat_interleave": st.fixed_dictionaries(
            {"repeats": st.integers(1, 3), "dim": st.one_of(st.none(), dim)}
        ),
    }


def _other_shapes(type: TensorType) -> st.SearchStrategy[tuple[Dim, ...]]:
    """Its dimensions with two joined, one split off, or something with a -1."""
    shape = type.shape
    options: list[Any] = [shape, (-1,), (*shape, 1), (1, *shape[:-1], -1), (-1, 2)]
    if len(shape) > 1:
        options += [(*shape[:-2], shape[-2] * shape[-1]), (shape[0] * shape[1], *shape[2:]), (*shape[:1], -1)]
    return st.sampled_from(options)


def _wider(type: TensorType) -> st.SearchStrategy[tuple[Dim, ...]]:
    kept: tuple[Dim, ...] = tuple(-1 for _ in type.shape)
    grown = tuple(3 if dim == 1 else dim for dim in type.shape)
    return st.sampled_from([kept, (2, *kept), grown, (2, *grown)])


@st.composite
def gatherings(draw: Any) -> Case:
    """One position for each element or slice; now and then an index that is too large."""
    name = draw(st.sampled_from(["gather", "take_along_dim", "index_select", "take", "index_fill"]))
    type = TensorType(draw(dtypes(DTYPES)), draw(shapes(1, 3, 1, 4)))
    dim = draw(dims_of(type.rank))
    integers = draw(st.sampled_from([DType.INT64, DType.INT64, DType.INT64, DType.INT32]))
    index = TensorType(integers, _below(draw, type.shape, dim % type.rank))
    if name in ("gather", "take_along_dim"):
        key = "index" if name == "gather" else "indices"
        return make(name, {"input": type, key: index}, dim=dim)
    if name == "take":
        return make(name, {"input": type, "index": index})
    index = index.with_shape(index.shape[: draw(st.integers(0, 9)) == 0 or 1])
    value = {"value": TensorType(draw(dtypes(NUMBERS)), ())} if name == "index_fill" else {}
    return make(name, {"input": type, "index": index, **value}, dim=dim)


def _below(draw: Any, shape: Sequence[Dim], dim: int, distinct: bool = False) -> tuple[int, ...]:
    """Sizes that an index may have for a tensor of this shape, seldom one too large."""
    limits = [bounds(size)[0] for size in shape]
    if not distinct:
        limits[dim] = 5
    if draw(st.integers(0, 9)) == 0:
        limits = [limit + (axis != dim) for axis, limit in enumerate(limits)]
    return tuple(draw(st.integers(1, limit)) for limit in limits)


@st.composite
def writings(draw: Any) -> Case:
    """Elements or slices written, or reduced, at positions."""
    name = draw(st.sampled_from(["scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy"]))
    type = TensorType(draw(dtypes(DTYPES)), draw(shapes(1, 3, 1, 4)))
    dim = draw(dims_of(type.rank))
    axis = dim % type.rank
    sizes = _below(draw, type.shape, axis, distinct=name in ("scatter", "index_copy"))
    dtype = draw(st.sampled_from([type.dtype, type.dtype, type.dtype, draw(dtypes(DTYPES))]))
    integers = draw(st.sampled_from([DType.INT64, DType.INT64, DType.INT32]))
    if name in ("index_add", "index_copy"):
        source = TensorType(dtype, (*type.shape[:axis], sizes[axis], *type.shape[axis + 1 :]))
        operands = {"input": type, "index": TensorType(integers, (sizes[axis],)), "source": source}
        alpha = {"alpha": draw(st.sampled_from([1, 2]))} if name == "index_add" else {}
        return make(name, operands, dim=dim, **alpha)
    larger = tuple(size + draw(st.integers(0, 1)) for size in sizes)
    source = TensorType(dtype, draw(st.sampled_from([sizes, larger, ()])) if name == "scatter" else larger)
    operands = {"input": type, "index": TensorType(integers, sizes), "src": source}
    parameters: dict[str, Any] = {"dim": dim}
    if name == "scatter_reduce":
        parameters["reduce"] = draw(st.sampled_from(["sum", "prod", "mean", "amax", "amin"]))
        parameters["include_self"] = draw(st.booleans())
    return make(name, operands, **parameters)


@st.composite
def indexings(draw: Any) -> Case:
    """Several index tensors that broadcast; of those written at each names places of its own."""
    type = TensorType(draw(dtypes(DTYPES)), draw(shapes(1, 4, 1, 4)))
    name = draw(st.sampled_from(["index", "index", "index_put"]))
    count = draw(st.integers(1, type.rank))
    integers = st.sampled_from([DType.INT64, DType.INT64, DType.INT32])
    if name == "index":
        dims = draw(st.permutations(range(type.rank)))[:count]
        shape = draw(shapes(0, 2, 1, 3))
        indices = [broadcast(draw, shape, draw(integers)) for _ in dims]
        return make(name, {"input": type, "indices": indices}, dims=tuple(sorted(dims)))
    accumulate = draw(st.booleans())
    length = draw(st.integers(1, 4 if accumulate else bounds(type.shape[0])[0]))
    indices = [TensorType(draw(integers), (length,)) for _ in range(count)]
    values = broadcast(draw, (length, *type.shape[count:]), type.dtype)
    return make(name, {"input": type, "indices": indices, "values": values}, accumulate=accumulate)


def _float32(*shape: Dim) -> TensorType:
    return TensorType(DType.FLOAT32, shape)


FOUND: Mapping[str, Case] = {
    "an angle between a vector and a number": make(
        "cosine_similarity", {"x1": _float32(2, 3), "x2": _float32(2, 1)}
    ),
    "a deviation of rank 0": make("std", {"input": _float32()}, dim=0),
    "chunks of rank 0": make("chunk", {"input": _float32()}, chunks=2),
    "pieces of rank 0": make("split", {"input": _float32()}, split_size_or_sections=1),
    "flattening dimension 1 of rank 0": make("flatten", {"input": _float32()}, start_dim=1),
    "a product that keeps all dimensions": make("prod", {"input": _float32(2, 3)}, keepdim=True),
    "one dimension of rank 0 named twice": make("mean", {"input": _float32()}, dim=(-1, 0)),
    "no dimension for logsumexp": make("logsumexp", {"input": _float32(2, 3)}, dim=()),
    "bounds that no byte has": make("clamp", {"input": TensorType(DType.UINT8, (3,))}, min=2, max=-1),
    "groups of one value": make("GroupNorm", {"input": _float32(1, 3)}, num_groups=3),
    "quotients that half precision rounds up": make(
        "fmod", {name: TensorType(DType.FLOAT16, (64, 64)) for name in ("input", "other")}
    ),
    "a number that its unsigned neighbour cannot hold": make(
        "le", {"input": TensorType(DType.INT8, ()), "other": TensorType(DType.UINT8, (2, 3))}
    ),
    "a dimension that is cropped to nothing": make("pad", {"input": _float32(2, 1)}, pad=(0, -1, 0, 1)),
    "a slice filled with a number that no byte is": make(
        "index_fill",
        {
            "input": TensorType(DType.UINT8, (1, 2)),
            "index": TensorType(DType.INT64, (1,)),
            "value": TensorType(DType.INT32, ()),
        },
        dim=0,
    ),
    "places filled with a number that no byte is": make(
        "scatter",
        {
            "input": TensorType(DType.UINT8, (7,)),
            "index": TensorType(DType.INT64, (1,)),
            "src": TensorType(DType.INT32, ()),
        },
        dim=0,
    ),
}
"""What random cases have found wrong, so that it stays right."""

FAMILIES: Mapping[str, st.SearchStrategy[Case]] = {
    "convolutions": convolutions(),
    "transposed convolutions": transposed_convolutions(),
    "pools": pools(),
    "adaptive pools": adaptive_pools(),
    "interpolations": interpolations(),
    "samplings": samplings(),
    "pads": pads(),
    "binary": binaries(),
    "ternary": ternaries(),
    "unary": unaries(),
    "reductions": reductions(),
    "softmax": softmaxes(),
    "norms": norms(),
    "products": products(),
    "gatherings": gatherings(),
    "writings": writings(),
    "indexings": indexings(),
    "attention": attentions(),
    "sums of products": sums_of_products(),
}

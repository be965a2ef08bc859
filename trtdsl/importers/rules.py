"""How each operation of PyTorch is written in the language, where its name alone does not say it.

A rule gets a :class:`Writing`, the operation with what is known around it, and gives an expression; rules are
registered under ATen's names without overload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trtdsl.importers.program import Argument, Operation, Program, Ref
from trtdsl.importers.sketch import Apply, Cut, Expression, Infix, Items, Literal, Subscript
from trtdsl.importers.spelling import apply_by_name, expression_of
from trtdsl.types import DType, TensorType


class Missing(Exception):
    """The language cannot say an operation; the argument says why."""


class Writing:
    """An operation being translated: its arguments, their types, and the values around it."""

    def __init__(self, operation: Operation, program: Program) -> None:
        self.operation = operation
        self.program = program

    def __getitem__(self, name: str) -> Argument:
        return self.operation.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.operation.arguments.get(name, default)

    def type(self, argument: Argument) -> TensorType:
        """The type of a tensor argument."""
        assert isinstance(argument, Ref)
        found = self.program.types.get(argument.value)
        if found is None:
            raise Missing("it reads a tensor of a dtype that TensorRT lacks")
        return found

    @property
    def result(self) -> TensorType:
        found = self.program.types.get(self.operation.results[0])
        if found is None:
            raise Missing("its result has a dtype that TensorRT lacks")
        return found

    def expression(self, name: str) -> Expression:
        return expression_of(self[name])

    def apply(self, function: str, /, **renamed: str) -> Expression:
        """The operator of this name, given the operation's arguments under their own names but for those
        renamed.
        """
        names = {name: renamed.get(name, name) for name in self.operation.arguments}
        arguments = {names[name]: value for name, value in self.operation.arguments.items()}
        return self.given(function, arguments)

    def given(self, function: str, arguments: Mapping[str, Argument]) -> Expression:
        """The operator of this name with these arguments."""
        found = apply_by_name(function, arguments)
        if isinstance(found, str):
            raise Missing(found)
        return found


Rule = Callable[[Writing], Expression]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule under ATen's names."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def write(operation: Operation, program: Program) -> Expression:
    """The expression of an operation without weights; raises :class:`Missing`."""
    writing = Writing(operation, program)
    found = RULES.get(operation.base)
    return found(writing) if found else writing.apply(operation.base)


# --- Names that differ ------------------------------------------------------------------------------------

_RENAMED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "view": ("reshape", {"size": "shape"}),
    "_unsafe_view": ("reshape", {"size": "shape"}),
    "split_with_sizes": ("split", {"split_sizes": "split_size_or_sections"}),
    "unsafe_split": ("split", {"split_size": "split_size_or_sections"}),
    "linalg_vector_norm": ("vector_norm", {}),
    "_softmax": ("softmax", {}),
    "_log_softmax": ("log_softmax", {}),
    "mm": ("matmul", {"mat2": "other"}),
    "bmm": ("matmul", {"mat2": "other"}),
    "special_expm1": ("expm1", {}),
    "__and__": ("bitwise_and", {}),
    "__or__": ("bitwise_or", {}),
    "__xor__": ("bitwise_xor", {}),
    "im2col": ("unfold", {}),
    "col2im": ("fold", {}),
    "conj_physical": ("conj", {}),
    "special_logit": ("logit", {}),
    "special_softmax": ("softmax", {}),
    "concat": ("cat", {}),
    "concatenate": ("cat", {}),
    "arctan2": ("atan2", {}),
    "swapaxes": ("transpose", {"axis0": "dim0", "axis1": "dim1"}),
    "swapdims": ("transpose", {}),
    "unsafe_chunk": ("chunk", {}),
    "__lshift__": ("bitwise_left_shift", {}),
    "__rshift__": ("bitwise_right_shift", {}),
    "tensor_split": ("tensor_split", {"sections": "indices_or_sections", "indices": "indices_or_sections"}),
    "hsplit": ("hsplit", {"sections": "indices_or_sections", "indices": "indices_or_sections"}),
    "vsplit": ("vsplit", {"sections": "indices_or_sections", "indices": "indices_or_sections"}),
    "dsplit": ("dsplit", {"sections": "indices_or_sections", "indices": "indices_or_sections"}),
    "scatter": ("scatter", {"value": "src"}),
    "log_sigmoid": ("logsigmoid", {}),
}


def _register_renamed(name: str, function: str, names: Mapping[str, str]) -> None:
    RULES[name] = lambda writing: writing.apply(function, **names)


for _name, (_function, _names) in _RENAMED.items():
    _register_renamed(_name, _function, _names)


# --- Operators between operands ---------------------------------------------------------------------------

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "true_divide": "/", "remainder": "%",
    "floor_divide": "//", "pow": "**",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip


@rule(*_INFIX)
def _infix(writing: Writing) -> Expression:
    name = writing.operation.base
    plain = writing.get("alpha", 1) == 1 and writing.get("rounding_mode") is None
    if not plain:
        return writing.apply(name)
    left, right = [
        value for key, value in writing.operation.arguments.items() if key not in ("alpha", "rounding_mode")
    ]
    if not isinstance(left, Ref) and not isinstance(right, Ref):
        raise Missing("it has no tensor")
    return Infix(_INFIX[name], expression_of(left), expression_of(right))


@rule("rsub")
def _rsub(writing: Writing) -> Expression:
    if writing.get("alpha", 1) != 1:
        raise Missing("`alpha` is not 1")
    return Infix("-", writing.expression("other"), writing.expression("self"))


@rule("logical_and", "logical_or")
def _logical(writing: Writing) -> Expression:
    if any(writing.type(writing[name]).dtype is not DType.BOOL for name in ("self", "other")):
        return writing.apply(writing.operation.base)
    word = writing.operation.base.removeprefix("logical_")
    return Infix(word, writing.expression("self"), writing.expression("other"))


@rule("bitwise_and", "__and__", "bitwise_or", "__or__")
def _bitwise(writing: Writing) -> Expression:
    word = writing.operation.base.strip("_").removeprefix("bitwise_")
    both = [writing[name] for name in ("self", "other")]
    if all(isinstance(each, Ref) and writing.type(each).dtype is DType.BOOL for each in both):
        return Infix(word, *map(expression_of, both))
    return writing.apply(f"bitwise_{word}")


@rule("logical_not", "bitwise_not")
def _not(writing: Writing) -> Expression:
    if writing.type(writing["self"]).dtype is DType.BOOL:
        return Infix("not", None, writing.expression("self"))
    return writing.apply(writing.operation.base)


@rule("neg")
def _neg(writing: Writing) -> Expression:
    return Infix("-", None, writing.expression("self"))


# --- Types ------------------------------------------------------------------------------------------------


@rule("to", "_to_copy", "type_as")
def _cast(writing: Writing) -> Expression:
    before, after = writing.type(writing["self"]), writing.result
    if before.dtype is after.dtype:
        return writing.expression("self")
    return writing.given("to", {"input": writing["self"], "dtype": after.dtype})


# --- Indexing ---------------------------------------------------------------------------------------------


def _at(writing: Writing, dim: int, item: Expression) -> Expression:
    rank = writing.type(writing["self"]).rank
    dim = dim % rank
    return Subscript(writing.expression("self"), (*(Cut() for _ in range(dim)), item))


@rule("select")
def _select(writing: Writing) -> Expression:
    dim, index = writing["dim"], writing["index"]
    assert isinstance(dim, int)
    return _at(writing, dim, expression_of(index))


@rule("slice")
def _slice(writing: Writing) -> Expression:
    dim = writing["dim"]
    assert isinstance(dim, int)
    start, end, step = writing.get("start"), writing.get("end"), writing.get("step", 1)
    whole = writing.type(writing["self"]).shape[dim]
    if start in (None, 0):
        start = None
    if end is None or (isinstance(end, int) and end >= 2**31 - 1) or end == whole:
        end = None
    if start is None and end is None and step == 1:
        return writing.expression("self")
    parts = [
        None if part is None else expression_of(part) for part in (start, end, None if step == 1 else step)
    ]
    return _at(writing, dim, Cut(*parts))


@rule("slice_scatter")
def _slice_scatter(writing: Writing) -> Expression:
    dim, end = writing["dim"], writing.get("end")
    assert isinstance(dim, int)
    given = dict(writing.operation.arguments)
    if end == writing.type(writing["self"]).shape[dim] or (isinstance(end, int) and end >= 2**31 - 1):
        given["end"] = None
    return writing.given("slice_scatter", given)


@rule("index_put", "_unsafe_index_put")
def _index_put(writing: Writing) -> Expression:
    """``index_put`` writes to the first dimensions: those that the indices name are moved there."""
    indices: Any = writing["indices"]
    named = [dim for dim, each in enumerate(indices) if each is not None]
    x, values = writing.type(writing["self"]), writing.type(writing["values"])
    if named == list(range(len(named))):
        return writing.given("index_put", {**writing.operation.arguments, "indices": indices[: len(named)]})
    masks = [writing.type(indices[dim]) for dim in named if writing.type(indices[dim]).dtype is DType.BOOL]
    if masks and (len(named) > 1 or values.rank > 0):
        raise Missing("a mask behind other dimensions takes a single number: write `torch.where`")
    width = masks[0].rank if masks else 1
    front = [dim + number for dim in named for number in range(width)]
    order = (*front, *(dim for dim in range(x.rank) if dim not in front))
    moved = Apply("permute", (("", writing.expression("self")), ("", Items(tuple(map(Literal, order))))))
    put = Apply(
        "index_put",
        (
            ("", moved),
            ("", Items(tuple(expression_of(indices[dim]) for dim in named), brackets=True)),
            ("", _values_in_front(writing, named)),
            *((("accumulate", Literal(True)),) if writing.get("accumulate") else ()),
        ),
        3,
    )
    back = tuple(Literal(order.index(dim)) for dim in range(x.rank))
    return Apply("permute", (("", put), ("", Items(back))))


def _values_in_front(writing: Writing, named: list[int]) -> Expression:
    """The values that are put, with the dimensions of the indices before the others."""
    indices: Any = writing["indices"]
    values, x = writing.type(writing["values"]), writing.type(writing["self"])
    rank = max(writing.type(indices[dim]).rank for dim in named)
    are_together = named == list(range(named[0], named[-1] + 1))
    # Where they are not together PyTorch itself has them in front.
    whole = rank + x.rank - len(named)
    if values.rank == 0 or not are_together or values.rank <= whole - named[0] - rank:
        return writing.expression("values")
    spread = (Literal(None),) * (whole - values.rank)
    expression = writing.expression("values")
    if spread:
        expression = Subscript(expression, spread)
    places = range(named[0], named[0] + rank)
    order = (*places, *(dim for dim in range(whole) if dim not in places))
    return Apply("permute", (("", expression), ("", Items(tuple(map(Literal, order))))))


@rule("index")
def _index(writing: Writing) -> Expression:
    indices = writing["indices"]
    assert isinstance(indices, tuple)
    items = [Cut() if each is None else expression_of(each) for each in indices]
    return Subscript(writing.expression("self"), tuple(items))


# --- Shapes -----------------------------------------------------------------------------------------------


@rule("ravel")
def _ravel(writing: Writing) -> Expression:
    return writing.given("reshape", {"input": writing["self"], "shape": (-1,)})


@rule("expand_as", "view_as", "reshape_as")
def _as(writing: Writing) -> Expression:
    name, parameter = ("expand", "size") if writing.operation.base == "expand_as" else ("reshape", "shape")
    return writing.given(name, {"input": writing["self"], parameter: writing.result.shape})


@rule("numpy_T", "t")
def _t(writing: Writing) -> Expression:
    rank = writing.type(writing["self"]).rank
    if rank < 2:
        return writing.expression("self")
    if rank > 2:
        return writing.given("permute", {"input": writing["self"], "dims": tuple(reversed(range(rank)))})
    return writing.given("transpose", {"input": writing["self"], "dim0": 0, "dim1": 1})


@rule("mT", "mH", "matrix_H", "adjoint")
def _transposed(writing: Writing) -> Expression:
    return writing.given("transpose", {"input": writing["self"], "dim0": -2, "dim1": -1})


@rule("unfold")
def _unfold(writing: Writing) -> Expression:
    """The windows of one dimension, which ``Tensor.unfold`` puts behind the others."""
    x, dim, size, step = (writing[name] for name in ("self", "dimension", "size", "step"))
    type = writing.type(x)
    assert isinstance(dim, int)
    assert isinstance(size, int)
    assert isinstance(step, int)
    dim, length = dim % type.rank, type.shape[dim % type.rank]
    count = (length - size) // step + 1
    first = Apply("arange", (("", Literal(0)), ("", Literal(count * step)), ("", Literal(step))))
    if step == 1:
        first = Apply("arange", (("", Literal(count)),))
    within = Apply("arange", (("", Literal(size)),))
    places = Infix("+", Subscript(first, (Cut(), Literal(None))), within)
    windows = Subscript(expression_of(x), (*(Cut() for _ in range(dim)), places))
    if dim == type.rank - 1:
        return windows
    return Apply("movedim", (("", windows), ("", Literal(dim + 1)), ("", Literal(-1))))


@rule("split", "unsafe_split")
def _split(writing: Writing) -> Expression:
    sizes = writing.get("split_size", writing.get("split_sizes"))
    count = len(writing.operation.results)
    dim: Any = writing["dim"]
    whole = writing.type(writing["self"]).shape[dim]
    if isinstance(sizes, int) and isinstance(whole, int) and whole == sizes * count:
        return writing.given("chunk", {"input": writing["self"], "chunks": count, "dim": dim})
    return writing.given("split", {"input": writing["self"], "split_size_or_sections": sizes, "dim": dim})


@rule(
    "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d", "replication_pad1d"
)
def _pad(writing: Writing) -> Expression:
    mode = {"reflection": "reflect", "replication": "replicate"}.get(writing.operation.base.partition("_")[0])
    given: dict[str, Argument] = {"input": writing["self"], "pad": writing.get("pad", writing.get("padding"))}
    given["mode"] = mode or writing.get("mode", "constant")
    value = writing.get("value")
    if value:
        given["value"] = value
    return writing.given("pad", given)


# --- Windows ----------------------------------------------------------------------------------------------


@rule("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pool(writing: Writing) -> Expression:
    given = {
        ("input" if name == "self" else name): value for name, value in writing.operation.arguments.items()
    }
    if given.get("stride") in ((), given["kernel_size"]):
        given["stride"] = None
    return writing.given(writing.operation.base, given)


@rule(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_nearest_exact2d",
    "_upsample_nearest_exact1d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip
def _upsample(writing: Writing) -> Expression:
    name = writing.operation.base
    mode = name.lstrip("_").removeprefix("upsample_").removesuffix("_aa").rstrip("d").rstrip("123")
    given: dict[str, Argument] = {
        "input": writing.get("input", writing.get("self")),
        "mode": mode.replace("_", "-"),
    }
    scales = writing.get("scale_factors")
    if scales is None:
        scales = tuple(
            writing.get(key)
            for key in ("scales_d", "scales_h", "scales_w", "scales")
            if key in writing.operation.arguments
        )
    if any(isinstance(scale, Ref) for scale in scales or ()):
        raise Missing("its scale is computed of sizes: give `size`")
    if scales and all(scale is not None for scale in scales):
        given["scale_factor"] = tuple(map(float, scales))
    else:
        given["size"] = writing.get("output_size")
    if writing.get("align_corners"):
        given["align_corners"] = True
    if name.endswith("_aa"):
        given["antialias"] = True
    return writing.given("interpolate", given)


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def _grid_sample(writing: Writing) -> Expression:
    modes: Any = ("bilinear", "nearest", "bicubic")[int(writing["interpolation_mode"])]  # pyright: ignore
    padding: Any = ("zeros", "border", "reflection")[int(writing["padding_mode"])]  # pyright: ignore
    return writing.given(
        "grid_sample",
        {
            "input": writing["input"],
            "grid": writing["grid"],
            "mode": modes,
            "padding_mode": padding,
            "align_corners": writing["align_corners"],
        },
    )


# --- Constants and the rest -------------------------------------------------------------------------------


@rule(
    "full",
    "zeros",
    "ones",
    "new_zeros",
    "new_ones",
    "new_full",
    "zeros_like",
    "ones_like",
    "full_like",
    "empty",
    "empty_like",
    "new_empty",
)
def _filled(writing: Writing) -> Expression:
    value: Any = writing.get("fill_value", 1 if "ones" in writing.operation.base else 0)
    dtype = writing.result.dtype
    if isinstance(value, Ref):
        return _spread(writing, value)
    given: dict[str, Argument] = {"size": writing.result.shape}
    if dtype is not DType.FLOAT32:
        given["dtype"] = dtype
    if value == 0 or value == 1:
        return writing.given("ones" if value else "zeros", given)
    return writing.given(
        "full",
        {**given, "fill_value": float(value) if dtype.is_floating and isinstance(value, int) else value},
    )


@rule("zero", "fill")
def _fill(writing: Writing) -> Expression:
    value: Any = writing.get("value", 0)
    if isinstance(value, Ref):
        return _spread(writing, value)
    return writing.given(
        "full", {"size": writing.result.shape, "fill_value": value, "dtype": writing.result.dtype}
    )


def _spread(writing: Writing, value: Ref) -> Expression:
    """A tensor without dimensions in the result's type."""
    result = writing.result
    single = expression_of(value)
    if writing.type(value).dtype is not result.dtype:
        single = Apply("to", (("", single), ("", Literal(result.dtype))), 2)
    if not result.shape:
        return single
    return Apply("expand", (("", single), ("", Items(tuple(map(Literal, result.shape))))), 2)


@rule("copy")
def _copy(writing: Writing) -> Expression:
    source, result = writing["src"], writing.result
    if writing.type(source).dtype is not result.dtype:
        raise Missing("it writes a tensor of another dtype")
    if writing.type(source) == result:
        return writing.expression("src")
    return writing.given("expand", {"input": source, "size": result.shape})


@rule("scalar_tensor")
def _scalar_tensor(writing: Writing) -> Expression:
    if isinstance(value := writing["s"], Ref):
        return _spread(writing, value)
    return writing.given("full", {"size": (), "fill_value": writing["s"], "dtype": writing.result.dtype})


@rule("arange")
def _arange(writing: Writing) -> Expression:
    start, end, step = writing.get("start", 0), writing["end"], writing.get("step", 1)
    dtype = writing.result.dtype
    if not all(isinstance(each, int) for each in (start, end, step)) and dtype is DType.INT64:
        pass
    given: list[Argument] = (
        [end] if (start, step) == (0, 1) else [start, end] if step == 1 else [start, end, step]
    )
    natural = DType.FLOAT32 if any(isinstance(each, float) for each in (start, end, step)) else DType.INT64
    named = () if dtype is natural else (("dtype", Literal(dtype)),)
    return Apply("arange", (*(("", expression_of(each)) for each in given), *named))


@rule("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def _dropout(writing: Writing) -> Expression:
    raise Missing("it drops values in eval mode too: give it `training = self.training`")


@rule("scaled_dot_product_attention")
def _attention(writing: Writing) -> Expression:
    if writing.get("dropout_p"):
        raise Missing("it drops values in eval mode too: give it `dropout_p` only in training")
    return writing.apply("scaled_dot_product_attention")


@rule("hardtanh")
def _hardtanh(writing: Writing) -> Expression:
    if (writing["min_val"], writing["max_val"]) == (0, 6):
        return writing.given("relu6", {"input": writing["self"]})
    return writing.apply("hardtanh")


@rule("rrelu", "rrelu_with_noise")
def _rrelu(writing: Writing) -> Expression:
    lower, upper = writing.get("lower", 1 / 8), writing.get("upper", 1 / 3)
    assert isinstance(lower, (int, float)) and isinstance(upper, (int, float))
    if writing.get("training"):
        raise Missing("it draws its slopes in eval mode too: give it `training` only in training")
    slope = (lower + upper) / 2
    return writing.given("leaky_relu", {"input": writing["self"], "negative_slope": slope})


@rule("square")
def _square(writing: Writing) -> Expression:
    return Infix("**", writing.expression("self"), Literal(2))


@rule("meshgrid")
def _meshgrid(writing: Writing) -> Expression:
    tensors: Any = writing["tensors"]
    return Apply(
        "meshgrid",
        (
            ("", Items(tuple(map(expression_of, tensors)), brackets=True)),
            ("indexing", Literal(writing.get("indexing", "ij"))),
        ),
    )


@rule("einsum")
def _einsum(writing: Writing) -> Expression:
    tensors: Any = writing["tensors"]
    return Apply(
        "einsum", (("", Literal(writing["equation"])), *(("", expression_of(each)) for each in tensors))
    )


@rule("max", "min")
def _extreme(writing: Writing) -> Expression:
    if isinstance(writing.get("other"), Ref):
        return writing.apply("maximum" if writing.operation.base == "max" else "minimum")
    return writing.apply(writing.operation.base)


@rule("clamp", "clip")
def _clamp(writing: Writing) -> Expression:
    """Between tensors it is the larger, then the smaller of two."""
    bounds = {"maximum": writing.get("min"), "minimum": writing.get("max")}
    if not any(isinstance(each, Ref) for each in bounds.values()):
        return writing.apply("clamp")
    found = writing.expression("self")
    for name, bound in bounds.items():
        if bound is not None:
            found = Apply(name, (("", found), ("", expression_of(bound))), 2)
    return found


@rule("stack", "cat", "concat", "concatenate", "hstack", "vstack", "dstack")
def _joined(writing: Writing) -> Expression:
    name = "cat" if writing.operation.base.startswith("concat") else writing.operation.base
    return writing.apply(name)


@rule("broadcast_tensors")
def _broadcast(writing: Writing) -> Expression:
    raise Missing("write `expand`")

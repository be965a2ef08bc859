"""How each operation of PyTorch is written in the language, where its name alone does not say it.

A rule gets a :class:`Writing`, the operation with what is known around it, and gives an expression; rules are
registered under ATen's names without overload.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from trtdsl.importers.fourier import TRANSFORMS
from trtdsl.importers.program import Argument, Operation, Program, Ref
from trtdsl.importers.sketch import Apply, Expression, Infix, Items, Literal
from trtdsl.importers.spelling import apply_by_name, expression_of
from trtdsl.importers.upsampling import SCALES, UPSAMPLING, is_antialiased, mode_of
from trtdsl.types import DType, SymbolicDim, TensorType


class Missing(Exception):
    """The language cannot say an operation; the argument says why."""


class Writing:
    """An operation being translated: its arguments, their types, and the values around it."""

    def __init__(
        self, operation: Operation, program: Program, avoided: Collection[str] = frozenset()
    ) -> None:
        self.operation = operation
        self.program = program
        self.avoided = avoided
        """labels at which another module is"""

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
    "linalg_vector_norm": ("vector_norm", {}),
    "_softmax": ("softmax", {}),
    "_log_softmax": ("log_softmax", {}),
    "mm": ("matmul", {"mat2": "other"}),
    "bmm": ("matmul", {"mat2": "other"}),
    "__xor__": ("bitwise_xor", {}),
    "im2col": ("unfold", {}),
    "col2im": ("fold", {}),
    "conj_physical": ("conj", {}),
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
    "add": "+", "sub": "-", "mul": "*", "div": "/", "remainder": "%",
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
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
)  # fmt: skip
def _adaptive_pool(writing: Writing) -> Expression:
    """A size that stays as it is, ``None`` in PyTorch, is the operand's."""
    wanted: Any = writing["output_size"]
    sizes = wanted if isinstance(wanted, tuple) else (wanted,)
    given = writing.type(writing["self"]).shape[-len(sizes) :]
    kept = tuple(
        None if size == before and not isinstance(size, int) else size
        for size, before in zip(sizes, given, strict=True)
    )
    if all(size is None for size in kept):
        return writing.expression("self")
    return writing.given(writing.operation.base, {**writing.operation.arguments, "output_size": kept})


@rule(*UPSAMPLING)
def _upsample(writing: Writing) -> Expression:
    name = writing.operation.base
    given: dict[str, Argument] = {
        "input": writing.get("input", writing.get("self")),
        "mode": mode_of(name),
    }
    scales = writing.get("scale_factors")
    if scales is None:
        scales = tuple(writing.get(key) for key in SCALES if key in writing.operation.arguments)
    if any(isinstance(scale, Ref) for scale in scales or ()):
        raise Missing("its scale is computed of sizes: give `size`")
    if scales and all(scale is not None for scale in scales):
        given["scale_factor"] = tuple(map(float, scales))
    else:
        given["size"] = writing.get("output_size")
    if writing.get("align_corners"):
        given["align_corners"] = True
    if is_antialiased(name):
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
    return writing.given("full", {**given, "fill_value": _in_type(value, dtype)})


def _in_type(value: Any, dtype: DType) -> Any:
    """A number as one of a type, which then need not be said."""
    return float(value) if dtype.is_floating and isinstance(value, int) else value


@rule("zero", "fill")
def _fill(writing: Writing) -> Expression:
    value: Any = writing.get("value", 0)
    if isinstance(value, Ref):
        return _spread(writing, value)
    dtype = writing.result.dtype
    said = {} if dtype is DType.FLOAT32 else {"dtype": dtype}
    return writing.given("full", {"size": writing.result.shape, "fill_value": _in_type(value, dtype), **said})


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
    numbers = writing.get("start", 0), writing["end"], writing.get("step", 1)
    dtype = writing.result.dtype
    behind = 0.0
    if not all(isinstance(each, (int, float)) for each in numbers):
        # Beside a dimension the language takes whole numbers only.
        start, end, step = (
            int(each) if isinstance(each, float) and each.is_integer() else each for each in numbers
        )
        if (
            isinstance(start, float)
            and isinstance(end, SymbolicDim)
            and dtype.is_floating
            and type(step) is int
            and step > 0
        ):
            # From 0.5 there are as many numbers to a whole one as from 0.
            behind, start = start - math.floor(start), math.floor(start)
        numbers = start, end, step
    start, end, step = numbers
    given: list[Argument] = (
        [end] if (start, step) == (0, 1) else [start, end] if step == 1 else [start, end, step]
    )
    natural = DType.FLOAT32 if any(isinstance(each, float) for each in (start, end, step)) else DType.INT64
    named = () if dtype is natural else (("dtype", Literal(dtype)),)
    found = Apply("arange", (*(("", expression_of(each)) for each in given), *named))
    return Infix("+", found, Literal(behind)) if behind else found


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


@rule("_weight_norm")
def _weight_norm(writing: Writing) -> Expression:
    """Direction times length along ``dim``; with -1 the length is that of the whole."""
    rank, dim = len(writing.type(writing["v"]).shape), writing.get("dim", 0)
    others = tuple(each for each in range(rank) if each != dim)
    lengths = writing.given("vector_norm", {"self": writing["v"], "dim": others, "keepdim": dim != -1})
    return Infix("*", writing.expression("v"), Infix("/", writing.expression("g"), lengths))


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
    equation = "".join(str(writing["equation"]).split())
    return Apply("einsum", (("", Literal(equation)), *(("", expression_of(each)) for each in tensors)))


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


@rule("broadcast_tensors")
def _broadcast(writing: Writing) -> Expression:
    raise Missing("write `expand`")


@rule(*TRANSFORMS)
def _fourier(op: Writing) -> Expression:
    raise Missing(
        "a Fourier transform is imported over fixed sizes, of float32 and without padding: give each of its"
        " dimensions one size, or write it as a product with matrices of cosines and sines"
    )

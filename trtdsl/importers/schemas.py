"""What PyTorch's schemas say of an operation: its name, and whether it writes or only looks at memory."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

NAMESPACE = "trtdsl_import"
"""of the operations that the importer keeps whole"""


ALIASES = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "fix": "trunc",
    "ger": "outer",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "special_erf": "erf",
    "special_erfc": "erfc",
    "special_erfinv": "erfinv",
    "special_exp2": "exp2",
    "special_expit": "sigmoid",
    "special_expm1": "expm1",
    "special_log1p": "log1p",
    "special_log_softmax": "log_softmax",
    "special_logit": "logit",
    "special_logsumexp": "logsumexp",
    "special_round": "round",
    "special_sinc": "sinc",
    "special_softmax": "softmax",
    "special_xlogy": "xlogy",
    "subtract": "sub",
    "true_divide": "div",
}
"""ATen's further names of operations, which have the same arguments."""


@cache
def overload_of(target: Any) -> str:
    """``conv2d``, ``add.Tensor``, also where the source says ``concat`` or ``subtract``; with the namespace
    where that is neither ATen nor the importer's own.
    """
    return plain_name(str(target).removeprefix(f"{NAMESPACE}."))


def plain_name(name: str) -> str:
    """``add.Tensor`` for ``aten.add.Tensor``, and for ``aten.multiply_.Tensor`` ``mul_.Tensor``."""
    name = name.removeprefix("aten.").removesuffix(".default")
    base, dot, overload = name.partition(".")
    plain = base.removesuffix("_")
    return f"{ALIASES[plain]}{base[len(plain) :]}{dot}{overload}" if plain in ALIASES else name


class Parameter(NamedTuple):
    """An argument that an operation takes."""

    name: str
    by_name: bool
    default: Any
    """:data:`REQUIRED` where it has none"""


REQUIRED = object()
"""What stands for the default of an argument that has none."""


@cache
def parameters_of(target: Any) -> tuple[Parameter, ...]:
    """The arguments that an operation takes, in order."""
    return tuple(
        Parameter(each.name, each.kwarg_only, each.default_value if each.has_default_value() else REQUIRED)
        for each in target._schema.arguments
    )


@cache
def is_assertion(target: Any) -> bool:
    """Whether an operation computes nothing, but asserts something."""
    return str(target).startswith(("aten._assert", "aten.sym_constrain", "aten._check"))


@cache
def writes(target: Any) -> bool:
    """Whether an operation writes to its first argument, and gives that."""
    if not hasattr(target, "_schema"):
        return False
    first = next(iter(target._schema.arguments), None)
    return first is not None and first.alias_info is not None and first.alias_info.is_write


@cache
def outs_of(target: Any) -> tuple[str, ...]:
    """The names of the arguments that an operation only writes to: ``out``."""
    given = target._schema.arguments
    return tuple(
        each.name for each in given if each.kwarg_only and each.alias_info and each.alias_info.is_write
    )


def unwritten_name(name: str) -> str:
    """``mul.Tensor`` for ``mul_.Tensor``, and ``__or__.Tensor`` for ``__ior__.Tensor``."""
    base, dot, overload = name.partition(".")
    base = f"__{base.removeprefix('__i')}" if base.startswith("__i") else base.removesuffix("_")
    return f"{base}{dot}{overload}"


def unwritten(target: Any) -> Any:
    """The operation that computes what another writes to its first argument."""
    import torch

    operations: Any = torch.ops.aten
    base, _, overload = unwritten_name(str(target).removeprefix("aten.")).partition(".")
    return getattr(getattr(operations, base), overload)


@cache
def is_view(target: Any) -> bool:
    """Whether what an operation gives is in the memory of what it is given."""
    if not hasattr(target, "_schema"):
        return False
    first = next(iter(target._schema.returns), None)
    return first is not None and first.alias_info is not None and not first.alias_info.is_write

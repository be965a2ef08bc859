"""What PyTorch's schemas say of an operation: its name, and whether it writes or only looks at memory."""

from __future__ import annotations

from functools import cache
from typing import Any

NAMESPACE = "trtdsl_import"
"""of the operations that the importer keeps whole"""


@cache
def overload_of(target: Any) -> str:
    """``conv2d``, ``add.Tensor``; with the namespace where that is neither ATen nor the importer's own."""
    return str(target).removeprefix("aten.").removeprefix(f"{NAMESPACE}.").removesuffix(".default")


@cache
def writes(target: Any) -> bool:
    """Whether an operation writes to its first argument, and gives that."""
    if not hasattr(target, "_schema"):
        return False
    first = next(iter(target._schema.arguments), None)
    return first is not None and first.alias_info is not None and first.alias_info.is_write


@cache
def is_view(target: Any) -> bool:
    """Whether what an operation gives is in the memory of what it is given."""
    if not hasattr(target, "_schema"):
        return False
    first = next(iter(target._schema.returns), None)
    return first is not None and first.alias_info is not None and not first.alias_info.is_write

"""Where tensors lie in memory decides nothing of what a module computes.

In: a module being exported.  Out: the same, in which PyTorch asks whether a tensor lies in memory without a
gap for the example's sizes only: a part of a table of 1024 rows is one to the last row, and does not become
another at 1024, where it is the whole.  Whether a size is 1 goes on being asked of every size.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

_ORDER = "compute_elementwise_output_logical_to_physical_perm"
_QUESTIONS = (
    "check_contiguous_sizes_strides",
    "is_channels_last_contiguous_2d",
    "is_channels_last_contiguous_3d",
    "_is_non_overlapping_and_dense_or_false",
    _ORDER,
)


@contextmanager
def layouts_ignored() -> Generator[None]:
    """In the meantime no layout narrows the sizes that a module takes."""
    import torch._prims_common

    common: Any = torch._prims_common
    originals = {name: getattr(common, name) for name in _QUESTIONS}
    for name, original in originals.items():
        setattr(common, name, _without_guards(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(common, name, original)


def _without_guards(question: Callable[..., Any]) -> Callable[..., Any]:
    from torch.fx.experimental.symbolic_shapes import guard_or_false

    @wraps(question)
    def answered(*args: Any, **named: Any) -> Any:
        symbolic = next(_symbolic(args), None)
        if symbolic is None:
            return question(*args, **named)
        if question.__name__ != _ORDER:
            for size in _symbolic(args[:1], with_strides=False):
                guard_or_false(size == 1)
        with symbolic.node.shape_env.suppress_guards():
            return question(*args, **named)

    return answered


def _symbolic(args: tuple[Any, ...], *, with_strides: bool = True) -> Iterator[Any]:
    """The sizes among tensors, shapes and strides that are not numbers."""
    import torch

    for each in args:
        if isinstance(each, torch.Tensor):
            yield from _symbolic((each.shape, each.stride() if with_strides else ()))
        elif isinstance(each, (tuple, list)):
            items: Any = each
            yield from (item for item in items if isinstance(item, torch.SymInt))

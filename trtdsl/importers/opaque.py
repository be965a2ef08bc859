"""Functions that would fix a size while ``torch.export`` runs a module, replaced by some that do not.

In: a module being exported.  Out: the same, in which ``torch.lstm``, ``gru`` and ``rnn`` are single
operations of their own, ``trtdsl_import::lstm``: PyTorch's unroll along the sequence where tensors have no
values, which would fix its length. So is ``torch.linspace`` of a dynamic number of steps; a ``torch.tensor``
of sizes is stacked from single ones, and pools, `chunk`, `affine_grid` and `take_along_dim` ask for no
number.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.opaque_attention import define_attention
from trtdsl.importers.opaque_pieces import kept_pieces
from trtdsl.importers.opaque_pools import define_pools, kept_pools
from trtdsl.importers.places import running_place, span_of
from trtdsl.importers.schemas import NAMESPACE

_NAMES = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_SCHEMA = (
    "(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, bool bidirectional,"
    " bool batch_first) -> "
)


@contextmanager
def sizes_kept(*, are_multiples: bool = False) -> Generator[None]:
    """In the meantime no function makes a number of a size that another could keep. ``are_multiples``: the
    example's sizes are such that what divides them is meant to.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError` where one is called with a packed sequence.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_leaves

    functions = {getattr(torch, name): name for name in _NAMES}
    others: dict[Any, Callable[..., Any]] = {
        torch.tensor: _tensor,
        torch.as_tensor: _tensor,
        torch.Tensor.new_tensor: lambda x, data, dtype=None, **_: _tensor(data, dtype or x.dtype),
        torch.linspace: _linspace,
    }
    replaced = {
        **kept_pools(),
        **kept_pieces(are_equal=are_multiples),
        torch.cdist: _cdist,
        torch.nn.functional.affine_grid: _affine_grid,
        **dict.fromkeys((torch.take_along_dim, torch.Tensor.take_along_dim), _take_along_dim),
    }
    namespace: Any = torch
    packing = namespace._pack_padded_sequence

    class Kept(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = kwargs or {}
            if func is packing:
                raise DiagnosticError(_packed())
            if func in functions:
                return _call(functions[func], *args, **named)
            if func in replaced:
                return replaced[func](*args, **named)
            if func in others and any(map(_is_symbolic, tree_leaves((args, named)))):
                return others[func](*args, **named)
            return func(*args, **named)

    _define()
    with Kept():
        yield


def _call(
    name: str,
    input: Any,
    hx: Any,
    params: Any,
    has_biases: Any,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: Any = None,
) -> Any:
    import torch

    if not isinstance(has_biases, bool):
        # A packed sequence comes with its batches' sizes, one argument more.
        raise DiagnosticError(_packed())
    states = list(hx) if isinstance(hx, (list, tuple)) else [hx]
    operation = getattr(getattr(torch.ops, NAMESPACE), name)
    return operation(input, states, list(params), has_biases, num_layers, bidirectional, bool(batch_first))


def _is_symbolic(value: Any) -> bool:
    import torch

    return isinstance(value, (torch.SymInt, torch.SymFloat))


def _tensor(data: Any, dtype: Any = None, **_: Any) -> Any:
    """``torch.tensor`` of numbers of which some are sizes."""
    import torch
    from torch.utils._pytree import tree_leaves

    is_float = any(isinstance(each, (float, torch.SymFloat)) for each in tree_leaves(data))
    dtype = dtype or (torch.get_default_dtype() if is_float else torch.int64)
    if isinstance(data, (list, tuple)):
        items: Any = data
        return torch.stack([_tensor(each, dtype) for each in items])
    return data.to(dtype) if isinstance(data, torch.Tensor) else torch.full((), data, dtype=dtype)


def _linspace(start: Any, end: Any, steps: Any, *, dtype: Any = None, **_: Any) -> Any:
    """``torch.linspace``, as a line from 0 to 1 where its ends are sizes."""
    import torch

    line: Any = getattr(torch.ops, NAMESPACE).linspace
    if _is_symbolic(start) or _is_symbolic(end):
        found = line(0.0, 1.0, steps) * (end - start) + start
    else:
        found = line(float(start), float(end), steps)
    return found if dtype is None else found.to(dtype)


def _cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = "") -> Any:
    """``torch.cdist`` without asking for more than 25 rows, from which on it rounds otherwise."""
    import torch

    mode = compute_mode or "use_mm_for_euclid_dist_if_necessary"
    if any(isinstance(size, torch.SymInt) for size in (x1.shape[-2], x2.shape[-2])):
        mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(x1, x2, p, mode)


def _affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    """``affine_grid``, whose size PyTorch takes as numbers: the places of all pixels, by the matrices."""
    import torch

    if not any(map(_is_symbolic, size)):
        return torch.nn.functional.affine_grid(theta, list(size), align_corners=align_corners)
    spatial = tuple(size[2:])
    axes = [_places(count, theta, align_corners=bool(align_corners)) for count in spatial]
    places = [each.expand(spatial) for each in torch.meshgrid(axes, indexing="ij")]
    # The last dimension of the image is the first of a place.
    whole = torch.stack([*reversed(places), torch.ones_like(places[0])], -1).flatten(0, -2)
    return (whole @ theta.transpose(1, 2)).unflatten(1, spatial)


def _places(count: Any, like: Any, *, align_corners: bool) -> Any:
    """Where the pixels of an axis are between -1 and 1."""
    import torch

    number = torch.arange(count, dtype=like.dtype)
    if not align_corners:
        return (number * 2 + 1) / count - 1
    last = _tensor(count - 1, like.dtype)
    return (number * 2 - last) / last.clamp(min=1)  # a single one is in the middle


def _take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """``take_along_dim`` as the ``gather`` that PyTorch makes of it, with numbers for the sizes."""
    import torch

    if dim is None:
        return torch.gather(input.reshape(-1), 0, indices.reshape(-1))
    sizes = [list(each.shape) for each in (input, indices)]
    own = [size.pop(dim) for size in sizes]
    common = list(torch.broadcast_shapes(*sizes))
    at = dim % input.ndim
    wide = [
        each if _expressions(each.shape) == _expressions(shape) else each.broadcast_to(shape)
        for each, size in zip((input, indices), own, strict=True)
        for shape in [(*common[:at], size, *common[at:])]
    ]
    return torch.gather(wide[0], dim, wide[1])


def _expressions(sizes: Any) -> list[str]:
    """Sizes to be compared without asking whether they are equal."""
    return [str(each) for each in sizes]


def _packed() -> Diagnostic:
    place = running_place()
    return Diagnostic(
        "a packed sequence cannot be imported: its sizes are the values of the lengths",
        span_of(*place) if place else None,
        help=(
            "give the network the padded tensor, and mask after it what lies past each sequence's end:"
            " `torch.where(mask, y, 0)`",
        ),
    )


@cache
def _define() -> Any:
    """The operations, once for the process."""
    import torch

    library = torch.library.Library(NAMESPACE, "DEF")
    for name in _NAMES:
        results = ", ".join(["Tensor"] * (3 if name == "lstm" else 2))
        library.define(f"{name}{_SCHEMA}({results})")
        library.impl(name, _run(name), "CPU")
        library.impl(name, _shaped, "Meta")
    define_pools(library)
    define_attention(library)
    library.define("linspace(float start, float end, SymInt steps) -> Tensor")
    library.impl("linspace", lambda start, end, steps: torch.linspace(start, end, steps), "CPU")
    library.impl("linspace", lambda start, end, steps: torch.empty(steps, device="meta"), "Meta")
    return library


def _run(name: str) -> Any:
    """What an operation computes: PyTorch's own."""
    import torch

    def run(
        input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool, first: bool
    ) -> Any:
        states = tuple(hx) if name == "lstm" else hx[0]
        options = (has_biases, num_layers, 0.0, False, bidirectional, first)
        return getattr(torch, name)(input, states, params, *options)

    return run


def _shaped(
    input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool, first: bool
) -> Any:
    """The shapes of what an operation computes."""
    # The recurrent weights act on what is handed on, which is narrower where it is projected.
    width = params[1].shape[1] * (2 if bidirectional else 1)
    output = input.new_empty((*input.shape[:-1], width))
    return (output, *(each.new_empty(each.shape) for each in hx))

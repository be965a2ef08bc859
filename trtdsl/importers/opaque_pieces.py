"""Tensors cut into pieces while ``torch.export`` runs a module, without making a number of the size.

In: a tensor that is cut along a dynamic dimension, ``x.chunk(2, 1)`` or ``x.split(S // 2, 1)``.  Out: pieces
whose sizes are calculated, ``(S + 1) // 2`` and the rest. PyTorch asks how many pieces there are, which it
cannot decide for a range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def kept_pieces(*, are_equal: bool) -> Mapping[Any, Callable[..., Any]]:
    """What is called in the place of each of PyTorch's functions. ``are_equal``: where the pieces of the
    example are of one size, those of every size must be.
    """
    import torch

    return {
        **dict.fromkeys((torch.chunk, torch.Tensor.chunk), partial(_chunk, are_equal)),
        **dict.fromkeys((torch.split, torch.Tensor.split), partial(_split, are_equal)),
    }


def _chunk(are_equal: bool, input: Any, chunks: int, dim: int = 0) -> Any:
    import torch

    size = input.shape[dim]
    if not isinstance(size, torch.SymInt):
        return torch.chunk(input, chunks, dim)
    is_divided = _divides(chunks, size, are_equal)
    return _pieces(input, (size if is_divided else size + chunks - 1) // chunks, dim)


def _split(are_equal: bool, tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    import torch

    piece, size = split_size_or_sections, tensor.shape[dim]
    if not all(isinstance(each, torch.SymInt) for each in (piece, size)):
        return torch.split(tensor, piece, dim)
    count = -(-_example(size) // _example(piece))
    return _pieces(tensor, size // count if _divides(count, size, are_equal) else piece, dim)


def _divides(count: int, size: Any, are_equal: bool) -> bool:
    """Whether a size is a multiple of a number; asking torch makes it one that the size must be of."""
    if (size % count).node.expr == 0:
        return True
    return are_equal and _example(size) % count == 0 and bool(size % count == 0)


def _pieces(x: Any, piece: Any, dim: int) -> Any:
    """As many pieces as the example has, the last with what is left."""
    import torch

    size = x.shape[dim]
    before = (_example(size) - 1) // _example(piece)
    return torch.split(x, [*[piece] * before, size - before * piece], dim)


def _example(size: Any) -> int:
    return size.node.hint

"""Tensors cut into nearly equal pieces or at given places: ``tensor_split`` and its kin."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from trtdsl.ops.base import static
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.indexing import Slice
from trtdsl.ops.joining import require_few
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim, wrap_dim
from trtdsl.types import Dim

_Sections = int | tuple[int, ...]


class TensorSplit(Composed):
    """Pieces of dimension ``dim``: that many, the first ones larger by 1, or cut before each place given."""

    torch = "torch.tensor_split"
    gives_tuple = True
    examples = (
        "tensor_split(3, dim = 1)(float32[N, 5]) -> (float32[N, 2], float32[N, 2], float32[N, 1])",
        "tensor_split((1, -1), -1)(int64[N, 5]) -> (int64[N, 1], int64[N, 3], int64[N, 1])",
        "tensor_split((1,))(float16[S, 3]) -> (float16[1, 3], float16[S - 1, 3])",
        "tensor_split(2)(float16[2 * S, 3]) -> (float16[S, 3], float16[S, 3])",
    )

    indices_or_sections: _Sections
    dim: int = 0

    def compose(self, emit: Emit, input: Part) -> tuple[Part, ...]:
        dim = wrap_dim(self.dim, input.rank)
        if input.rank == 0:
            raise Refused("tensor_split needs a tensor of rank 1 at least", "input")
        return pieces(emit, input, dim, self.indices_or_sections, self.name)

    def reference(self, torch: Any, input: Any) -> Any:
        return torch.tensor_split(input, self.indices_or_sections, self.dim)


def pieces(emit: Emit, x: Part, dim: int, sections: _Sections, what: str) -> tuple[Part, ...]:
    """The slices of a non-negative dimension."""
    size = x.shape[dim]
    cuts: list[Dim]
    if isinstance(sections, int):
        if sections < 1:
            raise Refused(f"{what} into {sections} pieces", "indices_or_sections")
        require_few(sections, what)
        each, larger = size // sections, size % sections
        larger = static(larger, f"how many of {sections} pieces of {size} are larger", "input")
        cuts = [index * each + min(index, larger) for index in range(sections + 1)]
    else:
        require_few(len(sections) + 1, what)
        cuts = [0, *sections, size]
    return tuple(emit(Slice(dim, start, stop), x) for start, stop in pairwise(cuts))


class _SplittingOne(Composed, abstract=True):
    """A dimension in equal pieces, or cut before each place given."""

    gives_tuple = True
    dimension: ClassVar[int]
    least: ClassVar[int]
    """the lowest rank that a tensor may have"""

    indices_or_sections: _Sections

    def compose(self, emit: Emit, input: Part) -> tuple[Part, ...]:
        if input.rank < self.least:
            raise Refused(f"{self.name} needs a tensor of rank {self.least} at least", "input")
        dim = min(self.dimension, input.rank - 1)
        count, size = self.indices_or_sections, input.shape[dim]
        what = f"{self.name} of a dimension of {size} into {count} equal pieces"
        if isinstance(count, int) and count > 0 and not same_dim(size % count, 0, what, "input"):
            raise Refused(f"{what} leaves {size % count}", "indices_or_sections", help="use `tensor_split`")
        return pieces(emit, input, dim, count, self.name)

    def reference(self, torch: Any, input: Any) -> Any:
        return getattr(torch, self.name)(input, self.indices_or_sections)


class Hsplit(_SplittingOne):
    """Dimension 1, a vector's only one, in equal pieces, or cut before each place given."""

    torch = "torch.hsplit"
    examples = (
        "hsplit(2)(float32[N, 4]) -> (float32[N, 2], float32[N, 2])",
        "hsplit((1, 3))(float32[5]) -> (float32[1], float32[2], float32[2])",
    )
    dimension = 1
    least = 1


class Vsplit(_SplittingOne):
    """Dimension 0 in equal pieces, or cut before each place given."""

    torch = "torch.vsplit"
    examples = (
        "vsplit(2)(float32[4, S]) -> (float32[2, S], float32[2, S])",
        "vsplit((1,))(int64[S, 2]) -> (int64[1, 2], int64[S - 1, 2])",
    )
    dimension = 0
    least = 2


class Dsplit(_SplittingOne):
    """Dimension 2 in equal pieces, or cut before each place given."""

    torch = "torch.dsplit"
    examples = ("dsplit(3)(float32[N, S, 3]) -> (float32[N, S, 1], float32[N, S, 1], float32[N, S, 1])",)
    dimension = 2
    least = 3

"""Einstein's summation: ``einsum`` and ``tensordot``."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.contraction import Labelled, arranged, contract, labelled, summed
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import wrap_dims

_LETTERS = frozenset(string.ascii_letters)


@dataclass(frozen=True)
class _Term:
    """The subscripts of one operand: letters, with those after the ellipsis apart."""

    before: str
    has_ellipsis: bool
    behind: str

    def labels(self, rank: int, number: int) -> tuple[str, ...]:
        """A label for each dimension of the operand, ``.0`` for the last one of the ellipsis."""
        named = len(self.before) + len(self.behind)
        if named > rank or (named < rank and not self.has_ellipsis):
            text = f"operand {number} has rank {rank}, its subscripts name {named}"
            raise Refused(text, "operands", help="" if named > rank else "write `...` for the others")
        return (*self.before, *_ellipsis(rank - named), *self.behind)


def _ellipsis(count: int) -> tuple[str, ...]:
    return tuple(f".{index}" for index in reversed(range(count)))


def _term(text: str) -> _Term:
    parts = text.split("...")
    for letter in "".join(parts):
        if letter not in _LETTERS:
            raise Refused(f"a subscript is a letter, not `{letter}`", "equation")
    if len(parts) > 2:
        raise Refused("an operand's subscripts hold at most one `...`", "equation")
    return _Term(parts[0], len(parts) == 2, "".join(parts[1:]))


class Einsum(Composed):
    """The products of elements with the subscripts of ``equation``, summed over those that it does not keep.

    Made of matrix products, from left to right; without ``->`` the subscripts that stand once are kept, in
    alphabetical order.
    """

    torch = "torch.einsum"
    examples = (
        'einsum("bhid,bhjd->bhij")([float32[N, 2, S, 4], float32[N, 2, 6, 4]]) -> float32[N, 2, S, 6]',
        'einsum("ij,jk")([float16[N, 8], float16[8, 3]]) -> float16[N, 3]',
        'einsum("...ij, ...jk->...ik")([float32[N, 2, S, 3], float32[3, 4]]) -> float32[N, 2, S, 4]',
        'einsum("bn,anm,bm->ba")([float32[N, 3], float32[5, 3, 4], float32[N, 4]]) -> float32[N, 5]',
        'einsum("nii->ni")([float32[N, 4, 4]]) -> float32[N, 4]',
        'einsum("i,j->ij")([int64[S], int64[3]]) -> int64[S, 3]',
        'einsum("bchw,bkc->bkhw")([float32[N, 8, H, W], float32[N, 2, 8]]) -> float32[N, 2, H, W]',
        'einsum("...hw->...")([float32[N, 2, 3, 4]]) -> float32[N, 2]',
    )
    order = ("equation", "operands")
    variadic = "operands"

    equation: str

    def compose(self, emit: Emit, operands: Sequence[Part]) -> Part:
        inputs, arrow, output = self.equation.replace(" ", "").partition("->")
        terms = [_term(text) for text in inputs.split(",")]
        if len(terms) != len(operands):
            text = f"the equation has subscripts for {len(terms)} operands, {len(operands)} were given"
            raise Refused(text, "operands")
        pairs = zip(terms, operands, strict=True)
        named = [term.labels(tensor.rank, index) for index, (term, tensor) in enumerate(pairs, 1)]
        result = _kept(output, named) if arrow else _implied(named)
        if any(label not in result for labels in named for label in labels):
            _require_floating(operands)
        parts = [labelled(emit, tensor, labels) for tensor, labels in zip(operands, named, strict=True)]
        total = parts[0]
        for index, part in enumerate(parts[1:], 1):
            later = {label for other in parts[index + 1 :] for label in other.labels}
            total = contract(emit, total, part, {*result, *later})
        return arranged(emit, summed(emit, total, result), result).tensor


def _require_floating(operands: Sequence[Part]) -> None:
    for tensor in operands:
        if not tensor.dtype.is_floating:
            help = "cast to a floating-point dtype"
            raise Refused(f"einsum does not sum {tensor.dtype} tensors", "operands", help)


def _kept(output: str, named: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The labels of the result that the equation states."""
    term, known = _term(output), {label for labels in named for label in labels}
    letters = term.before + term.behind
    for letter in letters:
        if letter not in known:
            raise Refused(f"the subscript `{letter}` of the result is not one of an operand", "equation")
        if letters.count(letter) > 1:
            raise Refused(f"the subscript `{letter}` stands twice in the result", "equation")
    count = sum(label.startswith(".") for label in known) if term.has_ellipsis else 0
    return (*term.before, *_ellipsis(count), *term.behind)


def _implied(named: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The labels of the result where the equation has no arrow."""
    counts = Counter(label for labels in named for label in labels)
    dots = sum(label.startswith(".") for label in counts)
    once = (label for label, count in counts.items() if count == 1 and not label.startswith("."))
    return (*_ellipsis(dots), *sorted(once))


class Tensordot(Composed):
    """The products of elements, summed over the last ``dims`` dimensions of ``a`` and the first of ``b``.

    ``dims`` may also name the dimensions, a list of them for each tensor.
    """

    torch = "torch.tensordot"
    examples = (
        "tensordot(float32[N, 3, 4], float32[3, 4, 5]) -> float32[N, 5]",
        "tensordot(1)(float16[N, S, 8], float16[8, 2]) -> float16[N, S, 2]",
        "tensordot(((1, 2), (1, 0)))(float32[N, 3, 4], float32[4, 3, 5]) -> float32[N, 5]",
        "tensordot(dims = 0)(float32[N], float32[3]) -> float32[N, 3]",
    )

    dims: int | tuple[tuple[int, ...], ...] = 2

    def compose(self, emit: Emit, a: Part, b: Part) -> Part:
        left, right = self._contracted(a.rank, b.rank)
        first = [f"a{index}" for index in range(a.rank)]
        second = [f"b{index}" for index in range(b.rank)]
        for one, other in zip(left, right, strict=True):
            second[other] = first[one]
        result = tuple(label for label in (*first, *second) if (label in first) != (label in second))
        product = contract(emit, Labelled(a, tuple(first)), Labelled(b, tuple(second)), result)
        return arranged(emit, product, result).tensor

    def _contracted(self, a: int, b: int) -> tuple[Sequence[int], Sequence[int]]:
        """The dimensions of each tensor that are summed over."""
        if isinstance(self.dims, int):
            if not 0 <= self.dims <= min(a, b):
                text = f"tensordot over {self.dims} dimensions of tensors of ranks {a} and {b}"
                raise Refused(text, "dims")
            return range(a - self.dims, a), range(self.dims)
        if len(self.dims) != 2 or len(self.dims[0]) != len(self.dims[1]):
            raise Refused("dims names as many dimensions of one tensor as of the other", "dims")
        left, right = self.dims
        return _named(left, a), _named(right, b)


def _named(dims: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return wrap_dims(dims, rank, "dims") if dims else ()

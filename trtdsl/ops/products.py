"""Products of vectors and matrices, some added to a tensor: ``mv``, ``dot``, ``addmm``, ``kron`` and more."""

from __future__ import annotations

from itertools import chain

from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.division import Div
from trtdsl.ops.matrix import Bmm, Matmul, Mm
from trtdsl.ops.movement import Roll
from trtdsl.ops.pointwise import Add, Mul, Sub, require_factor
from trtdsl.ops.reduction import Sum
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import promote, require_rank, same_dim, wrap_dim
from trtdsl.ops.shape import Permute, Reshape, Unsqueeze
from trtdsl.ops.views import BroadcastTo, Diagonal
from trtdsl.types import product


def _require_one_dtype(what: str, x: Part, **others: Part) -> None:
    for name, other in others.items():
        if other.dtype is not x.dtype:
            raise Refused(f"{what} needs one dtype, but has {x.dtype} and {other.dtype}", name)


class Mv(Composed):
    """Product of a matrix and a vector."""

    torch = "torch.mv"
    examples = ("mv(float32[N, 8], float32[8]) -> float32[N]", "mv(float16[3, S], float16[S]) -> float16[3]")

    def compose(self, emit: Emit, input: Part, vec: Part) -> Part:
        require_rank(type_of_part(input), (2,), self.name, "input")
        require_rank(type_of_part(vec), (1,), self.name, "vec")
        return emit(Matmul(), input, vec)


class Dot(Composed):
    """The sum of the products of two vectors' elements."""

    torch = "torch.dot"
    examples = ("dot(float32[S], float32[S]) -> float32[]", "dot(float16[8], float16[8]) -> float16[]")

    def compose(self, emit: Emit, input: Part, tensor: Part) -> Part:
        return _dot(emit, input, tensor, self.name, "tensor")


class Vdot(Composed):
    """The sum of the products of two vectors' elements, like ``dot``, for no number here is complex."""

    torch = "torch.vdot"
    examples = ("vdot(float32[S], float32[S]) -> float32[]",)

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        return _dot(emit, input, other, self.name, "other")


def _dot(emit: Emit, a: Part, b: Part, what: str, about: str) -> Part:
    require_rank(type_of_part(a), (1,), what, "input")
    require_rank(type_of_part(b), (1,), what, about)
    return emit(Matmul(), a, b)


class Inner(Composed):
    """The sums of products over the last dimension of both; of a single number the product."""

    torch = "torch.inner"
    examples = (
        "inner(float32[N, 8], float32[3, 8]) -> float32[N, 3]",
        "inner(float32[8], float32[8]) -> float32[]",
        "inner(float32[N, 2, S], float32[4, 5, S]) -> float32[N, 2, 4, 5]",
        "inner(float32[], float32[N, 3]) -> float32[N, 3]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        _require_one_dtype(self.name, input, other=other)
        if not input.rank or not other.rank:
            return emit(Mul(), input, other)
        size = other.shape[-1]
        if not same_dim(input.shape[-1], size, "inner", "other"):
            raise Refused(f"inner of last dimensions {input.shape[-1]} and {size}", "other")
        rows = emit(Reshape((product(input.shape[:-1]), size)), input)
        columns = emit(Permute((1, 0)), emit(Reshape((product(other.shape[:-1]), size)), other))
        return emit(Reshape((*input.shape[:-1], *other.shape[:-1])), emit(Matmul(), rows, columns))


class _Added(Composed, abstract=True):
    """``beta * input + alpha * product``. With a ``beta`` of 0 not even NaN is left of ``input``."""

    beta: int | float = 1
    alpha: int | float = 1

    def added(self, emit: Emit, input: Part, product: Part) -> Part:
        """The sum, in the shape of the product."""
        for name, factor in (("beta", self.beta), ("alpha", self.alpha)):
            require_factor(factor, product.dtype, name)
        product = product if self.alpha == 1 else emit(Mul(), product, self.alpha)
        wide = emit(BroadcastTo(product.shape), input)
        if self.beta == 0:
            return product
        return emit(Add(), wide if self.beta == 1 else emit(Mul(), wide, self.beta), product)


class Addmm(_Added):
    """``beta * input + alpha * (mat1 @ mat2)``."""

    torch = "torch.addmm"
    examples = (
        "addmm(float32[3], float32[N, 8], float32[8, 3]) -> float32[N, 3]",
        "addmm(beta = 0.5, alpha = 2)(float16[N, 3], float16[N, 8], float16[8, 3]) -> float16[N, 3]",
        "addmm(beta = 0)(float32[1, 1], float32[N, 8], float32[8, 3]) -> float32[N, 3]",
    )

    def compose(self, emit: Emit, input: Part, mat1: Part, mat2: Part) -> Part:
        _require_one_dtype(self.name, input, mat1=mat1, mat2=mat2)
        require_rank(type_of_part(mat1), (2,), self.name, "mat1")
        require_rank(type_of_part(mat2), (2,), self.name, "mat2")
        return self.added(emit, input, emit(Mm(), mat1, mat2))


class Baddbmm(_Added):
    """``beta * input + alpha * (batch1 @ batch2)``, for batches of matrices."""

    torch = "torch.baddbmm"
    examples = (
        "baddbmm(float32[N, 4, 3], float32[N, 4, S], float32[N, S, 3]) -> float32[N, 4, 3]",
        "baddbmm(alpha = 0.125)(float16[1, 1, 3], float16[N, 4, 8], float16[N, 8, 3]) -> float16[N, 4, 3]",
    )

    def compose(self, emit: Emit, input: Part, batch1: Part, batch2: Part) -> Part:
        _require_one_dtype(self.name, input, batch1=batch1, batch2=batch2)
        return self.added(emit, input, _batches(emit, batch1, batch2, self.name))


def _batches(emit: Emit, batch1: Part, batch2: Part, what: str) -> Part:
    require_rank(type_of_part(batch1), (3,), what, "batch1")
    require_rank(type_of_part(batch2), (3,), what, "batch2")
    return emit(Bmm(), batch1, batch2)


class Addbmm(_Added):
    """``beta * input + alpha * sum(batch1 @ batch2)``, the products of all matrices of a batch added up."""

    torch = "torch.addbmm"
    examples = (
        "addbmm(float32[4, 3], float32[N, 4, 8], float32[N, 8, 3]) -> float32[4, 3]",
        "addbmm(beta = 2, alpha = 0.5)(float32[3], float32[N, 4, S], float32[N, S, 3]) -> float32[4, 3]",
    )

    def compose(self, emit: Emit, input: Part, batch1: Part, batch2: Part) -> Part:
        _require_one_dtype(self.name, input, batch1=batch1, batch2=batch2)
        _, rows, columns = _batches(emit, batch1, batch2, self.name).shape
        inner = batch1.shape[0] * batch1.shape[2]
        left = emit(Reshape((rows, inner)), emit(Permute((1, 0, 2)), batch1))
        return self.added(emit, input, emit(Mm(), left, emit(Reshape((inner, columns)), batch2)))


class Addmv(_Added):
    """``beta * input + alpha * (mat @ vec)``."""

    torch = "torch.addmv"
    examples = (
        "addmv(float32[N], float32[N, 8], float32[8]) -> float32[N]",
        "addmv(beta = 3)(float32[], float32[N, 8], float32[8]) -> float32[N]",
    )

    def compose(self, emit: Emit, input: Part, mat: Part, vec: Part) -> Part:
        _require_one_dtype(self.name, input, mat=mat, vec=vec)
        return self.added(emit, input, emit(Mv(), mat, vec))


class Addr(_Added):
    """``beta * input`` and ``alpha`` times each product of an element of one vector with one of another."""

    torch = "torch.addr"
    examples = (
        "addr(float32[N, 3], float32[N], float32[3]) -> float32[N, 3]",
        "addr(beta = 0, alpha = 2)(float32[3], float32[N], float32[3]) -> float32[N, 3]",
        "addr(int64[S, 3], int64[S], int64[3]) -> int64[S, 3]",
    )

    def compose(self, emit: Emit, input: Part, vec1: Part, vec2: Part) -> Part:
        _require_one_dtype(self.name, input, vec1=vec1, vec2=vec2)
        require_rank(type_of_part(vec1), (1,), self.name, "vec1")
        require_rank(type_of_part(vec2), (1,), self.name, "vec2")
        if input.dtype.is_bool:
            raise Refused("addr does not take bool tensors", "input")
        return self.added(emit, input, emit(Mul(), emit(Unsqueeze(1), vec1), vec2))


class Addcdiv(Composed):
    """``input + value * tensor1 / tensor2``."""

    torch = "torch.addcdiv"
    examples = (
        "addcdiv(float32[N, 8], float32[8], float32[N, 1]) -> float32[N, 8]",
        "addcdiv(value = 0.5)(float16[8], float16[N, 8], float16[]) -> float16[N, 8]",
    )

    value: int | float = 1

    def compose(self, emit: Emit, input: Part, tensor1: Part, tensor2: Part) -> Part:
        dtype = promote(*map(type_of_part, (input, tensor1, tensor2)))
        if not promote(type_of_part(tensor1), type_of_part(tensor2)).is_floating:
            raise Refused("addcdiv does not divide integers, as in PyTorch", "tensor1", "cast one to float32")
        require_factor(self.value, dtype, "value")
        scaled = tensor1 if self.value == 1 else emit(Mul(), tensor1, self.value)
        return emit(Add(), input, emit(Div(), scaled, tensor2))


class Kron(Composed):
    """Every element of ``input`` times the whole of ``other``, as blocks of one tensor."""

    torch = "torch.kron"
    examples = (
        "kron(float32[N, 3], float32[2, 4]) -> float32[2 * N, 12]",
        "kron(int64[2], int64[S, 3]) -> int64[S, 6]",
        "kron(float16[N, 2, 2], float16[]) -> float16[N, 2, 2]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        rank = max(input.rank, other.rank)
        if rank > 4:
            raise Refused(f"kron needs tensors of rank 4 at most, not {rank}", "input")
        left = (*(1 for _ in range(rank - input.rank)), *input.shape)
        right = (*(1 for _ in range(rank - other.rank)), *other.shape)
        outside = emit(Reshape(tuple(chain.from_iterable((size, 1) for size in left))), input)
        inside = emit(Reshape(tuple(chain.from_iterable((1, size) for size in right))), other)
        shape = tuple(a * b for a, b in zip(left, right, strict=True))
        return emit(Reshape(shape), emit(Mul(), outside, inside))


class Cross(Composed):
    """The vector at right angles to two vectors of 3 elements along ``dim``, by default the first such."""

    torch = "torch.cross"
    examples = (
        "cross(dim = -1)(float32[N, 3], float32[N, 3]) -> float32[N, 3]",
        "cross(float32[3, S], float32[3, 1]) -> float32[3, S]",
        "cross(dim = 1)(float16[N, 3, 2], float16[1, 3, 2]) -> float16[N, 3, 2]",
    )

    dim: int | None = None

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        _require_one_dtype(self.name, input, other=other)
        if input.rank != other.rank:
            raise Refused(f"cross of tensors of ranks {input.rank} and {other.rank}", "other")
        dim = self._dim(input)
        for name, tensor in (("input", input), ("other", other)):
            if tensor.shape[dim] != 3:
                text = f"cross needs vectors of 3 elements, not {tensor.shape[dim]}"
                raise Refused(f"{text} along dimension {dim}", name)
        ahead, behind = Roll(-1, dim), Roll(1, dim)
        first = emit(Mul(), emit(ahead, input), emit(behind, other))
        return emit(Sub(), first, emit(Mul(), emit(behind, input), emit(ahead, other)))

    def _dim(self, input: Part) -> int:
        if self.dim is not None and input.rank:
            return wrap_dim(self.dim, input.rank)
        found = next((axis for axis, size in enumerate(input.shape) if size == 3), None)
        if found is None:
            raise Refused(f"cross needs a dimension of 3 elements, {type_of_part(input)} has none", "input")
        return found


class Trace(Composed):
    """The sum of the diagonal of a matrix; of integers in int64."""

    torch = "torch.trace"
    examples = ("trace(float32[4, 6]) -> float32[]", "trace(int32[N, 3]) -> int64[]")

    def compose(self, emit: Emit, input: Part) -> Part:
        require_rank(type_of_part(input), (2,), self.name, "input")
        return emit(Sum(0), emit(Diagonal(), input))

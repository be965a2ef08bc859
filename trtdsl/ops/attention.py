"""Scaled dot-product attention, and the causal mask that ends at the last key.

In: queries ``[..., heads, L, E]``, keys ``[..., heads, S, E]`` and values ``[..., heads, S, Ev]``.  Out: for
each query the values' mean, weighted by the softmax of its products with the keys.  TensorRT's attention
layer does it where a release has one and its limits hold (NvInfer.h of 11), elsewhere products and a softmax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from trtdsl.ops.arithmetic_layers import less_equal, negate, scaled
from trtdsl.ops.base import Function, static
from trtdsl.ops.reduction import AnyTrue
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, require_at_most, require_floating, same_dim
from trtdsl.types import Dim, DType, TensorType, bounds, product
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor

_WHAT = "scaled_dot_product_attention"
_QUERY, _KEY, _VALUE = "query", "key", "value"


class ScaledDotProductAttention(Function):
    """``softmax(query @ key.T * scale + attn_mask) @ value``; ``scale`` is by default ``1 / sqrt(E)``.

    A mask of bools is true where a query attends to a key, any other is added. A query that attends to no key
    gets zeros. ``is_causal`` lets query ``i`` attend to the keys up to ``i``; for queries that are the last
    of the keys, as when decoding with a cache, take ``attn_mask = causal_lower_right(L, S)``.
    """

    torch = "torch.nn.functional.scaled_dot_product_attention"
    examples = (
        "scaled_dot_product_attention()(float32[N, 4, S, 8], float32[N, 4, S, 8], float32[N, 4, S, 8])"
        " -> float32[N, 4, S, 8]",
        "scaled_dot_product_attention(is_causal = true)(float32[N, 4, S, 8], float32[N, 4, H, 8],"
        " float32[N, 4, H, 6]) -> float32[N, 4, S, 6]",
        "scaled_dot_product_attention(is_causal = true)(float16[N, 4, S, 64], float16[N, 4, S, 64],"
        " float16[N, 4, S, 64]) -> float16[N, 4, S, 64]",
        "scaled_dot_product_attention()(float32[N, 4, S, 8], float32[N, 4, H, 8], float32[N, 4, H, 8],"
        " bool[N, 1, S, H]) -> float32[N, 4, S, 8]",
        "scaled_dot_product_attention(scale = 0.25, enable_gqa = true)(float16[N, 6, S, 8],"
        " float16[N, 2, H, 8], float16[N, 2, H, 8], float16[6, S, H]) -> float16[N, 6, S, 8]",
        "scaled_dot_product_attention(enable_gqa = true)(float32[N, 6, S, 8], float32[N, 3, H, 8],"
        " float32[N, 2, H, 5], bool[N, 6, 1, H]) -> float32[N, 6, S, 5]",
        "scaled_dot_product_attention()(bfloat16[2, S, 8], bfloat16[2, H, 8], bfloat16[2, H, 8], bool[S, H])"
        " -> bfloat16[2, S, 8]",
        "scaled_dot_product_attention()(float32[N, S, 8], float32[N, 7, 8], float32[N, 7, 8], float32[1, 7])"
        " -> float32[N, S, 8]",
        "scaled_dot_product_attention()(float32[N, 2, 3, S, 8], float32[N, 2, 3, H, 8],"
        " float32[N, 2, 3, H, 8], bool[N, 2, 1, S, H]) -> float32[N, 2, 3, S, 8]",
        "scaled_dot_product_attention(scale = 1.0)(float32[S, 8], float32[H, 8], float32[H, 8])"
        " -> float32[S, 8]",
    )

    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def infer(
        self, query: TensorType, key: TensorType, value: TensorType, attn_mask: TensorType | None = None
    ) -> TensorType:
        self._require_operands(query, key, value)
        self.factor(query)
        if self.dropout_p != 0:
            raise Refused("inference drops nothing: `dropout_p` must be 0", "dropout_p")
        heads = self._shared_heads(query, key, value)
        scores = broadcast_shapes((*query.shape[:-2], 1, 1), (*heads[0], 1, 1))[:-2]
        if attn_mask is not None:
            self._require_mask(attn_mask, query.dtype, (*scores, query.shape[-2], key.shape[-2]))
        batch = broadcast_shapes((*scores, 1, 1), (*heads[1], 1, 1))[:-2]
        return query.with_shape((*batch, query.shape[-2], value.shape[-1]))

    def _require_operands(self, query: TensorType, key: TensorType, value: TensorType) -> None:
        for name, type in ((_QUERY, query), (_KEY, key), (_VALUE, value)):
            require_floating(type, _WHAT, name)
            if type.dtype is DType.FLOAT8:
                raise Refused(
                    f"no operator computes in {type.dtype}", name, help="dequantize or cast it first"
                )
            if type.dtype is not query.dtype:
                raise Refused(f"{_WHAT} needs one dtype, but has {query.dtype} and {type.dtype}", name)
            if type.rank < (3 if self.enable_gqa else 2):
                least = "3, the heads among its dimensions," if self.enable_gqa else "2"
                raise Refused(f"{_WHAT} needs a tensor of rank {least} or more, not {type}", name)
        if not same_dim(query.shape[-1], key.shape[-1], "the width of queries and keys", _KEY):
            raise Refused(f"queries {query} and keys {key} differ in their last dimension", _KEY)
        if not same_dim(key.shape[-2], value.shape[-2], "the number of keys and values", _VALUE):
            raise Refused(f"there are {key.shape[-2]} keys and {value.shape[-2]} values", _VALUE)
        require_at_most(1, key.shape[-2], f"{_WHAT} needs a key", _KEY)

    def factor(self, query: TensorType) -> float:
        """The number by which the scores are multiplied."""
        if self.scale is not None:
            return self.scale
        width = static(query.shape[-1], "the width of a query, unless `scale` is given,", _QUERY)
        return 1 / math.sqrt(width) if width else 1.0

    def _shared_heads(
        self, query: TensorType, key: TensorType, value: TensorType
    ) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
        """The leading dimensions of keys and of values, once each head serves its share of the queries'."""
        leading = (key.shape[:-2], value.shape[:-2])
        if not self.enable_gqa:
            return leading
        for name, type in ((_KEY, key), (_VALUE, value)):
            _share(query.shape[-3], type.shape[-3], name)
        return (*leading[0][:-1], query.shape[-3]), (*leading[1][:-1], query.shape[-3])

    def _require_mask(self, mask: TensorType, dtype: DType, scores: Sequence[Dim]) -> None:
        if self.is_causal:
            help = "say both in one mask: `mask and causal`"
            raise Refused("with `is_causal = true` there is no `attn_mask`", "attn_mask", help)
        if mask.dtype not in (DType.BOOL, dtype, DType.FLOAT32):
            raise Refused(f"a mask of {dtype} queries must be bool or {dtype}, not {mask.dtype}", "attn_mask")
        shape = f"[{', '.join(map(str, scores))}]"
        pairs = zip(reversed(mask.shape), reversed(scores), strict=False)
        what = f"whether the mask {mask} broadcasts to {shape}"
        if mask.rank > len(scores) or not all(m == 1 or same_dim(m, s, what, "attn_mask") for m, s in pairs):
            raise Refused(f"the mask {mask} does not broadcast to {shape}", "attn_mask")

    def lower(
        self, net: Network, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        query, key = apart(net, query), apart(net, key)
        query = scaled_query(net, query, self.factor(query.type), query)
        mask = None
        if attn_mask is not None:
            # Of all layers of a model mostly the same.
            given, dtype = attn_mask, query.dtype
            mask = net.once(("mask", given, dtype), lambda: _mask(net, given, dtype))
        heads = _heads_of_layer(net, query.shape, key.shape, value.shape, mask)
        if heads is None:
            return _composed(net, query, key, value, mask, self.is_causal)
        y = _by_layer(net, [query, key, value], mask, self.is_causal, heads)
        if mask is None or mask.empty is None:
            return y
        return net.select(mask.empty, net.scalar(0, y), y)

    def reference(self, torch: Any, query: Any, key: Any, value: Any, attn_mask: Any = None) -> Any:
        # PyTorch's kernels take no masks of rank 1, and its releases before 2.5 know no groups and give NaN
        # where a query attends to no key.
        mask = None if attn_mask is None else torch.atleast_2d(attn_mask)
        grouped = {"enable_gqa": True} if self.enable_gqa else {}
        result = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, mask, self.dropout_p, self.is_causal, scale=self.scale, **grouped
        )
        if mask is None or query.device.type == "meta":
            return result
        allowed = mask if mask.dtype == torch.bool else mask.to(query.dtype) != -math.inf
        return torch.where(allowed.any(-1, keepdim=True), result, torch.zeros_like(result))


def _share(queries: Dim, served: Dim, about: str) -> int:
    """How many heads of queries each head of keys or values serves."""
    if queries == served:
        return 1
    ours = static(queries, "the number of heads of the queries, unless the keys have as many,", _QUERY)
    theirs = static(served, f"the number of heads of the {about}, unless the queries have as many,", about)
    if theirs < 1 or ours % theirs:
        raise Refused(f"{theirs} heads of {about}s do not divide the {ours} of the queries", about)
    return ours // theirs


# --- The mask ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mask:
    """A mask of bools or of the queries' dtype, and the rows of it that allow nothing, unless none does."""

    tensor: Tensor
    empty: Tensor | None


def _mask(net: Network, mask: Tensor, dtype: DType) -> _Mask:
    """The mask and its empty rows."""
    hides_nothing = mask in net.sums_of_products and net.habits.fuses_unguarded_biases
    mask = net.to_rank(mask, max(2, mask.rank))
    if mask.dtype is not DType.BOOL:
        mask = net.cast(mask, dtype)
    if hides_nothing:
        return _Mask(mask, None)
    if mask.array is not None:
        values = mask.array
        allowed = values if mask.dtype is DType.BOOL else values != -math.inf
        if allowed.any(-1).all():
            return _Mask(mask, None)
    axis = mask.rank - 1
    if mask.dtype is not DType.BOOL:
        highest = net.reduce("MAX", mask, (axis,), keepdim=True)
        return _Mask(mask, net.elementwise("EQUAL", highest, net.scalar(-math.inf, highest)))
    return _Mask(mask, negate(net, net.apply(AnyTrue(dim=axis, keepdim=True), mask)))


def _positions(net: Network, count: Dim) -> Tensor:
    """``0, 1, 2, …`` up to a count that may be dynamic."""
    _, largest = bounds(count)
    return net.slice(net.constant(np.arange(largest, dtype=np.int32)), (0,), (count,))


def _causal(net: Network, queries: Dim, keys: Dim) -> Tensor:
    """True where the key's number is at most the query's."""
    column = net.reshape(_positions(net, queries), (queries, 1))
    return less_equal(net, net.reshape(_positions(net, keys), (1, keys)), column)


class CausalLowerRight(Function):
    """The mask ``[L, S]`` that lets the last query attend to all keys, the one before to all but one, and so
    on. Where there are more queries than keys, the first attend to none.
    """

    name = "causal_lower_right"
    examples = (
        "causal_lower_right(3, 5)() -> bool[3, 5]",
        "causal_lower_right(S, S + 4)() -> bool[S, S + 4]",
        "causal_lower_right(H, S)() -> bool[H, S]",
    )
    variadic = "size"

    size: tuple[Dim, ...]

    def infer(self) -> TensorType:
        if len(self.size) != 2:
            raise Refused("causal_lower_right takes the number of queries and that of keys", "size")
        if any(bounds(size)[0] < 0 for size in self.size):
            raise Refused("a size cannot be negative", "size")
        return TensorType(DType.BOOL, self.size)

    def lower(self, net: Network) -> Tensor:
        queries, keys = self.size
        late = net.cast(net.shape_tensor((keys - queries,)), DType.INT32)
        column = net.elementwise("SUM", _positions(net, queries), late)
        row = net.reshape(_positions(net, keys), (1, keys))
        return less_equal(net, row, net.reshape(column, (queries, 1)))

    def fold(self) -> Array:
        queries, keys = cast("tuple[int, int]", self.size)
        return np.tri(queries, keys, keys - queries, dtype=np.bool_)

    def reference(self, torch: Any) -> Any:
        queries, keys = cast("tuple[int, int]", self.size)
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


# --- The layer --------------------------------------------------------------------------------------------


def _heads_of_layer(
    net: Network, query: Sequence[Dim], key: Sequence[Dim], value: Sequence[Dim], mask: _Mask | None
) -> Sequence[tuple[Dim, Dim]] | None:
    """Batch and heads of queries, keys and values as TensorRT's layer takes them, None where it cannot.

    It takes one shape of keys and values, the batch of all three alike and numbers of heads that are known.
    """
    alike = tuple(key) == tuple(value) and tuple(query[:-3]) == tuple(key[:-3]) and len(query) == len(key)
    mask_shape = mask.tensor.shape if mask else ()
    few = len(query) > 4 and len(mask_shape) > 3
    if not _has_layer(net) or not alike or few or query[-1] != value[-1]:
        return None
    if len(query) == 3 and query[0] == key[0] and not isinstance(query[0], int) and len(mask_shape) < 3:
        return [(query[0], 1)] * 3
    found = [(product(shape[:-3]), (1, *shape)[-3]) for shape in (query, key, value)]
    (_, queries), (_, keys), _ = found
    if not isinstance(queries, int) or not isinstance(keys, int) or keys < 1 or queries % keys:
        return None
    return found


_LAYERS = ("attention_v2", "attention")


def _has_layer(net: Network) -> bool:
    """Whether the layer may stand here.

    TensorRT-RTX 1.7.1 cannot build it in loops ("Called with unknown input tensor or sequence name"), and
    beside a loop of a dynamic number of iterations, wherever that stands, it ends the process.
    """
    return not net.in_body and not net.loops_vary and any(map(net.has, _LAYERS))


def apart(net: Network, x: Tensor) -> Tensor:
    """Queries or keys that TensorRT's layer can take, whatever else they are used for.

    TensorRT-RTX 1.7.1 moves a product with a single number into the attention, and fails to build, or ends
    the process, where that product has another use.
    """
    moved = x in net.multiples and _has_layer(net)
    return net.elementwise("SUM", x, net.scalar(0, x)) if moved else x


def scaled_query(net: Network, query: Tensor, factor: float, origin: Tensor) -> Tensor:
    """The query times a number, as no other attention of the same ``origin`` has it (see :func:`apart`)."""
    origin = net.twins.get(origin, origin)
    is_first, width = origin not in net.attending, query.shape[-1]
    net.attending.add(origin)
    if factor == 1:
        return query
    if is_first or not isinstance(width, int):
        y = scaled(net, query, factor)
    else:
        y = net.elementwise("PROD", query, net.filled((*(1,) * (query.rank - 1), width), factor, query.dtype))
    net.multiples.discard(y)
    return y


def _by_layer(
    net: Network, parts: Sequence[Tensor], mask: _Mask | None, causal: bool, heads: Sequence[tuple[Dim, Dim]]
) -> Tensor:
    """TensorRT's layer, which scales nothing."""
    query, key, value = (net.reshape(x, (*pair, *x.shape[-2:])) for x, pair in zip(parts, heads, strict=True))
    properties: dict[str, Any] = {}
    if mask is not None:
        properties["mask"] = net.once(("mask of layers", mask.tensor), lambda: _mask_of_layer(net, mask))
    if net.has("attention_v2"):
        kind, layer = net.enum(f"CausalMaskKind.{'UPPER_LEFT' if causal else 'NONE'}"), "attention_v2"
    else:
        kind, layer = causal, "attention"
    softmax = net.enum("AttentionNormalizationOp.SOFTMAX")
    # Without a kernel of its own, as in float32 and for unusual widths, it is made of other layers.
    y = net.add(layer, query, key, value, softmax, kind, result=query.type, decomposable=True, **properties)
    return net.reshape(y, parts[0].shape)


def _mask_of_layer(net: Network, mask: _Mask) -> Tensor:
    """A mask of rank 4, true everywhere in rows that allow nothing.

    What the layer computes where it may attend to nothing is not stated.
    """
    tensor = mask.tensor
    if mask.empty is not None and tensor.dtype is DType.BOOL:
        tensor = net.elementwise("OR", tensor, mask.empty)
    return net.to_rank(tensor, 4)


# --- Products and a softmax -------------------------------------------------------------------------------


def in_parts(net: Network, mask: Tensor) -> bool:
    """Whether a mask is one for which TensorRT has a kernel for each part of the attention.

    In 8.5 that is so for bools, of which the numbers that are added are made beside it. Where all queries
    have the same ones, as with padding, the parts below are the fastest.
    """
    few = mask.dtype is DType.BOOL and mask.array is None and (mask.rank < 2 or mask.shape[-2] == 1)
    return few and not net.habits.fuses_masks


def _parts(net: Network, query: Tensor, key: Tensor, value: Tensor, mask: _Mask) -> Tensor:
    """Where keys are turned by a layer of their own, the first product reads them as they lie; the zeros of
    rows that allow nothing are chosen in the kernel of the softmax.
    """
    turned = net.transpose(key, (*range(key.rank - 2), key.rank - 1, key.rank - 2))
    scores = _masked(net, _product(net, query, turned, transpose=False), mask.tensor)
    weights = net.softmax(scores, scores.rank - 1)
    if mask.empty is not None:
        weights = net.select(net.to_rank(mask.empty, weights.rank), net.scalar(0, weights), weights)
    return _product(net, weights, value, transpose=False)


def _composed(
    net: Network, query: Tensor, key: Tensor, value: Tensor, mask: _Mask | None, causal: bool
) -> Tensor:
    """TensorRT 8.5 has one kernel for it where all sizes are known, if a sum is all that stands between the
    products, and nothing between the second one and the permutation that joins the heads.
    """
    if mask is not None and in_parts(net, mask.tensor):
        return _parts(net, query, key, value, mask)
    scores = _product(net, query, key, transpose=True)
    tensor = mask.tensor if mask else None
    if causal:
        size = query.shape[-2], key.shape[-2]
        tensor = net.once(("causal", size), lambda: _causal(net, *size))
    if tensor is not None:
        scores = _masked(net, scores, tensor)
    y = _product(net, net.softmax(scores, scores.rank - 1), value, transpose=False)
    return y if mask is None or mask.empty is None else _without(net, y, mask.empty)


def _masked(net: Network, scores: Tensor, mask: Tensor) -> Tensor:
    added = _added_once(net, mask, scores.dtype)
    if not net.habits.equates_sizes:
        added = _as_long(net, added, scores)
    return net.elementwise("SUM", scores, added)


def _as_long(net: Network, mask: Tensor, scores: Tensor) -> Tensor:
    """The mask, cut to the sizes that the scores have, which it has already.

    Of a dimension that one input has like another TensorRT knows where its profile leaves one size; not of a
    sum, such as that of the tokens in a cache and the new ones.
    """
    if all(isinstance(dim, int) or len(dim.terms) < 2 for dim in mask.shape):
        return mask
    sizes = net.add("shape", scores, result=TensorType(DType.INT64, (scores.rank,)))
    own = np.array([dim if isinstance(dim, int) else 0 for dim in mask.shape], dtype=np.int64)
    sizes = net.slice(sizes, (scores.rank - mask.rank,), (mask.rank,))
    sizes = net.elementwise("PROD", sizes, net.constant((own == 0).astype(np.int64)))
    sizes = net.elementwise("SUM", sizes, net.constant(own))
    none = (0,) * mask.rank
    return net.add("slice", mask, none, none, (1,) * mask.rank, result=mask.type, inputs={2: sizes})


def _added_once(net: Network, mask: Tensor, dtype: DType) -> Tensor:
    return net.once(("added mask", mask, dtype), lambda: _added(net, mask, dtype))


def _added(net: Network, mask: Tensor, dtype: DType) -> Tensor:
    """What is added to the scores: of bools 0 where they allow, and minus infinity where not."""
    if mask.dtype is not DType.BOOL:
        return mask
    if mask.array is not None:
        return net.constant(np.where(mask.array, 0, -math.inf).astype(dtype.numpy))
    zero, infinity = (net.filled((1,) * mask.rank, number, dtype) for number in (0, -math.inf))
    return net.select(mask, zero, infinity)


def _without(net: Network, y: Tensor, empty: Tensor) -> Tensor:
    """Zeros in these rows, chosen behind the permutation that joins the heads, and that undone.

    TensorRT-RTX 1.7.1 cannot build a choice between permutations in a loop, where there is an attention layer
    outside ("does not have a producer").
    """
    rank = y.rank
    if net.in_body:
        return net.select(net.to_rank(empty, rank), net.scalar(0, y), y)
    order = (*range(rank - 3), rank - 2, rank - 3, rank - 1) if rank > 2 else (*range(rank),)
    turned, rows = net.transpose(y, order), net.transpose(net.to_rank(empty, rank), order)
    return net.transpose(net.select(rows, net.scalar(0, turned), turned), order)


def _product(net: Network, a: Tensor, b: Tensor, transpose: bool) -> Tensor:
    """The matrix product, each head of ``b`` with its share of the heads of ``a``, which are neighbours."""
    if a.rank < 3 or b.rank < 3 or 1 in (a.shape[-3], b.shape[-3]) or a.shape[-3] == b.shape[-3]:
        return net.matmul(a, b, transpose_b=transpose)
    share = _share(a.shape[-3], b.shape[-3], _KEY)
    rows = net.reshape(a, (*a.shape[:-3], b.shape[-3], share * a.shape[-2], a.shape[-1]))
    y = net.matmul(rows, b, transpose_b=transpose)
    return net.reshape(y, (*y.shape[:-3], a.shape[-3], a.shape[-2], y.shape[-1]))

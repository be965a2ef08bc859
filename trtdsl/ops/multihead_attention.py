"""``torch.nn.MultiheadAttention``: projections, attention in several heads, and a projection back.

In: queries, keys and values ``[L, N, E]``, ``[N, L, E]`` where ``batch_first``, or ``[L, E]``.  Out: what the
queries attend to, and the weights of the attention where ``need_weights`` asks for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.ops.arithmetic_layers import negate
from trtdsl.ops.attention import ScaledDotProductAttention, in_parts, scaled_query
from trtdsl.ops.base import Module, Types, static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, require_floating, require_rank, same_dim
from trtdsl.types import Dim, DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

_NAME = "MultiheadAttention"
_BOTH = ("key", "value")


class MultiheadAttention(Module):
    """Projects queries, keys and values, attends in ``num_heads`` heads and projects what they give together.

    The result is one tensor; with ``need_weights = true`` the attention's weights are the second, their mean
    over the heads unless ``average_attn_weights = false``. (PyTorch returns both by default. Weights that
    nobody reads would keep TensorRT from attention in one kernel.) Masks are true where a query may not
    attend to a key, or are added: ``key_padding_mask`` ``[N, S]``, ``attn_mask`` ``[L, S]`` or
    ``[N * num_heads, L, S]``.
    """

    torch = "torch.nn.MultiheadAttention"
    inferred = ("embed_dim", "kdim", "vdim")
    call_parameters = ("need_weights", "average_attn_weights", "is_causal")
    weight_shapes = {
        "in_proj_weight": "[3 * embed_dim, embed_dim]",
        "q_proj_weight": "[embed_dim, embed_dim]",
        "k_proj_weight": "[embed_dim, kdim]",
        "v_proj_weight": "[embed_dim, vdim]",
        "in_proj_bias": "[3 * embed_dim]",
        "bias_k": "[1, 1, embed_dim]",
        "bias_v": "[1, 1, embed_dim]",
        "out_proj_weight": "[embed_dim, embed_dim]",
        "out_proj_bias": "[embed_dim]",
    }
    keys = {"out_proj_weight": "out_proj.weight", "out_proj_bias": "out_proj.bias"}
    examples = (
        "MultiheadAttention(2)(float32[S, N, 8], float32[S, N, 8], float32[S, N, 8]) -> float32[S, N, 8]",
        "MultiheadAttention(4, bias = false, batch_first = true)(float32[N, S, 8], float32[N, H, 8],"
        " float32[N, H, 8]) -> float32[N, S, 8]",
        "MultiheadAttention(2, batch_first = true, need_weights = true)(float32[N, S, 8], float32[N, H, 6],"
        " float32[N, H, 5]) -> float32[N, S, 8], float32[N, S, H]",
        "MultiheadAttention(2, need_weights = true, average_attn_weights = false)(float32[S, 8],"
        " float32[H, 8], float32[H, 8], bool[H]) -> float32[S, 8], float32[2, S, H]",
        "MultiheadAttention(2, add_bias_kv = true, add_zero_attn = true, batch_first = true)("
        "float32[N, S, 8], float32[N, H, 8], float32[N, H, 8], bool[N, H], bool[S, H]) -> float32[N, S, 8]",
        "MultiheadAttention(2, dropout = 0.1)(float16[S, N, 8], float16[H, N, 8], float16[H, N, 8],"
        " float16[N, H], float16[2 * N, S, H]) -> float16[S, N, 8]",
        "MultiheadAttention(2)(float32[S, N, 8], float32[H, N, 8], float32[H, N, 8], none, bool[S, H])"
        " -> float32[S, N, 8]",
        "MultiheadAttention(2, is_causal = true)(float32[S, 8], float32[S, 8], float32[S, 8], float32[S],"
        " float32[S, S]) -> float32[S, 8]",
    )

    num_heads: int
    dropout: float = 0.0
    bias: bool = True
    add_bias_kv: bool = False
    add_zero_attn: bool = False
    batch_first: bool = False
    need_weights: bool = False
    average_attn_weights: bool = True
    is_causal: bool = False

    # Types

    def torch_arguments(
        self, query: TensorType, key: TensorType, value: TensorType, **masks: TensorType
    ) -> Mapping[str, object]:
        widths = (_width(query, "query"), _width(key, "key"), _width(value, "value"))
        return dict(zip(self.inferred, widths, strict=True))

    def weights(
        self, query: TensorType, key: TensorType, value: TensorType, **masks: TensorType
    ) -> dict[str, TensorType]:
        width, kdim, vdim = _width(query, "query"), _width(key, "key"), _width(value, "value")
        shapes: dict[str, tuple[int, ...]] = {}
        if kdim == width and vdim == width:
            shapes["in_proj_weight"] = (3 * width, width)
        else:
            shapes |= {"q_proj_weight": (width, width), "k_proj_weight": (width, kdim)}
            shapes["v_proj_weight"] = (width, vdim)
        shapes["out_proj_weight"] = (width, width)
        if self.bias:
            shapes |= {"in_proj_bias": (3 * width,), "out_proj_bias": (width,)}
        if self.add_bias_kv:
            shapes |= {"bias_k": (1, 1, width), "bias_v": (1, 1, width)}
        return {name: query.with_shape(shape) for name, shape in shapes.items()}

    def infer(
        self,
        query: TensorType,
        key: TensorType,
        value: TensorType,
        key_padding_mask: TensorType | None = None,
        attn_mask: TensorType | None = None,
    ) -> Types:
        if not 0 <= self.dropout <= 1:
            raise Refused(f"the probability must be between 0 and 1, not {self.dropout}", "dropout")
        self._require_operands(query, key, value)
        batch, length = self._sizes(query)
        _, keys = self._sizes(key)
        if key_padding_mask is not None:
            wanted = (keys,) if query.rank == 2 else (batch, keys)
            hint = "" if self.batch_first else "; a batch that comes first needs `batch_first = true`"
            _require_mask(key_padding_mask, query.dtype, [wanted], "key_padding_mask", hint)
        if attn_mask is not None:
            wanted = [(length, keys), (batch * self.num_heads, length, keys)]
            _require_mask(attn_mask, query.dtype, wanted, "attn_mask")
        elif self.is_causal:
            help = "`is_causal` only says of an `attn_mask` that it is the causal one"
            raise Refused("`is_causal = true` needs an `attn_mask`", "is_causal", help)
        if not self.need_weights:
            return query
        heads = () if self.average_attn_weights else (self.num_heads,)
        leading = () if query.rank == 2 else (batch,)
        return query, query.with_shape(
            (*leading, *heads, length, keys + self.add_bias_kv + self.add_zero_attn)
        )

    def _require_operands(self, query: TensorType, key: TensorType, value: TensorType) -> None:
        for name, type in (("query", query), ("key", key), ("value", value)):
            require_floating(type, _NAME, name)
            require_rank(type, (2, 3) if name == "query" else (query.rank,), _NAME, name)
            if type.dtype is not query.dtype:
                raise Refused(f"{_NAME} needs one dtype, but has {query.dtype} and {type.dtype}", name)
            _width(type, name)
        width = _width(query, "query")
        if self.num_heads < 1 or width % self.num_heads:
            raise Refused(f"a width of {width} does not divide into {self.num_heads} heads", "num_heads")
        batch, _ = self._sizes(query)
        (key_batch, keys), (value_batch, values) = self._sizes(key), self._sizes(value)
        what = f"{_NAME}'s batches and lengths"
        if not (same_dim(batch, key_batch, what, "key") and same_dim(batch, value_batch, what, "value")):
            raise Refused(f"the batches of {query}, {key} and {value} differ", "key")
        if not same_dim(keys, values, what, "value"):
            raise Refused(f"there are {keys} keys and {values} values", "value")
        require_at_most(1, keys, f"{_NAME} needs a key", "key")

    def _sizes(self, x: TensorType) -> tuple[Dim, Dim]:
        """The batch and the length of a sequence."""
        if x.rank == 2:
            return 1, x.shape[0]
        return (x.shape[0], x.shape[1]) if self.batch_first else (x.shape[1], x.shape[0])

    # Layers

    def lower(
        self,
        net: Network,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        in_proj_weight: Tensor | None = None,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        v_proj_weight: Tensor | None = None,
        in_proj_bias: Tensor | None = None,
        bias_k: Tensor | None = None,
        bias_v: Tensor | None = None,
        out_proj_weight: Tensor | None = None,
        out_proj_bias: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        assert out_proj_weight is not None
        width = _width(query.type, "query")
        factor = 1 / math.sqrt(width // self.num_heads)
        made = (in_proj_weight, q_proj_weight, in_proj_bias)
        if is_known := all(x is None or x.array is not None for x in made):
            in_proj_weight, q_proj_weight, in_proj_bias = (_scaled(net, x, width, factor) for x in made)
        separate = (q_proj_weight, k_proj_weight, v_proj_weight)
        batch, _ = self._sizes(query.type)
        given = (key_padding_mask, attn_mask)
        merged = net.once(
            ("masks", self.num_heads, self.add_bias_kv, self.add_zero_attn, query.dtype, batch, *given),
            lambda: self._merged(net, query.dtype, batch, *given),
        )
        apart = merged is not None and not self.need_weights and in_parts(net, merged)
        packed = in_proj_weight if query is key is value and not apart else None
        if packed is not None and not (self.add_bias_kv or self.add_zero_attn):
            q, k, v = self._of_one(net, query, packed, in_proj_bias)
        else:
            operands = (query, key, value)
            q, k, v = self._projected(net, operands, in_proj_weight, separate, in_proj_bias, apart)
            k, v = self._extended(net, k, bias_k), self._extended(net, v, bias_v)
            q, k, v = (self._split(net, x) for x in (q, k, v))
        weights = None
        if not is_known:
            q = scaled_query(net, q, factor, query)
        if self.need_weights:
            weights = self._weights(net, q, k, merged)
            y = net.matmul(weights, v)
        else:
            causal = self.is_causal and key_padding_mask is None
            op = ScaledDotProductAttention(is_causal=causal, scale=1.0)
            y = net.apply(op, q, k, v, *([] if causal or merged is None else [merged]))
        joined = net.shuffle(y, (0, 2, 1, 3), (batch, q.shape[2], query.shape[-1]), (0, 1, 2))
        y = self._outside(net, _affine(net, joined, out_proj_weight, out_proj_bias), query)
        return y if weights is None else (y, self._shown(net, weights, query))

    def _inside(self, net: Network, x: Tensor) -> Tensor:
        """``[N, L, E]``."""
        if x.rank == 2:
            return net.reshape(x, (1, *x.shape))
        return x if self.batch_first else net.transpose(x, (1, 0, 2))

    def _outside(self, net: Network, x: Tensor, like: Tensor) -> Tensor:
        if like.rank == 2:
            return net.reshape(x, like.shape)
        return x if self.batch_first else net.transpose(x, (1, 0, 2))

    def _of_one(self, net: Network, x: Tensor, packed: Tensor, bias: Tensor | None) -> list[Tensor]:
        """The heads of queries, keys and values of one tensor, by one product that is cut head by head."""
        heads = self._split(net, _affine(net, self._inside(net, x), packed, bias), 3)
        return [_part(net, heads, 1, i * self.num_heads, self.num_heads) for i in range(3)]

    def _projected(
        self,
        net: Network,
        operands: Sequence[Tensor],
        packed: Tensor | None,
        separate: Sequence[Tensor | None],
        bias: Tensor | None,
        apart: bool,
    ) -> list[Tensor]:
        """Queries, keys and values, each ``[N, L, E]``; ``apart`` by a product each."""
        query, key, value = operands
        width = _width(query.type, "query")
        if packed is not None and query is key is value and not apart:
            # One product of the checkpoint's matrix as it is.
            joint = _affine(net, self._inside(net, query), packed, bias)
            return [_part(net, joint, 2, i * width, width) for i in range(3)]
        found: list[Tensor] = []
        for index, (operand, own) in enumerate(zip(operands, separate, strict=True)):
            weight = _part(net, packed, 0, index * width, width) if packed is not None else own
            assert weight is not None
            part = None if bias is None else _part(net, bias, 0, index * width, width)
            found.append(_affine(net, self._inside(net, operand), weight, part))
        return found

    def _extended(self, net: Network, x: Tensor, learned: Tensor | None) -> Tensor:
        """Keys or values with one more that is learned, and one more that is zero."""
        batch, _, width = x.shape
        parts = [x]
        if learned is not None:
            parts.append(net.expand(learned, (batch, 1, width)))
        if self.add_zero_attn:
            parts.append(net.expand(net.filled((1, 1, 1), 0, x.dtype), (batch, 1, width)))
        return net.concat(parts, 1) if len(parts) > 1 else x

    def _merged(
        self, net: Network, dtype: DType, batch: Dim, padding: Tensor | None, mask: Tensor | None
    ) -> Tensor | None:
        """Both masks as scaled_dot_product_attention takes one: ``[N or 1, heads or 1, L or 1, S]``."""
        found: list[Tensor] = []
        if padding is not None:
            keys = padding.shape[-1]
            found.append(net.reshape(padding, (batch, 1, 1, keys)))
        if mask is not None:
            per_head = (batch, self.num_heads) if mask.rank == 3 else (1, 1)
            found.append(net.reshape(mask, (*per_head, *mask.shape[-2:])))
        found = [self._widened(net, x) for x in found]
        if all(x.dtype is DType.BOOL for x in found):
            forbidden = found[0] if found else None
            for other in found[1:]:
                forbidden = net.elementwise("OR", found[0], other)
            return None if forbidden is None else negate(net, forbidden)
        first, *rest = (self._added(net, x, dtype) for x in found)
        return net.elementwise("SUM", first, rest[0]) if rest else first

    def _widened(self, net: Network, mask: Tensor) -> Tensor:
        """The mask with a column, which forbids nothing, for each key that is added."""
        count = self.add_bias_kv + self.add_zero_attn
        if not count:
            return mask
        shape = (*mask.shape[:3], count)
        return net.concat([mask, net.expand(net.filled((1,) * 4, 0, mask.dtype), shape)], 3)

    def _added(self, net: Network, mask: Tensor, dtype: DType) -> Tensor:
        """A mask as a number that is added."""
        if mask.dtype is not DType.BOOL:
            return mask
        forbidden, allowed = (net.filled((1,) * 4, value, dtype) for value in (-math.inf, 0))
        return net.select(mask, forbidden, allowed)

    def _split(self, net: Network, x: Tensor, times: int = 1) -> Tensor:
        """``[N, heads, L, E // heads]``, of ``times`` as many heads."""
        batch, length, width = x.shape
        heads = times * self.num_heads
        return net.shuffle(x, (0, 1, 2), (batch, length, heads, width // heads), (0, 2, 1, 3))

    def _weights(self, net: Network, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        scores = net.matmul(q, k, transpose_b=True)
        if mask is not None and mask.dtype is DType.BOOL:
            scores = net.select(mask, scores, net.scalar(-math.inf, scores))
        elif mask is not None:
            scores = net.elementwise("SUM", scores, mask)
        return net.softmax(scores, 3)

    def _shown(self, net: Network, weights: Tensor, query: Tensor) -> Tensor:
        """The weights as the second result."""
        y = net.reduce("AVG", weights, (1,), keepdim=False) if self.average_attn_weights else weights
        return net.reshape(y, y.shape[1:]) if query.rank == 2 else y

    # PyTorch

    def reference(
        self,
        torch: Any,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        attn_mask: Any = None,
        **weights: Any,
    ) -> Any:
        # Not the module itself, whose shortcut for inference differs between releases.
        turned = self.batch_first and query.dim() == 3
        operands = [x.transpose(0, 1) if turned else x for x in (query, key, value)]
        names = ("in_proj_weight", "in_proj_bias", "bias_k", "bias_v")
        given = {name: weights.get(name) for name in names}
        separate = {name: weights[name] for name in weights if name[1:] == "_proj_weight"}
        y, found = torch.nn.functional.multi_head_attention_forward(
            *operands,
            query.shape[-1],
            self.num_heads,
            **given,
            add_zero_attn=self.add_zero_attn,
            dropout_p=self.dropout,
            out_proj_weight=weights["out_proj_weight"],
            out_proj_bias=weights.get("out_proj_bias"),
            training=False,
            key_padding_mask=key_padding_mask,
            need_weights=self.need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=bool(separate),
            **separate,
            average_attn_weights=self.average_attn_weights,
            is_causal=self.is_causal,
        )
        y = y.transpose(0, 1) if turned else y
        return (y, found) if self.need_weights else y


def _width(x: TensorType, about: str) -> int:
    return static(x.shape[-1], f"the last dimension of `{about}`, which {_NAME} maps,", about)


def _require_mask(
    mask: TensorType, dtype: DType, shapes: Sequence[tuple[Dim, ...]], about: str, hint: str = ""
) -> None:
    if mask.dtype not in (DType.BOOL, dtype):
        raise Refused(f"`{about}` must be bool or {dtype}, not {mask.dtype}", about)
    what = f"the shape of `{about}`"
    wanted = " or ".join(f"[{', '.join(map(str, shape))}]" for shape in shapes)
    for shape in shapes:
        if mask.rank == len(shape):
            pairs = zip(mask.shape, shape, strict=True)
            try:
                if all(same_dim(size, each, what, about) for size, each in pairs):
                    return
            except Refused as undecided:
                raise Refused(undecided.message, about, f"it must be {wanted}{hint}") from undecided
    raise Refused(f"`{about}` must have the shape {wanted}, not {mask}", about)


def _part(net: Network, x: Tensor, axis: int, start: int, count: int) -> Tensor:
    """``count`` elements from ``start`` along an axis; of a weight another constant."""
    if x.array is not None:
        return net.constant(x.array[(slice(None),) * axis + (slice(start, start + count),)])
    starts = tuple(start if each == axis else 0 for each in range(x.rank))
    return net.slice(x, starts, (*x.shape[:axis], count, *x.shape[axis + 1 :]))


def _scaled(net: Network, x: Tensor | None, rows: int, factor: float) -> Tensor | None:
    """A weight or bias whose first rows, which make the queries, are multiplied."""
    if x is None or x.array is None:
        return x
    array = x.array

    def multiplied() -> Tensor:
        first = (array[:rows].astype(np.float32) * factor).astype(array.dtype)
        return net.constant(np.concatenate([first, array[rows:]]))

    return net.once(("scaled for queries", x, rows, factor), multiplied)


def _affine(net: Network, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = net.matmul(x, weight, transpose_b=True)
    return product if bias is None else net.elementwise("SUM", product, bias)

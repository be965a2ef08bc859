"""Rotary position embedding, by TensorRT's name (Su et al., 2021, "RoFormer")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.ops.base import Function, static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_floating, require_rank, same_dim
from trtdsl.types import Dim, DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

_NAME = "rotary_embedding"


class RotaryEmbedding(Function):
    """Every pair ``a, b`` of a head's numbers becomes ``a * cos - b * sin, a * sin + b * cos``.

    ``input`` is ``[N, heads, S, width]``, the caches ``[N, S, width / 2]``, or ``[positions, width / 2]``
    with ``position_ids`` ``[N, S]``. A pair is number ``i`` of the first half and of the second, or two
    neighbours where ``interleaved``. Only ``rotary_embedding_dim`` numbers are turned if that is not 0.
    """

    name = _NAME
    examples = (
        "rotary_embedding()(float32[N, 2, S, 8], float32[N, S, 4], float32[N, S, 4]) -> float32[N, 2, S, 8]",
        "rotary_embedding(interleaved = true)(float16[N, 2, S, 64], float16[N, S, 32], float16[N, S, 32])"
        " -> float16[N, 2, S, 64]",
        "rotary_embedding(rotary_embedding_dim = 4)(float32[N, 2, S, 8], float32[16, 2], float32[16, 2],"
        " int64[N, S]) -> float32[N, 2, S, 8]",
        "rotary_embedding(interleaved = true, rotary_embedding_dim = 6)(float32[N, 1, S, 8],"
        " float32[N, S, 3], float32[N, S, 3]) -> float32[N, 1, S, 8]",
        "rotary_embedding()(bfloat16[2, 2, S, 16], bfloat16[9, 8], bfloat16[9, 8], int32[2, S])"
        " -> bfloat16[2, 2, S, 16]",
    )

    interleaved: bool = False
    rotary_embedding_dim: int = 0

    def infer(
        self,
        input: TensorType,
        cos_cache: TensorType,
        sin_cache: TensorType,
        position_ids: TensorType | None = None,
    ) -> TensorType:
        require_floating(input, _NAME, "input")
        require_rank(input, (4,), _NAME, "input")
        half = self._turned(input) // 2
        rows: Sequence[Dim] = (input.shape[0], input.shape[2])
        if position_ids is not None:
            if position_ids.dtype not in (DType.INT32, DType.INT64):
                raise Refused(f"positions are int32 or int64, not {position_ids.dtype}", "position_ids")
            self._require_shape(position_ids, rows, "position_ids")
            require_rank(cos_cache, (2,), f"{_NAME} with `position_ids`", "cos_cache")
            rows = cos_cache.shape[:1]
        for name, cache in (("cos_cache", cos_cache), ("sin_cache", sin_cache)):
            if cache.dtype is not input.dtype:
                raise Refused(f"`{name}` must be {input.dtype}, not {cache.dtype}", name, "cast it")
            self._require_shape(cache, (*rows, half), name)
        return input

    def _turned(self, input: TensorType) -> int:
        """How many numbers of a head are turned."""
        width = static(input.shape[3], "the width of a head", "input")
        turned = self.rotary_embedding_dim or width
        if turned % 2 or not 0 < turned <= width:
            message = f"of a head of {width} numbers an even count can be turned, not {turned}"
            raise Refused(message, "rotary_embedding_dim" if self.rotary_embedding_dim else "input")
        return turned

    def _require_shape(self, x: TensorType, shape: Sequence[Dim], about: str) -> None:
        pairs = zip(x.shape, shape, strict=False)
        if x.rank != len(shape) or not all(
            same_dim(a, b, f"the shape of `{about}`", about) for a, b in pairs
        ):
            raise Refused(f"`{about}` must have the shape [{', '.join(map(str, shape))}], not {x}", about)

    def lower(
        self,
        net: Network,
        input: Tensor,
        cos_cache: Tensor,
        sin_cache: Tensor,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        if net.has(_NAME):
            at = {} if position_ids is None else {3: position_ids}
            parts = (input, cos_cache, sin_cache)
            return net.add(
                _NAME, *parts, self.interleaved, self.rotary_embedding_dim, result=input.type, inputs=at
            )
        if position_ids is not None:
            cos_cache, sin_cache = (net.gather(x, position_ids, 0) for x in (cos_cache, sin_cache))
        return self._composed(net, input, cos_cache, sin_cache)

    def _composed(self, net: Network, x: Tensor, cos_cache: Tensor, sin_cache: Tensor) -> Tensor:
        batch, heads, length, width = x.shape
        turned = self._turned(x.type)
        part = x if turned == width else net.slice(x, (0,) * 4, (batch, heads, length, turned))
        cosine, sine = (self._shared_table(net, cache) for cache in (cos_cache, sin_cache))
        y = net.elementwise(
            "SUM",
            net.elementwise("PROD", part, cosine),
            net.elementwise("PROD", self._rotated(net, part), sine),
        )
        if turned == width:
            return y
        rest = (batch, heads, length, x.type.shape[3] - turned)
        return net.concat([y, net.slice(x, (0, 0, 0, turned), rest)], 3)

    def _shared_table(self, net: Network, cache: Tensor) -> Tensor:
        """One for all layers of a model, which turn by the same angles."""
        return net.once((_NAME, cache, self.interleaved), lambda: self._table(net, cache))

    def _table(self, net: Network, cache: Tensor) -> Tensor:
        """Each cosine or sine for both numbers of its pair: ``[N, 1, S, width]``."""
        batch, length, half = cache.shape
        if not self.interleaved:
            single = net.reshape(cache, (batch, 1, length, half))
            return net.concat([single, single], 3)
        single = net.reshape(cache, (batch, length, half, 1))
        return net.reshape(net.concat([single, single], 3), (batch, 1, length, 2 * half))

    def _rotated(self, net: Network, x: Tensor) -> Tensor:
        """The second number of each pair, negated, in the place of the first, and the first in its place."""
        half = self._turned(x.type) // 2
        second, step = (1, 2) if self.interleaved else (half, 1)
        shape = (*x.shape[:3], half)
        a, b = (net.slice(x, (0, 0, 0, start), shape, (1, 1, 1, step)) for start in (0, second))
        negative = net.unary("NEG", b)
        if not self.interleaved:
            return net.concat([negative, a], 3)
        pairs = net.concat([net.reshape(each, (*shape, 1)) for each in (negative, a)], 4)
        return net.reshape(pairs, x.shape)

    def reference(
        self, torch: Any, input: Any, cos_cache: Any, sin_cache: Any, position_ids: Any = None
    ) -> Any:
        if position_ids is not None:
            cos_cache, sin_cache = cos_cache[position_ids], sin_cache[position_ids]
        cosine, sine = cos_cache.unsqueeze(1), sin_cache.unsqueeze(1)
        turned = 2 * cosine.shape[-1]
        x, rest = input[..., :turned], input[..., turned:]
        if self.interleaved:
            a, b = x[..., 0::2], x[..., 1::2]
            y = torch.stack([a * cosine - b * sine, b * cosine + a * sine], -1).flatten(-2)
        else:
            a, b = x.chunk(2, -1)
            y = torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)
        return torch.cat([y, rest], -1)

"""The update of a cache of keys or values in place, by TensorRT's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trtdsl.ops.base import Function, static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, require_floating, require_rank, same_dim
from trtdsl.types import DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

_NAME = "kv_cache_update"


class KVCacheUpdate(Function):
    """The cache ``[N, heads, size, width]`` with ``update`` ``[N, heads, S, width]`` written into it, that of
    sequence ``i`` from the place ``write_indices[i]`` on; what lies outside of the cache is not written.

    It happens in place: the cache is an input of the model, the result an output that lies where the cache
    does, and nothing is copied. TensorRT has it from 10.15 on; elsewhere `cat` the old keys and the new ones.
    """

    name = _NAME
    in_place = ("cache",)
    examples = (
        "kv_cache_update()(float32[N, 2, 16, 8], float32[N, 2, S, 8], int32[N]) -> float32[N, 2, 16, 8]",
        "kv_cache_update()(float16[N, 2, 64, 64], float16[N, 2, 1, 64], int32[N]) -> float16[N, 2, 64, 64]",
        "kv_cache_update()(bfloat16[2, 4, 32, 16], bfloat16[2, 4, 3, 16], int32[2])"
        " -> bfloat16[2, 4, 32, 16]",
    )

    def infer(self, cache: TensorType, update: TensorType, write_indices: TensorType) -> TensorType:
        require_floating(cache, _NAME, "cache")
        require_rank(cache, (4,), _NAME, "cache")
        require_rank(update, (4,), _NAME, "update")
        if update.dtype is not cache.dtype:
            raise Refused(f"a cache of {cache.dtype} cannot take {update.dtype}", "update", "cast the update")
        static(cache.shape[2], "the length of the cache", "cache")
        for axis in (0, 1, 3):
            what = f"dimension {axis} of cache and update"
            if not same_dim(cache.shape[axis], update.shape[axis], what, "update"):
                raise Refused(f"{cache} and {update} differ in dimension {axis}", "update")
        require_at_most(update.shape[2], cache.shape[2], f"{update} does not fit into {cache}", "update")
        wanted = TensorType(DType.INT32, (cache.shape[0],))
        if write_indices.dtype is not DType.INT32:
            help = "cast them: `to(…, int32)`"
            raise Refused(f"`write_indices` must be int32, not {write_indices.dtype}", "write_indices", help)
        what = "the number of `write_indices`"
        if write_indices.rank != 1 or not same_dim(write_indices.shape[0], cache.shape[0], what):
            raise Refused(f"`write_indices` must be {wanted}, not {write_indices}", "write_indices")
        return cache

    def lower(self, net: Network, cache: Tensor, update: Tensor, write_indices: Tensor) -> Tensor:
        if not net.has(_NAME):
            help = "use tensorrt_rtx or tensorrt 11, or `cat` the old keys and the new ones"
            raise Refused("no cache is updated in place before TensorRT 10.15", help=help)
        return net.add(_NAME, cache, update, write_indices, net.enum("KVCacheMode.LINEAR"), result=cache.type)

    def reference(self, torch: Any, cache: Any, update: Any, write_indices: Any) -> Any:
        result = cache.clone()
        if cache.device.type == "meta":
            return result
        for sequence, first in enumerate(write_indices.tolist()):
            low, high = max(first, 0), min(first + update.shape[2], cache.shape[2])
            if low < high:
                result[sequence, :, low:high] = update[sequence, :, low - first : high - first]
        return result

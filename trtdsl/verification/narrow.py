"""What a model loses that computes in float16 or bfloat16: overflow, and what vanishes.

In: a graph of narrow inputs and weights that agrees with a module in a wide type.  Out: what else its outputs
become where every layer is rounded as TensorRT rounds it: NaN and infinity are a difference, a large error
is a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from trtdsl.types import DType
from trtdsl.verification.result import Difference, measure
from trtdsl.verification.setting import Computed, compute
from trtdsl.verification.tolerances import ENGINE_TOLERANCES, ROUNDED_TOLERANCES


def narrow_type(computed: Computed) -> DType | None:
    """The coarsest type that the graph computes in and was kept wide; None where it rounded all itself."""
    values = [v for node in computed.graph.nodes for v in node.results if v in computed.values]
    kept = {v.type.dtype for v in values if str(computed.values[v].dtype) != f"torch.{v.type.dtype}"}
    return max(kept & ROUNDED_TOLERANCES.keys(), key=ROUNDED_TOLERANCES.__getitem__, default=None)


def lost(computed: Computed, dtype: DType) -> Iterator[Difference | str]:
    """What the rounding of every layer makes of the outputs, one by one where it is too much."""
    native = compute(computed.graph, computed.setting, rounded=True)
    for output in computed.graph.outputs:
        found = measure(native.outputs[output.name], computed.outputs[output.name])
        if found is None or not output.value.type.dtype.is_floating:
            continue
        where = f"as TensorRT computes it in {dtype}, output `{output.name}`"
        if found.relative == float("inf") and found.max_abs == found.relative:
            yield Difference(f"{where} overflows: it is NaN or infinite where it is neither in float32", ())
        elif found.relative > ENGINE_TOLERANCES[str(dtype)]:
            yield f"{where} is {found.relative:.1e} from what it is in {computed.setting.dtype}"

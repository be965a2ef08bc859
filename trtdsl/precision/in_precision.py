"""A graph in the precision that is asked for, as a runtime takes it.

In: an optimised graph, a precision and the dialect of a runtime.  Out: the graph to lower, strongly typed or
left to TensorRT to mix, and what there is to say about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trtdsl.diagnostics import Diagnostic
from trtdsl.ir import Graph, Node, require_valid
from trtdsl.recipe import Recipe
from trtdsl.types import DType

if TYPE_CHECKING:
    from trtdsl.precision.batches import RecipeData
    from trtdsl.precision.lower_floats import LoweredFloats
    from trtdsl.precision.pipeline import Told
    from trtdsl.trt.dialect import Dialect


class InPrecision(NamedTuple):
    """The graph to lower, whether as a mixed network, and what was changed or stayed float32.

    ``wide`` are the nodes that a mixed network must compute in float32.
    """

    graph: Graph
    mixed: bool
    notes: tuple[Diagnostic, ...]
    floats: LoweredFloats | None = None
    wide: frozenset[Node] = frozenset()


def in_precision(
    graph: Graph,
    precision: DType,
    dialect: Dialect | None,
    recipe: Recipe | None = None,
    progress: Told | None = None,
    data: RecipeData | None = None,
) -> InPrecision:
    """The graph to lower for that precision, by the policy and what the recipe says beside.

    Without a dialect it is strongly typed. A weakly typed network stays as it is, but for its masks, which
    float16 must hold: TensorRT picks, layer by layer, what is faster in float16, of all that does not need
    float32.
    Raises :class:`DiagnosticError` for what the precision cannot hold.
    """
    from trtdsl.passes import convert_precision
    from trtdsl.precision.floating import NEEDED, POLICY
    from trtdsl.precision.lower_floats import lower_by_recipe

    if precision is DType.FLOAT32:
        return InPrecision(require_valid(convert_precision(precision)(graph)), False, ())
    mixed = precision is DType.FLOAT16 and dialect is not None and dialect.mixes_types
    wanted, rows = recipe or Recipe(precision=precision), NEEDED if mixed else POLICY
    lowered = lower_by_recipe(graph, precision, wanted, progress, data, rows)
    converted = require_valid(lowered.graph)
    if mixed:
        return InPrecision(lowered.wide, True, lowered.notes, wide=lowered.needed)
    return InPrecision(converted, False, lowered.notes, lowered)

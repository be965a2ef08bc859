"""The ranges of what a model's layers read, from data: what `trtdsl calibrate` writes.

In: a model, its checkpoint and a file of data.  Out: :class:`~trtdsl.precision.ranges.Ranges`, for a recipe's
`scales`::

    calibrate_file("cnn.trtnet", "cnn.pth", "samples.npz").write("cnn.ranges.json")
    Recipe(precision="int8", scales="cnn.ranges.json")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from trtdsl.compile import check_file, optimize_graph, require_values
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph
from trtdsl.options import CheckOptions, CompileOptions, WeightFiles
from trtdsl.recipe import Method, Recipe

if TYPE_CHECKING:
    from trtdsl.precision.ranges import Ranges


def calibrate_file(
    path: str | Path,
    weights: WeightFiles,
    calibrate: str | Path,
    *,
    method: Method = "max",
    percentile: float | None = None,
    samples: int | None = None,
    options: CompileOptions = CompileOptions(),
    check: CheckOptions = CheckOptions(),
    progress: Callable[[int, int], object] | None = None,
) -> Ranges:
    """The ranges of a file's model on the data in ``calibrate``; the arguments are a recipe's words.

    The optimised model is run, by the passes of ``options``. ``progress`` is told how many runs are done, and
    how many there are. Raises :class:`DiagnosticError`, as :class:`UsageError` for data that do not fit.
    """
    recipe = Recipe(
        precision="int8", calibrate=calibrate, method=method, percentile=percentile, samples=samples
    )
    return calibrate_graph(check_file(path, weights, check).graph, recipe, options, progress=progress)


def calibrate_graph(
    graph: Graph,
    recipe: Recipe,
    options: CompileOptions = CompileOptions(),
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Ranges:
    """The ranges of a graph whose weights are bound, by a recipe with data."""
    from trtdsl.passes import FLOATS_ONLY
    from trtdsl.precision.batches import RecipeData
    from trtdsl.precision.calibrate import calibrate
    from trtdsl.precision.layers import WHICH
    from trtdsl.precision.ranges import digest, ranges_of
    from trtdsl.reference import require_torch

    require_torch("finding ranges")
    require_values(graph)
    data = RecipeData(graph, recipe)
    arrays = data.arrays
    skip = (*options.skip, *FLOATS_ONLY)
    options = dataclasses.replace(options, skip=skip)
    optimized = optimize_graph(graph, options, keeps_dimensions=True).graph
    batches = data.batches(optimized)
    assert arrays is not None and batches is not None
    observed = calibrate(optimized, batches, progress=progress)
    if not observed:
        text = f"model `{graph.name}` has neither convolutions nor linear layers that a range is found for"
        raise UsageError(Diagnostic(text, help=(WHICH,)))
    share = 99.99 if recipe.percentile is None else recipe.percentile
    count = len(batches) * batches.size
    method = cast(Method, recipe.chosen_method)  # those of int8, as the recipe has found
    return ranges_of(observed, graph.name, method, count, digest(arrays), percentile=share)

"""In which type each layer of a model is computed, and why: what `trtdsl explain` prints.

In: a model, its checkpoint and a recipe.  Out: a report, layer by layer, and nothing on disk::

    report = explain_file("cnn.trtnet", "cnn.pth", CompileOptions(recipe=Recipe.from_file("int8.toml")))
    [(layer.label, layer.why) for layer in report.layers]
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from trtdsl.compile import check_file, lowered_network, optimized_for
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph
from trtdsl.options import CheckOptions, CompileOptions, WeightFiles
from trtdsl.recipe import DYNAMIC, WEIGHTS_ONLY
from trtdsl.types import DType

if TYPE_CHECKING:
    from trtdsl.precision.floating_report import FloatingReport
    from trtdsl.precision.report import PrecisionReport
    from trtdsl.trt.build import ProgressCallback


def explain_file(
    path: str | Path,
    weights: WeightFiles,
    options: CompileOptions,
    *,
    check: CheckOptions = CheckOptions(),
    progress: ProgressCallback | None = None,
) -> PrecisionReport | FloatingReport:
    """What becomes of each layer of a file's model by the options' recipe; see :func:`explain_graph`."""
    return explain_graph(check_file(path, weights, check).graph, options, progress=progress)


def explain_graph(
    graph: Graph, options: CompileOptions, *, progress: ProgressCallback | None = None
) -> PrecisionReport | FloatingReport:
    """What becomes of each layer of a graph whose weights are bound.

    In a narrow precision the model is built, and the :class:`~trtdsl.precision.report.PrecisionReport` has
    what TensorRT's kernels read. For float16 and bfloat16 the
    :class:`~trtdsl.precision.floating_report.FloatingReport` has what stays float32; the types of a strongly
    typed network are what it is computed in.
    Raises what :func:`~trtdsl.compile.compile_graph` does, and UsageError where there is nothing to explain.
    """
    recipe = options.recipe
    if recipe is None or recipe.precision is DType.FLOAT32:
        text = "`explain` says what a precision makes of each layer, and "
        text += "none is given" if recipe is None else "in float32 every layer is computed in that"
        named = ("float16", "bfloat16", "int8", "float8", *WEIGHTS_ONLY, *DYNAMIC)
        help = f"give `--precision` one of {', '.join(named)}, or a `--recipe`"
        raise UsageError(Diagnostic(text, help=(help,)))
    if recipe.is_narrow:
        return _narrow(graph, options, progress)
    from trtdsl.precision.floating_report import floating_report

    optimized, dialect = optimized_for(graph, options, progress=progress)
    if optimized.floats is None:
        text = f"{dialect} chooses layer by layer, while it builds, what it computes in {recipe.precision}"
        help = "TensorRT-RTX and TensorRT 11 compute in the types of the network"
        raise UsageError(Diagnostic(text, help=(help,)))
    report = floating_report(optimized.floats, DType(recipe.precision))
    return dataclasses.replace(report, notes=optimized.notes)


def _narrow(graph: Graph, options: CompileOptions, progress: ProgressCallback | None) -> PrecisionReport:
    from trtdsl.precision.report import report_of
    from trtdsl.trt.build import build_with_facts

    optimized, lowered = lowered_network(graph, options, progress=progress)
    built = build_with_facts(lowered, options, progress=progress, kernels=True)
    if optimized.narrowed is None:
        raise ValueError("a pass has lost what was quantised")
    report = report_of(optimized.narrowed, lowered.graph, built.kernels)
    # What stays float32 around the narrow layers is part of the answer.
    return dataclasses.replace(report, notes=optimized.notes)

"""`trtdsl check`: what a model is, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trtdsl.cli.options import FILE, WEIGHTS, command, with_options
from trtdsl.cli.report import without_warnings
from trtdsl.diagnostics import counted
from trtdsl.options import CheckOptions

if TYPE_CHECKING:
    from trtdsl.ir import Graph


@command
@FILE
@WEIGHTS
@with_options(CheckOptions, "options")
def check(file: Path, weights: Sequence[Path], options: CheckOptions) -> None:
    """Check a model, and a checkpoint against it, without TensorRT."""
    from trtdsl.compile import check_file, check_models

    named = options.model is not None or options.weights_map is not None
    one = named or weights or options.defines
    for checked in [check_file(file, weights, options)] if one else check_models(file):
        print(_summary(without_warnings(checked)))


def _summary(graph: Graph) -> str:
    from trtdsl.types import product

    own = [weight for weight in graph.weights if not weight.constant]
    count = sum(int(str(product(weight.type.shape))) for weight in own)
    others = len(graph.weights) - len(own)
    constants = f", {counted(others, 'constant')}" if others else ""
    inputs = ", ".join(f"{value.name}: {value.type}" for value in graph.inputs)
    outputs = ", ".join(f"{output.name}: {output.value.type}" for output in graph.outputs)
    values = f"{_count(count)} {'value' if count == 1 else 'values'}{constants}"
    weights = f"{counted(len(own), 'weight')} with {values}"
    return f"{graph.name}: {counted(len(graph.nodes), 'operator')}, {weights}\n  {inputs} -> {outputs}"


def _count(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)

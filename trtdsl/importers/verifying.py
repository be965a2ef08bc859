"""An imported text held against its module.

In: an :class:`~trtdsl.importers.module.Imported` and the module.  Out: verifications at sizes that the module
was not called with when it was imported: of its own weights in float32, and in float64 of random ones, of a
size that lets every layer be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trtdsl.elaborate import elaborate
from trtdsl.importers.checking import NAME
from trtdsl.importers.examples import STRIDE, example_sizes
from trtdsl.importers.module import Imported
from trtdsl.ir import Graph
from trtdsl.reference import random_array
from trtdsl.types import Symbol, evaluate_shape
from trtdsl.verification import Verification, verify
from trtdsl.verification.inputs import made_up_range

if TYPE_CHECKING:
    from torch import nn


class Compared(msgspec.Struct, frozen=True):
    """One comparison: at which sizes, and in which type."""

    verification: Verification
    sizes: Mapping[str, int]
    dtype: str

    def __str__(self) -> str:
        at = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        measures = [row.measure for row in self.verification.outputs if row.measure is not None]
        error = max((measure.relative for measure in measures), default=0.0)
        return f"{self.dtype}{f' at {at}' if at else ''}, relative error {error:.0e}"


def compared(imported: Imported, against: nn.Module | Path, *, is_fixed: bool = False) -> Iterator[Compared]:
    """The comparisons with a module, or with an ONNX file; where ``is_fixed``, as in an exported program, the
    module's types cannot be changed: then there is only the first.
    """
    graph = elaborate(imported.text, NAME).graph
    types = {value.name: value.type for value in graph.inputs}
    dims = {each.name: each for each in imported.dims}
    other = example_sizes(types, {name: _smaller(each) for name, each in dims.items()}, avoid=imported.sizes)
    least = {name: each.minimum for name, each in dims.items()}
    yield _compared(imported, graph, against, other, "float32")
    if not is_fixed:
        yield _compared(imported, graph, against, least, "float64")


def _smaller(dim: Symbol) -> Symbol:
    """With an optimum between its least and its own: every layer's values are held at once, and attention
    over the tokens of large images takes the square of their number.
    """
    grain = math.lcm(dim.step, STRIDE if dim.optimum % STRIDE == 0 else 1)
    between = -(-math.isqrt(dim.minimum * dim.optimum) // grain) * grain
    return msgspec.structs.replace(dim, optimum=min(max(between, dim.minimum), dim.optimum))


def _compared(
    imported: Imported, graph: Graph, against: nn.Module | Path, sizes: Mapping[str, int], dtype: Any
) -> Compared:
    random = np.random.default_rng(0)
    inputs = {
        value.name: random_array(
            value.type.with_shape(evaluate_shape(value.type.shape, sizes)),
            random,
            values=made_up_range(graph, value),
        )
        for value in graph.inputs
    }
    if isinstance(against, Path):
        return Compared(verify(graph, imported.weights, onnx=against, inputs=inputs), sizes, dtype)
    constants = dict(imported.constants) or None
    is_random = dtype == "float64"
    found = verify(graph, constants, against, inputs=inputs, dtype=dtype, randomize=is_random)
    return Compared(found, sizes, dtype)

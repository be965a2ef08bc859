"""Optimisation profiles: the range of every dynamic input, from the graph's profiles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, TypeAlias

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT
from trtdsl.ir import Graph
from trtdsl.trt.dialect import Dialect
from trtdsl.types import Dim, TensorType, evaluate, symbols

Shape: TypeAlias = tuple[int, ...]
Ranges: TypeAlias = Mapping[str, tuple[int, int, int]]


def input_range(type: TensorType, ranges: Ranges) -> tuple[Shape, Shape, Shape]:
    """The smallest, the typical and the largest shape of an input."""
    triples = [_dim_range(dim, ranges) for dim in type.shape]
    smallest, typical, largest = (tuple(triple[i] for triple in triples) for i in range(3))
    return smallest, typical, largest


def _dim_range(dim: Dim, ranges: Ranges) -> tuple[int, int, int]:
    """The range of an expression that is monotone in each symbol: extremes lie at corners of the ranges."""
    names = sorted(symbol.name for symbol in symbols(dim))
    corners = itertools.product(*((ranges[name][0], ranges[name][2]) for name in names))
    values = [evaluate(dim, dict(zip(names, corner, strict=True))) for corner in corners]
    typical = evaluate(dim, {name: ranges[name][1] for name in names})
    return min(values), typical, max(values)


def add_profiles(graph: Graph, builder: Any, config: Any, dialect: Dialect) -> None:
    """Give the builder configuration every profile of the graph; static models have none."""
    dynamic = [value for value in graph.inputs if not value.type.is_static]
    if not dynamic:
        return
    if not graph.profiles:
        raise ValueError(f"graph `{graph.name}` has dynamic inputs and no profile")
    for profile in graph.profiles:
        dialect.log.clear()
        made = builder.create_optimization_profile()
        for value in dynamic:
            made.set_shape(value.name, *input_range(value.type, profile.ranges))
        # An impossible range leaves no trace but this: a profile that is false.
        if not made or config.add_optimization_profile(made) < 0:
            raise RefusedByTensorRT(
                Diagnostic(f"{dialect} refuses the profile `{profile.name}`", help=dialect.log.take())
            )

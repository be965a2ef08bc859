"""Optimisation profiles: the range of every dynamic input, from the graph's profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT
from trtdsl.ir import Graph
from trtdsl.trt.dialect import Dialect
from trtdsl.types import Dim, TensorType, bounds, evaluate, within

Shape: TypeAlias = tuple[int, ...]
Ranges: TypeAlias = Mapping[str, tuple[int, int, int]]


def input_range(type: TensorType, ranges: Ranges) -> tuple[Shape, Shape, Shape]:
    """The smallest, the typical and the largest shape of an input."""
    triples = [_dim_range(dim, ranges) for dim in type.shape]
    smallest, typical, largest = (tuple(triple[i] for triple in triples) for i in range(3))
    return smallest, typical, largest


def _dim_range(dim: Dim, ranges: Ranges) -> tuple[int, int, int]:
    smallest, largest = bounds(within(dim, ranges))
    # Bounds of an expression of many values may be wider than these are, but no size is negative.
    return (
        max(smallest, 0),
        evaluate(dim, {name: typical for name, (_, typical, _) in ranges.items()}),
        largest,
    )


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

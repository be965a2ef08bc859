"""What a release refuses of a layer that it has: known from its facts, before TensorRT is asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from trtdsl.ops.lowering import Tensor
from trtdsl.trt.facts import Facts
from trtdsl.types import DType


class Lacking(NamedTuple):
    """Why, to be read after the release's name, and what to do instead."""

    message: str
    help: str


def instead_of(dtype: DType) -> str:
    """What to do where a release does not have a type."""
    if dtype is DType.BFLOAT16:
        return (
            "TensorRT 10 and later have it; for this one give `--precision float16`, and `--edges float16` "
            "where inputs or outputs are bfloat16; or state float16 or float32 in the text and give "
            "`--weights-dtype model`"
        )
    if dtype.is_floating:
        return "TensorRT 10 and later have it; for this one quantise to int8, or compute in float16"
    return "convert to int32 first: `to(x, int32)`"


def lacks(facts: Facts, layer: str, members: Iterable[str], arguments: Sequence[Any]) -> Lacking | None:
    """What the release does not take of these arguments; ``members`` are the enums' among them, by name.

    TensorRT itself would refuse it as late as while building.
    """
    tensors = [value for value in arguments if isinstance(value, Tensor)]
    for member, tensor in itertools.product(members, tensors):
        if not facts.takes(member, tensor.dtype):
            return Lacking(
                f"supports {member} for floating-point tensors only, not for {tensor.dtype}",
                "cast to float32 first, which is exact for integers up to 2 ** 24",
            )
    if layer == "grid_sample" and tensors[0].rank == 5 and not facts.samples_volumes:
        return Lacking(
            f"samples images at points, not volumes: {tensors[0].type}",
            "TensorRT from 11.2.1 on and TensorRT-RTX do",
        )
    return None

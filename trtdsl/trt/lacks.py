"""What a release refuses of a layer that it has: known from its facts, before TensorRT is asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from trtdsl.ops.lowering import Tensor
from trtdsl.trt.facts import Facts


class Lacking(NamedTuple):
    """Why, to be read behind the release's name, and what to do instead."""

    message: str
    help: str


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

"""Which tensors hold what a narrower type has rounded.

In: a network, and what :func:`~trtdsl.evaluate.evaluate_all` computed of it in a wide precision.  Out: for
each tensor the narrow types that it, or something it is computed from, was rounded to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from .readback import Program, read_network
from .registry import NARROW_FLOATS, TORCH_DTYPES, LayerNode

_NARROW = frozenset(TORCH_DTYPES[name] for name in NARROW_FLOATS)


def rounded_types(network: Any, values: Mapping[str, torch.Tensor]) -> dict[str, frozenset[torch.dtype]]:
    """float16 and bfloat16 where they have rounded a tensor, by its name; all other tensors are left out.

    Every layer counts, whatever it was made for, and so does a narrow constant, whose number may have been
    rounded when the network was made.
    """
    program = read_network(network)
    found = {name: frozenset({value.dtype}) for name, value in values.items() if value.dtype in _NARROW}
    found |= {name: frozenset({dtype}) for name, dtype in _casts_in_loops(program, values)}
    grew = True
    while grew:  # what comes back around a loop is known after the first time
        grew = False
        for node in program.nodes:
            read = _rounded_by(node, found)
            for name in node.outputs:
                before = found.get(name, frozenset[torch.dtype]())
                if not read <= before:
                    found[name], grew = before | read, True
    return found


def _rounded_by(node: LayerNode, found: Mapping[str, frozenset[torch.dtype]]) -> frozenset[torch.dtype]:
    """The types after what a layer reads; a shape is the same whatever has rounded the elements."""
    if node.kind == "SHAPE":
        return frozenset()
    inputs = (name for name in node.inputs if name is not None)
    return frozenset[torch.dtype]().union(*(found[name] for name in inputs if name in found))


def _casts_in_loops(
    program: Program, values: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.dtype]]:
    """What casts within a loop make, which has a value for each iteration and none in the end."""
    for node in program.nodes:
        if program.is_cast(node) and node.outputs[0] not in values and node.dtypes[0] in NARROW_FLOATS:
            yield node.outputs[0], TORCH_DTYPES[node.dtypes[0]]

"""Which sizes TensorRT is told where the profile has one of each, for `gpu_forms.py`.

trtdsl tells it all, but for networks in which an attention adds a mask that an input decides.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import trtdsl.passes.computed_masks as computed_masks
from trtdsl.ir import Graph

profiles: Any = import_module("trtdsl.ir.profiles")


def dynamic():
    """None: each dimension of the text stays one."""
    profiles.with_fixed_sizes = lambda graph: graph


def fixed():
    """All."""
    computed_masks.has_computed_masks = lambda graph: False


def fixed_but_for_the_batch():
    """All but the first of each input, as it is by the ONNX route."""
    fixed()
    all_fixed, all_at_once = profiles._fixed_sizes, profiles.with_fixed_sizes

    def but_for_the_batch(graph: Graph) -> Graph:
        batches = {str(each.type.shape[0]) for each in graph.inputs if each.type.rank}
        profiles._fixed_sizes = lambda given: {
            name: size for name, size in all_fixed(given).items() if name not in batches
        }
        return all_at_once(graph)

    profiles.with_fixed_sizes = but_for_the_batch

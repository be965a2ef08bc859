"""What TensorRT's builder does by itself, by which an operator chooses among layers that compute the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Habits:
    """Those of one release."""

    hoists_products: bool
    """whether a product with each element of a sequence had better stand within its loop"""
    fuses_masks: bool
    """whether one kernel may compute an attention with a mask of bools"""
    equates_sizes: bool
    """whether a dynamic size that is a sum is known to be that of an input which has so many"""

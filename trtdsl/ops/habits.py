"""What TensorRT's builder does by itself, by which an operator chooses among layers that compute the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Habits:
    """Those of one release, of the newest where nothing is said."""

    hoists_products: bool = False
    """whether a product with each element of a sequence had better stand within its loop"""
    fuses_masks: bool = True
    """whether one kernel may compute an attention with a mask of bools"""
    equates_sizes: bool = True
    """whether a dynamic size that is a sum is known to be that of an input which has so many"""
    fuses_computed_masks: bool = True
    """whether a mask that an input decides, with a row for each query, is part of the attention where all
    sizes are known"""
    fuses_unguarded_biases: bool = True
    """whether an attention with biases that are products is one region where no row can be empty"""
    copies_parts: bool = False
    """whether a tensor that several layers join is copied to each of them in a kernel of its own"""
    fuses_norms: bool = True
    """whether a norm of the last dimensions is a region, with the products beside it, without a choice"""

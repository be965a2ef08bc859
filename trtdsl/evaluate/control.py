"""Boundary layers that pass a value on, and assertions. Loops and choices are the machine's."""

from __future__ import annotations

import torch

from .registry import Context, LayerNode, Operands, evaluates


@evaluates("CONDITIONAL_INPUT", "ATTENTION_OUTPUT")
def passed_on(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The input itself."""
    return operands[0]


@evaluates("ASSERTION")
def assertion(node: LayerNode, operands: Operands, context: Context) -> tuple[()]:
    """Fails unless every element of the condition is true."""
    if not bool(operands[0].all()):
        node.refuse(f"the assertion does not hold: {node.layer.message}")
    return ()

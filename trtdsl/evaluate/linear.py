"""Matrix products and einsum (NvInfer.h: ``MatrixOperation``, ``IMatrixMultiplyLayer``, ``IEinsumLayer``)."""

from __future__ import annotations

import torch

from .registry import Context, LayerNode, Operands, evaluates, floating


@evaluates("MATRIX_MULTIPLY")
def matrix_multiply(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``op0(a) @ op1(b)``, leading dimensions broadcast.

    VECTOR makes ``a`` a collection of rows and ``b`` of columns; their unit dimension is dropped again.
    """
    a, b = floating(node, operands[0]), floating(node, operands[1])
    op0, op1 = node.layer.op0.name, node.layer.op1.name
    left = a.unsqueeze(-2) if op0 == "VECTOR" else a.mT if op0 == "TRANSPOSE" else a
    right = b.unsqueeze(-1) if op1 == "VECTOR" else b.mT if op1 == "TRANSPOSE" else b
    if left.dim() != right.dim():
        node.refuse(f"operands of {left.dim() - 2} and {right.dim() - 2} leading dimensions")
    product = left @ right
    if op1 == "VECTOR":
        product = product.squeeze(-1)
    return product.squeeze(-1 if op1 == "VECTOR" else -2) if op0 == "VECTOR" else product


@evaluates("EINSUM")
def einsum(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Einstein summation of the layer's equation."""
    return torch.einsum(node.layer.equation, *(floating(node, value) for value in operands.all()))

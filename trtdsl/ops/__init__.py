"""The operators, one class each; importing this package declares them all."""

from trtdsl.ops import (
    activation,
    creation,
    dropout,
    indexing,
    joining,
    logic,
    matrix,
    norm,
    ordering,
    pointwise,
    rectifier,
    reduction,
    shape,
    softmax,
    unary,
)

__all__ = [
    "activation",
    "creation",
    "dropout",
    "indexing",
    "joining",
    "logic",
    "matrix",
    "norm",
    "ordering",
    "pointwise",
    "rectifier",
    "reduction",
    "shape",
    "softmax",
    "unary",
]

"""The operators, one class each; importing this package declares them all."""

from trtdsl.ops import creation, indexing, joining, shape

__all__ = ["creation", "indexing", "joining", "shape"]

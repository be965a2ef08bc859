"""Checkpoints: read lazily, whatever their format, and bound to a graph's weights."""

from trtdsl.weights.bind import Bound, behind_prefix, bind
from trtdsl.weights.checkpoint import Checkpoint, entered, load_checkpoint, load_checkpoints
from trtdsl.weights.file import release_pages

__all__ = [
    "Bound",
    "Checkpoint",
    "behind_prefix",
    "bind",
    "entered",
    "load_checkpoint",
    "load_checkpoints",
    "release_pages",
]

"""Checkpoints: read lazily, whatever their format, and bound to a graph's weights."""

from trtdsl.weights.bind import Bound, bind
from trtdsl.weights.checkpoint import Checkpoint, load_checkpoint
from trtdsl.weights.file import release_pages

__all__ = ["Bound", "Checkpoint", "bind", "load_checkpoint", "release_pages"]

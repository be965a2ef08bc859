"""Checkpoints: read lazily, whatever their format, and bound to a graph's weights."""

from trtdsl.weights.bind import Bound, bind
from trtdsl.weights.checkpoint import Checkpoint, entered, load_checkpoint, load_checkpoints
from trtdsl.weights.file import release_pages

__all__ = ["Bound", "Checkpoint", "bind", "entered", "load_checkpoint", "load_checkpoints", "release_pages"]

"""Tree → graph: blocks expanded, loops unrolled, names bound, types inferred.

In: a `.trtnet` text.  Out: an `trtdsl.ir.Graph`, or every mistake in the text with its place.
"""

from trtdsl.elaborate.files import Program
from trtdsl.elaborate.program import (
    Elaborated,
    elaborate,
    elaborate_file,
    elaborate_models,
    elaborate_text,
    evaluate_define,
    models,
)
from trtdsl.elaborate.recorder import Recorder
from trtdsl.syntax.source import read_source

__all__ = [
    "Elaborated",
    "Program",
    "Recorder",
    "elaborate",
    "elaborate_file",
    "elaborate_models",
    "elaborate_text",
    "evaluate_define",
    "models",
    "read_source",
]

"""Exported programs that may be rewritten.

In: an exported program.  Out: a copy with a graph of its own, so that the one that was given stays as it is.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def with_own_graph(exported: ExportedProgram) -> tuple[ExportedProgram, Any]:
    """The copy, and its ``torch.fx.GraphModule``; all else is shared with the original."""
    exported = copy.copy(exported)
    module: Any = copy.deepcopy(exported.graph_module)
    exported._graph_module = module  # pyright: ignore[reportPrivateUsage]
    return exported, module

"""The lines of helper functions in what ``torch.export`` remembers of an operation.

In: a module being exported.  Out: the same, each of whose operations remembers the lines of the user's that
led to it, those in ``_forward_impl`` and ``apply_rotary_pos_emb`` too: PyTorch keeps those in ``forward``
alone, and the names that values have are lost with the others.
"""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from trtdsl.importers import experts
from trtdsl.importers.places import is_users

_FILTER = "_filter_traceback_frames"
"""PyTorch's own place for another choice of lines; earlier versions have none."""
_READ = frozenset({experts.__file__})
"""Files of this package whose lines are read as the user's."""


@contextmanager
def helpers_kept() -> Generator[None]:
    """In the meantime operations remember the lines of helper functions."""
    from torch.fx.proxy import TracerBase

    tracer: Any = TracerBase
    original = getattr(tracer, _FILTER, None)
    if original is None:
        yield
        return

    def kept(self: Any, summary: traceback.StackSummary) -> traceback.StackSummary:
        known = {id(frame) for frame in original(self, summary)}
        inside = False
        found: list[traceback.FrameSummary] = []
        for frame in summary:
            inside = inside or frame.name == "forward"
            is_read = is_users(frame.filename) or frame.filename in _READ
            if id(frame) in known or (inside and is_read):
                found.append(frame)
        return traceback.StackSummary.from_list(found)

    setattr(tracer, _FILTER, kept)
    try:
        yield
    finally:
        setattr(tracer, _FILTER, original)

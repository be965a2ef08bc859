"""Python's collector of cycles, held off while a stage makes what has none."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Generator[None]:
    """Trees and graphs have no cycles; looking for some while they grow doubles the time of a long text, and
    more where the process holds a model beside.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

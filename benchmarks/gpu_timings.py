"""What TensorRT timed while it built, kept in a folder for the builds of other processes.

Networks of a family have most of their kernels in common. Where engines are timed each model is to have its
own; where only their numbers are asked for, those of others will do, and builds are shorter.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trtdsl.output import write_atomically


def timings_of(config: Any, folder: Path | None) -> Any:
    """A timing cache, made by a builder's configuration, of all in the folder; empty without one."""
    found = config.create_timing_cache(b"")
    for path in sorted(folder.glob("*.timings")) if folder else ():
        found.combine(config.create_timing_cache(path.read_bytes()), ignore_mismatch=False)
    return found


def share(timings: Any, folder: Path) -> None:
    """Write a timing cache into this process's file, in place of what it wrote before."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{os.getpid()}.timings", bytes(timings.serialize()))

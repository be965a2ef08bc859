"""Keeping the peak of memory low while TensorRT builds."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
"""glibc's name of the option, from malloc.h."""

_LARGE = 128 * 1024
"""Bytes from which a block has pages of its own: glibc's value at the start of a process."""


def return_large_blocks() -> None:
    """Have the C library give large blocks back to the system as soon as they are freed.

    TensorRT copies all weights several times during a build and frees the copies one by one. glibc raises
    its threshold with every large block that is freed, and then keeps such blocks in a heap that cannot
    shrink: 90 of 620 MB for ResNet-50. This fixes the threshold for the whole process and for good, so
    it is for programs that only compile, such as the command line. Elsewhere than in glibc it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)

"""What a process that builds keeps of the memory it freed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
from trtdsl.trt.memory import return_large_blocks

def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024

if sys.argv[1] == "yes":
    return_large_blocks()
before = resident()
np.ones(30 << 20, np.uint8)
# Blocks of 1 MB with a small one above each: what is freed below it cannot leave a heap.
blocks = [(np.ones(1 << 20, np.uint8), np.ones(5000, np.uint8)) for _ in range(100)]
kept = [small for _, small in blocks]
del blocks
print(resident() - before)
"""


def test_freed_blocks_leave_the_process() -> None:
    def megabytes_kept(fixed: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, fixed], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert megabytes_kept("yes") < 20
    # The reason for it all: without the option most of the 100 MB stays.
    assert megabytes_kept("no") > 60

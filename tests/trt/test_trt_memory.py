"""What a process that builds keeps of the memory it freed."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np

from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.trt.dialect import load_runtime
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

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


def test_the_weights_live_as_long_as_the_network() -> None:
    graph = elaborate_text(
        "model m { input x: float32[2, 512] output y = x -> fc: Linear(512, bias = false) }"
    )
    weight = np.eye(512, dtype=np.float32)
    lowered = lower(bind(graph, {"fc.weight": weight.copy()}).graph, load_runtime("tensorrt_rtx"))
    network = lowered.network
    (held,) = [weakref.ref(array) for slots in lowered.weights.values() for array in slots.values()]
    del lowered, graph
    gc.collect()
    others = [np.full((512, 512), 7, np.float32) for _ in range(8)]  # where they would lie
    x = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    np.testing.assert_allclose(evaluate(network, {"x": x})["y"], x, rtol=1e-6)
    assert len(others) == 8 and held() is not None
    del network
    gc.collect()
    assert held() is None

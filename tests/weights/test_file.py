"""Memory-mapped files: what is read from them can be given back, and is there when it is asked for again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from trtdsl.weights import load_checkpoint, release_pages

PROGRAM = """
import sys
from trtdsl.weights import load_checkpoint, release_pages

def resident():
    for line in open("/proc/self/status"):
        if line.startswith("RssFile"):
            return int(line.split()[1]) // 1024

array = load_checkpoint(sys.argv[1])["w"][:, 1:]
before = resident()
array.sum()
read = resident()
release_pages([array])
print(read - before, resident() - before)
"""


def test_pages_leave_the_process(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": np.ones((1 << 10, 1 << 13), np.float32)}, path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True
    )
    read, left = map(int, done.stdout.split())
    assert read > 30  # the array has 32 MB
    assert left < 3


def test_released_arrays_keep_their_values(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    values = np.arange(1 << 16, dtype=np.float32)
    save_file({"w": values}, path)
    array = load_checkpoint(path)["w"]
    assert array.sum() == values.sum()
    release_pages([array, np.ones(3)])
    assert np.array_equal(array, values)

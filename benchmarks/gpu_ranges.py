"""The ranges that `gpu.py` quantises by, found with PyTorch on the processor.

    python3 benchmarks/gpu_ranges.py REFDIR --models resnet50,mobilenet_v2

needs trtdsl and PyTorch, no TensorRT: it runs `trtdsl calibrate` over the `calibration.npz` of each model
that `gpu_reference.py` made, and leaves a `ranges.json` beside it.  A model that has one is left as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from zoo_entries import EXAMPLES, Entry, read_zoo


def calibrate(entry: Entry, folder: Path) -> None:
    """Write the ranges of one model."""
    command = [sys.executable, "-m", "trtdsl", "calibrate"]
    command += [
        str(entry.path),
        str(folder / "state.safetensors"),
        "--model",
        entry.model,
    ]
    for name, value in entry.defines.items():
        command += ["-D", f"{name}={value}"]
    command += ["--calibrate", str(folder / "calibration.npz"), "-o", str(folder / "ranges.json")]
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("refdir", type=Path)
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", required=True, help="names of the zoo")
    options = parser.parse_args()
    zoo = read_zoo(options.zoo)
    for name in options.models.split(","):
        folder = options.refdir / name
        if (folder / "ranges.json").exists() or not (folder / "done").exists():
            continue
        begin = time.monotonic()
        calibrate(zoo[name], folder)
        print(f"{name}: {time.monotonic() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()

"""The kernels of engines, in the order in which TensorRT starts them, as a captured CUDA graph names them.

    python3.10 benchmarks/gpu_kernels.py REFDIR/vit_tiny/float16.engine REFDIR/vit_tiny/float16.onnx.engine

For engines that `gpu.py` has built, ours and the ONNX route's, at the sizes that they are tuned for; what
moves memory is counted. TensorRT's layer profile has one entry for a region of many kernels, this has all.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from trtdsl.runtime import cuda
from trtdsl.runtime.bench import tuned_shapes
from trtdsl.runtime.engine import BoundContext, Engine, read_engine
from trtdsl.trt.dialect import load_runtime

VERBOSE, KERNELS = 1, 4
"""Flags of cudaGraphDebugDotPrint."""
KERNEL = re.compile(r"\{ID \| (\d+) [^|]*\| ([^\n]*?)\\<\\<\\<([^>]*?)\\>")
OTHER = re.compile(r'label="\{(MEMCPY|MEMSET)')


class Kernel(NamedTuple):
    """Its name, as the linker has it, and how many blocks and threads it is started with."""

    name: str
    size: str


def kernels_of(dot: str) -> tuple[list[Kernel], int]:
    """Those of a CUDA graph as CUDA prints it, and how many nodes move memory."""
    found = sorted(KERNEL.findall(dot), key=lambda each: int(each[0]))
    return [Kernel(name, size.replace("\\", "")) for _, name, size in found], len(OTHER.findall(dot))


def captured(engine: Engine) -> str:
    """The CUDA graph of a run at the sizes that the engine is tuned for."""
    context = BoundContext(engine, tuned_shapes(engine.manifest)[0])
    stream = context.stream.handle
    with tempfile.TemporaryDirectory() as scratch:
        mode = cuda.bindings().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        cuda.call("cudaStreamBeginCapture", stream, mode)
        context.launch()
        graph = cuda.call("cudaStreamEndCapture", stream)
        path = Path(scratch) / "graph.dot"
        cuda.call("cudaGraphDebugDotPrint", graph, str(path).encode(), VERBOSE | KERNELS)
        cuda.call("cudaGraphDestroy", graph)
        return path.read_text(encoding="utf-8", errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("engines", nargs="+", type=Path)
    parser.add_argument("--runtime", default="tensorrt")
    options = parser.parse_args()
    dialect = load_runtime(options.runtime)
    for path in options.engines:
        kernels, moves = kernels_of(captured(Engine(*read_engine(path), dialect)))
        print(f"{path}: {len(kernels)} kernels, {moves} nodes that move memory")
        for kernel in kernels:
            print(f"  {kernel.name[:120]}  {kernel.size}")


if __name__ == "__main__":
    main()

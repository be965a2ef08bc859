"""`benchmarks/gpu.py` where there is no GPU, with a step at which it aborts or hangs.

    FAULT="onnx abort" EVENTS=FILE python tests/gpu_without_a_gpu.py benchmarks/gpu.py REFDIR OUTDIR ...

It builds as always. Nothing runs the engines: a made-up error and time stand for what a GPU would measure.
FILE has a line for each step: `ours`, `onnx` or `measured`, the number of the process, and the step's facts.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.argv.pop(0)
sys.path.insert(0, str(Path(sys.argv[0]).parent))

gpu: Any = importlib.import_module("gpu")


def note(step: str, *facts: str) -> None:
    with Path(os.environ["EVENTS"]).open("a") as events:
        print(step, os.getpid(), *facts, file=events)


def noted(step: str, do: Callable[..., Any]) -> Callable[..., Any]:
    """A step of a build that is noted, and is at fault where ``FAULT`` says so."""

    def noted_step(*arguments: Any, **keywords: Any) -> Any:
        note(step)
        if os.environ["FAULT"] == f"{step} abort":
            os.abort()
        if os.environ["FAULT"] == f"{step} hang":
            time.sleep(600)
        return do(*arguments, **keywords)

    return noted_step


def measure(_bench: Any, _entry: Any, ours: Any, onnx: Any, row: Any) -> None:
    engines = {"ours": ours, "onnx": onnx}
    note("measured", *(name for name, engine in engines.items() if engine))
    for name, engine in engines.items():
        getattr(row, f"{name}_graph").update({1: 1.0} if engine else {})
    row.error[1] = 1e-4


gpu.compile_graph = noted("ours", gpu.compile_graph)
gpu.Bench.build_onnx = noted("onnx", gpu.Bench.build_onnx)
gpu.Bench.measure = measure
gpu.Bench.verify = lambda *_: None
gpu.Engine = lambda data, *_: data
gpu.about = lambda bench: {"TensorRT": str(bench.dialect)}
gpu.main()

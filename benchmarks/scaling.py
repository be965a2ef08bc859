"""How the compiler's time grows with the size of the model: time per operator, stage by stage.

Two models of 100 to 20,000 operators: a *chain*, in which a block is placed in a loop and each layer reads
the one before, and a *wide* graph, written out line by line, in which one tensor has half of the operators
as users and one operator reads all that they make.  Every stage of `trtdsl compile` is measured but
TensorRT's own build::

    python benchmarks/scaling.py            # prints the table and writes scaling.md and scaling.json
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trtdsl.cli import OBJECTS_PER_COLLECTION
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, verify
from trtdsl.passes import PIPELINE
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

HERE = Path(__file__).parent
SIZES = (100, 500, 2000, 5000, 20000)
WIDTH = 4
"""Features of every tensor: small, so that the time is the compiler's and not the numbers'."""

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """The fastest of several runs; ``stages`` in microseconds of CPU time per operator."""

    model: str
    operators: int
    stages: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.stages.values())


def chain(operators: int) -> str:
    """A text whose model has this many operators, each reading the one before."""
    return f"""
block Layer()(x: [N, C]) {{
  return x -> fc: Linear(C, bias = false) -> relu
}}

model chain() {{
  dim N = 1 .. 8 .. 64
  input x: float32[N, {WIDTH}]
  for i in range({operators // 2}) {{
    x = x -> "layer{{i}}": Layer()
  }}
  output y = x
}}
"""


def wide(operators: int) -> str:
    """A text whose model has this many operators side by side, joined by the last."""
    branches = range((operators - 1) // 2)
    lines = [f"  b{i} = x -> layer{i}.fc: Linear({WIDTH}, bias = false) -> relu" for i in branches]
    return "\n".join(
        [
            "model wide() {",
            "  dim N = 1 .. 8 .. 64",
            f"  input x: float32[N, {WIDTH}]",
            *lines,
            f"  output y = cat([{', '.join(f'b{i}' for i in branches)}], 1)",
            "}",
        ]
    )


MODELS: dict[str, Callable[[int], str]] = {"chain": chain, "wide": wide}


def bound(graph: Graph) -> Graph:
    """The graph with weights of its own: no two are equal, or they would be merged."""
    source = np.random.default_rng(0)
    shape = (WIDTH, WIDTH)
    arrays = {weight.key: source.standard_normal(shape, np.float32) for weight in graph.weights}
    return bind(graph, arrays).graph


def measure(model: str, operators: int) -> Row:
    """One run of every stage."""
    stages: dict[str, float] = {}

    def timed(stage: str, work: Callable[..., T], *arguments: Any) -> T:
        gc.collect()
        begin = time.process_time()
        result = work(*arguments)
        stages[stage] = time.process_time() - begin
        return result

    graph = timed("elaborate", elaborate_text, MODELS[model](operators))
    count = len(graph.nodes)
    graph = timed("bind", bound, graph)
    timed("verify", verify, graph)
    for step in PIPELINE:
        graph = timed(step.name, step, graph)
    timed("lower", lower, graph)
    return Row(model, count, {name: seconds / count * 1e6 for name, seconds in stages.items()})


def fastest(model: str, operators: int, runs: int) -> Row:
    """Stage by stage the shortest of several runs."""
    rows = [measure(model, operators) for _ in range(runs)]
    stages = {name: min(row.stages[name] for row in rows) for name in rows[0].stages}
    return Row(model, rows[0].operators, stages)


def table(rows: list[Row]) -> str:
    """The Markdown of ``scaling.md``."""
    names = list(rows[0].stages)
    lines = [
        "# Time per operator",
        "",
        "Microseconds of CPU time per operator of the model, the fastest of several runs, for models of two",
        "forms; TensorRT's build is not in it. Written by `python benchmarks/scaling.py`.",
        "",
        f"{date.today()}, {processor()}, Python {platform.python_version()}.",
        "",
        f"| model | operators | total | {' | '.join(names)} |",
        f"|---|{'---:|' * (len(names) + 2)}",
    ]
    for row in rows:
        cells = " | ".join(f"{row.stages[name]:.0f}" for name in names)
        lines.append(f"| {row.model} | {row.operators} | {row.total:.0f} | {cells} |")
    return "\n".join(lines) + "\n"


def processor() -> str:
    """The CPU's name, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--models", nargs="*", choices=[*MODELS], default=[*MODELS])
    options = parser.parse_args()
    gc.set_threshold(OBJECTS_PER_COLLECTION)  # as the command line does
    measure("chain", 100)  # imports, tables and TensorRT's own start are paid once
    rows: list[Row] = []
    for model in options.models:
        for size in options.sizes:
            rows.append(fastest(model, size, options.runs))
            print(f"{model} {rows[-1].operators}: {rows[-1].total:.0f} us per operator", flush=True)
    text = table(rows)
    print(text)
    if tuple(options.sizes) == SIZES and len(options.models) == len(MODELS):
        (HERE / "scaling.md").write_text(text)
        (HERE / "scaling.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Every operator on a real GPU: each example built as an engine of its own, run, and held against PyTorch.

What PyTorch computes on the CPU is written down first, where PyTorch is; the engines are built and run where
TensorRT and the GPU are, which needs no PyTorch:

    python    benchmarks/gpu_operators.py expect cases.npz
    python3.10 benchmarks/gpu_operators.py run cases.npz OUTDIR --precisions float32,float16

Inputs and weights are random and the same on both sides; dynamic dimensions are tried at the minimum, optimum
and maximum of their ranges. Results are in OUTDIR: `operators.json`, and `operators.md`, which lists what is
refused, with TensorRT's words, and what is wrong. `--part 0/2` and `--part 1/2` take every second example
each, so that two processes share the work; a further run on the same device goes on where the last one ended;
`--dry-run` builds but runs nothing, for a machine without a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trtdsl.diagnostics import DiagnosticError
from trtdsl.ir import Graph, Value
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision
from trtdsl.runtime import cuda
from trtdsl.runtime.engine import Engine
from trtdsl.trt.build import build
from trtdsl.trt.dialect import load_runtime
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import make_manifest
from trtdsl.types import DType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.ops.examples import EXAMPLES, POINTS, Example

LIMITS = {"float32": 1e-5, "float16": 1e-2}
"""Relative L2 error against PyTorch's float32; an operator's own tolerance counts where it is larger."""

VERDICTS = ("equal", "wrong", "refused", "failed", "not run")


@dataclass
class Case:
    """One example in one precision; ``errors`` are relative, by point and output."""

    text: str
    precision: str
    errors: dict[str, float] = field(default_factory=dict)
    limit: float = 0.0
    refused: str = ""
    failure: str = ""

    @property
    def verdict(self) -> str:
        if self.refused or self.failure:
            return "refused" if self.refused else "failed"
        if not self.errors:
            return "not run"
        return "equal" if all(error <= self.limit for error in self.errors.values()) else "wrong"


def expect(path: Path) -> None:
    """Write PyTorch's outputs of every example; those that are no real numbers also of rounded inputs.

    For what is largest, or equal, may be another when two numbers have become one in float16.
    """
    found: dict[str, Any] = {}
    for number, example in enumerate(EXAMPLES):
        for at in POINTS:
            inputs = example.arrays(at)
            found |= _outputs(example, inputs, f"{number} {at} float32")
            rounded = _outputs(example, {n: _halved(a) for n, a in inputs.items()}, f"{number} {at} float16")
            found |= {key: array for key, array in rounded.items() if array.dtype.kind != "f"}
    np.savez_compressed(path, texts=np.array([example.text for example in EXAMPLES]), **found)


def _outputs(example: Example, inputs: Mapping[str, Any], label: str) -> dict[str, Any]:
    from trtdsl.reference import run, to_numpy

    arrays = {f"{label} {name}": to_numpy(y) for name, y in run(example.graph(), inputs).items()}
    return {
        key: array.astype(np.float64) if array.dtype.kind == "V" else array for key, array in arrays.items()
    }


def _halved(array: Any) -> Any:
    return array.astype(np.float16).astype(array.dtype) if array.dtype == np.float32 else array


class Bench:
    """One process's work."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dialect = load_runtime(options.runtime)
        self.expected = np.load(options.cases)
        if [*self.expected["texts"]] != [example.text for example in EXAMPLES]:
            raise SystemExit(f"{options.cases} is of other examples: make it again")
        self.cases: list[Case] = self.earlier()
        self.done = {(case.text, case.precision) for case in self.cases}

    @property
    def path(self) -> Path:
        return self.options.outdir / f"operators{self.options.part[0]}.json"

    @property
    def about(self) -> dict[str, str]:
        found = {"TensorRT": str(self.dialect)}
        return found if self.options.dry_run else {**found, "device": cuda.current_device().name}

    def earlier(self) -> list[Case]:
        """What an earlier run found on the same device, but for what failed, which is tried again."""
        if self.options.dry_run or not self.path.exists():
            return []
        found = json.loads(self.path.read_text())
        if found["about"] != self.about:
            return []
        cases = [({k: v for k, v in row.items() if k != "verdict"}, row["verdict"]) for row in found["cases"]]
        return [Case(**fields) for fields, verdict in cases if verdict != "failed"]

    def work(self, number: int, example: Example, precision: str) -> None:
        """Build, run and compare one example; a failure is a result."""
        limit = max(LIMITS[precision], example.op.tolerance)
        if any(type.dtype is DType.FLOAT16 for type in (*example.inputs.values(), *example.results)):
            limit = max(limit, LIMITS["float16"])
        case = Case(example.text, precision, limit=limit)
        try:
            graph = example.graph()
            if precision != "float32":
                if not any(value.type.dtype is DType.FLOAT32 for value in values_of(graph)):
                    return
                graph = convert_precision(DType(precision))(graph)
            self._work(number, example, graph, case)
        except DiagnosticError as error:
            case.refused = str(error)
        except Exception:
            case.failure = traceback.format_exc()
        self.cases.append(case)

    def _work(self, number: int, example: Example, graph: Graph, case: Case) -> None:
        lowered = lower(graph, self.dialect)
        options = CompileOptions(tf32=False)
        data = build(lowered, options)
        if self.options.dry_run:
            return
        engine = Engine(data, make_manifest(lowered, data, options), self.dialect)
        types = {binding.name: DType(binding.dtype).numpy for binding in engine.manifest.inputs}
        for at in POINTS:
            arrays = example.arrays(at)
            found = engine(**{name: array.astype(types[name]) for name, array in arrays.items()})
            for name, output in found.items():
                keys = (f"{number} {at} {inputs} {name}" for inputs in (case.precision, "float32"))
                expected = next(self.expected[key] for key in keys if key in self.expected)
                case.errors[f"{at} {name}"] = relative(output, expected)

    def write(self) -> None:
        rows = [{**dataclasses.asdict(case), "verdict": case.verdict} for case in self.cases]
        self.path.write_text(json.dumps({"about": self.about, "cases": rows}, indent=1))
        self.path.with_suffix(".md").write_text(report(self.about, self.cases))


def values_of(graph: Graph) -> list[Value]:
    return [*graph.inputs, *graph.weights, *(value for node in graph.nodes for value in node.results)]


def relative(found: Any, expected: Any) -> float:
    """Relative L2 of the finite numbers; infinite where another shape, or not finite at the same places."""
    if found.shape != expected.shape:
        return float("inf")
    a, b = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite) or not np.array_equal(
        a[~finite], b[~finite], equal_nan=True
    ):
        return float("inf")
    error, norm = float(np.linalg.norm(a[finite] - b[finite])), float(np.linalg.norm(b[finite]))
    return error / norm if norm else error


def report(about: Mapping[str, str], cases: list[Case]) -> str:
    """Markdown: how many of each verdict, then every case that is not equal, with the reason."""
    lines = ["# Operators on a GPU", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    for precision in dict.fromkeys(case.precision for case in cases):
        verdicts = [case.verdict for case in cases if case.precision == precision]
        counted = ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts)
        errors = [
            e for c in cases if c.precision == precision and c.verdict == "equal" for e in c.errors.values()
        ]
        lines.append(f"- {precision}: {counted}; largest error among the equal {max(errors, default=0):.1e}")
    for case in cases:
        if case.verdict not in ("equal", "not run"):
            wrong = {at: error for at, error in case.errors.items() if error > case.limit}
            detail = case.refused or case.failure or ", ".join(f"{at} {e:.1e}" for at, e in wrong.items())
            lines += ["", f"## {case.verdict}: {case.text} in {case.precision}", "", detail.strip()]
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=("expect", "run"))
    parser.add_argument("cases", type=Path)
    parser.add_argument("outdir", type=Path, nargs="?", default=Path())
    parser.add_argument("--precisions", default="float32,float16")
    parser.add_argument("--part", default="0/1", help="which of how many parts of the examples")
    parser.add_argument("--only", default="", help="names of operators, all by default")
    parser.add_argument("--budget", type=float, default=540, help="seconds after which nothing new is begun")
    parser.add_argument("--runtime", default="tensorrt")
    parser.add_argument("--dry-run", action="store_true", help="build only, for a machine without a GPU")
    options = parser.parse_args()
    options.part = tuple(map(int, options.part.split("/")))
    options.only = set(filter(None, options.only.split(",")))
    options.precisions = options.precisions.split(",")
    if not {*options.precisions} <= {*LIMITS}:
        parser.error(f"--precisions: choose of {', '.join(LIMITS)}")
    return options


def main() -> None:
    options = arguments()
    if options.task == "expect":
        expect(options.cases)
        return
    options.outdir.mkdir(parents=True, exist_ok=True)
    bench, start = Bench(options), time.monotonic()
    part, parts = options.part
    chosen = [(n, e) for n, e in enumerate(EXAMPLES) if not options.only or e.name in options.only]
    asked = [(n, e, p) for p in options.precisions for n, e in chosen[part::parts]]
    todo = [(n, e, p) for n, e, p in asked if (e.text, p) not in bench.done]
    for done, (number, example, precision) in enumerate(todo):
        if time.monotonic() - start > options.budget:
            print(f"not begun: {len(todo) - done} of {len(todo)} cases, the time is over")
            break
        bench.work(number, example, precision)
        if done % 50 == 0:
            bench.write()
    bench.write()
    print(report({"seconds": f"{time.monotonic() - start:.0f}"}, bench.cases))


if __name__ == "__main__":
    main()

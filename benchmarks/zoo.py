"""Every network of `examples/zoo.json` with its original: numbers, build times and sizes, as a table.

    python -m benchmarks.zoo                          # all that have no result yet; hours
    python -m benchmarks.zoo --only resnet18 cnn      # these, anew
    python -m benchmarks.zoo --stages numbers         # without engines
    python -m benchmarks.zoo --table                  # run nothing, write the table

Each model runs in a process of its own: its network is computed by the evaluator at the least, best and
greatest sizes of its dims and compared with the original in float64, and TensorRT-RTX builds an engine in
float32, in float16 and, where the entry says so, in int8 with random inputs to calibrate by.  Each result is
written into `benchmarks/zoo.json` when it is there, so that the next run goes on where one ended, and the
table between two comments of `examples/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.records import alone_in
from benchmarks.zoo_entries import BATCH, EXAMPLES, Entry, read_zoo
from benchmarks.zoo_table import page, python_lines

RESULTS = Path(__file__).with_suffix(".json")
README = EXAMPLES / "README.md"
ROOT = EXAMPLES.parent
MINUTES = 20.0
"""After which a model is given up."""
SAMPLES = 8
"""Inputs to calibrate int8 by."""
MIB = 2**20

Record = dict[str, Any]


# One model, in a process of its own


def numbers(entry: Entry) -> Record:
    """How far the network is from the original in float64, and the original in float32, at each size."""
    from tests.closeness import distance, require_same_kind
    from tests.zoo.entries import elaborate, points, random_inputs
    from tests.zoo.oracles import calibrated, expected
    from trtdsl.evaluate import evaluate
    from trtdsl.passes import optimize
    from trtdsl.reference import to_numpy
    from trtdsl.trt.lower import lower
    from trtdsl.weights import bind

    written = elaborate(entry)
    module = calibrated(entry, written)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    lowered = lower(optimize(bind(written, state).graph))
    found: list[Record] = []
    for seed, sizes in enumerate(points(entry, written)):
        inputs = random_inputs(entry, written, sizes, seed)
        outputs = evaluate(lowered.network, inputs, weights=lowered.weights).values()
        errors, own = [0.0], [0.0]
        for one, other in zip(outputs, expected(module, inputs), strict=True):
            require_same_kind(one, other.own)
            if one.is_floating_point():
                errors.append(distance(one, other.exact))
                own.append(distance(other.own, other.exact))
            elif not bool((one == other.own).all()):
                raise AssertionError("an integer output differs")
        found.append({"sizes": sizes, "error": max(errors), "own": max(own)})
    return {
        "points": found,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "pytorch": lines_of_module(entry, module),
    }


def lines_of_module(entry: Entry, module: Any) -> int:
    """Code lines of the file that a module's class stands in, of a package where that has it."""
    from torch import nn

    bases = type(module).__mro__
    packaged = (sys.modules.get(each.__module__) for each in bases[: bases.index(nn.Module)])
    files = [Path(each.__file__) for each in packaged if each is not None and each.__file__]
    packages = [file for file in files if not file.is_relative_to(EXAMPLES)]
    file = packages[0] if packages else EXAMPLES / entry.oracle.partition(":")[0]
    return python_lines(file.read_text(encoding="utf-8"))


def engine(precision: str) -> Callable[[Entry], Record]:
    """What an engine of a precision takes to build, and its size."""

    def build(entry: Entry) -> Record:
        from tests.zoo.entries import elaborate
        from trtdsl.compile import compile_graph
        from trtdsl.options import CompileOptions
        from trtdsl.recipe import Recipe
        from trtdsl.reference import random_weights

        graph = random_weights(elaborate(entry))
        with tempfile.TemporaryDirectory() as folder:
            recipe = None if precision == "float32" else Recipe(precision=precision)
            if precision == "int8":
                recipe = Recipe(precision=precision, calibrate=str(_samples(entry, graph, Path(folder))))
            path = Path(folder) / "model.engine"
            wall, cpu = time.monotonic(), time.process_time()
            compiled = compile_graph(graph, path, CompileOptions(recipe=recipe))
            return {
                "seconds": round(time.monotonic() - wall, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "layers": len(compiled.manifest.layers),
                "mib": round(path.stat().st_size / MIB, 2),
            }

    return build


def _samples(entry: Entry, graph: Any, folder: Path) -> Path:
    """Random inputs in a file."""
    import numpy as np

    from tests.zoo.entries import points, random_inputs

    sizes = {**points(entry, graph)[:2][-1], BATCH: SAMPLES}
    path = folder / "samples.npz"
    arrays: Record = {name: x.numpy() for name, x in random_inputs(entry, graph, sizes, 7).items()}
    np.savez(path, **arrays)
    return path


STAGES: Mapping[str, Callable[[Entry], Record]] = {
    "numbers": numbers,
    **{precision: engine(precision) for precision in ("float32", "float16", "int8")},
}


def work(name: str, stage: str) -> None:
    """Print the record of one stage of one model as the last line."""
    try:
        record = STAGES[stage](read_zoo()[name])
    except Exception as error:
        # What fails is a row of the table; the other models are still to come.
        record = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
    print(f"\n{json.dumps(record)}")


# All of them


def stages_of(entry: Entry, chosen: Sequence[str]) -> list[str]:
    return [stage for stage in chosen if stage != "int8" or entry.int8]


def in_a_process(name: str, stage: str, minutes: float) -> Record:
    """The record of a stage, or why there is none; with when it was made."""
    command = [sys.executable, "-m", "benchmarks.zoo", "--work", name, stage]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60 * minutes, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {minutes:g} minutes"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": f"the process ended with {done.returncode}: {last[:200]}"}
    return json.loads(done.stdout.splitlines()[-1])


def read(results: Path) -> dict[str, dict[str, Record]]:
    return json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}


def keep(results: Path, name: str, stage: str, record: Record) -> None:
    """Put a record beside the others, which another process may have added to."""
    dated = {**record, "date": datetime.date.today().isoformat()}
    with alone_in(results.parent):
        known = read(results)
        known.setdefault(name, {})[stage] = dated
        results.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def to_do(options: argparse.Namespace, zoo: Mapping[str, Entry]) -> Iterator[tuple[Entry, str]]:
    """What was asked for and has no result, model by model."""
    known = read(options.results)
    for name in options.only or zoo:
        for stage in stages_of(zoo[name], options.stages):
            if options.only or stage not in known.get(name, {}):
                yield zoo[name], stage


def run(options: argparse.Namespace, zoo: Mapping[str, Entry]) -> bool:
    """Work through all; whether nothing failed."""
    from rich.console import Console
    from rich.progress import Progress

    tasks = list(to_do(options, zoo))
    console = Console(stderr=True)
    failures = 0
    with Progress(console=console) as progress:
        bar = progress.add_task("", total=len(tasks))
        for entry, stage in tasks:
            progress.update(bar, description=f"{entry.name} {stage}")
            record = in_a_process(entry.name, stage, options.minutes)
            keep(options.results, entry.name, stage, record)
            failures += "failed" in record
            progress.console.print(f"{entry.name} {stage}: {said(record)}", highlight=False, markup=False)
            progress.advance(bar)
            write_table(options, zoo)
    return not failures


def said(record: Record) -> str:
    if "failed" in record:
        return f"FAILED: {record['failed']}"
    if "points" in record:
        return f"error {max(each['error'] for each in record['points']):.1e}"
    return f"{record['seconds']} s, {record['mib']} MiB"


def write_table(options: argparse.Namespace, zoo: Mapping[str, Entry]) -> None:
    about = {
        "machine": f"{platform.machine()}, on the CPU",
        "TensorRT-RTX": metadata.version("tensorrt-rtx"),
        "PyTorch": metadata.version("torch"),
    }
    text = options.readme.read_text(encoding="utf-8")
    options.readme.write_text(page(text, list(zoo.values()), read(options.results), about), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these, whether done or not")
    parser.add_argument("--stages", type=lambda text: text.split(","), default=[*STAGES], metavar="NAME,...")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which a stage is given up")
    parser.add_argument("--table", action="store_true", help="only write the table of what is there")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--readme", type=Path, default=README, metavar="FILE")
    parser.add_argument("--work", nargs=2, metavar=("NAME", "STAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := {*options.only} - {*read_zoo()}:
        parser.error(f"not in the zoo: {', '.join(sorted(unknown))}")
    if unknown := {*options.stages} - {*STAGES}:
        parser.error(f"choose of {', '.join(STAGES)}, not {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    options = arguments()
    if options.work:
        work(*options.work)
        return 0
    zoo = read_zoo()
    right = options.table or run(options, zoo)
    write_table(options, zoo)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

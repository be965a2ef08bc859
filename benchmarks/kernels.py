"""How many kernels engines for TensorRT-RTX have: ours beside the ONNX route's, built without a GPU.

    python benchmarks/kernels.py --models resnet18,vit_tiny_patch16_224     # or `all`

Both routes' engines are built in float32 for the sizes that the text is tuned for, from the same module of
examples/zoo.json: ours from the text, the other by TensorRT's own parser from PyTorch's export at opset 20.
The kernels are those that TensorRT lists when it builds, and are not timed: fewer kernels start and write
less, but need not be faster.  Goes on where it ended; writes `kernels.json` and `kernels.md`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from gpu_points import best_batch, tuned
from gpu_reference import make_module, write_onnx
from safetensors.torch import save_file
from zoo_entries import BATCH, EXAMPLES, Entry, read_zoo

from trtdsl.compile import check_file, lowered_network
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.output import write_atomically
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.kernels import Kernel, read_kernels

HERE = Path(__file__).resolve().parent
OPSET = 20
"""The newest of PyTorch's exporter by tracing; it has a node for layer norms, and for GELU."""


@dataclass
class Count:
    """A model's kernels by either route, or why there are none."""

    model: str
    ours: int | None = None
    onnx: int | None = None
    failure: str = ""
    onnx_failure: str = ""


def count(entry: Entry, dialect: Dialect, folder: Path) -> Count:
    """Build a model both ways."""
    found = Count(entry.name)
    module = make_module(entry, "cpu")
    state = {key: value.detach().contiguous().clone() for key, value in module.state_dict().items()}
    save_file(state, folder / "state.safetensors")
    sizes = {**tuned(entry), BATCH: best_batch(entry)}
    choice = CheckOptions(model=entry.model, defines=entry.defines)
    graph = check_file(entry.path, folder / "state.safetensors", choice).graph
    profile = {symbol.name: sizes[symbol.name] for symbol in graph.symbols}
    options = CompileOptions(runtime=dialect.name, profiles=[profile] if profile else [])
    _, lowered = lowered_network(graph, options)
    found.ours = number(build_with_facts(lowered, options, kernels=True).kernels)
    try:
        write_onnx(folder, entry, module, OPSET)
        found.onnx = onnx_kernels(dialect, folder / "model.onnx", entry, sizes)
    except Exception as error:  # of the exporter, the parser or the builder: a result here
        found.onnx_failure = str(error).strip().splitlines()[0][:120]
    return found


def onnx_kernels(dialect: Dialect, path: Path, entry: Entry, sizes: Mapping[str, int]) -> int:
    """How many the engine has that TensorRT's own parser leads to."""
    builder = dialect.create_builder()
    network = dialect.create_network(builder)
    parser: Any = dialect.trt.OnnxParser(network, dialect.log.logger)
    if not parser.parse_from_file(str(path)):
        raise RuntimeError(f"the parser: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    dialect.configure(config, float16=False)
    profile = builder.create_optimization_profile()
    for name, each in entry.inputs.items():
        profile.set_shape(name, *[each.at(sizes)] * 3)
    config.add_optimization_profile(profile)
    config.profiling_verbosity = dialect.enum("ProfilingVerbosity.DETAILED")
    dialect.log.clear()
    if builder.build_serialized_network(network, config) is None:
        raise RuntimeError(f"no engine: {dialect.log.take()}")
    return number(read_kernels(dialect.log.take_listing()))


def number(kernels: Sequence[Kernel]) -> int:
    """How many compute: streams also signal and wait for each other."""
    return sum(kernel.kind not in ("signal", "wait") for kernel in kernels)


def table(counts: Sequence[Count], about: str) -> str:
    """What both routes have, and how often ours has fewer."""
    both = [each for each in counts if each.ours and each.onnx]
    ratios = [each.ours / each.onnx for each in both if each.ours and each.onnx]
    fewer, more = (sum(sign * ratio < sign for ratio in ratios) for sign in (1, -1))
    lines = ["# Kernels of engines for TensorRT-RTX", "", about, ""]
    if ratios:
        spread = f"{statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}"
        compared = f"Of {len(both)} models that both routes build, {fewer} have fewer kernels by trtdsl"
        lines += [f"{compared} and {more} more; the median ratio is {spread}.", ""]
    lines += ["| model | trtdsl | ONNX route | ratio |", "|---|--:|--:|--:|"]
    for each in sorted(counts, key=lambda each: each.model):
        ratio = f"{each.ours / each.onnx:.2f}" if each.ours and each.onnx else ""
        theirs = each.onnx or shorten(each.onnx_failure, 80, placeholder=" …").replace("|", "\\|")
        lines.append(f"| {each.model} | {each.ours or each.failure} | {theirs} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", default="all", help="names of the zoo")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder of both files")
    options = parser.parse_args()
    zoo = read_zoo(options.zoo)
    dialect = load_runtime("tensorrt_rtx")
    records = options.out / "kernels.json"
    known = json.loads(records.read_text()) if records.exists() else {}
    if known.get("runtime") != str(dialect):
        known = {"runtime": str(dialect), "counts": {}}
    for name in zoo if options.models == "all" else options.models.split(","):
        if name in known["counts"]:
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = count(zoo[name], dialect, Path(folder))
            except Exception as error:  # the other models are to be counted
                found = Count(name, failure=str(error).strip().splitlines()[0][:120])
        known["counts"][name] = asdict(found)
        print(f"{name}: {found.ours}, {found.onnx}, {time.monotonic() - begin:.0f} s", flush=True)
        write_atomically(records, json.dumps(known, indent=1).encode())
    about = (
        f"{known['runtime']}, float32, at the sizes that each text is tuned for (`benchmarks/kernels.py`)."
    )
    counts = [Count(**each) for each in known["counts"].values()]
    (options.out / "kernels.md").write_text(table(counts, about))


if __name__ == "__main__":
    main()

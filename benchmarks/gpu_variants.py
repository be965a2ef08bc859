"""Ways to place int8 that `gpu.py` measures beside each other, by name, and the error that each should have.

    {"before": {"placement": {"sums": false, "image_channels": 0}},
     "depthwise in float16": {"recipe": {"keep": {"float16": ["features.*.conv.1.0"]}}}}

`placement` changes fields of `trtdsl.precision.placement.PLACEMENTS` for TensorRT, `recipe` adds words to the
recipe.  What an engine should be off by PyTorch computes, on the processor, into `expected.json` beside the
model's `ranges.json`:

    python3 benchmarks/gpu_variants.py REFDIR VARIANTS --models resnet50,mobilenet_v2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu_points import best_batch
from zoo_entries import EXAMPLES, Entry, read_zoo

from trtdsl.precision.placement import PLACEMENTS, Placement
from trtdsl.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to place int8; by default the product's own, without a name."""

    name: str = ""
    placement: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    @property
    def changed(self) -> Placement:
        return dataclasses.replace(PLACEMENTS["tensorrt"], **self.placement)

    @contextmanager
    def in_use(self) -> Generator[None]:
        """While this lasts, trtdsl places int8 so."""
        before = PLACEMENTS["tensorrt"]
        PLACEMENTS["tensorrt"] = self.changed
        try:
            yield
        finally:
            PLACEMENTS["tensorrt"] = before


def read_variants(path: Path | None) -> list[Variant]:
    """Those of a file, or the one that is the product's own."""
    if path is None:
        return [Variant()]
    return [Variant(name, **fields) for name, fields in json.loads(path.read_text()).items()]


def expected_error(entry: Entry, folder: Path, variant: Variant) -> float:
    """The relative L2 error of the first output, with the graph quantised as it is for TensorRT 8.5."""
    import numpy as np

    from trtdsl.compile import check_file
    from trtdsl.options import CheckOptions
    from trtdsl.passes import optimize
    from trtdsl.precision.equalise import equalise
    from trtdsl.precision.pipeline import policy_of
    from trtdsl.precision.quantize import quantize
    from trtdsl.precision.ranges import read_ranges
    from trtdsl.reference import run
    from trtdsl.types import DType

    options = CheckOptions(model=entry.model, defines=entry.defines)
    graph = optimize(check_file(entry.path, folder / "state.safetensors", options).graph)
    recipe = Recipe(precision="int8", scales=folder / "ranges.json", **variant.recipe)
    policy = dataclasses.replace(policy_of(recipe, ()), placement=variant.changed)
    ranges = read_ranges(folder / "ranges.json")
    balanced = equalise(graph, ranges, policy.chosen(graph), products=False)
    found = quantize(balanced.graph, balanced.ranges, policy, DType.FLOAT16).graph
    with np.load(folder / f"data.{best_batch(entry)}.npz") as stored:
        inputs = {name: stored[f"input.{name}"] for name in entry.inputs}
        wanted = stored["output.0"]
    output = next(iter(run(found, inputs).values())).numpy()
    return float(np.linalg.norm(output - wanted) / np.linalg.norm(wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("refdir", type=Path)
    parser.add_argument("variants", type=Path)
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", required=True, help="names of the zoo")
    options = parser.parse_args()
    zoo = read_zoo(options.zoo)
    for name in options.models.split(","):
        folder = options.refdir / name
        found = {
            variant.name: expected_error(zoo[name], folder, variant)
            for variant in read_variants(options.variants)
        }
        (folder / "expected.json").write_text(json.dumps(found, indent=1))
        print(name, *(f"{variant}: {error:.1e}" for variant, error in found.items()), sep="\n  ", flush=True)


if __name__ == "__main__":
    main()

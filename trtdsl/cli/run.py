"""`trtdsl run`: an engine on the GPU, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from trtdsl.cli.options import ENGINE, ENGINE_PLUGINS, ENGINE_RUNTIME, PATH, command, names_in
from trtdsl.cli.report import report


@command
@ENGINE
@click.option(
    "--input",
    "inputs",
    metavar="NAME=FILE",
    multiple=True,
    help="An input: .npy, .npz, or a picture.",
)
@click.option("--output", "-o", type=PATH, metavar="PATH", help="Write the outputs to a .npz or .npy file.")
@click.option(
    "--normalize",
    metavar="MEAN,STD",
    help="For pictures: (pixel / 255 - mean) / std, one of each or one per channel.",
)
@ENGINE_RUNTIME
@ENGINE_PLUGINS
def run(
    engine: Path,
    inputs: Sequence[str],
    output: Path | None,
    normalize: str | None,
    runtime: str | None,
    plugins: Sequence[str],
) -> None:
    """Run an engine once on the GPU."""
    from trtdsl.runtime.engine import Engine, check_arrays, not_finite, read_engine
    from trtdsl.runtime.files import Normalization, load_arrays, require_savable, save_arrays

    data, manifest = read_engine(engine)
    if output:
        require_savable(output, len(manifest.outputs))
    arrays = load_arrays(inputs, manifest, Normalization.parse(normalize) if normalize else None)
    check_arrays(manifest, arrays)
    results = Engine(data, manifest, runtime, plugins=names_in(plugins))(**arrays)
    report([*not_finite(arrays), *not_finite(results)])
    if output:
        save_arrays(output, results)
    _print_results(results)


def _print_results(results: Mapping[str, Any]) -> None:
    import numpy as np

    with np.printoptions(precision=5, threshold=8, edgeitems=3):
        for name, array in results.items():
            print(f"{name}: {array.dtype.name}[{', '.join(map(str, array.shape))}]\n{array}")

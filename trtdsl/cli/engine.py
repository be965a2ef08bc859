"""The commands for engines that are built: `run`, `bench`, `inspect`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from trtdsl.diagnostics import render

EngineFile = Annotated[Path, typer.Argument(help="An engine, its manifest beside it.", show_default=False)]
Runtime = Annotated[
    str | None, typer.Option(help="tensorrt_rtx or tensorrt; by default what built the engine.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run(
    engine: EngineFile,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=FILE", help="An input: .npy, .npz, or a picture."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the outputs to a .npz or .npy file.")
    ] = None,
    normalize: Annotated[
        str | None,
        typer.Option(
            metavar="MEAN,STD", help="Of pictures: (pixel / 255 - mean) / std; or one each a channel."
        ),
    ] = None,
    runtime: Runtime = None,
) -> None:
    """Run an engine once on the GPU."""
    from trtdsl.runtime.engine import Engine, check_arrays, not_finite, read_engine
    from trtdsl.runtime.files import Normalization, load_arrays, require_savable, save_arrays

    data, manifest = read_engine(engine)
    if output:
        require_savable(output, len(manifest.outputs))
    arrays = load_arrays(inputs or (), manifest, Normalization.parse(normalize) if normalize else None)
    check_arrays(manifest, arrays)
    results = Engine(data, manifest, runtime)(**arrays)
    for warning in (*not_finite(arrays), *not_finite(results)):
        print(render(warning), file=sys.stderr)
    if output:
        save_arrays(output, results)
    _print_results(results)


def bench(
    engine: EngineFile,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape", metavar="NAME=8x3x32x32", help="By default what the first profile is tuned for."
        ),
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds to measure.", min=0.1, max=3600)] = 3.0,
    cuda_graph: Annotated[bool, typer.Option("--cuda-graph", help="Run as a CUDA graph.")] = False,
    runtime: Runtime = None,
    as_json: AsJson = False,
) -> None:
    """Time an engine on the GPU; inputs and outputs stay there."""
    import json

    from trtdsl.runtime.bench import measure, shapes_of, show_measurement
    from trtdsl.runtime.engine import Engine, read_engine

    data, manifest = read_engine(engine)
    shapes = shapes_of(shape or (), manifest)
    found = measure(Engine(data, manifest, runtime), shapes, seconds=duration, cuda_graph=cuda_graph)
    print(json.dumps(found.to_dict(), indent=1) if as_json else show_measurement(found))


def inspect(
    engine: EngineFile,
    layers: Annotated[bool, typer.Option("--layers", help="List the layers with their source.")] = False,
    weights: Annotated[bool, typer.Option("--weights", help="List the weights with their hashes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what an engine is, from its manifest; no GPU is needed."""
    from trtdsl.runtime.engine import read_engine
    from trtdsl.runtime.inspect import show_manifest

    _, manifest = read_engine(engine)
    print(manifest.to_json() if as_json else show_manifest(manifest, layers=layers, weights=weights))


def _print_results(results: Mapping[str, Any]) -> None:
    import numpy as np

    with np.printoptions(precision=5, threshold=8, edgeitems=3):
        for name, array in results.items():
            print(f"{name}: {array.dtype.name}[{', '.join(map(str, array.shape))}]\n{array}")

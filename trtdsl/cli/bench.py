"""`trtdsl bench`: how long an engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trtdsl.cli.options import AS_JSON, ENGINE, ENGINE_PLUGINS, ENGINE_RUNTIME, command, names_in


@command
@ENGINE
@click.option(
    "--shape",
    "shapes",
    metavar="NAME=8x3x32x32",
    multiple=True,
    help="An input's shape; by default the one that the first profile is tuned for.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    default=3.0,
    show_default=True,
    help="Seconds to measure.",
)
@click.option("--cuda-graph", is_flag=True, help="Run as a CUDA graph.")
@ENGINE_RUNTIME
@ENGINE_PLUGINS
@AS_JSON
def bench(
    engine: Path,
    shapes: Sequence[str],
    duration: float,
    cuda_graph: bool,
    runtime: str | None,
    plugins: Sequence[str],
    as_json: bool,
) -> None:
    """Time an engine on the GPU; inputs and outputs stay there."""
    import json

    from trtdsl.runtime.bench import measure, shapes_of, show_measurement
    from trtdsl.runtime.engine import Engine, read_engine

    data, manifest = read_engine(engine)
    chosen = shapes_of(shapes, manifest)
    loaded = Engine(data, manifest, runtime, plugins=names_in(plugins))
    found = measure(loaded, chosen, seconds=duration, cuda_graph=cuda_graph)
    print(json.dumps(found.to_dict(), indent=1) if as_json else show_measurement(found))

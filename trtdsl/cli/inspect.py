"""`trtdsl inspect`: what an engine is."""

from __future__ import annotations

from pathlib import Path

import click

from trtdsl.cli.options import AS_JSON, ENGINE, command


@command
@ENGINE
@click.option("--layers", is_flag=True, help="List the layers with their source.")
@click.option("--weights", is_flag=True, help="List the weights with their hashes.")
@AS_JSON
def inspect(engine: Path, layers: bool, weights: bool, as_json: bool) -> None:
    """Show what an engine is, from its manifest, which may be given too; no GPU is needed."""
    from trtdsl.runtime.engine import read_engine
    from trtdsl.runtime.inspect import show_manifest
    from trtdsl.trt.manifest import engine_of_manifest, load_manifest

    beside = engine_of_manifest(engine)
    manifest = load_manifest(beside) if beside else read_engine(engine)[1]
    print(manifest.to_json() if as_json else show_manifest(manifest, layers=layers, weights=weights))

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
    """Show what an engine is, from its manifest; no GPU is needed."""
    from trtdsl.runtime.engine import read_engine
    from trtdsl.runtime.inspect import show_manifest

    _, manifest = read_engine(engine)
    print(manifest.to_json() if as_json else show_manifest(manifest, layers=layers, weights=weights))

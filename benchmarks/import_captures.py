"""Programs that were captured of published models, for the importer's tests: ``python
benchmarks/import_captures.py [NAME …]``.

What ``torch.export`` gives is written as JSON to ``tests/importers/captures``, so that the tests need neither
the models' packages nor an export.  Paths are written from the folder of the package on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import sys
from pathlib import Path

from import_models import Model, models

FOLDER = Path(__file__).parent.parent / "tests" / "importers" / "captures"


def captured(model: Model) -> str:
    """A model's program as JSON."""
    import torch

    from trtdsl.importers.capture import capture
    from trtdsl.importers.constructed import recording
    from trtdsl.importers.inputs import read_inputs
    from trtdsl.importers.program_json import to_json
    from trtdsl.ir.names import identifier

    torch.manual_seed(0)
    torch.set_num_threads(1)
    with recording() as constructed:
        module = model.make().eval()
    inputs = read_inputs(model.inputs, model.dims)
    program = capture(module, identifier(model.name), inputs, "", constructed).program
    text = to_json(program)
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        text = text.replace(json.dumps(f"{folder}/")[1:-1], "/")
    return text


def write(name: str) -> None:
    """Write one model's program; the same program gives the same bytes."""
    model = next(each for each in models() if each.name == name)
    try:
        text = captured(model)
    except Exception as error:  # another model's turn comes all the same
        print(f"{name:32} {type(error).__name__}: {str(error).splitlines()[0]}")
        return
    data = gzip.compress(text.encode(), 9, mtime=0)
    (FOLDER / f"{name}.json.gz").write_bytes(data)
    print(f"{name:32} {len(data) / 1e3:.0f} kB", flush=True)


def main() -> None:
    """Capture the models named, or all that were captured before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models; without, those that are there")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    known = sorted(each.name.removesuffix(".json.gz") for each in FOLDER.glob("*.json.gz"))
    for name in options.names or known:
        process = multiprocessing.get_context("spawn").Process(target=write, args=(name,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()

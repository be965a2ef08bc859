"""Published models imported, checked and compared: ``python benchmarks/import_zoo.py [NAME …] [--write]``.

Each model runs in a process of its own: it is made with random weights, imported, its text elaborated, and
both are computed at other sizes than the import had.  A table is printed, and with ``--write`` kept in
``benchmarks/import.md``, so that the next run goes on where one ended.  ``--stage engine`` has TensorRT-RTX
build an engine of each, which takes longer; ``--stage again`` imports each again, so that the texts may be
compared; ``--anew`` runs those too that have a result.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from import_measures import engine_of, imported_again, measured
from import_models import Model, models
from import_processes import in_a_process
from import_table import table
from records import alone_in

RESULTS = Path(__file__).parent / "import.json"
TABLE = Path(__file__).parent / "import.md"

_PRELOAD = ("torch", "torchvision", "timm", "transformers", "trtdsl.importers.module", "trtdsl.reference")

STAGES: Mapping[str, Callable[[Model], dict[str, Any]]] = {
    "import": measured,
    "again": imported_again,
    "engine": engine_of,
}


def read() -> dict[str, dict[str, Any]]:
    """The records by model and stage, and of held-out models the ``first``."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(model: Model, stage: str, record: dict[str, Any]) -> None:
    """Put a record beside the others, which another process may have added to."""
    with alone_in(RESULTS.parent):
        known = read()
        known.setdefault(model.name, {})[stage] = record
        if model.group == "held out" and stage == "import":
            known[model.name].setdefault("first", record)
        order = [each.name for each in models()]
        known = {name: known[name] for name in order if name in known}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        TABLE.write_text(table(known, models(), datetime.date.today()))


def main() -> None:
    """Run the models named, or all that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models; all without")
    parser.add_argument("--write", action="store_true", help="keep the results, and go on where they end")
    parser.add_argument("--stage", choices=STAGES, default="import")
    parser.add_argument("--anew", action="store_true", help="also those that have a result")
    parser.add_argument("--group", help="only those: held out, dynamic or depth")
    options = parser.parse_args()
    stage: str = options.stage
    for model in models():
        if options.names and model.name not in options.names:
            continue
        if options.group is not None and model.group != options.group:
            continue
        if options.write and not (options.names or options.anew) and stage in read().get(model.name, {}):
            continue
        record = in_a_process(STAGES[stage], model, preload=_PRELOAD)
        print(f"{model.name:32} {json.dumps(record)}", flush=True)
        if options.write:
            keep(model, stage, record)


if __name__ == "__main__":
    main()

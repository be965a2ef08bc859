"""Published models imported, checked and compared: ``python benchmarks/import_zoo.py [NAME …] [--write]``.

Each model runs in a process of its own: it is made with random weights, imported, its text elaborated, and
both are computed with another batch size than the import had.  A table is printed, and with ``--write`` kept
in ``benchmarks/import.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from import_models import Model, models

RESULTS = Path(__file__).parent / "import.json"
TABLE = Path(__file__).parent / "import.md"
SIZES = {"N": 3, "S": 10}
"""What the dynamic dimensions are when values are compared."""


def imported(model: Model) -> dict[str, Any]:
    """What came of one model: the lines of its text, its error, the time; or why it was not imported."""
    import torch

    from trtdsl.importers.constructed import recording
    from trtdsl.importers.module import import_module

    torch.manual_seed(0)
    torch.set_num_threads(1)
    with recording() as constructed:
        module = model.make().eval()
    randomize(module)
    begin = time.process_time()
    found = import_module(module, model.inputs, model.dims, name=model.name, constructed=constructed)
    seconds = time.process_time() - begin
    error, outputs = _error(module, model, found)
    return {
        "lines": len(found.text.splitlines()),
        "constants": len(found.constants),
        "seconds": round(seconds, 1),
        "error": error,
        "outputs": outputs,
    }


def randomize(module: Any) -> None:
    """Statistics as training leaves them, no weight that hides what follows, no two vectors equal."""
    import torch

    for each in module.modules():
        if getattr(each, "running_mean", None) is not None:
            each.running_mean.normal_(0, 0.1)
            each.running_var.uniform_(0.8, 1.2)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() and not parameter.any():
                parameter.normal_(0, 0.02)
            elif parameter.ndim == 1 and (parameter == parameter[:1]).all():
                parameter.mul_(torch.empty_like(parameter).uniform_(0.9, 1.1))


def _error(module: Any, model: Model, found: Any) -> tuple[float, int]:
    """The largest relative L2 error of an output, with batch 3."""
    import torch

    from trtdsl.reference import run

    values = dict(values_of(model, SIZES))
    state = {**module.state_dict(), **found.constants}
    with torch.no_grad():
        named = "x" not in values
        wanted = list(_tensors(module(**values) if named else module(values["x"])))
        computed = list(run(found.graph, values, state).values())
    if len(wanted) != len(computed) or not wanted:
        raise ValueError(f"{len(computed)} outputs, and the module has {len(wanted)}")
    errors: list[float] = []
    for ours, theirs in zip(computed, wanted, strict=True):
        size = theirs.double().norm()
        if not size.isfinite() or size == 0:
            raise ValueError("an output of the module is zero throughout, or not finite")
        errors.append(float((ours.double() - theirs.double()).norm() / size))
    return max(errors), len(errors)


def values_of(model: Model, sizes: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    """A tensor for each input, at these sizes of the dynamic dimensions."""
    import torch

    for name, text in model.inputs.items():
        dtype, _, shape = text.partition("[")
        dims = [sizes.get(each.strip()) or int(each) for each in shape.rstrip("]").split(",")]
        if dtype == "float32":
            yield name, torch.randn(dims)
        elif name == "attention_mask":
            mask = torch.ones(dims, dtype=torch.int64)
            mask[1, -3:] = 0
            yield name, mask
        else:
            yield name, torch.randint(2, 90, dims)


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(each)


def _work(name: str, connection: Any) -> None:
    model = next(each for each in models() if each.name == name)
    try:
        connection.send(imported(model))
    except Exception as error:
        connection.send({"refused": f"{type(error).__name__}: {error}".splitlines()[0][:300]})


def in_a_process(model: Model) -> dict[str, Any]:
    """The same in a process of its own, whose memory goes with it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(model.name, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return {"refused": "the process ended"}
    finally:
        process.join()


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """All results as a page."""
    done = [each for each in results.values() if "error" in each]
    refused = {name: each["refused"] for name, each in results.items() if "refused" in each}
    rows = [
        f"| {name} | {each['family']} | {each['lines']} | {each['constants']} | {each['error']:.1e} |"
        f" {each['seconds']} |"
        for name, each in results.items()
        if "error" in each
    ]
    lines = [each["lines"] for each in done]
    median = statistics.median(lines) if lines else 0
    worst = max((each["error"] for each in done), default=0.0)
    head = [
        "# Imported models",
        "",
        f"`make import-zoo`, {datetime.date.today().isoformat()}: {len(results)} of {len(models())} models"
        f" were run so far, and {len(done)} of them are imported and checked; largest relative L2 error"
        f" {worst:.1e}, with batch 3 where the import had 2; the text has {median:g} lines in the median."
        " Weights are random.",
        "",
        *(f"- `{name}` is not imported: {reason}" for name, reason in refused.items()),
        *([""] if refused else []),
        "| model | from | lines | constants beside it | error | CPU seconds, export included |",
        "|---|---|--:|--:|--:|--:|",
    ]
    return "\n".join([*head, *rows, ""])


def main() -> None:
    """Run the models named, or all that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models; all without")
    parser.add_argument("--write", action="store_true", help="keep the results, and go on where they end")
    options = parser.parse_args()
    known: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wanted = [each for each in models() if not options.names or each.name in options.names]
    for model in wanted:
        if options.write and not options.names and model.name in known:
            continue
        found = {"family": model.family, **in_a_process(model)}
        known[model.name] = found
        print(f"{model.name:32} {json.dumps(found)}", flush=True)
        if options.write:
            order = [each.name for each in models()]
            known = dict(sorted(known.items(), key=lambda each: order.index(each[0])))
            RESULTS.write_text(json.dumps(known, indent=1) + "\n")
            TABLE.write_text(table(known))


if __name__ == "__main__":
    main()

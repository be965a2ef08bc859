"""Published models as ONNX files, imported: ``python benchmarks/import_onnx.py [NAME …] [--by WAY]``.

Each model is made with random weights and exported by each of PyTorch's ways, in a process of its own; each
file, whose outputs are called as in the text of the module, is imported.  Two things are asked: whether the
text is the one that the same module's exported program gives (``trtdsl import program.pt2``, which like a
file knows no constructors), and whether the text computes what ``onnxruntime`` does, with another batch size.
With ``--write`` results are kept in ``benchmarks/import_onnx.json`` and ``import_onnx.md``, and a run goes on
where the last one ended.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import difflib
import io
import json
import tempfile
import time
import unittest.mock
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from import_measures import SIZES as OTHER_SIZES
from import_measures import randomize, values_of
from import_models import Model, models
from import_processes import in_a_process

RESULTS = Path(__file__).parent / "import_onnx.json"
TABLE = Path(__file__).parent / "import_onnx.md"
SIZES = {"N": 2, "S": 7}
"""What the dynamic dimensions are when a model is exported."""


WAYS: Mapping[str, str] = {
    "plain": "new exporter, `optimize=False`",
    "new": "new exporter",
    "old": "old exporter",
}
"""PyTorch's ways to an ONNX file."""


def _examples(model: Model) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments to export with."""
    import torch

    torch.manual_seed(0)
    values = dict(values_of(model, SIZES))
    return ((values["x"],), {}) if "x" in values else ((), values)


def _axes(model: Model) -> dict[str, dict[int, str]]:
    """The dynamic dimensions of each input by number, under the model's names for them."""
    found: dict[str, dict[int, str]] = {}
    for name, text in model.inputs.items():
        dims = [each.strip() for each in text.partition("[")[2].rstrip("]").split(",")]
        found[name] = {number: dim for number, dim in enumerate(dims) if not dim.isdigit()}
    return found


def _new(module: Any, model: Model, outputs: Sequence[str]) -> Any:
    """The new exporter's program, not optimized."""
    import torch

    positional, named = _examples(model)
    axes: Any = _axes(model)
    return torch.onnx.export(
        module,
        positional,
        kwargs=named or None,
        dynamic_shapes=tuple(axes.values()) if positional else axes,
        output_names=outputs,
        dynamo=True,
        optimize=False,
        verbose=False,
    )


def _old(module: Any, model: Model, path: Path, outputs: Sequence[str]) -> None:
    import torch

    positional, named = _examples(model)
    torch.onnx.export(
        module,
        (*positional, named) if named else positional,
        path,
        input_names=list(model.inputs),
        output_names=outputs,
        dynamic_axes=_axes(model),
        dynamo=False,
    )


_PRELOAD = ("torch.onnx", "torchvision", "onnxscript", "onnxruntime", "import_measures", "import_models")


# --- One model --------------------------------------------------------------------------------------------


def measured(model: Model, ways: str, texts: str) -> dict[str, dict[str, Any]]:
    """What came of one model's files by way, or why there is no text; ``texts`` is a folder for them, or "".

    Of the new exporter's program the optimized file is made as well, by the call that exporting with
    ``optimize=True`` ends with.
    """
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = model.make().eval()
    randomize(module)
    wanted = _of_program(module, model)
    outputs = [each.name for each in wanted.graph.outputs]
    records: dict[str, dict[str, Any]] = {}
    program: Any = None
    with tempfile.TemporaryDirectory() as folder:
        for by in ways.split():
            path = Path(folder) / f"{model.name}.{by}.onnx"
            try:
                with _quiet():
                    program = _write(_uncalled(module, model), model, by, path, outputs, program)
            except Exception as error:  # torch's errors have no common base
                records[by] = {"unexported": _first_line(error)}
                continue
            try:
                records[by] = _imported(model, by, path, wanted, texts)
            except Exception as error:  # whatever it is, it is what came of this model
                records[by] = {"refused": _first_line(error)}
    return records


def _uncalled(module: Any, model: Model) -> Any:
    """The module as it was before it was called: what it kept of its last call may not be exported."""
    import torch

    torch.manual_seed(0)
    made = model.make().eval()
    made.load_state_dict(module.state_dict())
    return made


def _write(module: Any, model: Model, by: str, path: Path, outputs: Sequence[str], program: Any) -> Any:
    """Write a file; gives the new exporter's program."""
    if by == "old":
        _old(module, model, path, outputs)
        return program
    program = program or _new(module, model, outputs)
    if by == "new":
        program.optimize()
    program.save(path, external_data=True)
    return program


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]


def _imported(model: Model, by: str, path: Path, wanted: Any, texts: str) -> dict[str, Any]:
    """The record of one file; ``unrun`` says why ``onnxruntime`` itself does not run it."""
    import onnx
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail  # pyright: ignore

    from trtdsl.importers.onnx_import import import_onnx

    dims = _symbols(model) if by == "old" else {each.name: each for each in wanted.dims}
    begin = time.process_time()
    found = import_onnx(path, dims, name=model.name)
    result: dict[str, Any] = {
        "day": datetime.date.today().isoformat(),
        "seconds": round(time.process_time() - begin, 1),
        "nodes": len(onnx.load(str(path), load_external_data=False).graph.node),
        "lines": len(found.text.splitlines()),
    }
    if by != "old":
        result["same"] = found.text == wanted.text
        result["differing"] = _differing(found.text, wanted.text)
    if texts:
        (Path(texts) / f"{model.name}.{by}.trtnet").write_text(found.text)
        (Path(texts) / f"{model.name}.trtnet").write_text(wanted.text)
    try:
        return {**result, "error": _error(path, model, found)}
    except Fail as error:
        return {**result, "unrun": _first_line(error)}


def _symbols(model: Model) -> dict[str, Any]:
    from trtdsl.importers.inputs import read_inputs

    return dict(read_inputs(model.inputs, model.dims).dims)


def _of_program(module: Any, model: Model) -> Any:
    """What the module's exported program gives, as one does that was saved: it knows the lines in ``forward``
    alone.  Its dimensions are as narrow as export finds them."""
    from trtdsl.importers.exporting import export
    from trtdsl.importers.inputs import read_inputs
    from trtdsl.importers.module import import_exported

    with unittest.mock.patch("trtdsl.importers.exporting.helpers_kept", contextlib.nullcontext):
        exported = export(module, read_inputs(model.inputs, model.dims))
    return import_exported(exported.program, exported.dims, name=model.name)


def _differing(found: str, wanted: str) -> int:
    """How many lines one text has that the other has not."""
    lines = difflib.ndiff(wanted.splitlines(), found.splitlines())
    return sum(line[0] in "+-" for line in lines)


@contextlib.contextmanager
def _quiet() -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _error(path: Path, model: Model, found: Any) -> float:
    """The largest relative L2 error of an output against ``onnxruntime``."""
    import numpy as np
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    from trtdsl.reference import run, to_numpy

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    values = {name: value.numpy() for name, value in values_of(model, OTHER_SIZES)}
    asked = session.get_inputs()
    names = [each.name for each in asked]
    # The old exporter makes inputs of numbers that are 0 unless given, such as `logits_to_keep`,
    values |= {
        each.name: np.zeros((), np.int64) for each in asked if each.name not in values and not each.shape
    }
    if values.keys() >= {*names}:  # and leaves out what the module does not read.
        values = {name: values[name] for name in names}
    wanted: Any = session.run(None, dict(zip(names, values.values(), strict=True)))
    inputs = {each.name: value for each, value in zip(found.graph.inputs, values.values(), strict=True)}
    computed = [to_numpy(each) for each in run(found.graph, inputs, found.weights).values()]
    if len(wanted) != len(computed):
        raise ValueError(f"{len(computed)} outputs, and the file has {len(wanted)}")
    errors = [
        float(np.linalg.norm((ours - theirs).astype(np.float64)) / np.linalg.norm(theirs))
        for ours, theirs in zip(computed, wanted, strict=True)
    ]
    return max(errors)


# --- All --------------------------------------------------------------------------------------------------


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """All results as a page."""
    head = [
        "# Imported ONNX files",
        "",
        f"`make import-onnx`, {datetime.date.today().isoformat()}. Weights are random. *Same*: the text is,"
        " byte for byte, what the module's exported program gives, otherwise how many lines differ; *error*:"
        " relative L2 against `onnxruntime` with batch 3 where the export had 2. The files' outputs have the"
        " names of the text's, by `output_names`.",
        "",
        *_days(results),
        *_extent(results),
        f"| exporter | files | imported | equal to {_EQUAL:.0e} | same text | largest error |",
        "|---|--:|--:|--:|--:|--:|",
        *(_summary(by, [each[by] for each in results.values() if by in each]) for by in WAYS),
        "",
        "| model | " + " | ".join(f"{title}: same | error" for title in WAYS.values()) + " |",
        "|---|" + "--:|--:|" * len(WAYS),
    ]
    rows = [
        f"| {name} | " + " | ".join(_cell(ways.get(by, {})) for by in WAYS) + " |"
        for name, ways in results.items()
    ]
    reasons = [
        f"- `{name}`, {WAYS[by]}: {found.get('refused') or found.get('unexported')}"
        for name, ways in results.items()
        for by, found in ways.items()
        if "lines" not in found
    ]
    unrun = [
        f"- `{name}`, {WAYS[by]}: {found['unrun']}"
        for name, ways in results.items()
        for by, found in ways.items()
        if "unrun" in found
    ]
    parts = {"Without a text:": reasons, "Files that `onnxruntime` does not run:": unrun}
    listed = [line for title, lines in parts.items() if lines for line in ("", title, "", *lines)]
    return "\n".join([*head, *rows, *listed, ""])


_EQUAL = 1e-5
"""The error up to which a text computes what its file does."""


def _days(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """When the files were imported."""
    days = Counter(record.get("day", "before") for ways in results.values() for record in ways.values())
    last = ", ".join(f"{count} on {day}" for day, count in sorted(days.items()) if day != "before")
    before = f", {days['before']} before" if days["before"] and last else ""
    return [f"Records made: {last}{before}.", ""] if last else []


def _extent(results: Mapping[str, Any]) -> list[str]:
    """Which models the page is about, where it is not all of them."""
    first = [each.name for each in models() if not each.group]
    run = sum(name in results for name in first)
    if run == len(first):
        return []
    return [f"Run so far: {run} of the {len(first)} models that the importer was written with.", ""]


def _summary(by: str, found: list[Mapping[str, Any]]) -> str:
    files = [each for each in found if "unexported" not in each]
    done = [each for each in files if "lines" in each]
    same = sum(bool(each.get("same")) for each in done) if by != "old" else "-"
    errors = [each["error"] for each in done if "error" in each]
    worst = max(errors, default=0.0)
    equal = sum(error <= _EQUAL for error in errors)
    return f"| {WAYS[by]} | {len(files)} | {len(done)} | {equal} | {same} | {worst:.1e} |"


def _cell(found: Mapping[str, Any]) -> str:
    if "lines" not in found:
        return "not exported |" if "unexported" in found else "refused |" if found else "|"
    same = "yes" if found.get("same") else f"{found['differing']} lines" if "same" in found else "-"
    return f"{same} | {found['error']:.1e}" if "error" in found else f"{same} | not run"


def main() -> None:
    """Run the models named, or all that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models; all without")
    parser.add_argument("--by", choices=list(WAYS), action="append", help="one way; all without")
    parser.add_argument("--write", action="store_true", help="keep the results, and go on where they end")
    parser.add_argument("--texts", default="", help="a folder for the texts")
    parser.add_argument("--group", help="only those: held out, dynamic or depth; '' for the first ones")
    options = parser.parse_args()
    known: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    order = [each.name for each in models()]
    for model in models():
        if options.names and model.name not in options.names:
            continue
        if options.group is not None and model.group != options.group:
            continue
        before = {} if options.names or not options.write else known.get(model.name, {})
        ways = [by for by in options.by or WAYS if by not in before]
        if not ways:
            continue
        found = in_a_process(measured, model, " ".join(ways), options.texts, preload=_PRELOAD)
        if "refused" in found:
            found = dict.fromkeys(ways, found)
        for by, record in found.items():
            print(f"{model.name:28} {by:6} {json.dumps(record)}", flush=True)
        known.setdefault(model.name, {}).update(found)
        if options.write:
            known = dict(sorted(known.items(), key=lambda each: order.index(each[0])))
            RESULTS.write_text(json.dumps(known, indent=1) + "\n")
            TABLE.write_text(table(known))


if __name__ == "__main__":
    main()

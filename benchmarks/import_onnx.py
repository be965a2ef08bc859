"""Published models as ONNX files, imported: ``python benchmarks/import_onnx.py [NAME …] [--by WAY]``.

Each model is made with random weights and exported by each of PyTorch's ways, in a process of its own; the
file is imported.  Two things are asked: whether the text is the one that the same module's exported program
gives (``trtdsl import program.pt2``, which like a file knows no constructors), and whether the text computes
what ``onnxruntime`` does, with another batch size.  With ``--write`` results are kept in
``benchmarks/import_onnx.json`` and ``import_onnx.md``, and a run goes on where the last one ended.
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
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Way:
    """One of PyTorch's ways to an ONNX file."""

    title: str
    export: Callable[[Any, Model, Path], None]


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


def _new(is_optimized: bool) -> Callable[[Any, Model, Path], None]:
    def export(module: Any, model: Model, path: Path) -> None:
        import torch

        positional, named = _examples(model)
        axes: Any = _axes(model)
        torch.onnx.export(
            module,
            positional,
            path,
            kwargs=named or None,
            dynamic_shapes=tuple(axes.values()) if positional else axes,
            dynamo=True,
            optimize=is_optimized,
            verbose=False,
        )

    return export


def _old(module: Any, model: Model, path: Path) -> None:
    import torch

    positional, named = _examples(model)
    torch.onnx.export(
        module,
        (*positional, named) if named else positional,
        path,
        input_names=list(model.inputs),
        dynamic_axes=_axes(model),
        dynamo=False,
    )


WAYS: Mapping[str, Way] = {
    "plain": Way("new exporter, `optimize=False`", _new(is_optimized=False)),
    "new": Way("new exporter", _new(is_optimized=True)),
    "old": Way("old exporter", _old),
}


# --- One model --------------------------------------------------------------------------------------------


def measured(model: Model, by: str) -> dict[str, Any]:
    """What came of one model's file, or why there is no text."""
    import onnx
    import torch

    from trtdsl.importers.onnx_import import import_onnx

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = model.make().eval()
    randomize(module)
    text, dims = _text_of_program(module, model) if by != "old" else ("", _symbols(model))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model.name}.onnx"
        with _quiet():
            try:
                WAYS[by].export(module, model, path)
            except Exception as error:  # torch's errors have no common base
                return {"unexported": f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]}
        begin = time.process_time()
        found = import_onnx(path, dims, name=model.name)
        result: dict[str, Any] = {
            "seconds": round(time.process_time() - begin, 1),
            "nodes": len(onnx.load(str(path), load_external_data=False).graph.node),
            "lines": len(found.text.splitlines()),
        }
        if text:
            result["same"] = found.text == text
            result["differing"] = _differing(found.text, text)
        result["error"] = _error(path, model, found)
    return result


def _symbols(model: Model) -> dict[str, Any]:
    from trtdsl.importers.inputs import read_inputs

    return dict(read_inputs(model.inputs, model.dims).dims)


def _text_of_program(module: Any, model: Model) -> tuple[str, dict[str, Any]]:
    """The text of the module's exported program, and its dimensions, as narrow as export finds them."""
    from trtdsl.importers.exporting import export
    from trtdsl.importers.inputs import read_inputs
    from trtdsl.importers.module import import_exported

    exported = export(module, read_inputs(model.inputs, model.dims))
    found = import_exported(exported.program, exported.dims, name=model.name)
    return found.text, {each.name: each for each in found.dims}


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
    names = [each.name for each in session.get_inputs()]
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
        " relative L2 against `onnxruntime` with batch 3 where the export had 2.",
        "",
        "| exporter | files | imported | same text | largest error |",
        "|---|--:|--:|--:|--:|",
        *(_summary(by, [each[by] for each in results.values() if by in each]) for by in WAYS),
        "",
        "| model | " + " | ".join(f"{way.title}: same | error" for way in WAYS.values()) + " |",
        "|---|" + "--:|--:|" * len(WAYS),
    ]
    rows = [
        f"| {name} | " + " | ".join(_cell(ways.get(by, {})) for by in WAYS) + " |"
        for name, ways in results.items()
    ]
    reasons = [
        f"- `{name}`, {WAYS[by].title}: {found.get('refused') or found.get('unexported')}"
        for name, ways in results.items()
        for by, found in ways.items()
        if "lines" not in found
    ]
    return "\n".join([*head, *rows, *(["", "Without a text:", "", *reasons] if reasons else []), ""])


def _summary(by: str, found: list[Mapping[str, Any]]) -> str:
    files = [each for each in found if "unexported" not in each]
    done = [each for each in files if "lines" in each]
    same = sum(bool(each.get("same")) for each in done) if by != "old" else "-"
    worst = max((each["error"] for each in done), default=0.0)
    return f"| {WAYS[by].title} | {len(files)} | {len(done)} | {same} | {worst:.1e} |"


def _cell(found: Mapping[str, Any]) -> str:
    if "lines" not in found:
        return "not exported |" if "unexported" in found else "refused |" if found else "|"
    same = "yes" if found.get("same") else f"{found['differing']} lines" if "same" in found else "-"
    return f"{same} | {found['error']:.1e}"


def main() -> None:
    """Run the models named, or all that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models; all without")
    parser.add_argument("--by", choices=list(WAYS), action="append", help="one way; all without")
    parser.add_argument("--write", action="store_true", help="keep the results, and go on where they end")
    options = parser.parse_args()
    known: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    order = [each.name for each in models()]
    for model in models():
        if options.names and model.name not in options.names:
            continue
        for by in options.by or WAYS:
            if options.write and not options.names and by in known.get(model.name, {}):
                continue
            found = in_a_process(measured, model, by)
            print(f"{model.name:28} {by:6} {json.dumps(found)}", flush=True)
            known.setdefault(model.name, {})[by] = found
            if options.write:
                known = dict(sorted(known.items(), key=lambda each: order.index(each[0])))
                RESULTS.write_text(json.dumps(known, indent=1) + "\n")
                TABLE.write_text(table(known))


if __name__ == "__main__":
    main()

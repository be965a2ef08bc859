"""ONNX's own tests of its operators, run over the importer: `make onnx-suite`.

Each case is imported, elaborated and computed by the reference, and compared with the outputs that the case
gives.  Where an input must be known, as a shape must, the case's own value is put into the file.  Out: a
table of how many passed, how many were refused with which reason, and which gave other values: none may.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    name: str
    kind: str
    """passed, passed with values put in, refused, wrong, or failed: a fault of the importer"""
    reason: str = ""


def cases() -> list[Any]:
    """The cases of onnx.backend.test, all operators of all versions."""
    warnings.simplefilter("ignore")
    from onnx.backend.test.loader import load_model_tests

    return load_model_tests(kind="node")


def data_of(case: Any) -> list[tuple[list[Any], list[Any]]]:
    """The inputs and outputs of a case, as arrays."""
    return case.data_sets or []


def with_values(model: Any, values: dict[str, Any]) -> Any:
    """The model with some inputs as constants."""
    import onnx
    from onnx import numpy_helper

    found = onnx.ModelProto()
    found.CopyFrom(model)
    kept = [each for each in found.graph.input if each.name not in values]
    del found.graph.input[:]
    found.graph.input.extend(kept)
    found.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    return found


def compute(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs of an imported model, in order."""
    from trtdsl import elaborate_text
    from trtdsl.importers.onnx_file import read_model
    from trtdsl.importers.onnx_import import import_onnx_program
    from trtdsl.reference import run, to_numpy

    program, arrays = read_model(model, "case")
    imported = import_onnx_program(program, arrays)
    graph = elaborate_text(imported.text)
    names = [each.name for each in graph.inputs]
    given = {name: inputs[name] for name in names}
    return {name: to_numpy(each) for name, each in run(graph, given, imported.constants).items()}


def attempts(model: Any, arrays: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Which inputs are put into the file: none, then integers, then all but the first."""
    yield {}
    if len(arrays) < 2:
        return
    first = next(iter(arrays))
    integers = {name: each for name, each in arrays.items() if each.dtype.kind in "iub" and name != first}
    small = {name: each for name, each in integers.items() if each.ndim <= 1}
    floats = {name: each for name, each in arrays.items() if each.ndim <= 1 and name != first}
    others = {name: each for name, each in arrays.items() if name != first}
    seen: list[list[str]] = []
    for chosen in (small, integers, floats, others):
        if chosen and list(chosen) not in seen:
            seen.append(list(chosen))
            yield chosen


def outcome(case: Any) -> Outcome:
    """Run one case."""
    from trtdsl.diagnostics import DiagnosticError
    from trtdsl.ir.names import identifier

    reason = ""
    for inputs, outputs in data_of(case):
        initialised = {each.name for each in case.model.graph.initializer}
        names = [each.name for each in case.model.graph.input if each.name not in initialised]
        inputs, outputs = [_array(each) for each in inputs], [_array(each) for each in outputs]
        if not all(isinstance(each, (np.ndarray, np.generic)) for each in [*inputs, *outputs]):
            return Outcome(case.name, "refused", "sequences and optional values")
        arrays = {name: np.asarray(each) for name, each in zip(names, inputs, strict=True)}
        for chosen in attempts(case.model, arrays):
            given = {identifier(name): each for name, each in arrays.items() if name not in chosen}
            try:
                found = compute(with_values(case.model, chosen), given)
            except DiagnosticError as error:
                reason = reason or str(error.diagnostics[0].message)
                continue
            except Exception as error:
                return Outcome(case.name, "failed", f"{type(error).__name__}: {error}".partition("\n")[0])
            problem = difference(case, list(found.values()), outputs)
            if problem and _names_a_tie(case, arrays, list(found.values()), outputs):
                return Outcome(case.name, "ties")
            if problem:
                return Outcome(case.name, "wrong", problem)
            return Outcome(case.name, "with values" if chosen else "passed")
    return Outcome(case.name, "refused", reason or "no data")


def _names_a_tie(case: Any, inputs: dict[str, Any], found: list[Any], wanted: list[Any]) -> bool:
    """Whether `TopK` gives the values wanted, and positions that hold them: which of equal ones is open."""
    (node, *others) = case.model.graph.node
    if node.op_type != "TopK" or others or not np.array_equal(found[0], wanted[0]):
        return False
    axis = next((each.i for each in node.attribute if each.name == "axis"), -1)
    held = np.take_along_axis(next(iter(inputs.values())), found[1], axis)
    return np.array_equal(held, wanted[0])


def _array(value: Any) -> Any:
    """A tensor of a dtype that numpy lacks, as ml_dtypes has it."""
    import onnx

    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def difference(case: Any, found: list[Any], wanted: list[Any]) -> str:
    """What is wrong with the outputs, "" where nothing is."""
    if len(found) != len(wanted):
        return f"{len(found)} outputs, not {len(wanted)}"
    for number, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
        theirs = np.asarray(theirs)
        if mine.shape != theirs.shape:
            return f"output {number} has shape {mine.shape}, not {theirs.shape}"
        if mine.dtype != theirs.dtype:
            return f"output {number} is {mine.dtype}, not {theirs.dtype}"
        kind = np.float64 if theirs.dtype.kind not in "iub" else theirs.dtype
        # Narrow types round at each operator, and not every evaluator in the same order.
        rtol = max(case.rtol, {"float16": 2**-8, "bfloat16": 2**-5}.get(theirs.dtype.name, 0))
        if not np.allclose(mine.astype(kind), theirs.astype(kind), rtol, case.atol, equal_nan=True):
            return f"output {number} differs"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", default="", help="only cases whose names hold this")
    parser.add_argument("--every", type=int, default=1, help="every n-th case")
    parser.add_argument("--list", default="", help="name the cases of these kinds, separated by commas")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    chosen = [case for case in cases() if options.k in case.name][:: options.every]
    found = [outcome(case) for case in chosen]
    counts = Counter(each.kind for each in found)
    for each in found:
        if each.kind in ("wrong", "failed", *options.list.split(",")):
            print(f"{each.kind}: {each.name}: {each.reason}")
    print(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())), f"of {len(found)}")
    if options.write:
        PAGE.write_text(page(found), encoding="utf-8")
    return 1 if counts["wrong"] or counts["failed"] else 0


def page(found: list[Outcome]) -> str:
    """The table as a page."""
    import onnx

    counts = Counter(each.kind for each in found)
    lines = [
        "# ONNX's tests of its operators, over the importer",
        "",
        f"`make onnx-suite`, onnx {onnx.__version__}: {len(found)} cases of `onnx.backend.test`, each"
        " imported, elaborated and computed by the reference.",
        "",
        "| | cases |",
        "|---|--:|",
        f"| equal to the expected outputs | {counts['passed']} |",
        f"| equal, with inputs that must be known put into the file | {counts['with values']} |",
        f"| equal, but `TopK` names another of equal values | {counts['ties']} |",
        f"| refused with a reason | {counts['refused']} |",
        f"| wrong | {counts['wrong']} |",
        f"| failed without a message | {counts['failed']} |",
        "",
        "Why cases are refused:",
        "",
        "| reason | cases |",
        "|---|--:|",
    ]
    reasons = Counter(each.reason for each in found if each.kind == "refused")
    lines += [f"| {reason.replace('|', '/')} | {count} |" for reason, count in reasons.most_common()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

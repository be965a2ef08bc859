"""The rows that `gpu.py` measures, and the table that they make."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAILED = "FAILED"
"""In the line that `gpu.py` prints of a row without times."""
DONE = "done: "
"""How a line begins that it prints of a row."""
FLOAT32 = "float32.json"
"""Of a model's reference: the error of PyTorch's own float32, by batch."""
LIMITS = {"float32": 1e-5, "float16": 5e-3, "int8": None}
"""Relative L2 error allowed against float64; int8 is held against the error of TensorRT's own calibrator."""


@dataclass
class Row:
    """One model in one precision; times in milliseconds by batch."""

    model: str
    precision: str
    variant: str = ""
    build_s: float = 0.0
    layers: int = 0
    onnx_build_s: float = 0.0
    error: dict[int, float] = field(default_factory=dict)
    onnx_error: dict[int, float] = field(default_factory=dict)
    ours: dict[int, float] = field(default_factory=dict)
    ours_graph: dict[int, float] = field(default_factory=dict)
    onnx: dict[int, float] = field(default_factory=dict)
    onnx_graph: dict[int, float] = field(default_factory=dict)
    noise: dict[int, float] = field(default_factory=dict)
    verified: str = ""
    onnx_failure: str = ""
    failure: str = ""


def label(row: Row) -> str:
    return " ".join(filter(None, (row.model, row.precision, row.variant)))


def measured(path: Path, about: Mapping[str, str]) -> dict[str, Row]:
    """What an earlier run left on the same device, by label."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    if any(found["about"].get(key) != about.get(key) for key in ("device", "TensorRT")):
        return {}
    return {label(row): row for row in rows_of([found])}


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows of what `gpu.py` writes."""
    rows = [Row(**fields) for each in results for fields in each["rows"]]
    for row in rows:
        for each in dataclasses.fields(Row):
            if isinstance(times := getattr(row, each.name), dict):
                setattr(row, each.name, {int(batch): value for batch, value in times.items()})
    return rows


def torch_time(folder: Path) -> dict[str, Any]:
    """PyTorch's times, the error of its float16, and those of its float32 by batch."""

    def read(name: str) -> dict[str, Any]:
        path = folder / name
        return json.loads(path.read_text()) if path.exists() else {}

    return {**read("torch.json"), "float32": read(FLOAT32)}


def summary(row: Row) -> str:
    """One line: why there are no times, or what building took, the errors and times by batch."""
    if row.failure:
        return f"{FAILED}: {row.failure.strip().splitlines()[-1]}"
    errors = ", ".join(f"{error:.1e}" for error in row.error.values())
    times = " ".join(
        f"b{batch}: {row.ours_graph[batch]:.3f}/{row.onnx_graph.get(batch, float('nan')):.3f}"
        for batch in row.ours_graph
    )
    return f"built in {row.build_s:.1f} s, ONNX {row.onnx_build_s:.1f} s; error {errors}; {times}"


def table(about: Mapping[str, str], rows: Sequence[Row], torch_times: Mapping[str, Any]) -> str:
    """Markdown: what was measured, then one line a model, precision and batch, then the failures."""
    lines = ["# Engines on a GPU", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += ["", ABOUT_TIMES, "", HEADER, RULE]
    for row in rows:
        lines += [line(row, batch, torch_times[row.model]) for batch in row.error]
    lines += ["", HEADER_OF_BUILDS, RULE_OF_BUILDS]
    lines += [
        f"| {r.model} | {r.precision} {r.variant} | {r.layers} "
        f"| {r.build_s:.1f} | {r.onnx_build_s:.1f} | {r.verified} |"
        for r in rows
    ]
    without = {row.model: row.onnx_failure for row in rows if row.onnx_failure}
    lines += (
        ["", *(f"- {model} by the ONNX route: {why}" for model, why in without.items())] if without else []
    )
    for row in rows:
        if row.failure:
            lines += ["", f"## {label(row)} failed", "", "```", row.failure, "```"]
    return "\n".join(lines) + "\n"


ABOUT_TIMES = (
    "Times in milliseconds: medians, inputs and outputs on the GPU. PyTorch is given float16 and gives it, "
    "but for its error in rows of float32; *whole* is its graph from what the engines read to what they "
    "write, in float32."
)
HEADER = (
    "| model | precision | batch | relative L2 | within | ONNX L2 | torch L2 | trtdsl | graph | ONNX route"
    " | graph | ratio | noise | torch eager | graph | torch graph / ours | whole | whole / ours |"
)
RULE = "|---|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"

HEADER_OF_BUILDS = "| model | precision | layers | build s | ONNX build s | `trtdsl verify --engine` |"
RULE_OF_BUILDS = "|---|---|--:|--:|--:|---|"


def line(row: Row, batch: int, torch_times: dict[str, Any]) -> str:
    def number(value: float | None, form: str = ".3f") -> str:
        return "" if value is None else format(value, form)

    kinds = ("eager", "graph", "whole")
    eager, graph, whole = (torch_times.get(kind, {}).get(str(batch)) for kind in kinds)
    ours, onnx = row.ours_graph.get(batch), row.onnx_graph.get(batch)
    half = row.precision == "float16"
    own = {"float16": torch_times.get("error"), "float32": torch_times.get("float32", {}).get(str(batch))}
    cells = [
        row.model,
        f"{row.precision} {row.variant}".strip(),
        str(batch),
        number(row.error[batch], ".1e"),
        within(row, batch),
        number(row.onnx_error.get(batch), ".1e"),
        number(own.get(row.precision), ".1e"),
        number(row.ours.get(batch)),
        number(ours),
        number(row.onnx.get(batch)),
        number(onnx),
        number(ours / onnx if ours and onnx else None),
        number(row.noise.get(batch), ".1%"),
        number(eager if half else None),
        number(graph if half else None),
        number(graph / ours if half and graph and ours else None, ".2f"),
        number(whole if half else None),
        number(whole / ours if half and whole and ours else None, ".2f"),
    ]
    return f"| {' | '.join(cells)} |"


def within(row: Row, batch: int) -> str:
    """Whether the error is allowed; nothing where there is no limit to hold it against."""
    limit = LIMITS[row.precision] or row.onnx_error.get(batch)
    return "" if limit is None else "yes" if row.error[batch] <= limit else "**no**"

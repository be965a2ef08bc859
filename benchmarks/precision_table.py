"""The page of the measurements of precision, from their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

TITLES = {
    "resnet": "A ResNet for digits",
    "mobile": "A MobileNetV3-like network for digits",
    "onet": "O-Net",
    "rnet": "R-Net",
    "minilm": "MiniLM",
}
SHOWN = ("error", "in the engine", "accuracy", "decisions", "cosine", "worst cosine", "Spearman", "top 10")
LIMITS: dict[tuple[str, str], dict[str, float]] = {
    ("minilm", "int8"): {"error": 0.078, "cosine": 0.997, "Spearman": 0.996, "top 10": 0.945},
    ("minilm", "int8, --max-error 0.04"): {
        "error": 0.04,
        "cosine": 0.999,
        "Spearman": 0.999,
        "top 10": 0.965,
        "worst cosine": 0.99,
    },
    ("minilm", "int4"): {"error": 0.332, "cosine": 0.945, "Spearman": 0.945, "top 10": 0.835},
    ("minilm", "fp8"): {"error": 0.072, "cosine": 0.9975, "Spearman": 0.997},
    ("onet", "int8"): {"error": 0.04, "decisions": 0.996},
    ("onet", "int8, all layers"): {"error": 0.048},
    ("rnet", "int8"): {"error": 0.034, "decisions": 0.996},
    ("resnet", "int8"): {"error": 0.011, "accuracy": 0.971},
    ("mobile", "int8"): {"error": 0.026, "accuracy": 0.972},
}
"""What each row is to reach."""

INTRODUCTION = """# Narrow types against float32

Written by `python benchmarks/precision.py`, which says what the models and their data are. The error is the
relative L2 distance of the first output to the float32 module's, on samples that nothing was calibrated with,
with all around quantised tensors in float32. *In the engine* it is ours with scales that are rounded to
float16, as engines have them; `--max-error` is held against that.
*Reached* says whether a row is within what it was to reach before it was measured.
"""


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The page."""
    parts = [INTRODUCTION, f"{_versions()}.\n"]
    for model, title in TITLES.items():
        mine = [row for row in rows if row["model"] == model]
        if mine:
            parts += [f"## {title}\n", *_scores(mine), "", *_kernels(mine), ""]
    return "\n".join(parts).rstrip() + "\n"


def _versions() -> str:
    names = ("torch", "onnxruntime", "tensorrt-rtx")
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _scores(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    shown = [key for key in SHOWN if any(key in row for row in rows)]
    yield f"| what | {' | '.join(shown)} | in floating point | reached |"
    yield f"|---|{'---|' * (len(shown) + 2)}"
    for row in rows:
        if row["who"] == "the command":
            continue
        cells = [f"{row[key]:.4f}" if key in row else row.get("failed", "") for key in shown]
        if "failed" in row:
            cells = [row["failed"], *[""] * (len(shown) - 1)]
        name = ", ".join(filter(None, (row["who"], row["way"])))
        yield f"| {name} | {' | '.join(cells)} | {_left(row)} | {_reached(row)} |"
    for row in rows:
        if row["who"] == "the command":
            yield ""
            told = f"{row['cpu seconds']} s of CPU time, {row['memory']} MiB, {row['seconds']} s by the clock"
            told += f" on two cores with a load of {row['load']}" if "load" in row else ""
            yield f"`trtdsl compile --precision int8 --calibrate data.npz` takes {told}."
    counts = {row["layers"] for row in rows if "layers" in row}
    if len(counts) > 1:
        yield ""
        yield f"Rows of {max(counts)} layers were measured before queries, keys and values became one, which"
        yield f"leaves {min(counts)}."


def _left(row: dict[str, Any]) -> str:
    if "layers" not in row:
        return ""
    by_error = f", {len(row['left by error'])} by error" if row["left by error"] else ""
    return f"{row['layers'] - row['narrow']} of {row['layers']} layers{by_error}"


def _reached(row: dict[str, Any]) -> str:
    limits = LIMITS.get((row["model"], row["way"]), {}) if row["who"] == "trtdsl" else {}
    if row["who"] == "trtdsl" and row["way"].endswith("--max-error 0.02"):
        within = row["calibration error"] <= 0.02 and row["worst output"] <= 1.3 * 0.02
        return "yes: 0.02 on its data, 1.3 of that on others" if within else "no"
    if not limits:
        return ""
    missed = [
        f"{key} {limit:g}"
        for key, limit in limits.items()
        if (row[key] > limit if key == "error" else row[key] < limit)
    ]
    told = ", ".join(f"{key} {limit:g}" for key, limit in limits.items())
    return f"no: {', '.join(missed)}" if missed else f"yes: {told}"


def _kernels(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    listed = [row for row in rows if row.get("kernels")]
    if not listed:
        return
    targets = list(dict.fromkeys(target for row in listed for target in row["kernels"]))
    yield "Planned layers that TensorRT's list of kernels has in the narrow type, the bytes of their"
    yield "weights as a share of float32's, with the scales of blocks, and those of the engine for the first"
    yield "of the GPUs:"
    yield ""
    yield f"| recipe | {' | '.join(targets)} | weights | engine |"
    yield f"|---|{'---|' * (len(targets) + 2)}"
    for row in listed:
        cells = [_kernel_cell(row["kernels"].get(target)) for target in targets]
        share = next((each["weights"] for each in row["kernels"].values() if each["weights"]), None)
        size = next(each["engine bytes"] for each in row["kernels"].values())
        told = f"{'' if share is None else f'{share:.1%}'} | {size / 1e6:.1f} MB"
        yield f"| {row['way']} | {' | '.join(cells)} | {told} |"


def _kernel_cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "has none of it"
    by_kind: dict[str, list[str]] = {}
    for label, told in found["otherwise"].items():
        by_kind.setdefault(told, []).append(label)
    others = "; ".join(
        f"{labels[0] if len(labels) == 1 else f'{len(labels)} layers'} {told}"
        for told, labels in by_kind.items()
    )
    return f"{found['as planned']} of {found['planned']}" + (f" ({others})" if others else "")

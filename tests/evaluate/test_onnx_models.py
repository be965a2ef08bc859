"""A sample of ``benchmarks/evaluator.py``: torch module = evaluate(NVIDIA's reading of its ONNX export).

The models are small and between them use most layer types an export can produce.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _benchmark() -> ModuleType:
    """The script, imported as it sees itself: with its own folder on the path."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        return importlib.import_module("evaluator")
    finally:
        sys.path.pop(0)


BENCHMARK = _benchmark()
CASES = {case.name: case for case in BENCHMARK.CASES}
SAMPLE = ("resnet18", "mobilenet_v3_small", "swin_t", "lcnet_050", "vit_tiny_patch16_224", "bert", "llama")


@pytest.mark.parametrize("name", SAMPLE)
def test_published_model(name: str, tmp_path: Path) -> None:
    row = BENCHMARK.prove(CASES[name], tmp_path)
    assert row["static"] <= BENCHMARK.LIMIT
    assert isinstance(row["dynamic"], float)
    assert row["dynamic"] <= BENCHMARK.LIMIT
    # An output that hardly depends on the input would agree with anything.
    assert row["spread"] > 1e-3

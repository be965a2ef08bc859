"""A sample of ``benchmarks/evaluator.py``: torch module = evaluate(NVIDIA's reading of its ONNX export).

The models are small and between them use most layer types an export can produce.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "evaluator.py"
    spec = importlib.util.spec_from_file_location("evaluator_benchmark", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while it is being executed.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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

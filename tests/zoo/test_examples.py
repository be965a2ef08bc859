"""Every example has exactly the weights of the PyTorch module it stands for."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trtdsl.elaborate import elaborate_file

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True)
class Example:
    """One line of ``examples/zoo.json``."""

    name: str
    file: str
    model: str
    defines: dict[str, Any]
    oracle: str
    arguments: dict[str, Any]
    inputs: dict[str, list[int]]


ZOO = [Example(**entry) for entry in json.loads((EXAMPLES / "zoo.json").read_text())]


def load_oracle(oracle: str) -> Callable[..., nn.Module]:
    """The callable that ``module:name``, or ``path.py:name`` under ``examples/``, stands for."""
    module_name, _, name = oracle.partition(":")
    if not module_name.endswith(".py"):
        return getattr(importlib.import_module(module_name), name)
    spec = importlib.util.spec_from_file_location(Path(module_name).stem, EXAMPLES / module_name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def oracle_shapes(example: Example) -> dict[str, tuple[int, ...]]:
    """Key and shape of everything that the oracle's eval-mode forward reads."""
    with torch.device("meta"):
        module = load_oracle(example.oracle)(**example.arguments)
    state = module.state_dict()
    return {
        key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("example", ZOO, ids=lambda example: example.name)
def test_weights_are_the_oracles(example: Example) -> None:
    graph = elaborate_file(EXAMPLES / example.file, model=example.model, defines=example.defines)
    assert {weight.key: weight.type.shape for weight in graph.weights} == oracle_shapes(example)


@pytest.mark.parametrize("example", ZOO, ids=lambda example: example.name)
def test_inputs_are_the_zoos(example: Example) -> None:
    graph = elaborate_file(EXAMPLES / example.file, model=example.model, defines=example.defines)
    assert {value.name: list(value.type.shape[1:]) for value in graph.inputs} == example.inputs


def test_every_example_is_in_the_zoo() -> None:
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("*/*.trtnet")}
    assert files == {example.file for example in ZOO}

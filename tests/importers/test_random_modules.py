"""Random modules are imported as texts that compute what they do."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from tests.importers import modules
from tests.importers.random_modules import random_module
from trtdsl.elaborate import elaborate_text
from trtdsl.importers.constructed import recording
from trtdsl.importers.module import Imported, import_module
from trtdsl.ir import Graph
from trtdsl.reference import run
from trtdsl.syntax import format_text
from trtdsl.verification.oracle import state_of
from trtdsl.weights import bind

INPUTS = {"x": "float32[N, 4, 6, 10]"}
SEEDS = range(12)


def bound(imported: Imported, module: nn.Module) -> Graph:
    graph = elaborate_text(imported.text)
    return bind(graph, {**state_of(module), **imported.constants}).graph


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.op.name for node in graph.nodes)


def outputs(graph: Graph, x: torch.Tensor) -> list[torch.Tensor]:
    return [torch.as_tensor(np.asarray(each)) for each in run(graph, {"x": x.numpy()}).values()]


@pytest.mark.parametrize("seed", SEEDS)
def test_text_computes_what_the_module_does(seed: int) -> None:
    with recording() as constructed:
        module = random_module(seed)
    whole = import_module(module, INPUTS, constructed=constructed)
    flat = import_module(module, INPUTS, is_flat=True)
    assert "block " not in flat.text
    graph, plain = bound(whole, module), bound(flat, module)
    assert operators(graph) == operators(plain)
    x = torch.randn(3, 4, 6, 10, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = module(x)
    for found in (*outputs(graph, x), *outputs(plain, x)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert format_text(whole.text) == whole.text


@pytest.mark.parametrize("seed", [0, 5])
def test_importing_twice_gives_the_same_bytes(seed: int) -> None:
    first, second = (import_module(random_module(seed), INPUTS) for _ in range(2))
    assert first.text == second.text


def test_another_module_is_told_apart() -> None:
    """What the property test compares differs where the texts do."""
    graph = bound(import_module(random_module(1), INPUTS), random_module(1))
    x = torch.randn(3, 4, 6, 10)
    with torch.no_grad():
        expected = random_module(2)(x)
    (found,) = outputs(graph, x)
    assert not torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_repeats_become_loops_and_options_branches() -> None:
    texts = [import_module(random_module(seed), INPUTS).text for seed in range(3)]
    assert any("for " in text for text in texts)
    assert any("if " in text for text in texts)


def test_depth_does_not_change_the_length() -> None:
    lengths = {
        len(import_module(modules.Network(depth=depth), {"x": "float32[N, 3, 16, 16]"}).text.splitlines())
        for depth in (6, 9)
    }
    assert len(lengths) == 1

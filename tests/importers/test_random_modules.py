"""Random modules are imported as texts that compute what they do."""

from __future__ import annotations

import re
import sys
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn

from tests.importers import modules
from tests.importers.random_modules import random_module
from trtdsl.elaborate import elaborate_text
from trtdsl.importers.constructed import Constructed, recording
from trtdsl.importers.module import Imported, import_module
from trtdsl.ir import Graph, Value, Weight
from trtdsl.reference import run
from trtdsl.syntax import format_text
from trtdsl.verification.oracle import state_of
from trtdsl.weights import bind

INPUTS = {"x": "float32[N, 4, 6, 10]"}
SEEDS = range(12)
OPTIONAL = 25
"""A module whose class is called with an option and without."""


def bound(imported: Imported, module: nn.Module) -> Graph:
    graph = elaborate_text(imported.text)
    return bind(graph, {**state_of(module), **imported.constants}).graph


def outputs(graph: Graph, x: torch.Tensor) -> list[torch.Tensor]:
    return [torch.as_tensor(np.asarray(each)) for each in run(graph, {"x": x.numpy()}).values()]


def without_names(graph: Graph) -> list[tuple[object, ...]]:
    """What the outputs are made of, whatever values are called and in whatever order they are made."""
    numbers: dict[int, object] = {id(value): f"input {n}" for n, value in enumerate(graph.inputs)}
    makers = {id(result): node for node in graph.nodes for result in node.results}
    found: list[tuple[object, ...]] = []

    def visit(value: Value) -> None:
        if isinstance(value, Weight):
            # A constant's label is the importer's choice, its values are not.
            values = value.data.tobytes() if value.constant and value.data is not None else None
            numbers[id(value)] = value.key if values is None else ("constant", values)
        if id(value) in numbers:
            return
        node = makers[id(value)]
        for operand in node.operands:
            visit(operand)
        operands = tuple(numbers[id(operand)] for operand in node.operands)
        numbers.update({id(each): (len(found), n) for n, each in enumerate(node.results)})
        found.append((repr(node.op), node.slots, operands, tuple(str(each.type) for each in node.results)))

    for output in graph.outputs:
        visit(output.value)
        found.append((output.name, numbers[id(output.value)]))
    return found


def made(seed: int) -> tuple[nn.Module, Constructed]:
    with recording() as constructed:
        return random_module(seed), constructed


@lru_cache
def imported(seed: int) -> Imported:
    module, constructed = made(seed)
    return import_module(module, INPUTS, constructed=constructed)


def held_against_the_module(seed: int) -> None:
    """Import a seed's module as blocks and flat; hold all that must hold of the texts."""
    module, _ = made(seed)
    whole = imported(seed)
    flat = import_module(module, INPUTS, is_flat=True)
    assert "block " not in flat.text
    assert "for " not in flat.text
    graph, plain = bound(whole, module), bound(flat, module)
    assert without_names(graph) == without_names(plain)
    assert len(graph.nodes) == len(plain.nodes)
    x = torch.randn(3, 4, 6, 10, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = module.eval()(x.clone())
    assert expected.isfinite().all()
    for found in (*outputs(graph, x), *outputs(plain, x)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for each in (whole, flat):
        assert format_text(each.text) == each.text


@pytest.mark.parametrize("seed", SEEDS)
def test_text_computes_what_the_module_does(seed: int) -> None:
    """More seeds, by hand: ``python -m tests.importers.test_random_modules 100 200``."""
    held_against_the_module(seed)


@pytest.mark.parametrize("seed", [0, 5])
def test_importing_twice_gives_the_same_bytes(seed: int) -> None:
    module, constructed = made(seed)
    assert import_module(module, INPUTS, constructed=constructed).text == imported(seed).text


def test_another_module_is_told_apart() -> None:
    """What the property test compares differs where the texts do."""
    graph = bound(imported(1), random_module(1))
    x = torch.randn(3, 4, 6, 10)
    with torch.no_grad():
        expected = random_module(2)(x)
    (found,) = outputs(graph, x)
    assert not torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_repeats_become_loops_and_options_branches() -> None:
    texts = [imported(seed).text for seed in (*SEEDS, OPTIONAL)]
    assert any("for " in text for text in texts)
    assert any("if " in text for text in texts)
    assert any(re.search(r"^block .*\w = \d", text, re.MULTILINE) for text in texts)
    assert any(re.search(r"^block .*\w = (true|false)", text, re.MULTILINE) for text in texts)


def test_depth_does_not_change_the_length() -> None:
    lengths = {
        len(import_module(modules.Network(depth=depth), {"x": "float32[N, 3, 16, 16]"}).text.splitlines())
        for depth in (6, 9)
    }
    assert len(lengths) == 1


if __name__ == "__main__":
    for number in range(*map(int, sys.argv[1:])):
        held_against_the_module(number)
        print(f"seed {number} holds", flush=True)

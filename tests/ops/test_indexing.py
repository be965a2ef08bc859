"""Positions: in range, at both ends, counted from the end, out of range; against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.elaborate.bodies import graph_of, keys, mistakes_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.diagnostics import DiagnosticError
from trtdsl.evaluate import EvaluationError, evaluate
from trtdsl.ir import rebuild
from trtdsl.ops.base import OPERATORS
from trtdsl.trt.lower import lower

OPS: Any = OPERATORS

IDS = "dim N = 1 .. 2 .. 8\ninput ids: int64[N, 5]\ninput w: float32[10, 4]\n"


# --- Embedding --------------------------------------------------------------------------------------------


def test_embedding_takes_any_row() -> None:
    weight = torch.arange(12.0).reshape(4, 3)
    ids = torch.tensor([[3, 0], [2, 3]])
    (found,) = check_equals_torch(OPS["Embedding"](4, 3), ids, weights={"weight": weight})
    assert torch.equal(found, weight[ids])


@pytest.mark.parametrize(
    ("parameters", "type", "message"),
    [
        ({}, "float32[3]", "an index must be int32 or int64, not float32"),
        ({}, "uint8[3]", "an index must be int32 or int64, not uint8"),
        ({"max_norm": 1.0}, "int64[3]", "`max_norm` rewrites the rows"),
        ({"padding_idx": 4}, "int64[3]", "`padding_idx` 4 is not one of 4 rows"),
        ({"padding_idx": -5}, "int64[3]", "`padding_idx` -5 is not one of 4 rows"),
    ],
)
def test_embedding_refuses(parameters: dict[str, object], type: str, message: str) -> None:
    assert message in refused(OPS["Embedding"](4, 3, **parameters), t(type))


def test_embedding_reads_the_checkpoint_or_a_tensor() -> None:
    assert keys(graph_of("output y = emb: Embedding(10, 4)(ids)", declared=IDS)) == ["emb.weight"]
    for call in ("Embedding(10, 4)(ids, weight = w)", "embedding(ids, w)", "embedding(ids, w, 1)"):
        graph = graph_of(f"output y = {call}", declared=IDS)
        assert not graph.weights
        assert str(graph.outputs[0].value.type) == "float32[N, 5, 4]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("embedding(tensor([0, 10]), w)", "position 10 is out of range in a dimension of 10"),
        ("embedding(tensor([0, -1]), w)", "position -1 is out of range in a dimension of 10"),
        ("embedding(arange(11), w)", "position 10 is out of range in a dimension of 10"),
        ("embedding(ids, w[0])", "the weight of embedding needs a tensor of rank 2, not 1: float32[4]"),
    ],
)
def test_a_constant_position_is_checked(call: str, message: str) -> None:
    assert mistakes_of(f"output y = {call}", declared=IDS) == [message]


# --- Indexing ---------------------------------------------------------------------------------------------

X = "dim N = 2 .. 3 .. 5\ninput x: float32[N, 4, 6]\ninput i: int64[2, 3]\ninput j: int32[3]\n"
VALUES = {
    "x": torch.randn(3, 4, 6),
    "i": torch.tensor([[2, -3, 0], [-1, 1, -2]]),
    "j": torch.tensor([-1, 1, 0]).int(),
}


@pytest.mark.parametrize(
    "subscripts", ["i", ":, i", "i, j", "j, :, i", ":, i, j", "i, -1, j", "j, 1:, 2", "[-1, 0], :, [0, -6]"]
)
def test_positions_from_the_end_in_dynamic_dimensions(subscripts: str) -> None:
    graph = graph_of(f"output o = x[{subscripts}]", declared=X)
    given = {value.name: VALUES[value.name] for value in graph.inputs}
    lowered = lower(graph)
    found = evaluate(lowered.network, given, weights=lowered.weights)["o"]
    assert torch.equal(found, eval(f"x[{subscripts}]", dict(VALUES)))


def test_a_stored_position_is_checked_before_the_build() -> None:
    graph = graph_of("p = buffer: Parameter(2, dtype = int64)\noutput o = x[:, p]", declared=X)
    (weight,) = graph.weights
    bound = rebuild(graph, graph.nodes, {weight: weight.replace(data=np.array([0, 4]))})
    with pytest.raises(DiagnosticError) as info:
        lower(bound)
    assert "position 4 is out of range in a dimension of 4" in info.value.diagnostics[0].message


def test_the_evaluation_does_not_count_from_the_end_of_a_dynamic_dimension() -> None:
    """As TensorRT does not: what wraps above is the network's own layers."""
    graph = graph_of("output o = index_select(x, 0, j)", declared=X)
    lowered = lower(graph)
    given = {name: VALUES[name] for name in ("x", "i", "j")}
    with pytest.raises(EvaluationError, match="a negative index in the dynamic dimension 0"):
        evaluate(lowered.network, given, weights=lowered.weights)


def test_index_select_of_a_single_number() -> None:
    check_equals_torch(OPS["index_select"](0), torch.tensor(5.0), torch.tensor([0]))
    assert "needs one position, not 2" in refused(OPS["index_select"](0), t("float32[]"), t("int64[2]"))

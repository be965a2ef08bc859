"""Positions: in range, at both ends, counted from the end, out of range; against PyTorch."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.bodies import graph_of, keys, mistakes_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import OPERATORS

IDS = "dim N = 1 .. 2 .. 8\ninput ids: int64[N, 5]\ninput w: float32[10, 4]\n"


# --- Embedding --------------------------------------------------------------------------------------------


def test_embedding_takes_any_row() -> None:
    weight = torch.arange(12.0).reshape(4, 3)
    ids = torch.tensor([[3, 0], [2, 3]])
    (found,) = check_equals_torch(OPERATORS["Embedding"](4, 3), ids, weights={"weight": weight})
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
    assert message in refused(OPERATORS["Embedding"](4, 3, **parameters), t(type))


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

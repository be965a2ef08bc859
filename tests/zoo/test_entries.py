"""What a line of the zoo may say: typed inputs, dims by name, several outputs, tables of the constructor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.zoo_entries import EntryError, Input, entry_of, read_zoo
from tests.zoo.entries import elaborate, points, random_inputs, state_read, tensors_of, without_values
from tests.zoo.oracles import calibrated, learned
from tests.zoo.test_examples import test_weights_and_inputs_are_the_oracles as require_same_weights
from tests.zoo.test_numerics import test_computes_what_pytorch_does as require_same_numbers

TEXT = """model tagger {
  dim N = 1 .. 2 .. 3
  dim L = 2 .. 4 .. 8, step = 2
  dim P = 0 .. 1 .. 4
  input ids: int64[N, L]
  input mask: bool[N, L]
  input past: float32[N, P, 8]
  x = ids -> words: Embedding(50, 8)
  x = x * (table: Parameter(8))
  x = where(mask[:, :, none], x, 0.0)
  output states = cat([past, x], dim = 1) -> out: Linear(5)
  output best = argmax(states, dim = -1)
}
"""
MODULE = """
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, wrong: bool = False, table: float = 1.5) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.table = nn.Parameter(torch.full((8,), table), requires_grad=False)
        self.register_buffer("ones", torch.ones(8), persistent=False)
        self.spare = nn.Linear(2, 2)
        self.out = nn.Linear(8, 5)
        self.wrong = wrong

    def forward(self, ids, mask, past):
        x = self.words(ids) * self.table * self.ones
        x = torch.where(mask[:, :, None], x, 0.0)
        if self.wrong:
            x = x.flip(1)
        states = self.out(torch.cat([past, x], 1))
        return {"states": states, "nothing": None, "more": [states.argmax(-1)]}
"""
LINE: dict[str, Any] = {
    "name": "tagger",
    "model": "tagger",
    "inputs": {
        "ids": {"shape": ["L"], "type": "int64", "below": 50},
        "mask": {"shape": ["L"], "type": "bool", "mask": True},
        "past": ["P", 8],
    },
    "unread": ["spare.*"],
    "tier": "quick",
}


@pytest.fixture
def line(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "tagger.trtnet").write_text(TEXT)
    (tmp_path / "tagger.py").write_text(MODULE)
    return LINE | {"file": str(tmp_path / "tagger.trtnet"), "oracle": f"{tmp_path / 'tagger.py'}:Tagger"}


def test_a_line_with_all_there_is(line: dict[str, Any]) -> None:
    entry = entry_of(line)
    require_same_weights(entry)
    require_same_numbers(entry)


@pytest.mark.parametrize(
    "wrong",
    [
        {"arguments": {"wrong": True}},
        {"unread": []},
        {"inputs": LINE["inputs"] | {"past": ["L", 8]}},
        {"inputs": LINE["inputs"] | {"ids": {"shape": ["L"], "type": "int32", "below": 50}}},
    ],
    ids=["numbers", "keys", "dims", "types"],
)
def test_what_a_line_has_wrong_is_seen(line: dict[str, Any], wrong: dict[str, Any]) -> None:
    entry = entry_of(line | wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        require_same_weights(entry)
        require_same_numbers(entry)


def test_tables_are_the_constructors(line: dict[str, Any]) -> None:
    module: Any = calibrated(entry_of(line))
    assert module.table.tolist() == [1.5] * 8
    assert module.ones.tolist() == [1.0] * 8
    assert module.out.bias.abs().min() > 0
    kept: Any = calibrated(entry_of(line | {"keep": ["out.*"]}))
    assert "spare.weight" in learned(kept) and not torch.equal(kept.out.weight, module.out.weight)


def test_the_keys_of_a_module_that_needs_values_are_found(line: dict[str, Any]) -> None:
    path = Path(line["oracle"].removesuffix(":Tagger"))
    path.write_text(MODULE.replace("self.wrong = wrong", "self.wrong = bool(self.out.bias.sum() > 1e9)"))
    entry = entry_of(line)
    state = state_read(entry, without_values(entry.oracle, **entry.arguments))
    assert {*state} == {"words.weight", "table", "out.weight", "out.bias"}


def test_frozen_normalisations_have_statistics_and_gains_too() -> None:
    from torchvision.ops import FrozenBatchNorm2d

    module = nn.Sequential(FrozenBatchNorm2d(3), nn.BatchNorm1d(3))
    assert {*learned(module)} == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_sizes_are_the_profiles_or_those_stated(line: dict[str, Any]) -> None:
    entry = entry_of(line)
    graph = elaborate(entry)
    assert points(entry, graph) == [
        {"N": 1, "L": 2, "P": 0},
        {"N": 2, "L": 4, "P": 1},
        {"N": 3, "L": 8, "P": 4},
    ]
    stated = entry_of(line | {"sizes": {"L": [4, 6]}})
    assert points(stated, graph) == [{"N": 1, "L": 4, "P": 0}, {"N": 2, "L": 6, "P": 3}]


def test_large_inputs_are_tried_at_the_minima_and_one_more() -> None:
    entry = read_zoo()["resnet18"]
    assert points(entry, elaborate(entry)) == [{"N": 1}, {"N": 2}]


def test_inputs_are_drawn_as_stated(line: dict[str, Any]) -> None:
    entry = entry_of(line)
    found = random_inputs(entry, elaborate(entry), {"N": 64, "L": 6, "P": 2})
    assert found["ids"].dtype == torch.int64 and set(found["ids"].flatten().tolist()) == set(range(50))
    lengths = found["mask"].sum(1)
    assert set(lengths.tolist()) == {1, 2, 3, 4, 5, 6}
    assert torch.equal(found["mask"], torch.arange(6) < lengths[:, None])
    rows = Input(("P", 2), "int32", low=1, below=4, distinct=True).draw({"P": 9}, seed=0).tolist()
    assert sorted(rows) == [[i, j] for i in (1, 2, 3) for j in (1, 2, 3)]
    assert Input(("P", "N + P"), low=2, below=3).draw({"P": 2, "N": 5}, seed=0).shape == (2, 7)


def test_outputs_are_taken_in_order() -> None:
    a, b, c = torch.zeros(3, 1)
    assert [x is y for x, y in zip(tensors_of({"x": a, "y": None, "z": (b, [c])}), (a, b, c), strict=True)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tier": "fast"}, "tagger: the tier must be quick, zoo, whole, not fast"),
        ({"dims": {}}, "tagger: unknown dims"),
        ({"inputs": {"ids": {"shape": [], "kind": "x"}}}, "tagger: ids: unknown kind"),
        ({"inputs": {"ids": {"shape": [], "type": "long"}}}, "tagger: ids: the type must be one of float32"),
    ],
)
def test_a_line_that_cannot_be_is_refused(line: dict[str, Any], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(EntryError, match=message):
        entry_of(line | wrong)

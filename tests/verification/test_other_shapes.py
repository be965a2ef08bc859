"""A layer that has another shape than the module's is compared by what both have in common."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import graph_of
from trtdsl.verification import Row

TEXT = """block Mix()(x: [N, S, D]) {
  h = x -> up: Linear(8) -> relu
  return h, x + (h -> down: Linear(D))
}

model words() {
  dim N = 1 .. 2 .. 4
  dim S = 2 .. 6 .. 6
  input ids: int64[N, S] in 0 .. 9
  x = (ids -> tokens: Embedding(10, 4)) + (arange(S) -> positions: Embedding(6, 4))
  h, x = x -> mix: Mix
  x = x + mean(h, 2, keepdim = true)
  output last = x[:, -1] -> norm: LayerNorm(4) -> head: Linear(4)
}
"""


class Mix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.up(x).relu()
        return x + self.down(h), h


class Words(nn.Module):
    """Adds positions with a batch of 1, and norms all words before it takes the last."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(10, 4), nn.Embedding(6, 4)
        self.mix, self.norm, self.head = Mix(), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(6)[None])
        x, h = self.mix(x)
        return self.head(self.norm(x + h.mean(2, keepdim=True))[:, -1])


def rows_by_label(found: trtdsl.Verification) -> dict[str, Row]:
    return {row.label: row for row in found.rows}


def test_layers_without_the_batch_and_after_a_slice() -> None:
    found = trtdsl.verify(graph_of(TEXT), None, Words())
    assert found.equal
    rows = rows_by_label(found)
    assert (rows["positions"].shape, rows["positions"].expected) == ((6, 4), (1, 6, 4))
    assert (rows["norm"].shape, rows["norm"].expected) == ((2, 4), (2, 6, 4))
    assert "mix" not in rows  # It returns other tensors, in another order.


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("arange(S) ->", "flip(arange(S), [0]) ->", "positions"),
        ("x[:, -1]", "x[:, 1]", "norm"),
        ("-> relu", "-> gelu", "mix"),
        ("norm: LayerNorm(4)", "norm: LayerNorm(4, eps = 0.5)", "norm"),
    ],
)
def test_they_are_wrong_where_nothing_is_in_common(old: str, new: str, named: str) -> None:
    found = trtdsl.verify(graph_of(TEXT.replace(old, new)), None, Words(), randomize=True)
    assert found.difference is not None and f"`{named}`" in found.difference.message


def test_a_hidden_layer_of_another_shape_differs() -> None:
    """Also where no output shows it."""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2, 2)
            nn.init.zeros_(self.head.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x).amax((2, 3)))

    text = """model m() {
      input x: float32[1, 1, 8, 8]
      output y = x -> conv: Conv2d(2, 3, stride = 2) -> amax([2, 3]) -> head: Linear(2)
    }"""
    found = trtdsl.verify(graph_of(text), None, Hidden())
    assert found.difference is not None and "`conv`" in found.difference.message
    assert rows_by_label(found)["conv"].why == "another shape"


class Repeated(nn.Module):
    """Computes each row twice, beside each other, and takes one of both."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fc(x.repeat_interleave(2, 0))[1::2].relu())


REPEATED = """model m() {
  input x: float32[3, 4]
  output y = x -> fc: Linear(5) -> relu -> head: Linear(3)
}"""


def test_a_layer_in_a_form_of_its_own_is_told_by_what_is_made_of_it() -> None:
    found = trtdsl.verify(graph_of(REPEATED), None, Repeated(), randomize=True)
    assert found.equal and "fc" not in rows_by_label(found)
    assert found.notes[-1].endswith("because the reference has them in another form: `fc`")
    wrong = REPEATED.replace("relu", "gelu")
    assert not trtdsl.verify(graph_of(wrong), None, Repeated(), randomize=True).equal


@pytest.mark.parametrize("text", [REPEATED, REPEATED.replace("x -> fc", "neg(x) -> fc")])
def test_a_layer_in_a_form_of_its_own_differs_where_nothing_shows_it(text: str) -> None:
    module = Repeated()
    nn.init.zeros_(module.head.weight)
    found = trtdsl.verify(graph_of(text), None, module)
    assert not found.equal and rows_by_label(found)["fc"].why == "another shape"


def test_a_layer_in_a_form_of_its_own_differs_where_integers_are_made_of_it() -> None:
    class Largest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.repeat_interleave(2, 0))[1::2].argmax(1)

    text = REPEATED.replace("relu -> head: Linear(3)", "argmax(1)")
    found = trtdsl.verify(graph_of(text), None, Largest())
    assert not found.equal and rows_by_label(found)["fc"].why == "another shape"


def test_weights_of_zero_make_no_two_layers_alike() -> None:
    """The head of the largest word is not the largest of all heads."""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)
            nn.init.zeros_(self.head.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x).amax(1)

    text = "model m() {\n  input x: float32[2, 3, 4]\n  output y = amax(x, [1]) -> head: Linear(2)\n}"
    found = trtdsl.verify(graph_of(text), None, Hidden())
    assert not found.equal and rows_by_label(found)["head"].why == "another shape"


def test_an_output_has_the_reference_s_shape() -> None:
    text = "model m() {\n  input x: float32[1, 4]\n  output y = x -> fc: Linear(3) -> flatten(0)\n}"

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x)

    found = trtdsl.verify(graph_of(text), None, One())
    assert found.difference is not None and found.rows[-1].why == "another shape"
    assert found.difference.message.startswith("output `y` is 3, not 1x3")


def test_a_head_of_other_classes_is_told_by_its_shape() -> None:
    text = (
        "model m() {\n  input x: float32[2, 4]\n  output y = x -> 0: Linear(4) -> relu -> head: Linear(3)\n}"
    )
    original = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 10))
    weights = {key: value.numpy() for key, value in original.state_dict().items()}
    weights |= {"head.weight": weights["2.weight"][:3], "head.bias": weights["2.bias"][:3]}
    found = trtdsl.verify(graph_of(text), weights, original)
    assert found.difference is not None
    said = "output `y` is 2x3, not 2x10: `head` (Linear)"
    assert found.difference.message.startswith(said)


class Second(nn.LayerNorm):
    """Norms the second dimension."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def test_channels_may_stand_last() -> None:
    text = """model m() {
      input x: float32[2, 3, 4, 5]
      output y = x -> permute(0, 2, 3, 1) -> 0: LayerNorm(3) -> permute(0, 3, 1, 2) -> 1: Conv2d(4, 1)
    }"""
    found = trtdsl.verify(graph_of(text), None, nn.Sequential(Second(3), nn.Conv2d(3, 4, 1)))
    assert found.equal and rows_by_label(found)["0"].expected == (2, 3, 4, 5)


def test_rows_may_be_joined() -> None:
    text = """model m() {
      input x: float32[2, 6, 3]
      output y = x -> flatten(0, 1) -> 0: Linear(4) -> reshape(2, 6, 4) -> 1: Linear(5)
    }"""
    assert trtdsl.verify(graph_of(text), None, nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))).equal


class Tokens(nn.Module):
    """Norms the features of all tokens, whichever batch they are of, as LeViT does; not without a relu, for
    else the norm goes into the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.bn = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x).relu()
        return self.bn(x.flatten(0, 1)).reshape_as(x)


@pytest.mark.parametrize(("order", "right"), [("1, 2", True), ("0, 0", False)])
@pytest.mark.parametrize("batch", [1, 2])
def test_rows_may_be_joined_in_another_order(batch: int, order: str, right: bool) -> None:
    text = f"""model m() {{
      input x: float32[{batch}, 4, 4]
      y = x -> linear: Linear(4) -> relu -> transpose({order}) -> bn: BatchNorm1d
      output z = y -> transpose({order})
    }}"""
    found = trtdsl.verify(graph_of(text), None, Tokens(), randomize=True)
    assert rows_by_label(found)["bn"].expected == (4 * batch, 4)
    assert rows_by_label(found)["bn"].verdict == ("equal" if right else "differs")


class NormAct(nn.BatchNorm2d):
    """A norm that runs an activation too, as timm has it."""

    def __init__(self, planes: int) -> None:
        super().__init__(planes)
        self.act = nn.ReLU()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(input))


@pytest.mark.parametrize(("act", "right"), [("relu", True), ("gelu", False)])
def test_a_norm_may_run_an_activation(act: str, right: bool) -> None:
    text = f"""model m() {{
      input x: float32[2, 3, 4, 5]
      output y = x -> 0: Conv2d(4, 1) -> 1: BatchNorm2d -> {act} -> 2: Conv2d(2, 1)
    }}"""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), NormAct(4), nn.Conv2d(4, 2, 1))
    found = trtdsl.verify(graph_of(text), None, net)
    assert found.equal is right
    if found.difference:
        assert "gelu" in found.difference.message


class Scaled(nn.Embedding):
    """Scales what it looks up."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 8.0


class Scaling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = Scaled(10, 4), nn.Linear(4, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(ids).relu())


SCALING = """model m() {
  input ids: int64[2, 5] in 0 .. 9
  output y = (ids -> tokens: Embedding(10, 4)) * 8.0 -> relu -> head: Linear(3)
}"""


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"precision": "float16"}])
def test_a_layer_that_does_more_than_torchs_is_told_by_what_is_made_of_it(options: Any) -> None:
    found = trtdsl.verify(graph_of(SCALING), None, Scaling(), **options)
    assert found.equal and "tokens" not in rows_by_label(found)
    assert any(note.endswith("has them in another form: `tokens`") for note in found.notes)
    wrong = trtdsl.verify(graph_of(SCALING.replace("8.0", "7.0")), None, Scaling(), **options)
    assert not wrong.equal
    hidden = Scaling()
    nn.init.zeros_(hidden.head.weight)
    assert not trtdsl.verify(graph_of(SCALING.replace("8.0", "7.0")), None, hidden, **options).equal

"""What users write, in small: each function is imported and compared with PyTorch at another size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import Calls, held
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.checking import WrongText
from trtdsl.importers.module import import_module

Function = Callable[[torch.Tensor], Any]


def put(x: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    """A copy of a tensor in which something is put somewhere."""
    y = x.clone()
    y[index] = value
    return y


def added(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, torch.tensor([2, 1])] += 1
    return y


def turned(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y.transpose(1, 2)[:, 0] = 1
    return y


def interleaved(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty(x.shape[0], x.shape[1], 6)
    y[..., 0::2] = x[..., 1::2]
    y[..., 1::2] = -x[..., 0::2]
    return y


def summed(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    for step in range(1, 4):
        y[:, step] = y[:, step - 1] + x[:, step]
    return y


FIXED: dict[str, Function] = {
    "first of a batch": lambda x: put(x, 0, 3.0),
    "behind the first of a batch": lambda x: put(x, slice(1, None), 3.0),
    "a column": lambda x: put(x, (slice(None), 0), 5.0),
    "every second": lambda x: put(x, (slice(None), slice(None, None, 2)), 0.0),
    "a box": lambda x: put(x, (slice(None), slice(1, 3), slice(2, 5)), 7.0),
    "a list": lambda x: put(x, (slice(None), [0, 2]), 1.5),
    "a list of tensors": lambda x: put(x, (slice(None), [0, 2]), x[:, [1, 3]]),
    "lists apart": lambda x: put(x, ([0, 0], slice(None), [2, 3]), torch.ones(2, 4)),
    "a mask": lambda x: put(x, x > 0, 0.0),
    "a mask of rows": lambda x: put(x, x[:, :, 0] > 0, 0.0),
    "each row's own": lambda x: put(x, (torch.arange(x.shape[0]), 0), 1.0),
    "added at places": added,
    "through a transpose": turned,
    "interleaved": interleaved,
    "a loop": summed,
    "scatter": lambda x: torch.zeros(x.shape[0], 4).scatter_(1, x[:, :, 0].argsort(1)[:, :2], 1.0),
    "clamp between tensors": lambda x: x.clamp(-x.mean().abs(), x.amax(1, keepdim=True) / 2),
    "clip": lambda x: x.clip(-0.5, 0.5),
    "shifts": lambda x: ((x * 8).int() << 1) >> 2,
    "mT": lambda x: x @ x.mT,
    "mH": lambda x: x @ x.mH,
    "adjoint": lambda x: x @ x.adjoint(),
    "tensor_split": lambda x: x.tensor_split(4, 2)[1],
    "tensor_split at": lambda x: torch.tensor_split(x, (1, 3), 2)[1],
    "hsplit": lambda x: torch.hsplit(x, 2)[1],
    "windows of the last": lambda x: x.unfold(2, 3, 1),
    "windows before it": lambda x: x.unfold(1, 2, 2),
    "a matrix's norm": lambda x: torch.linalg.matrix_norm(x),
    "the largest's norm": lambda x: torch.linalg.norm(x, float("inf"), dim=1),
    "an affine grid": lambda x: functional.affine_grid(x[:, :2, :3], [x.shape[0], 1, 4, 5], False),
    "einsum with lists": lambda x: torch.einsum(x, [0, 1, 2], x, [0, 3, 2], [0, 1, 3]),
    "one chunk": lambda x: torch.chunk(x, 1, 2)[0] + torch.unbind(x[:, :1], 1)[0][:, None],
    "one split": lambda x: torch.split(x, 6, 2)[0].sum(0) + torch.tensor_split(x, 1, 1)[0],
    "unequal chunks": lambda x: [each.sum() for each in torch.chunk(x, 4, 2)],
    "floor division": lambda x: torch.div((x * 8).int(), -2, rounding_mode="floor"),
    "var": lambda x: torch.var(x, dim=(1, 2), correction=0, keepdim=True),
    "an index and an ellipsis": lambda x: x[..., [1, 0]] + x[:, None, ..., :2].squeeze(1),
    "the input itself": lambda x: {"x": x, "y": x + 1, "none": None},
    "a log-sigmoid": lambda x: functional.logsigmoid(x.ravel()),
    "a random slope in eval mode": lambda x: functional.rrelu(x),
    "a rounded size": lambda x: x.masked_fill(x > 0, -1).cumsum(1),
}
LONG: dict[str, Function] = {
    "first": lambda x: put(x, (slice(None), 0), 5.0),
    "last": lambda x: put(x, (slice(None), -1), 5.0),
    "shifted": lambda x: put(x, (slice(None), slice(1, None)), x[:, :-1]),
    "every second": lambda x: put(x, (slice(None), slice(None, None, 2)), 0.0),
    "a mask's first": lambda x: put(x[..., 0] > 0, (slice(None), 0), False),
    "a causal mask": lambda x: (x @ x.mT).masked_fill(
        ~torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(), float("-inf")
    ),
    "flip": lambda x: torch.flip(x, [1]),
    "causal attention": lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.3),
}


@pytest.mark.parametrize("name", FIXED)
def test_of_a_fixed_size(name: str) -> None:
    held(Calls(FIXED[name]), {"x": "float32[N, 4, 6]"})


@pytest.mark.parametrize("name", LONG)
def test_of_a_dynamic_size(name: str) -> None:
    held(Calls(LONG[name]), {"x": "float32[N, S, 6]"})


class Normed(nn.Module):
    """Weights that are computed of others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 5, 3))
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv1d(5, 4, 3))
        self.weight = nn.Parameter(torch.randn(3, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv1d(self.second(self.first(x)), self.weight * 2)


def test_weights_that_are_computed() -> None:
    held(Normed(), {"x": "float32[N, 4, 6]"})


class Bags(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bag = nn.EmbeddingBag(4, 5, mode=mode)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.bag(ids)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode: str) -> None:
    assert "bag: EmbeddingBag(4, 5" in held(Bags(mode), {"ids": "int64[N, S] in 0 .. 3"}).text


class Weighed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(4, 5, mode="sum", padding_idx=0)

    def forward(self, ids: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return self.bag(ids, per_sample_weights=scales)


def test_bags_with_weights() -> None:
    held(Weighed(), {"ids": "int64[N, S] in 0 .. 3", "scales": "float32[N, S]"})


REFUSED: dict[str, Function] = {
    "`adaptive_avg_pool2d`": lambda x: functional.interpolate(x[:, None], scale_factor=2.0, mode="area"),
    "`mode` cannot be imported": lambda x: x.mode(1).values,
    "`index_put`": lambda x: put(x, (slice(None), x[0, :, 0] > 0), x[:, :1, 0]),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_the_language_refuses_is_told_with_its_line(words: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        import_module(Calls(REFUSED[words]), {"x": "float32[N, S, 6]"})
    assert not isinstance(error.value, WrongText)
    assert words in str(error.value)
    assert error.value.diagnostics[0].span


def test_a_word_of_the_language_may_be_a_name() -> None:
    class Words(nn.Module):
        def forward(self, input: torch.Tensor, model: torch.Tensor) -> dict[str, torch.Tensor]:
            output = input.relu() + model
            return {"def": output * input, "weights": output}

    type = "float32[N, 4]"
    text = held(Words(), {"input": type, "model": type}).text
    for line in (
        "input input: float32[N, 4]",
        "input model: float32[N, 4]",
        "output def_ =",
        "output weights =",
    ):
        assert line in text

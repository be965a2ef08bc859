"""Recurrent networks are the language's modules, whatever the length of the sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.importers.comparing import held


class Calls(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.rnn = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.rnn(x)


NETWORKS: dict[str, tuple[nn.Module, str, str]] = {
    "lstm": (nn.LSTM(6, 5, batch_first=True), "[N, S, 6]", "LSTM(5, batch_first = true)"),
    "both ways": (nn.LSTM(6, 5, 2, bidirectional=True), "[S, N, 6]", "LSTM(5, num_layers = 2, bidir"),
    "projected": (nn.LSTM(6, 5, 2, proj_size=3), "[S, N, 6]", "LSTM(5, num_layers = 2, proj_size = 3)"),
    "without biases": (nn.LSTM(6, 5, bias=False), "[S, N, 6]", "LSTM(5, bias = false)"),
    "without a batch": (nn.LSTM(6, 5), "[S, 6]", "LSTM(5)"),
    "a fixed length": (nn.LSTM(6, 5, proj_size=3), "[7, N, 6]", "LSTM(5, proj_size = 3)"),
    "gru": (nn.GRU(6, 5, 2, dropout=0.5), "[S, N, 6]", "GRU(5, num_layers = 2)"),
    "rnn": (nn.RNN(6, 5, bidirectional=True), "[S, N, 6]", "RNN(5, bidirectional = true)"),
    "relu": (nn.RNN(6, 5, nonlinearity="relu"), "[S, N, 6]", 'RNN(5, nonlinearity = "relu")'),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    network, shape, written = NETWORKS[name]
    text = held(Calls(network), {"x": f"float32{shape}"}).text
    assert written in text
    assert "zeros" not in text


class States(nn.Module):
    """Given states, none, and those of another; each network twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 6, 2, batch_first=True)
        self.gru = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        y, (h, c) = self.lstm(x, (h, c))
        y, _ = self.lstm(y)
        z, last = self.gru(y, h[:1])
        z, last = self.gru(z, last)
        return z, h, c, last


def test_states() -> None:
    text = held(States(), {"x": "float32[N, S, 6]", "h": "float32[2, N, 6]", "c": "float32[2, N, 6]"}).text
    assert text.count("lstm: LSTM(") == 2
    assert text.count("gru: GRU(") == 2


CELLS = {"LSTMCell": nn.LSTMCell(6, 5), "GRUCell": nn.GRUCell(6, 5, bias=False), "RNNCell": nn.RNNCell(6, 5)}


class Steps(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> Any:
        state = self.cell(x[:, 0])
        for step in range(1, 4):
            state = self.cell(x[:, step], state)
        return state


@pytest.mark.parametrize("name", CELLS)
def test_cell(name: str) -> None:
    """The first call has no state; the others, which have that of the call before, are a loop."""
    text = held(Steps(CELLS[name]), {"x": "float32[N, 4, 6]"}).text
    assert text.count(f"cell: {name}(5") == 2
    assert "for index in range(1, 4) {" in text


def test_weights_that_are_computed_are_given() -> None:
    network = nn.GRU(6, 5)
    nn.utils.parametrizations.weight_norm(network, "weight_hh_l0")
    text = held(Calls(network), {"x": "float32[S, N, 6]"}).text
    assert "weight_hh_l0 = " in text

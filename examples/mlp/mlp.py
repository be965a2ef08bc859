"""A multilayer perceptron in PyTorch: what ``mlp.trtnet`` is checked against."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def mlp(widths: Sequence[int] = (512, 256), classes: int = 10) -> nn.Sequential:
    """Digits ``[N, 28, 28]`` to logits ``[N, classes]``, by hidden layers of the given widths."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = 28 * 28
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))

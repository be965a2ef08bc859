"""The encoder as it was trained: its checkpoint has query, key and value apart, kernels, and a tied head.

In: ``x`` of shape [N, width].  Out: ``y`` of the same shape. Under DistributedDataParallel every key begins
with ``module.``.
"""

from __future__ import annotations

import torch
from torch import nn


class Kernel(nn.Module):
    """A linear layer whose matrix is stored as [in, out]; its bias is given where it is not its own."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, outputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.randn(outputs)) if bias else None

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        product = x @ self.kernel
        given = self.bias if bias is None else bias
        return product if given is None else product + given


class Layer(nn.Module):
    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.biases = nn.Parameter(torch.randn(3, width))
        self.out = Kernel(3 * width, width, bias=not last)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        parts = [layer(x) + own for layer, own in zip((self.q, self.k, self.v), self.biases, strict=True)]
        return x + self.out(torch.relu(torch.cat(parts, -1)), bias)


class Final(nn.Module):
    """The last layer's bias, which stands apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(width))


class Encoder(nn.Module):
    """``depth`` layers and a head that is the transposed embedding."""

    def __init__(self, width: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(width, width)
        self.layers = nn.ModuleList(Layer(width, last=i == depth - 1) for i in range(depth))
        self.final = Final(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x, self.final.bias if i == len(self.layers) - 1 else None)
        return x @ self.embedding.weight.T

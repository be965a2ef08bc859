"""Random modules from a small grammar: sequences, residuals, branches, repeats, shared layers, options.

In: a seed.  Out: a ``torch.nn.Module`` of tensors ``[N, C, H, W]`` that keeps their shape; for the same seed
the same.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch
from torch import nn
from torch.nn import functional


class Pointwise(nn.Module):
    """A function without weights."""

    FUNCTIONS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
        torch.relu,
        torch.sigmoid,
        functional.gelu,
        lambda x: x * 0.5 + 1,
        lambda x: x.clamp(-1, 1),
        lambda x: x - x.mean((2, 3), keepdim=True),
        lambda x: functional.pad(x, (1, 0, 0, 1))[:, :, 1:, :-1],
        lambda x: x.flatten(2).transpose(1, 2).softmax(-1).transpose(1, 2).reshape(x.shape),
        lambda x: torch.where(x > 0, x, x / 2),
    )

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.FUNCTIONS[self.number](x)


class Convolution(nn.Module):
    """A convolution with what may stand behind it."""

    def __init__(self, channels: int, kernel: int, groups: int, *, norm: bool, activate: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=not norm)
        self.bn = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.activate = activate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return functional.silu(x) if self.activate else x


class Residual(nn.Module):
    """What is inside, beside a shortcut."""

    def __init__(self, inner: nn.Module, scale: float) -> None:
        super().__init__()
        self.inner = inner
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x) * self.scale


class Branches(nn.Module):
    """Several ways, joined again."""

    def __init__(self, channels: int, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.join = nn.Conv2d(channels * len(branches), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(torch.cat([branch(x) for branch in self.branches], 1))


class Shared(nn.Module):
    """One layer, called several times."""

    def __init__(self, inner: nn.Module, times: int) -> None:
        super().__init__()
        self.inner = inner
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            x = self.inner(x)
        return x


class Gate(nn.Module):
    """Squeeze and excitation, or its half."""

    def __init__(self, channels: int, *, excite: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 2)
        self.fc2 = nn.Linear(2, channels) if excite else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = functional.relu(self.fc1(x.mean((2, 3))))
        if self.fc2 is None:
            return x * squeezed.sum(1)[:, None, None, None]
        return x * torch.sigmoid(self.fc2(squeezed))[:, :, None, None]


def random_module(seed: int, channels: int = 4) -> nn.Module:
    """The module of a seed, its weights random too, in eval mode."""
    torch.manual_seed(seed)
    random = Random(seed)
    module = nn.Sequential(*(_layer(random, channels, 2) for _ in range(random.randint(2, 4))))
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            # Not ones and zeros, by which one layer could stand for another; variances stay positive.
            tensor.data = torch.rand_like(tensor) * 0.6 + 0.1
    return module.eval()


def _layer(random: Random, channels: int, depth: int) -> nn.Module:
    kinds = ["pointwise", "convolution", "convolution", "gate"]
    kinds += ["residual", "branches", "repeat", "shared", "options"] if depth else []
    match random.choice(kinds):
        case "convolution":
            kernel, groups = random.choice([1, 3, 5]), random.choice([1, 1, 2, channels])
            return Convolution(
                channels, kernel, groups, norm=random.random() < 0.6, activate=random.random() < 0.5
            )
        case "gate":
            return Gate(channels, excite=random.random() < 0.7)
        case "residual":
            return Residual(_sequence(random, channels, depth - 1), random.choice([1.0, 0.5]))
        case "branches":
            count = random.randint(2, 3)
            return Branches(channels, [_sequence(random, channels, depth - 1) for _ in range(count)])
        case "repeat":
            seed = random.random()
            again = (_layer(Random(seed), channels, depth - 1) for _ in range(random.randint(2, 5)))
            return nn.Sequential(*again)
        case "shared":
            return Shared(_layer(random, channels, depth - 1), random.randint(2, 3))
        case "options":
            flags = [(random.random() < 0.5, random.random() < 0.5) for _ in range(random.randint(2, 4))]
            return nn.Sequential(
                *(Convolution(channels, 3, 1, norm=norm, activate=activate) for norm, activate in flags)
            )
        case _:
            return Pointwise(random.randrange(len(Pointwise.FUNCTIONS)))


def _sequence(random: Random, channels: int, depth: int) -> nn.Module:
    layers = [_layer(random, channels, depth) for _ in range(random.randint(1, 3))]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)

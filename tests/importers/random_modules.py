"""Random modules from a grammar: sequences, residuals, branches, repeats, shared and tied layers, options,
constructors with defaults, blocks in blocks, loops with tables, growing lists, attention, constants, and what
is written in place.

In: a seed.  Out: a ``torch.nn.Module`` of tensors ``[N, C, H, W]`` that keeps their shape; for the same seed
the same.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

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
            return x * torch.tanh(squeezed.sum(1))[:, None, None, None]
        return x * torch.sigmoid(self.fc2(squeezed))[:, :, None, None]


class Stage(nn.Module):
    """What a constructor with defaults makes, blocks in a block."""

    def __init__(
        self, channels: int, width: int, kernel: int = 3, *, scale: float = 1.0, gate: bool = False
    ) -> None:
        super().__init__()
        self.reduce = Convolution(channels, kernel, 1, norm=True, activate=True)
        self.expand = nn.Conv2d(channels, width, 1)
        self.project = nn.Conv2d(width, channels, 1)
        self.gate = Gate(channels, excite=True) if gate else nn.Identity()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.project(functional.gelu(self.expand(self.reduce(x))))
        return x + self.gate(out) * self.scale


class Table(nn.Module):
    """Layers in a list, of which each has numbers of its own."""

    def __init__(self, channels: int, kernels: list[int], *, norm: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, each, padding=each // 2) for each in kernels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in kernels) if norm else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, conv in enumerate(self.convs):
            x = conv(x) if self.norms is None else self.norms[number](conv(x))
            x = torch.relu(x)
        return x


class Growing(nn.Module):
    """Each layer is given all that those before it made."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Joined(channels * (number + 1), channels) for number in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(found))
        return found[-1]


class Joined(nn.Module):
    """A layer that joins what it is given."""

    def __init__(self, channels: int, planes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, planes, 1)

    def forward(self, given: list[torch.Tensor]) -> torch.Tensor:
        return self.conv(torch.relu(self.norm(torch.cat(given, 1))))


class Tied(nn.Module):
    """Two layers with one weight, or one layer under two names."""

    def __init__(self, channels: int, *, whole: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = self.first if whole else nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


class Tokens(nn.Module):
    """Attention over the pixels."""

    def __init__(self, channels: int, heads: int = 1, *, whole: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.heads = heads
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True) if whole else None
        self.qkv = None if whole else nn.Linear(channels, 3 * channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        if self.attention is not None:
            tokens, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        elif self.qkv is not None:
            batch, count, channels = tokens.shape
            qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, channels // self.heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            tokens = functional.scaled_dot_product_attention(q, k, v)
            tokens = tokens.transpose(1, 2).reshape(batch, count, channels)
        return x + tokens.transpose(1, 2).reshape(x.shape)


class Halves(nn.Module):
    """Two results."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = self.conv(x).chunk(2, 1)
        return torch.relu(left), right


class Pair(nn.Module):
    """A block that is given two tensors by another one."""

    def __init__(self, channels: int, inner: nn.Module) -> None:
        super().__init__()
        self.halves = Halves(channels)
        self.inner = inner
        self.join = Join(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.halves(x)
        return self.join(self.inner(x), left + right)


class Join(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels // 2, channels, 1)
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return x * self.gamma + self.conv(other)


class Stored(nn.Module):
    """Tensors that no state dict has: short, long, and made of sizes."""

    KINDS = ("short", "long", "made", "buffer")

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.table: torch.Tensor
        size = (channels, 1, 1) if kind == "short" else (channels, 6, 10)
        self.register_buffer("table", torch.rand(size), persistent=kind == "buffer")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "made":
            return x + torch.arange(x.shape[-1]) * 0.1
        return x * self.table


class InPlace(nn.Module):
    """Writes to what it is given, or to a part of that."""

    def __init__(self, channels: int, *, part: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv(x)
        out += x
        if self.part:
            out[:, 1:] *= 0.5
        return functional.relu_(out)


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
    """One of the grammar's layers; with no depth left one that has no others inside."""
    return random.choice(_PLAIN + _NESTED if depth else _PLAIN)(random, channels, depth - 1)


def _sequence(random: Random, channels: int, depth: int) -> nn.Module:
    layers = [_layer(random, channels, depth) for _ in range(random.randint(1, 3))]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _flag(random: Random) -> bool:
    return random.random() < 0.5


def _pointwise(random: Random, channels: int, depth: int) -> nn.Module:
    return Pointwise(random.randrange(len(Pointwise.FUNCTIONS)))


def _convolution(random: Random, channels: int, depth: int) -> nn.Module:
    kernel, groups = random.choice([1, 3, 5]), random.choice([1, 1, 2, channels])
    return Convolution(channels, kernel, groups, norm=_flag(random), activate=_flag(random))


def _gate(random: Random, channels: int, depth: int) -> nn.Module:
    return Gate(channels, excite=_flag(random))


def _stored(random: Random, channels: int, depth: int) -> nn.Module:
    return Stored(channels, random.choice(Stored.KINDS))


def _in_place(random: Random, channels: int, depth: int) -> nn.Module:
    return InPlace(channels, part=random.random() < 0.2)


def _tied(random: Random, channels: int, depth: int) -> nn.Module:
    return Tied(channels, whole=_flag(random))


def _tokens(random: Random, channels: int, depth: int) -> nn.Module:
    return Tokens(channels, random.choice([1, 2]), whole=_flag(random))


def _table(random: Random, channels: int, depth: int) -> nn.Module:
    kernels = [random.choice([1, 3]) for _ in range(random.randint(2, 5))]
    return Table(channels, kernels, norm=_flag(random))


def _residual(random: Random, channels: int, depth: int) -> nn.Module:
    return Residual(_sequence(random, channels, depth), random.choice([1.0, 0.5]))


def _branches(random: Random, channels: int, depth: int) -> nn.Module:
    return Branches(channels, [_sequence(random, channels, depth) for _ in range(random.randint(2, 3))])


def _repeat(random: Random, channels: int, depth: int) -> nn.Module:
    seed = random.random()
    return nn.Sequential(*(_layer(Random(seed), channels, depth) for _ in range(random.randint(2, 5))))


def _shared(random: Random, channels: int, depth: int) -> nn.Module:
    return Shared(_layer(random, channels, depth), random.randint(2, 3))


def _options(random: Random, channels: int, depth: int) -> nn.Module:
    flags = [(_flag(random), _flag(random)) for _ in range(random.randint(2, 4))]
    return nn.Sequential(
        *(Convolution(channels, 3, 1, norm=norm, activate=activate) for norm, activate in flags)
    )


def _stages(random: Random, channels: int, depth: int) -> nn.Module:
    """Stages that differ in some of their constructor's arguments, as rows of them do."""
    width, kernel = random.choice([6, 8]), random.choice([1, 3])
    stages: list[nn.Module] = []
    for _ in range(random.randint(2, 5)):
        width = width if random.random() < 0.7 else random.choice([2, 6, 8, 16])
        options = {"kernel": kernel} if _flag(random) else {}
        scale = random.choice([1.0, 1.0, 0.5])
        stages.append(Stage(channels, width, **options, scale=scale, gate=random.random() < 0.3))
    return nn.Sequential(*stages)


def _growing(random: Random, channels: int, depth: int) -> nn.Module:
    return Growing(channels, random.randint(2, 4))


def _pair(random: Random, channels: int, depth: int) -> nn.Module:
    return Pair(channels, _layer(random, channels, depth))


_Layer: TypeAlias = Callable[[Random, int, int], nn.Module]

_PLAIN: list[_Layer] = [
    _pointwise, _convolution, _convolution, _gate, _stored, _in_place, _tied, _tokens, _table,
]  # fmt: skip
_NESTED: list[_Layer] = [
    _residual, _branches, _repeat, _shared, _options, _stages, _stages, _growing, _pair,
]  # fmt: skip

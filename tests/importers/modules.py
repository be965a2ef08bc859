"""Modules that the tests of the importer import."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Residual(nn.Module):
    """Two layers beside a shortcut, which may have a layer too."""

    def __init__(self, channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1)
        self.shortcut = nn.Conv2d(channels, planes, 1, stride) if stride != 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv2(torch.relu(self.bn1(self.conv1(x))))
        identity = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(out + identity)


class Network(nn.Module):
    """A small residual network."""

    def __init__(self, depth: int = 3, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.layers = nn.Sequential(Residual(8, 16, 2), *(Residual(16, 16) for _ in range(depth - 1)))
        self.head = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.stem(x))
        return self.head(x.mean((2, 3)))


class Feed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.fc2(torch.nn.functional.gelu(self.fc1(self.norm(hidden))))


class Words(nn.Module):
    """Several inputs and outputs, a tied weight, a table that no state dict has."""

    def __init__(self, width: int = 8, depth: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(50, width)
        self.layers = nn.ModuleList(Feed(width) for _ in range(depth))
        self.head = nn.Linear(width, 50, bias=False)
        self.head.weight = self.words.weight
        self.table: torch.Tensor
        table = torch.randn(1, 64, width, generator=torch.Generator().manual_seed(0))
        self.register_buffer("table", table, persistent=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.words(ids) + self.table[:, : ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        x = x * mask.unsqueeze(-1)
        return {"logits": self.head(x), "pooled": x.mean(1)}


class Empty(nn.Module):
    """Without weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x * 2, -1)


# --- What cannot be imported ------------------------------------------------------------------------------


class OneBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = x.expand(8, 8, 4) if x.shape[0] == 8 else x[None].expand(9, 9, 4)
        return pairs.sum(0)


class OneBranch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > 100:
            return x + 1
        return x - 1


class Multiple(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, 4, x.shape[1] // 4).sum(1)


class Equal(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.T


class Chooses(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


class Loops(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.mean() < 1:
            x = x * 2
        return x


class Reads(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = int(x.abs().max())
        return x[:, :count]


class Selects(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class Lacking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Bessel()
        self.second = nn.ModuleList(Bessel() for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for each in self.second:
            x = each(x)
        return torch.linalg.svdvals(x) + torch.special.bessel_j0(x).sum()


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


class Leaves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_numpy(x.numpy())


def not_a_module() -> Any:
    return 3


class Packs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = self.rnn(packed)
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]


class CastsInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, _ = self.rnn(x)
        return y


class PaddedToWindows(nn.Module):
    """Calculates with sizes, and decides by none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, size, width = x.shape
        more = (7 - size % 7) % 7
        padded = nn.functional.pad(x, (0, 0, 0, more)).view(count, (size + more) // 7, 7, width)
        return x + padded.cumsum(2).reshape(count, size + more, width)[:, :size]


class ModuloOfSizes(nn.Module):
    """Divides by a size that may be zero, for a batch of one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(x.shape[1] % (x.shape[0] - 1) + 1) + x[0, 0]


class Pyramid(nn.Module):
    """One operation is refused; the other reads sizes that no operand of it has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(x, 2)
        return nn.functional.interpolate(pooled, x.shape[-2:])


class DoublesSome(nn.Module):
    """Decides by a size in a way that no range is of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if (3 * x.shape[1] + 5) % 7 < 3 else x


class Iterates(nn.Module):
    """Computes each of a batch by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([each * 2 for each in x])


class Unbinds(nn.Module):
    """Takes a tensor of any length apart."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *_ = x.unbind(1)
        return first


class Generates(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return x + torch.randn(1, 4, generator=generator)


class Parametrized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        nn.utils.parametrize.register_parametrization(self.layers[1], "weight", Bessel())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[1](self.layers[0](x))

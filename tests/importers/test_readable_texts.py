"""What a person would have written: numbers explained, conditions that say why, tables of stages.

Each module is imported with its blocks and flat; both texts are to elaborate to one graph.
"""

from __future__ import annotations

import torch
from torch import nn

from tests.importers.comparing import held
from trtdsl.elaborate import elaborate_text
from trtdsl.importers.constructed import recording
from trtdsl.importers.module import import_module
from trtdsl.ir.alike import difference

IMAGE = {"x": "float32[N, 4, 12, 20]"}


class Layer(nn.Module):
    """A convolution that keeps the size, whatever its kernel is."""

    def __init__(self, inp: int, out: int, kernel_size: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel_size, padding=kernel_size // 2, groups=groups)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Inverted(nn.Module):
    def __init__(self, inp: int, oup: int, expand_ratio: int) -> None:
        super().__init__()
        self.up = nn.Conv2d(inp, inp * expand_ratio, 1)
        self.down = nn.Conv2d(inp * expand_ratio, oup, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


def imported(make: type[nn.Module]) -> str:
    """The text of a module, which means the same as the flat one."""
    with recording() as constructed:
        module = make()
    text, flat = (
        import_module(module, IMAGE, is_flat=is_flat, constructed=constructed).text
        for is_flat in (False, True)
    )
    assert not difference(elaborate_text(text), elaborate_text(flat))
    return text


class Kernels(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(Layer(4, 6, 3), Layer(6, 8, 1), Layer(8, 9, 5))


def test_padding_is_half_of_the_kernel() -> None:
    text = imported(Kernels)
    assert "padding = kernel_size // 2" in text
    assert "Layer(out, kernel_size)(x)" in text


class Expanding(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(Inverted(4, 16, 3), Inverted(16, 24, 2), Inverted(24, 8, 6))


def test_channels_are_a_parameter_times_a_size() -> None:
    text = imported(Expanding)
    assert "up: Conv2d(expand_ratio * C, 1)" in text


class Shortcut(nn.Module):
    """A residual layer as torchvision's, which says itself when it has a layer beside it."""

    def __init__(self, inp: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, planes, 3, stride, 1)
        needs_one = stride != 1 or inp != planes
        self.side = nn.Conv2d(inp, planes, 1, stride) if needs_one else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.side is None else self.side(x)
        return torch.relu(self.conv(x) + identity)


class Shortcuts(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            Shortcut(4, 8), Shortcut(8, 8), Shortcut(8, 16, 2), Shortcut(16, 16, 2), Shortcut(16, 24)
        )


def test_conditions_say_why() -> None:
    text = imported(Shortcuts)
    assert "if stride != 1 or C != planes {" in text
    assert "side: Conv2d(planes, 1, stride = stride)" in text


class Counting(nn.Module):
    """Asserts something of a tensor's values, which is no part of what it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._check((x != 0).sum((1, 2, 3)).max().item() <= 960)  # pyright: ignore[reportPrivateUsage]
        return x * 2


def test_a_number_that_only_an_assertion_reads_does_not_matter() -> None:
    assert "output output = x * 2" in imported(Counting)


class Cached(nn.Module):
    """``cat`` with an empty tensor, as caches begin."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": torch.cat([torch.tensor([]), x.flatten(2)], -2) * 2}


def test_empty_tensors_are_joined_to_nothing() -> None:
    text = imported(Cached)
    assert "cat" not in text
    assert "output output_x" in text


class Turned(nn.Module):
    """A layer that computes tables of its own, of which torch numbers the parts over the whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(20, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(torch.arange(12.0), torch.linspace(0.1, 1, 40)).sin().exp()
        a, b = angles.chunk(2, -1)
        return self.fc(x * a) + b


class Turning(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(Turned(), Turned(), Turned(), Turned())


def test_layers_with_tables_of_their_own_are_one_block() -> None:
    text = imported(Turning)
    assert text.count("block ") == 1
    assert "for i in range(4)" in text


class NamesOutputs(nn.Module):
    """Whose outputs have the names that the source gives to others of its values."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        loc = x.mean(1, keepdim=True)
        scale = torch.relu(x - loc)
        return {"loc": scale, "scale": loc}


def test_outputs_are_what_they_were_before_their_names_are_given() -> None:
    text = held(NamesOutputs(), IMAGE).text
    assert text.index("output loc") < text.index("output scale")


class Turns(nn.Module):
    """Works in a method, and that in a function."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(20, 20)
        self.key = nn.Linear(20, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward_impl(x)

    def _forward_impl(self, x: torch.Tensor) -> torch.Tensor:
        query, key = self.query(x), self.key(x)
        query, key = turned(query, key)
        scores = torch.matmul(query, key.mT)
        return scores.softmax(-1)


def turned(query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    turned_query = query + swapped(query)
    turned_key = key + swapped(key)
    return turned_query, turned_key


def swapped(states: torch.Tensor) -> torch.Tensor:
    first, second = states.chunk(2, -1)
    return torch.cat((-second, first), -1)


def test_values_of_methods_and_functions_have_the_names_that_they_have_there() -> None:
    text = imported(Turns)
    assert "query = x -> query: Linear(20)" in text
    assert "first, second = chunk(query, 2, -1)" in text
    assert "query = query + cat([-second, first], -1)" in text
    assert "key = key + cat([-second, first], -1)" in text
    assert "scores = matmul(query, transpose(key, -2, -1))" in text

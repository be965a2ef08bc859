"""What is written in place, dropped at random or given in another order is imported as it is, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import Calls
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.module import import_module
from trtdsl.reference import run

Function = Callable[..., Any]


def part_of_a_chunk(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    first, second = y.chunk(2, 1)
    first.add_(1)
    return y + second.sum()


def part_of_a_split(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    _, second = torch.split(y, [1, 3], 1)
    second.sigmoid_()
    return y


def constant_between_reads(x: torch.Tensor) -> torch.Tensor:
    table = torch.zeros(4)
    y = x + table
    table[1] = 5
    y = y * table
    table[2:] = 7
    return y + table


def constant_through_a_view(x: torch.Tensor) -> torch.Tensor:
    table = torch.arange(4.0)
    view = table.view(2, 2)
    y = x + table
    view.mul_(3)
    return y * table + view.flatten()


def shifted(x: torch.Tensor) -> torch.Tensor:
    return functional.pad(x, (1, -1))


def held(module: nn.Module, inputs: dict[str, str], *, is_flat: bool) -> None:
    """Compare a module with its text at a batch that it was not called with."""
    imported = import_module(module, inputs, is_flat=is_flat)
    assert imported.graph
    generator = torch.Generator().manual_seed(0)
    sizes = {"N": 3, "S": 5}
    shapes = {
        value.name: [size if isinstance(size, int) else sizes[str(size)] for size in value.type.shape]
        for value in imported.graph.inputs
    }
    given = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    (found,) = run(imported.graph, {name: each.numpy() for name, each in given.items()}).values()
    with torch.no_grad():
        expected = module(**{name: each.clone() for name, each in given.items()})
    torch.testing.assert_close(torch.as_tensor(np.asarray(found)), expected, rtol=1e-5, atol=1e-5)


def into_a_part(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    torch.mul(x[:, 1:], 2, out=y[:, 1:])
    return y


def read_through_a_view(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    view = y.view(-1, 2)
    torch.add(x, 1, out=y)
    return view


def of_another_type(x: torch.Tensor) -> torch.Tensor:
    y = x.half()
    y += x
    return y


def truth_as_a_number(x: torch.Tensor) -> torch.Tensor:
    y = x.clone().greater_(0.5)
    return y / 2 + x.clone().logical_not_()


def joined_masks(x: torch.Tensor) -> torch.Tensor:
    mask = x > 1
    mask |= x < 0
    mask &= x > -1
    return mask


def positions_apart(x: torch.Tensor) -> torch.Tensor:
    y = (x * 2).reshape(-1, 2, 2).repeat(1, 2, 1)
    y[:, [0, 1], :] = 5
    y.transpose(0, 2)[[0, 1], :, [1, 0]] += y[0, :2, :1]
    return y


@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        part_of_a_chunk,
        part_of_a_split,
        constant_between_reads,
        constant_through_a_view,
        shifted,
        positions_apart,
        into_a_part,
        read_through_a_view,
        of_another_type,
        truth_as_a_number,
        joined_masks,
    ],
)
def test_written_in_place(function: Function, is_flat: bool) -> None:
    held(Calls(function), {"x": "float32[N, 4]"}, is_flat=is_flat)


class Attends(nn.Module):
    """Attention of its inputs in an order: ``x`` and ``m`` by their letters."""

    def __init__(self, order: str, *, batch_first: bool = True, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, **options)
        self.order = order

    def forward(self, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        query, key, value = ({"x": x, "m": m}[each] for each in self.order)
        return self.attention(query, key, value, need_weights=False)[0] + x * 0 + m * 0


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("order", ["xxx", "xmm", "mxx", "xmx", "mxm", "xxm", "mmx"])
def test_attention_takes_its_inputs_in_their_order(order: str, batch_first: bool) -> None:
    module = Attends(order, batch_first=batch_first)
    inputs = {"x": "float32[N, 5, 8]", "m": "float32[N, 5, 8]"}
    assert "MultiheadAttention(" in import_module(module, inputs).text
    held(module, inputs, is_flat=True)


def test_attention_beside_zeros_is_not_taken_for_another() -> None:
    held(Attends("xxx", add_zero_attn=True), {"x": "float32[N, 5, 8]", "m": "float32[N, 5, 8]"}, is_flat=True)


class Hides(Attends):
    def forward(self, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(5)
        found = self.attention(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)
        return found[0] + m * 0


def test_attention_that_hides_what_comes_later_keeps_doing_so() -> None:
    held(Hides("xxx"), {"x": "float32[N, 5, 8]", "m": "float32[N, 5, 8]"}, is_flat=True)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: functional.dropout(x, 0.5), "it drops values in eval mode too"),
        (
            lambda x: functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
            "it drops values in eval mode too",
        ),
    ],
)
def test_what_is_random_is_refused(function: Function, message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        import_module(Calls(function), {"x": "float32[N, 4]"})


class WritesWithGradients(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            y = x * 2
            y[:, 1:].add_(1)
        return y


def unbound(x: torch.Tensor) -> torch.Tensor:
    y = x + 0
    for number, row in enumerate(y.unbind(1)):
        row.mul_(number)
    return y


@pytest.mark.parametrize("module", [WritesWithGradients(), Calls(unbound)])
def test_what_cannot_be_followed_is_refused_or_right(module: nn.Module) -> None:
    try:
        held(module, {"x": "float32[N, 4]"}, is_flat=False)
    except DiagnosticError as error:
        assert "what the module writes in place cannot be followed" in str(error)


class WritesToWindows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = (x * 2).reshape(-1)
        flat[::2].add_(1)
        flat.unfold(0, 2, 2).mul_(2)
        return flat


def test_a_size_that_would_become_a_number_is_refused_with_the_line_that_writes() -> None:
    """torch makes a number of the batch where it takes the write apart, and says nothing of it."""
    with pytest.raises(DiagnosticError, match="without that a dimension becomes a number") as caught:
        import_module(WritesToWindows(), {"x": "float32[N, 4]"})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span
    assert diagnostic.span.text == "flat[::2].add_(1)"

"""Programs that were decomposed before they were imported: layers are found again, values are the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from trtdsl.importers.module import Imported, import_exported
from trtdsl.reference import run


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, groups=1)
        self.norm = nn.BatchNorm2d(8)
        self.groups = nn.GroupNorm(2, 8)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.groups(functional.max_pool2d(self.norm(self.conv(x)), 2))
        return functional.adaptive_avg_pool2d(self.up(functional.adaptive_max_pool2d(x, 3)), 1)


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(6)
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(functional.gelu(self.first(self.norm(x))))


def decomposed(module: nn.Module, x: torch.Tensor) -> Imported:
    """The module's text, by way of core ATen; its values were found equal at another batch."""
    dims = ({0: torch.export.Dim("N", min=1, max=8)},)
    exported = torch.export.export(module.eval(), (x,), dynamic_shapes=dims).run_decompositions()
    imported = import_exported(exported)
    assert imported.graph
    other = torch.randn(3, *x.shape[1:], generator=torch.Generator().manual_seed(1))
    (found,) = run(imported.graph, {imported.graph.inputs[0].name: other.numpy()}).values()
    with torch.no_grad():
        expected = module(other)
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-5, atol=1e-5)
    return imported


def test_layers_of_images() -> None:
    text = decomposed(Images(), torch.randn(2, 3, 12, 12)).text
    for layer in (
        "conv: Conv2d(8, 3, padding = 1)",
        "norm: BatchNorm2d",
        "max_pool2d(2)",
        "groups: GroupNorm(2)",
        "adaptive_max_pool2d(3)",
        "up: ConvTranspose2d(4, 3, stride = 2, padding = 1, output_padding = 1)",
    ):
        assert layer in text


@pytest.mark.parametrize("shape", [(2, 6), (2, 4, 6)])
def test_linear_layers_of_matrices_and_of_more(shape: tuple[int, ...]) -> None:
    text = decomposed(Rows(), torch.randn(shape)).text
    assert "first: Linear(5)" in text
    assert "second: Linear(6, bias = false)" in text
    assert "reshape" not in text


def test_other_products_stay() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.randn(6, 5))
            self.bias = nn.Parameter(torch.randn(3, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(self.bias, x[:, :3].mT @ x, self.weight, beta=0.5)

    assert "Linear" not in decomposed(Product(), torch.randn(2, 6)).text

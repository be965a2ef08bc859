"""Casts to a narrower type round on both sides, and what they round is held to what that loses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import graph_of, verify_text
from trtdsl.verification.oracle import widening


class Through(nn.Module):
    """A product that is cast to another type and back, or not at all."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 1e6
        return y if self.dtype is None else y.to(self.dtype).to(x.dtype)


THROUGH = "model m() {\n  input x: float32[4]\n  output y = (x * 1e6) -> to(float16) -> to(float32)\n}\n"
DIRECT = THROUGH.replace(" -> to(float16) -> to(float32)", "")
INPUT = {"x": np.array([0.0123456, 3.0, -3.0, 1e-9], np.float32)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("text", "cast", "equal"),
    [
        (THROUGH, torch.float16, True),
        (THROUGH, torch.bfloat16, False),
        (THROUGH, None, False),
        (DIRECT, None, True),
        (DIRECT, torch.float16, False),
        (DIRECT, torch.bfloat16, False),
        (THROUGH.replace("float16", "bfloat16"), torch.bfloat16, True),
    ],
)
def test_a_cast_and_back_is_not_nothing(text: str, cast: torch.dtype | None, equal: bool, dtype: Any) -> None:
    found = trtdsl.verify(graph_of(text), None, Through(cast), inputs=INPUT, dtype=dtype)
    assert found.equal == equal


class Overflowing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.half() * 60000 * 2 / 60000).float()


@pytest.mark.parametrize(
    ("text", "equal"),
    [("to(x, float16) * 60000.0 * 2.0 / 60000.0", True), ("to(x, float16) * 2.0 * 1.0", False)],
)
def test_what_is_computed_of_a_narrow_type_overflows_as_that_does(text: str, equal: bool) -> None:
    graph = graph_of(f"model m() {{\n  input x: float32[4]\n  output y = to({text}, float32)\n}}\n")
    inputs = {"x": np.array([0.1, 0.5, 0.7, -2.0], np.float32)}
    assert trtdsl.verify(graph, None, Overflowing(), inputs=inputs).equal == equal


class Narrow(nn.Module):
    """Rounded outputs of three kinds; a layer is rounded to the other neighbour where it is a little off."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 256)

    def forward(self, x: torch.Tensor) -> Any:
        return x.bfloat16(), x.half().float(), self.fc(x).half(), self.fc(x)


NARROW = """model m() {
  input x: float32[64, 64]
  output a = to(x, bfloat16)
  output b = to(to(x, float16), float32)
  y = x -> fc: Linear(256)
  output c = to(y, float16)
  output d = y
}
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_sides_round(dtype: Any) -> None:
    torch.manual_seed(1)
    found = verify_text(NARROW, Narrow(), tolerance=None, dtype=dtype)
    assert found.equal
    base = {"float32": 1e-4, "float64": 1e-6}[dtype]
    assert found.tolerance == base
    assert [row.tolerance for row in found.rows if row.kind == "output"] == [1.6e-2, 2e-3, 2e-3, base]
    table = trtdsl.verification.show_verification(found)
    assert table.endswith(f"above {base:g}, or 0.002 and 0.016 after a cast to a narrower type")


def test_only_what_is_rounded_may_be_coarse() -> None:
    """The reference rounds `d`, which the model does not."""

    class Rounded(Narrow):
        def forward(self, x: torch.Tensor) -> Any:
            *others, d = super().forward(x)
            return *others, d.half().float()

    verdicts = {row.name: row.verdict for row in verify_text(NARROW, Rounded(), tolerance=None).outputs}
    assert verdicts == {"a": "equal", "b": "equal", "c": "equal", "d": "differs"}


def test_a_module_that_insists_on_float32_is_computed_in_float64() -> None:
    class Insisting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, step: torch.Tensor) -> torch.Tensor:
            places = torch.arange(4, dtype=torch.float32)
            return self.fc(step[:, None].float() * torch.exp(places * -0.3) + torch.ones(4))

    text = (
        "model m() {\n  input step: int64[3]\n  p = exp(arange(4, dtype = float32) * -0.3)\n"
        "  output y = to(step[:, none], float32) * p + 1.0 -> fc: Linear(4)\n}\n"
    )
    text = text.replace("to(step[:, none], float32) * p + 1.0", "(to(step[:, none], float32) * p + 1.0)")
    assert verify_text(text, Insisting(), dtype="float64", tolerance=None).equal


def test_the_largest_number_of_a_module_in_float64_is_that_of_float32() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.fc(x)
            y = torch.max(y, torch.full((), torch.finfo(y.dtype).min))
            return y, y.masked_fill(mask, torch.finfo(y.dtype).min)

    text = """model m() {
  input x: float32[3, 4]
  input mask: bool[3, 4]
  output y = x -> fc: Linear(4)
  output masked = masked_fill(y, mask, -3.4028234663852886e+38)
}
"""
    finfo = torch.finfo
    assert verify_text(text, Masked(), dtype="float64", tolerance=None).equal
    assert torch.finfo is finfo


@pytest.mark.skipif(not hasattr(nn.functional, "grouped_mm"), reason="PyTorch 2.5, the lowest, has none")
def test_groups_are_multiplied_in_float64_which_pytorch_does_not() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            ends = torch.tensor([2, 2, 5], dtype=torch.int32)
            return nn.functional.grouped_mm(x, self.weight, offs=ends)

    text = """model m() {
  input x: float32[5, 4]
  w = (weight: Parameter(3, 4, 8))
  output y = cat([matmul(x[:2], w[0]), matmul(x[2:], w[2])])
}
"""
    found = verify_text(text, Experts(), dtype="float64", tolerance=None)
    assert found.equal and found.dtype == "float64"


@pytest.mark.parametrize(
    ("a", "b", "ends"),
    [((10, 16), (3, 16, 8), [2, 2, 10]), ((3, 4, 16), (16, 24), [8, 16, 24]),
     ((4, 24), (24, 8), [8, 16, 24]), ((3, 4, 16), (3, 16, 8), None)],
)  # fmt: skip
@pytest.mark.skipif(not hasattr(nn.functional, "grouped_mm"), reason="PyTorch 2.5, the lowest, has none")
def test_groups_of_every_form(a: tuple[int, ...], b: tuple[int, ...], ends: list[int] | None) -> None:
    x, y = torch.randn(a), torch.randn(b)
    offs = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    with widening(True):
        found = nn.functional.grouped_mm(x, y, offs=offs)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), nn.functional.grouped_mm(x, y, offs=offs))


DEEP = """block Layer()(x) {
  return x -> lin: Linear(4) -> tanh
}
model m() {
  input latent: float16[2, 4, 6]
  input step: int64[2]
  x = (to(latent, float32) + to(step[:, none, none], float32)) -> transpose(1, 2)
  for i in range(40) {
    x = x -> "deep.{i}": Layer
  }
  output sample = to(x, float16)
  output best = x -> mean(1) -> argmax(-1)
  output positive = mean(x, (1, 2)) > 0
}
"""


class Deep(nn.Module):
    """Forty layers whose outputs part by less and less, an input in float16, outputs of three types."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.ModuleList([nn.ModuleDict({"lin": nn.Linear(4, 4)}) for _ in range(40)])

    def forward(self, latent: torch.Tensor, step: torch.Tensor) -> Any:
        x = (latent.float() + step[:, None, None].float()).transpose(1, 2)
        for layer in self.deep:
            x = layer["lin"](x).tanh()  # pyright: ignore[reportIndexIssue]
        return x.half(), x.mean(1).argmax(-1), x.mean((1, 2)) > 0


@pytest.mark.parametrize("seed", range(4))
def test_many_layers_and_outputs_of_several_types(seed: int) -> None:
    torch.manual_seed(seed)
    module = Deep()
    assert verify_text(DEEP, module, tolerance=None).equal
    # What they lose of the input hides nothing: a layer that is another one is found.
    broken = DEEP.replace("-> tanh", "-> sin")
    assert not verify_text(broken, module, tolerance=None).equal


BUCKETS = """model m() {
  input n: int64[9] in 0 .. 40
  far = 4 + to(log(to(n, float32) / 4) / 2.3 * 4, int64)
  output y = where(n < 4, n, clamp(far, max = 7))
}
"""


class Buckets(nn.Module):
    """The distances of T5, whose logarithm of 0 nobody reads."""

    def forward(self, n: torch.Tensor) -> torch.Tensor:
        far = 4 + ((n.float() / 4).log() / 2.3 * 4).long()
        return torch.where(n < 4, n, far.clamp(max=7))


def test_an_infinity_that_becomes_an_integer_nobody_reads() -> None:
    inputs = {"n": np.array([0, 1, 3, 4, 5, 9, 20, 40, 0])}
    assert verify_text(BUCKETS, Buckets(), inputs=inputs).equal
    assert not verify_text(BUCKETS.replace("n < 4", "n < 0"), Buckets(), inputs=inputs).equal

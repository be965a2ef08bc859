"""What a norm, a zero or a small scale hides is compared by itself, or said to be unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtdsl
from tests.verification.networks import TEXT, Net, graph_of, state, verify_text
from trtdsl.diagnostics import UsageError
from trtdsl.verification.randomize import randomize
from trtdsl.verification.result import is_close, measure

# --- Measures ---------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
SIGNAL = RANDOM.normal(size=(4, 16, 3))
OTHER = RANDOM.normal(size=(4, 16, 3))
OFFSETS = 1e6 * RANDOM.normal(size=(16, 1))
LARGE = np.where(np.arange(16) == 5, 1e7, 1.0)[:, None]

HIDING = {
    "a large mean": lambda signal: 1e6 + signal,
    "an offset for each channel": lambda signal: OFFSETS + signal,
    "a large channel": lambda signal: LARGE * signal,
    "an offset for each of the last channels": lambda signal: np.moveaxis(OFFSETS + signal, 1, 2),
    "a large channel at the end": lambda signal: np.moveaxis(LARGE * signal, 1, 2),
}
"""What makes of a signal something whose norm does not show it."""


@pytest.mark.parametrize("name", HIDING)
def test_a_hidden_part_is_measured_by_its_own_size(name: str) -> None:
    hide = HIDING[name]
    wrong = np.where(np.arange(16)[:, None] == 5, SIGNAL, OTHER)
    found = measure(hide(wrong), hide(SIGNAL))
    assert found is not None
    assert found.relative < 1e-5
    assert found.hidden > 1
    assert not is_close(found, 1e-4)


@pytest.mark.parametrize("name", HIDING)
def test_rounding_is_not_an_error_of_what_is_hidden(name: str) -> None:
    hidden = HIDING[name](SIGNAL)
    found = measure(hidden.astype(np.float32), hidden, noise=2.0**-24)
    assert found is not None
    assert is_close(found, 1e-4)


@pytest.mark.parametrize("shape", [(1, 1000), (2, 1000), (1000,), (8, 32, 7, 7), (30, 1)])
def test_rounded_results_hide_nothing(shape: tuple[int, ...]) -> None:
    """Among a thousand numbers some are near 0 by chance, and rectified channels are nearly dead."""
    for seed in range(50):
        random = np.random.default_rng(seed)
        values = random.normal(size=shape)
        noise = 3e-6 * random.normal(size=shape)
        for expected in (values, np.maximum(values - 1, 0)):
            assert is_close(measure(np.where(expected, expected + noise, 0), expected), 1e-4)
        # Saturated results have the rounding of the 1 that they are near.
        expected = np.tanh(8 + values)
        assert is_close(measure(expected + 0.1 * noise, expected, noise=1e-6), 1e-4)


def test_rows_that_are_alike_hide_nothing() -> None:
    """What attention makes of values that are all the same, in another order of summation."""
    weights = RANDOM.dirichlet(np.ones(6), size=10)
    alike = RANDOM.normal(size=(1, 16)).repeat(6, 0)
    alike[:, 3] = 1  # minus 1 it is nearly 0
    away = np.where(np.arange(16) == 3, 1.0, 0.0)
    found = measure(np.flip(weights, 1) @ alike - away, weights @ alike - away)
    assert found is not None and found.relative < 1e-15
    assert is_close(found, 1e-6)


# --- Networks ---------------------------------------------------------------------------------------------


class Head(nn.Module):
    """A layer, an activation and a head, of which a test makes what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.gelu(self.fc(x)))


HEAD = (
    "model m() {\n  input x: float32[6, 8]\n  output y = x -> fc: Linear(16) -> gelu -> head: Linear(4)\n}\n"
)
LEFT_OUT = HEAD.replace("-> gelu ", "")
UNLIKE = HEAD.replace("-> gelu ", "-> relu ")


def head(*, scale: float = 1.0, bias: float = 0.0) -> Head:
    torch.manual_seed(0)
    module = Head().eval()
    with torch.no_grad():
        module.head.weight.mul_(scale)
        module.head.bias.add_(bias)
    return module


HEADS = {"zero": head(scale=0.0), "tiny": head(scale=1e-9), "large offset": head(bias=1e6)}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("text", [LEFT_OUT, UNLIKE])
def test_a_head_hides_no_wrong_operator(name: str, text: str) -> None:
    difference = verify_text(text, HEADS[name], tolerance=None).difference
    assert difference is not None
    assert {suspect.label or suspect.operator for suspect in difference.suspects} <= {"relu", "head"}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("randomize", [False, True])
def test_the_right_operator_before_a_head_is_equal(name: str, randomize: bool) -> None:
    assert verify_text(HEAD, HEADS[name], tolerance=None, randomize=randomize).equal


@pytest.mark.parametrize("text", [LEFT_OUT, UNLIKE])
def test_without_layers_to_compare_a_head_that_hides_all_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    with torch.no_grad():
        zero, offset = (HEADS[name](torch.from_numpy(x)).numpy() for name in ("zero", "large offset"))
    np.savez("zero.npz", x=x, y=zero)
    found = trtdsl.verify(graph_of(text), state(HEADS["zero"]), outputs="zero.npz")
    assert found.unknown == ("no output depends on the inputs, and no layer was compared",)
    assert not found.equal
    np.savez("offset.npz", x=x, y=offset)
    found = trtdsl.verify(graph_of(text), state(HEADS["large offset"]), outputs="offset.npz")
    if text is LEFT_OUT:
        assert found.difference is not None
        assert "without its mean or in a channel" in found.difference.message
    else:
        # A relu differs from a gelu by less than float32 can hold beside a million.
        assert {suspect.operator for suspect in found.unseen} == {"Linear", "relu"}


class Branch(nn.Module):
    """A branch that is scaled before it is added."""

    def __init__(self, scale: float = 1e-6) -> None:
        super().__init__()
        self.scale = scale
        self.fc = nn.Linear(8, 8)
        self.out = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x + self.scale * F.gelu(self.fc(x)))


BRANCH = """model m() {
  input x: float32[6, 8]
  output y = (x + 1e-6 * gelu(x -> fc: Linear(8))) -> out: Linear(8)
}
"""


def test_what_no_compared_tensor_shows_is_named() -> None:
    torch.manual_seed(0)
    module = Branch()
    found = verify_text(BRANCH, module, tolerance=None)
    assert found.equal
    assert [suspect.operator for suspect in found.unseen] == ["gelu", "mul"]
    table = trtdsl.verification.show_verification(found)
    assert "note: the check cannot see what is computed by `gelu` at net.trtnet:3:" in table
    assert "`--randomize`" in table
    # It is right to say so: another operator is not found.
    assert verify_text(BRANCH.replace("gelu", "relu"), module, tolerance=None).equal
    # Elsewhere everything shows.
    assert verify_text(BRANCH.replace("1e-6", "1.0"), Branch(1.0), tolerance=None).unseen == ()


def test_everything_is_seen_of_a_network_whose_weights_show_it(net: Net) -> None:
    assert verify_text(TEXT, net).unseen == ()


def test_an_output_that_does_not_depend_on_the_inputs_is_noted() -> None:
    found = verify_text(HEAD, HEADS["zero"], tolerance=None)
    assert found.notes == (
        "output `y` does not depend on the inputs: it does not show what is computed before it",
    )


# --- Random weights ---------------------------------------------------------------------------------------


class Scaled(nn.Module):
    """As trained networks begin: branches scaled by a millionth, a last norm whose gain is 0, a zero head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.scale = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)
        with torch.no_grad():
            self.norm.weight.zero_()
            self.scale.weight.fill_(1e-6)
            self.head.weight.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.norm(self.conv(x)), 0.2)
        x = F.max_pool2d(self.scale(F.silu(self.up(x))), 2)
        return self.head(x.mean((2, 3)))


SCALED = """model m() {
  input x: float32[2, 3, 8, 8]
  x = x -> conv: Conv2d(8, 3, padding = 1) -> norm: BatchNorm2d -> leaky_relu(0.2)
  x = x -> up: ConvTranspose2d(8, 2, stride = 2) -> silu -> scale: BatchNorm2d -> max_pool2d(2)
  output y = x -> mean((2, 3)) -> head: Linear(4)
}
"""

HIDDEN = {
    "slope": ("leaky_relu(0.2)", "leaky_relu(0.1)"),
    "activation": ("silu", "gelu"),
    "pool": ("max_pool2d(2)", "avg_pool2d(2)"),
    "eps": ("norm: BatchNorm2d", "norm: BatchNorm2d(eps = 1e-2)"),
    "reduction": ("mean((2, 3))", "amax((2, 3))"),
    "left out": (" -> max_pool2d(2)", ""),
}


def scaled() -> Scaled:
    torch.manual_seed(0)
    return Scaled().eval()


def test_random_weights_show_every_operator() -> None:
    before = state(scaled())
    module = scaled()
    found = verify_text(SCALED, module, tolerance=None, randomize=True)
    assert found.equal
    assert found.unseen == ()
    assert found.notes == (
        "both sides have the same random weights, not those of the checkpoint or the module",
    )
    # The caller's own module keeps its weights.
    assert all(np.array_equal(before[key], value) for key, value in state(module).items())
    # Without a checkpoint it is the same.
    assert trtdsl.verify(graph_of(SCALED), None, module, randomize=True).rows == found.rows


@pytest.mark.parametrize("name", HIDDEN)
def test_random_weights_find_what_small_ones_hide(name: str) -> None:
    before, after = HIDDEN[name]
    assert before in SCALED
    assert not verify_text(SCALED.replace(before, after), scaled(), tolerance=None, randomize=True).equal


def test_random_weights_are_rounded_alike() -> None:
    found = verify_text(
        HEAD.replace("float32", "float16"), HEADS["zero"], tolerance=None, randomize=True, dtype="float64"
    )
    assert found.equal


@pytest.mark.parametrize("seed", [0, 1])
def test_random_weights_are_the_seeds(seed: int) -> None:
    found, again = (verify_text(HEAD, HEADS["zero"], randomize=True, seed=seed) for _ in range(2))
    other = verify_text(HEAD, HEADS["zero"], randomize=True, seed=seed + 1)
    assert found.rows == again.rows
    assert found.rows != other.rows


def test_random_weights_are_not_advised_where_they_are_or_cannot_be(tmp_path: Path) -> None:
    text = BRANCH.replace("1e-6", "1e-9")
    module = Branch(1e-9)
    randomized = verify_text(text, module, tolerance=None, randomize=True)
    x = np.ones((6, 8), np.float32)
    with torch.no_grad():
        np.savez(tmp_path / "ref.npz", x=x, y=module(torch.from_numpy(x)).numpy())
    stored = trtdsl.verify(graph_of(text), state(module), outputs=tmp_path / "ref.npz")
    for found in (randomized, stored):
        assert found.unseen
        table = trtdsl.verification.show_verification(found)
        assert "the check cannot see what is computed by" in table
        assert "`--randomize`" not in table


class Frozen(nn.Module):
    """A norm whose weights are buffers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name, value in {"weight": 0.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            self.register_buffer(name, torch.full([width], value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = dict(self.named_buffers())
        return F.batch_norm(x, own["running_mean"], own["running_var"], own["weight"], own["bias"])


class Sums(nn.Module):
    """Sums of many branches, each behind a norm."""

    def __init__(self, norm: Any, depth: int) -> None:
        super().__init__()
        self.fcs = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.bns = nn.ModuleList(norm(8) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for fc, bn in zip(self.fcs, self.bns, strict=True):
            x = x + bn(fc(x))
        return x


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, Frozen])
def test_random_norms_keep_sums_of_many_branches_small(norm: Any) -> None:
    text = """model m() {
      input x: float32[6, 8]
      for i in range(30) {
        x = x + (x -> "fcs.{i}": Linear(8) -> "bns.{i}": BatchNorm1d)
      }
      output y = x
    }"""
    found = verify_text(text, Sums(norm, 30), tolerance=None, randomize=True)
    assert found.equal and not found.unseen
    module = Sums(norm, 30).eval()
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    randomize(module, 0, lambda: module(x))
    assert 1 < float(module(x).detach().std()) < 30


def test_random_weights_need_a_module(tmp_path: Path) -> None:
    np.savez(tmp_path / "ref.npz", x=np.zeros((6, 8), np.float32), y=np.zeros((6, 4), np.float32))
    with pytest.raises(UsageError, match="`--randomize` needs `--against`"):
        trtdsl.verify(graph_of(HEAD), None, outputs=tmp_path / "ref.npz", randomize=True)

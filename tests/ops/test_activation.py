"""Where activations are easily got wrong: overflow, thresholds, NaN, integers, rank 0 and slopes."""

from __future__ import annotations

import math

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.activation import Celu, Gelu, Glu, Logsigmoid, Mish, Selu, Sigmoid, Softplus
from trtdsl.ops.base import Op
from trtdsl.ops.piecewise_linear import Hardshrink, Hardtanh, PReLU, Relu, Softshrink, Threshold

WIDE = torch.tensor([-1e4, -200.0, -88.8, -20.1, -1e-6, 0.0, 1e-6, 19.9, 20.1, 88.8, 200.0, 1e4])


@pytest.mark.parametrize(
    "op", [Softplus(), Softplus(3.0, 2.0), Softplus(-1.0), Mish(), Logsigmoid(), Celu(0.3), Selu()]
)
def test_large_inputs_do_not_overflow(op: Op) -> None:
    (result,) = check_equals_torch(op, WIDE)
    assert result.isfinite().all()


def test_softplus_is_linear_above_the_threshold() -> None:
    (result,) = check_equals_torch(Softplus(1.0, 1.0), torch.tensor([0.9, 1.0, 1.1]))
    assert result[2] == torch.tensor(1.1)
    assert result[1] > 1.3


def test_softplus_keeps_small_results() -> None:
    (result,) = check_equals_torch(Softplus(), torch.tensor([-15.0]))
    assert result.item() == pytest.approx(math.exp(-15), rel=1e-3)


def test_half_precision_softplus_does_not_overflow() -> None:
    (result,) = check_equals_torch(Softplus(), torch.tensor([12.0, 30.0, 1000.0], dtype=torch.float16))
    assert result.isfinite().all()


@pytest.mark.parametrize("op", [Threshold(0.1, 7.0), Hardshrink(0.5), Softshrink(0.5)])
def test_nan_is_kept(op: Op) -> None:
    (result,) = check_equals_torch(op, torch.tensor([float("nan"), 0.1, 0.5, -0.5, 3.0]))
    assert result[0].isnan()


def test_threshold_replaces_the_threshold_itself() -> None:
    (result,) = check_equals_torch(Threshold(1.0, 7.0), torch.tensor([1.0, 1.5]))
    assert result.tolist() == [7.0, 1.5]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.int8, torch.uint8])
def test_relu_of_integers(dtype: torch.dtype) -> None:
    (result,) = check_equals_torch(Relu(), torch.tensor([0, 3, 100], dtype=dtype))
    assert result.dtype == dtype


def test_relu6_of_integers() -> None:
    (result,) = check_equals_torch(Hardtanh(0.0, 6.0), torch.tensor([-3, 3, 9]))
    assert result.tolist() == [0, 3, 6]


def test_sigmoid_of_integers_is_float32() -> None:
    (result,) = check_equals_torch(Sigmoid(), torch.tensor([0, 1]))
    assert result.dtype == torch.float32


def test_gelu_approximations_differ() -> None:
    x = torch.linspace(-3, 3, 50)
    (exact,), (approximate,) = check_equals_torch(Gelu(), x), check_equals_torch(Gelu("tanh"), x)
    assert (exact - approximate).abs().max() > 1e-4


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (2, 4, 3), (2, 4, 3, 5)])
def test_single_slope_fits_every_rank(shape: tuple[int, ...]) -> None:
    check_equals_torch(PReLU(), torch.randn(shape), weights={"weight": torch.tensor([0.3])})


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3), (2, 4, 3, 4)])
def test_slopes_belong_to_the_second_dimension(shape: tuple[int, ...]) -> None:
    check_equals_torch(PReLU(4), torch.randn(shape), weights={"weight": torch.tensor([0.1, 0.2, -0.3, 2.0])})


def test_slopes_must_be_as_many_as_channels() -> None:
    assert "4 channels" in refused(PReLU(3), t("float32[2, 4, 3]"))
    assert "1 channels" in refused(PReLU(3), t("float32[3]"))


def test_glu_needs_an_even_dimension() -> None:
    assert "5 is odd" in refused(Glu(), t("float32[2, 5]"))
    assert "no dimension 2" in refused(Glu(2), t("float32[2, 4]"))


@pytest.mark.parametrize("op", [Gelu(), Softplus(), Glu()])
def test_integers_are_refused_where_pytorch_does(op: Op) -> None:
    assert "floating-point" in refused(op, t("int64[4]"))


@pytest.mark.parametrize("op", [Relu(), Hardtanh()])
def test_bools_are_refused(op: Op) -> None:
    assert "bool" in refused(op, t("bool[4]"))


def test_impossible_parameters_are_refused() -> None:
    assert "beta" in refused(Softplus(0.0), t("float32[4]"))
    assert "alpha" in refused(Celu(0.0), t("float32[4]"))
    assert "lambd" in refused(Softshrink(-1.0), t("float32[4]"))
    assert "min_val" in refused(Hardtanh(2.0, 1.0), t("float32[4]"))
    assert "integer" in refused(Hardtanh(-0.5, 1.0), t("int32[4]"))

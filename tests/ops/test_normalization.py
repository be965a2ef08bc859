"""Where TensorRT's scale and response normalisation differ from PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.closeness import expected, require_outputs
from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import RELEASES, facts
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ops.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, LocalResponseNorm
from trtdsl.ops.layer_norm import GroupNorm, InstanceNorm2d, LayerNorm, RMSNorm
from trtdsl.trt.lower import lower


def statistics(channels: int, affine: bool = True) -> dict[str, torch.Tensor]:
    def draw() -> torch.Tensor:
        return torch.randn(channels)

    tracked = {"running_mean": draw(), "running_var": draw().abs() + 0.1}
    return {"weight": draw(), "bias": draw(), **tracked} if affine else tracked


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize(
    ("cls", "shape"),
    [
        (BatchNorm1d, (4, 3)),
        (BatchNorm1d, (3, 3, 3)),
        (BatchNorm2d, (3, 3, 3, 3)),
        (BatchNorm3d, (3, 3, 3, 3, 3)),
    ],
)
def test_channels_are_the_second_dimension(
    cls: Any, shape: tuple[int, ...], eps: float, affine: bool
) -> None:
    """TensorRT's own choice is the third from the end: right for rank 4 only."""
    x = torch.randn(shape)
    check_equals_torch(cls(eps=eps, affine=affine), x, weights=statistics(3, affine))


def test_without_running_statistics_takes_the_batchs() -> None:
    x = 5 + 3 * torch.randn(2, 3, 4, 5)
    weights = statistics(3)
    affine = {name: weights[name] for name in ("weight", "bias")}
    check_equals_torch(BatchNorm2d(track_running_stats=False), x, weights=affine)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 15, 16, 17])
@pytest.mark.parametrize("shape", [(2, 6, 5), (1, 6, 3, 4), (1, 6, 2, 3, 2)])
def test_response_norm_of_every_size_and_rank(size: int, shape: tuple[int, ...]) -> None:
    """TensorRT's layer takes odd sizes up to 15, and channels from the third dimension from the end."""
    check_equals_torch(LocalResponseNorm(size, alpha=0.7, beta=0.6, k=1.5), torch.randn(shape))


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (BatchNorm2d(), "float32[2, 3, 4]", "BatchNorm2d needs a tensor of rank 4, not 3"),
        (BatchNorm1d(), "float32[2, 3, 4, 5]", "rank 2 or 3, not 4"),
        (BatchNorm2d(), "int32[2, 3, 4, 5]", "needs a floating-point tensor"),
        (BatchNorm1d(track_running_stats=False), "float32[1, 3]", "the statistics of 1 value"),
        (LocalResponseNorm(3), "float32[2, 3]", "rank 3 or more"),
        (LocalResponseNorm(0), "float32[2, 3, 4]", "`size` must be at least 1"),
    ],
    ids=lambda each: str(each)[:50],
)
def test_refuses(op: Any, type: str, message: str) -> None:
    assert message in refused(op, t(type))


def affine(*shape: int) -> dict[str, torch.Tensor]:
    return {name: torch.randn(shape) for name in ("weight", "bias")}


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 3, 4), (2, 6, 2, 3, 2), (3, 12)])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_are_normalised_with_their_channels(groups: int, shape: tuple[int, ...]) -> None:
    """TensorRT's layer takes the dimensions behind the channels, and with one group only those."""
    x = 5 + 3 * torch.randn(shape)
    check_equals_torch(GroupNorm(groups), x, weights=affine(shape[1]))
    check_equals_torch(GroupNorm(groups, affine=False), x)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 5, 4), (1, 5, 4)])
def test_instances_are_single_channels(shape: tuple[int, ...]) -> None:
    """One channel makes one group, which the layer would read in another way."""
    x = 5 + 3 * torch.randn(shape)
    check_equals_torch(InstanceNorm2d(affine=True), x, weights=affine(shape[-3]))


_VARIES_BY_1000 = torch.tensor([[[[-1e3, 1e3]]]], dtype=torch.float16)
_STATISTICS_IN_FLOAT32 = bool((torch.nn.functional.instance_norm(_VARIES_BY_1000).abs() > 0.9).all())
"""Whether this release of PyTorch computes its own so; 2.5 does not, on some processors."""


@pytest.mark.parametrize("op", [GroupNorm(1), InstanceNorm2d(), BatchNorm2d(track_running_stats=False)])
def test_statistics_are_those_of_float32(op: Any) -> None:
    """Squares of half precision overflow above 256."""
    if not isinstance(op, GroupNorm) and not _STATISTICS_IN_FLOAT32:
        pytest.skip("PyTorch's own overflow here")
    x = (1e3 * torch.randn(2, 1, 4, 5)).half()
    channels = {name: torch.ones(1).half() for name in ("weight", "bias")}
    check_equals_torch(op, x, weights={} if isinstance(op, InstanceNorm2d) else channels)


@pytest.mark.parametrize("last", [(4,), (3, 4), (2, 3, 4)])
def test_layer_norm_takes_the_last_dimensions(last: tuple[int, ...]) -> None:
    x = 5 + 3 * torch.randn((2, 3, 4))
    check_equals_torch(LayerNorm(last), x, weights=affine(*last))
    check_equals_torch(LayerNorm(last, elementwise_affine=False), x)


_SQUARES_IN_FLOAT32 = bool(torch.rms_norm(torch.full((1,), 6e4, dtype=torch.float16), (1,)) == 1)
"""Whether this release of PyTorch computes its own norm so; 2.5 does not."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 6e4])
@pytest.mark.parametrize("eps", [None, 1e-6])
def test_rms_norm_is_computed_in_float32(dtype: torch.dtype, scale: float, eps: float | None) -> None:
    """Squares of half precision overflow above 256, and those of small numbers are less than its epsilon."""
    x = (scale * torch.rand(3, 8)).to(dtype)
    weight = torch.randn(8).to(dtype)
    (y,) = check_equals_torch(RMSNorm(8, eps=eps), x, weights={"weight": weight})
    wide = torch.nn.RMSNorm(8, eps=eps)
    wide.weight.data = weight.float()
    torch.testing.assert_close(y, wide(x.float()).to(dtype), rtol=2e-2, atol=0)
    theirs = torch.nn.RMSNorm(8, eps=eps, dtype=dtype)
    theirs.weight.data = weight
    if _SQUARES_IN_FLOAT32:
        torch.testing.assert_close(y, theirs(x), rtol=2e-2, atol=0)


@pytest.mark.parametrize("last", [(4,), (3, 4), (2, 3, 4)])
def test_rms_norm_takes_the_last_dimensions(last: tuple[int, ...]) -> None:
    x = 5 + 3 * torch.randn((2, 3, 4))
    check_equals_torch(RMSNorm(last), x, weights={"weight": torch.randn(last)})
    check_equals_torch(RMSNorm(last, elementwise_affine=False), x)


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (LayerNorm(8), "float32[2, 3]", "the last dimensions of float32[2, 3] are not [8]"),
        (LayerNorm((2, 3)), "float32[3]", "are not [2, 3]"),
        (RMSNorm(8), "float32[2, 3]", "the last dimensions of float32[2, 3] are not [8]"),
        (RMSNorm(3), "int32[2, 3]", "needs a floating-point tensor"),
        (GroupNorm(4), "float32[2, 6, 3]", "has 6 channels, which 4 groups do not divide"),
        (InstanceNorm2d(track_running_stats=True), "float32[2, 6, 3, 4]", "running statistics"),
        (InstanceNorm2d(), "float32[2, 6, 1, 1]", "the statistics of 1 value"),
    ],
    ids=lambda each: str(each)[:50],
)
def test_refuses_statistics(op: Any, type: str, message: str) -> None:
    assert message in refused(op, t(type))


NORMS = """model m {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 6, 4]
  output last = layer_norm(x, (4,))
  output all_but_first = layer_norm(x, (6, 4), eps = 0.001)
  output groups = group_norm(x, 2)
  output squares = rms_norm(x, (4,))
}"""


@pytest.mark.parametrize("release", RELEASES)
def test_layer_norms_choose_for_tensorrt_8(release: str) -> None:
    """Of a choice TensorRT 8.5 makes a region; what is not a number stays so."""
    graph = elaborate_text(NORMS)
    dialect = RecordingDialect(facts(release))
    lowered = lower(graph, dialect)
    choices = [layer for layer in dialect.network if layer.type.name == "SELECT"]
    assert len(choices) == (2 if release == "8.5.3" else 0)
    x = 5 + 3 * torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    found = evaluate(dialect.network, {"x": x}, weights=lowered.weights)
    require_outputs(found, expected(graph, {"x": x}), 1e-5)
    x[1, 2, 3] = torch.inf
    found = evaluate(dialect.network, {"x": x}, weights=lowered.weights)
    assert found["last"].isnan().sum() == 4
    assert found["all_but_first"].isnan().sum() == 24

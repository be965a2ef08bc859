"""How near a result must come to PyTorch's, on whatever processor the tests run.

The truth is what PyTorch computes in float64. A result may be off by its ``limit``, and beside it by
:data:`OWN` times as much as PyTorch is off that computes in the model's own dtypes on the same processor:
another order of summation, vector width or kernel moves both alike, a wrong network only one of them.
Distances are relative L2 norms over what is finite; NaN and infinities must be in the same places, integers
and bools equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from trtdsl import reference
from trtdsl.ir import Graph
from trtdsl.reference import to_torch

LIMIT = 1e-5
"""What a network in float32 may add to PyTorch's own rounding where no operator or pass says otherwise."""

OWN = 4.0
"""Times PyTorch's own error. Folding rounds each weight once more and so about doubles the square of the
error; measured over the zoo, passes and lowered networks stay within 1.1 times."""

NARROW = {torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""One rounding to such a dtype is at most 2**-11 or 2**-8; a handful of layers round one each."""

WORST = 1e-3
"""PyTorch's own error from which it is not a measure: the case is ill-conditioned. Of narrow dtypes 25 times
the limit."""


class IllConditioned(AssertionError):
    """PyTorch's own rounding is so large that the case says nothing."""


@dataclass(frozen=True)
class Expected:
    """One output as PyTorch computes it: in the model's dtypes, and (when asked for) in float64."""

    own: torch.Tensor
    in_float64: Callable[[], torch.Tensor]

    @cached_property
    def exact(self) -> torch.Tensor:
        return self.in_float64()

    @property
    def in_32_bits(self) -> Expected:
        """The same where integers have 32 bits, as on releases without int64."""
        return Expected(self.own.int(), self.in_float64) if self.own.dtype == torch.int64 else self


def expected(
    graph: Graph, inputs: Mapping[str, Any], weights: Mapping[str, Any] | None = None
) -> dict[str, Expected]:
    """The outputs of a graph by name."""
    own = reference.run(graph, inputs, weights)

    def exact(name: str) -> Callable[[], torch.Tensor]:
        return lambda: reference.run(graph, inputs, weights, in_float64=True)[name]

    return {name: Expected(as_evaluated(value), exact(name)) for name, value in own.items()}


def as_evaluated(value: torch.Tensor) -> torch.Tensor:
    """Numbers of 8 bits as the evaluator has them, in wider ones that hold them exactly."""
    return value.float() if value.dtype == torch.float8_e4m3fn else value


def require_outputs(found: Mapping[str, torch.Tensor], wanted: Mapping[str, Expected], limit: float) -> None:
    """Every output near enough."""
    assert found.keys() == wanted.keys()
    for name, output in wanted.items():
        require_close(found[name], output, limit)


def require_close(found: torch.Tensor, wanted: Expected | torch.Tensor, limit: float = LIMIT) -> None:
    """Raise AssertionError unless ``found`` is near enough; a tensor alone allows ``limit`` only."""
    own = wanted.own if isinstance(wanted, Expected) else wanted
    require_same_kind(found, own)
    if not own.is_floating_point():
        assert torch.equal(found, own)
        return
    limit = max(limit, NARROW.get(own.dtype, 0.0))
    # Who is within the limit of PyTorch's own result is within it and its own error of the exact one.
    error = distance(found, own)
    if error <= limit:
        return
    assert isinstance(wanted, Expected), f"relative error {error:.2e}, where {limit:.2e} is allowed"
    error, allowed = distance(found, wanted.exact), allowance(wanted, limit)
    assert error <= allowed, f"relative error {error:.2e} from float64, where {allowed:.2e} is allowed"


def allowance(wanted: Expected, limit: float) -> float:
    """How far from the exact output is near enough."""
    own = distance(wanted.own, wanted.exact)
    worst = max(WORST, 25 * NARROW.get(wanted.own.dtype, 0.0))
    if own > worst:
        raise IllConditioned(f"PyTorch's own error is {own:.2e}: the case says nothing")
    return limit + OWN * own


def require_same_kind(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Raise AssertionError unless dtype and shape agree, and for floats where NaN and infinities are."""
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    if wanted.is_floating_point():
        assert torch.equal(found.isnan(), wanted.isnan())
        infinite = wanted.isinf()
        assert torch.equal(found.isinf(), infinite)
        assert torch.equal(found[infinite], wanted[infinite])


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The relative L2 distance over what is finite in both; infinite where only 0 was wanted and is not."""
    a, b = found.double(), exact.double()
    finite = a.isfinite() & b.isfinite()
    apart, size = (a[finite] - b[finite]).norm(), b[finite].norm()
    return float(apart / size) if apart else 0.0


def perturbed(graph: Graph, factor: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each weight of a graph its key, and all weights with a share of that one scaled by ``factor``."""
    data = {weight.key: to_torch(weight.data) for weight in graph.weights if weight.data is not None}
    for key, value in data.items():
        if value.is_floating_point():
            changed = value.clone()
            changed.view(-1)[: max(1, value.numel() // 8)] *= factor
            yield key, {**data, key: changed}

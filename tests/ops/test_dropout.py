"""What is the identity in inference emits no layer, and still checks what it is given."""

from __future__ import annotations

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Op
from trtdsl.ops.dropout import AlphaDropout, Dropout, Dropout1d, Dropout3d, FeatureAlphaDropout, Identity


@pytest.mark.parametrize(
    "op", [Dropout(0.9), Dropout1d(1.0), Dropout3d(), AlphaDropout(), FeatureAlphaDropout()], ids=str
)
def test_nothing_is_dropped(op: Op) -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(check_equals_torch(op, x)[0], x)


def test_identity_takes_every_dtype() -> None:
    for x in (torch.tensor([True]), torch.tensor(3), torch.randn(2).bfloat16()):
        assert torch.equal(check_equals_torch(Identity(), x)[0], x)


def test_impossible_probabilities_and_ranks_are_refused() -> None:
    assert "between 0 and 1" in refused(Dropout(1.5), t("float32[4]"))
    assert "rank 2 or 3" in refused(Dropout1d(), t("float32[4]"))

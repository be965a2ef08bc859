"""What `trtdsl ops NAME` says of a name that no operator has."""

from __future__ import annotations

import pytest

from trtdsl.diagnostics import UsageError
from trtdsl.ops.describe import describe_operator


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conv", "there are `Conv1d`, `Conv2d`, `Conv3d`, `ConvTranspose1d`"),
        ("MAX_POOL", "there are `max_pool1d`, `max_pool2d`, `max_pool3d`"),
        ("a", ", …"),
        ("conv2d", "there is no operator `conv2d`, did you mean `Conv2d`?"),
        ("relux", "there is no operator `relux`, did you mean `relu`?"),
        ("LSTM", "PyTorch has it, trtdsl does not"),
    ],
)
def test_a_name_that_no_operator_has(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe_operator(name)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["", "xyzzy"])
def test_a_name_like_none_gets_no_guess(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe_operator(name)
    assert str(caught.value) == f"error: there is no operator `{name}`"

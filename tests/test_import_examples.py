"""Example tensors given for an import's inputs, as types of the language."""

from __future__ import annotations

import pytest
import torch

from trtdsl.diagnostics import UsageError
from trtdsl.importers.inputs import type_text


def test_an_example_tensor_says_a_type() -> None:
    assert type_text(torch.zeros(2, 3), {}) == "float32[2, 3]"
    assert type_text(torch.zeros(2, 3, dtype=torch.int64), {-2: "N"}) == "int64[N, 3]"


def test_a_dtype_that_the_language_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="an example is complex64, which no input can be"):
        type_text(torch.zeros(2, dtype=torch.complex64), {})

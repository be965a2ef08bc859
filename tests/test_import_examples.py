"""What an import is given: example tensors for its inputs, and a PyTorch that it can read."""

from __future__ import annotations

import pytest
import torch

from trtdsl.diagnostics import UsageError
from trtdsl.importers.inputs import type_text
from trtdsl.verification.loading import require_export


def test_an_example_tensor_says_a_type() -> None:
    assert type_text(torch.zeros(2, 3), {}) == "float32[2, 3]"
    assert type_text(torch.zeros(2, 3, dtype=torch.int64), {-2: "N"}) == "int64[N, 3]"


def test_a_dtype_that_the_language_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="an example is complex64, which no input can be"):
        type_text(torch.zeros(2, dtype=torch.complex64), {})


@pytest.mark.parametrize("version", ["2.14.0", "2.15.1+cpu", "3.0"])
def test_a_release_that_can_be_read(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    require_export("`trtdsl import`")


@pytest.mark.parametrize("version", ["2.13.1", "2.5.0+cu121", "1.13"])
def test_an_older_release_is_named(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(UsageError, match=r"needs PyTorch 2\.14 or newer, and .* is installed"):
        require_export("`trtdsl import`")

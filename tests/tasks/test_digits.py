"""A network that is trained here, in three precisions, beside its module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.scripts import script

digits: Any = script("digits/digits.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module, its test data, and a folder with its weights and samples."""
    folder: Path = tmp_path_factory.mktemp("digits")
    training, test = digits.data()
    module = digits.train(training, epochs=6)
    torch.save(module.state_dict(), folder / "digits.pth")
    np.savez(folder / "samples.npz", image=training.images[: digits.CALIBRATED])
    return module, test, folder


def measured(trained: Any, precision: str) -> Any:
    _, test, folder = trained
    return digits.measure(folder / "digits.pth", precision, folder / "samples.npz", test, "cpu")


def expected(trained: Any) -> Any:
    module, test, _ = trained
    with torch.no_grad():
        return module(torch.from_numpy(test.images)).numpy()


def test_float32_is_the_module(trained: Any) -> None:
    found = measured(trained, "float32")
    assert np.abs(found.logits - expected(trained)).max() < 1e-4
    assert found.accuracy > 0.95


@pytest.mark.parametrize(
    ("precision", "lost", "low", "high"), [("float16", 0.002, 1e-5, 2e-3), ("int8", 0.01, 2e-3, 0.05)]
)
def test_narrow_types_read_the_same_digits(
    trained: Any, precision: str, lost: float, low: float, high: float
) -> None:
    exact, found = expected(trained), measured(trained, precision)
    right = (exact.argmax(1) == trained[1].labels).mean()
    assert abs(found.accuracy - right) <= lost
    # It is computed in that type, and no other.
    assert low < np.linalg.norm(found.logits - exact) / np.linalg.norm(exact) < high

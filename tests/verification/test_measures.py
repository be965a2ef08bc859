"""How far apart two arrays are, and what NaN and infinity make of that."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import trtdsl
from tests.verification.networks import TEXT, Net, verify_text
from trtdsl.verification.result import measure


def test_measures() -> None:
    a, b = np.array([3.0, 4.0], np.float32), np.array([3.0, 5.0], np.float32)
    found = measure(b, a)
    assert found is not None
    assert (found.max_abs, found.relative) == (1.0, 0.2)
    assert found.cosine == pytest.approx(29 / (5 * 34**0.5))
    assert measure(a, a[:1]) is None


@pytest.mark.parametrize(
    ("found", "expected", "relative"),
    [
        ([0.0], [0.0], 0.0),
        ([1.0], [0.0], np.inf),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_measures_of_what_is_no_number(found: list[float], expected: list[float], relative: float) -> None:
    measured = measure(np.array(found, np.float32), np.array(expected, np.float32))
    assert measured is not None
    assert measured.relative == relative


@pytest.mark.parametrize(
    ("found", "expected", "cosine", "not_finite"),
    [
        ([np.nan, np.inf], [np.nan, np.inf], np.nan, 2),
        ([np.nan, 1.0], [np.nan, 1.0], 1.0, 1),
        ([np.nan, np.nan], [np.nan, 1.0], np.nan, 1),
        ([0.0, 0.0], [0.0, 0.0], 1.0, 0),
        ([], [], np.nan, 0),
    ],
)
def test_the_cosine_is_that_of_the_finite(
    found: list[float], expected: list[float], cosine: float, not_finite: int
) -> None:
    measured = measure(np.array(found, np.float32), np.array(expected, np.float32))
    assert measured is not None
    assert measured.cosine == pytest.approx(cosine, nan_ok=True)
    assert measured.not_finite == not_finite


def test_nan_in_the_inputs_is_noted(net: Net) -> None:
    image = np.ones((2, 3, 16, 16), np.float32)
    image[0] = np.nan
    found = verify_text(TEXT, net, inputs={"image": image})
    assert found.equal
    assert found.notes == (
        "layer `conv1+bn1` is the first that holds NaN or infinity: 2048 of 4096 numbers, on both sides"
        " alike",
        "output `scores` holds 10 of 20 numbers that are NaN or infinite, on both sides alike",
    )
    image[1] = np.inf
    table = trtdsl.verification.show_verification(verify_text(TEXT, net, inputs={"image": image}))
    row = next(line for line in table.splitlines() if line.startswith("output scores"))
    assert row.split()[-2:] == ["nan", "unknown"]


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float16, ml_dtypes.bfloat16])
def test_measures_are_taken_in_float64(dtype: Any) -> None:
    """A sum of 4098 ones is wrong in float16, which counts to 2048, and in bfloat16, which counts to 256."""
    ones = np.ones(4097, dtype)
    measured = measure(np.concatenate([ones, ones[:1] * 0]), np.concatenate([ones, ones[:1]]))
    assert measured is not None
    assert measured.relative == pytest.approx(1 / 4098**0.5)
    assert measured.max_abs == 1

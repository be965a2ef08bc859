"""Arrays in another layout than an input's: what is proposed fits."""

from __future__ import annotations

import numpy as np
import pytest

from trtdsl.types import refitting

IMAGES = ("N", 3, "H", "W")
BYTES = ("N", "H", "W", 3)


@pytest.mark.parametrize(
    ("declared", "shape", "said"),
    [
        (IMAGES, (2, 7, 9, 3), "array.transpose(0, 3, 1, 2)"),
        (IMAGES, (3, 7, 9), "array[None]"),
        (IMAGES, (7, 9, 3), "array.transpose(2, 0, 1)[None]"),
        (BYTES, (2, 3, 7, 9), "array.transpose(0, 2, 3, 1)"),
        (BYTES, (3, 7, 9), "array.transpose(1, 2, 0)[None]"),
        (("N", 16), (16,), "array[None]"),
        (("N", "T", 16), (4, 16), "array[None]"),
    ],
)
def test_what_is_proposed_fits(declared: tuple[object, ...], shape: tuple[int, ...], said: str) -> None:
    assert refitting("array", declared, shape) == said
    found = eval(said, {"array": np.zeros(shape)}).shape
    assert len(found) == len(declared)
    assert all(
        isinstance(wanted, str) or wanted == size for wanted, size in zip(declared, found, strict=True)
    )


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (2, 4, 7, 9), (7, 9), (), (1, 1, 3, 7, 9)])
def test_nothing_is_proposed_for_what_fits_or_is_something_else(shape: tuple[int, ...]) -> None:
    assert refitting("array", IMAGES, shape) == ""

"""ATen's upsampling, whose names have the mode and the number of dimensions: ``_upsample_bilinear2d_aa``."""

from __future__ import annotations

UPSAMPLING = (
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip
SCALES = ("scales_d", "scales_h", "scales_w", "scales")
"""The factors of the dimensions, as the overloads have them that are called with one each."""


def mode_of(name: str) -> str:
    """The ``mode`` of ``interpolate`` that an operation is: ``nearest-exact``."""
    mode = name.lstrip("_").removeprefix("upsample_").removesuffix("_aa").rstrip("d").rstrip("123")
    return mode.replace("_", "-")


def is_antialiased(name: str) -> bool:
    return name.endswith("_aa")

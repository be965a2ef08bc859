"""Lowerings whose layers TensorRT accepts one by one: the engine must build too."""

from __future__ import annotations

import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.reference import random_weights
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower

MODEL = """
model m() {{
  dim N = 1 .. 2 .. 3
  dim L = 2 .. 5 .. 9
  input x: float32[N, 4, L, L + 3]
  output y = x -> {call}
}}
"""


@pytest.mark.parametrize(
    "call",
    [
        # The bounds of the grown size were negative where its quotient had a negative dividend.
        'interpolate(scale_factor = 1.7, mode = "bilinear")',
        'interpolate(scale_factor = 0.5, mode = "bicubic")',
        # Stride and dilation together: "Strided & Dilated Deconv are currently not supported".
        "up: ConvTranspose2d(6, 3, stride = 2, dilation = 2, groups = 2)",
        "up: ConvTranspose2d(6, 3, stride = 3, output_padding = 2)",
        'conv: Conv2d(6, 3, padding = 1, padding_mode = "circular")',
        "avg_pool2d(3, stride = 2, padding = 1, ceil_mode = true)",
        "avg_pool2d(2, stride = 3, padding = 1, ceil_mode = true, count_include_pad = false)",
        "local_response_norm(4)",
        "pad((0, -L % 4, 1, -1))",
        "norm: GroupNorm(2)",
    ],
)
def test_builds_for_dynamic_sizes(call: str) -> None:
    graph = random_weights(elaborate_text(MODEL.format(call=call)))
    assert len(build(lower(graph))) > 0

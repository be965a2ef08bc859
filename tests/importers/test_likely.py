"""What a message proposes as the type of an input that was not given."""

from __future__ import annotations

import pytest
from torch import nn

from trtdsl.importers.likely import likely_type


@pytest.mark.parametrize(
    ("layers", "name", "wanted"),
    [
        ([nn.Embedding(30522, 8), nn.Linear(8, 8)], "input_ids", "int64[N, S] in 0 .. 30521"),
        ([nn.Embedding(30522, 8), nn.Linear(8, 8)], "attention_mask", "int64[N, S]"),
        ([nn.Conv2d(1, 8, 3), nn.Linear(8, 8)], "x", "float32[N, 1, 224, 224]"),
        ([nn.Embedding(99, 8), nn.Conv2d(3, 8, 3)], "pixel_values", "float32[N, 3, 224, 224]"),
        ([nn.Conv1d(80, 8, 3)], "features", "float32[N, 80, S]"),
        ([nn.Sequential(nn.Linear(7, 8))], "x", "float32[N, 7]"),
        ([nn.LSTM(5, 8)], "x", "float32[N, S, 5]"),
        ([], "x", "float32[N, 3, 224, 224]"),
    ],
)
def test_the_type_is_that_of_the_layer_that_reads_it(layers: list[nn.Module], name: str, wanted: str) -> None:
    assert likely_type(nn.Sequential(*layers), name) == wanted

"""What attention leaves out is left out in the text: causal masks, given masks, heads shared by groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import held

RANGES = {"N": "1 .. 2 .. 4", "S": "2 .. 5 .. 9", "M": "2 .. 4 .. 9"}


class Attends(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return functional.scaled_dot_product_attention(q, k, k, attn_mask=mask, **self.options)


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ({"is_causal": True}, 4),
        ({"is_causal": True, "scale": 0.3}, 4),
        ({"enable_gqa": True}, 2),
        ({"enable_gqa": True, "is_causal": True}, 1),
    ],
)
def test_attention(options: dict[str, Any], heads: int) -> None:
    text = held(
        Attends(**options), {"q": "float32[N, 4, S, 8]", "k": f"float32[N, {heads}, M, 8]"}, RANGES
    ).text
    assert all(name in text for name in options)


@pytest.mark.parametrize("mask", ["bool[S, M]", "float32[N, 1, S, M]"])
def test_attention_of_groups_with_a_mask(mask: str) -> None:
    inputs = {"q": "float32[N, 4, S, 8]", "k": "float32[N, 2, M, 8]", "mask": mask}
    held(Attends(enable_gqa=True), inputs, RANGES)


class Decoder(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, **options)
        self.decoder = nn.TransformerDecoder(layer, 2)


class Decodes(Decoder):
    """Its positions see none that come later."""

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.decoder(x, memory, tgt_mask=mask, tgt_is_causal=True)


class DecodesPadded(Decoder):
    """With padding of its own, and a mask of what it sees of the memory."""

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, padding: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        return self.decoder(x, memory, tgt_key_padding_mask=padding, memory_mask=mask)


INPUTS = {"x": "float32[N, S, 8]", "memory": "float32[N, M, 8]"}


@pytest.mark.parametrize("options", [{}, {"norm_first": True}, {"activation": "gelu"}])
def test_decoder(options: dict[str, Any]) -> None:
    held(Decodes(**options).eval(), INPUTS, RANGES)


@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_decoder_with_masks_given(dtype: str) -> None:
    masks = {"padding": f"{dtype}[N, S]", "mask": f"{dtype}[S, M]"}
    held(DecodesPadded().eval(), {**INPUTS, **masks}, RANGES)

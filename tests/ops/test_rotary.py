"""Rotary embedding: as PyTorch models write it, both pairings, whole heads and parts of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.closeness import distance, expected, require_outputs
from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import RELEASES, facts, narrowed
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ops.rotary import RotaryEmbedding
from trtdsl.reference import run
from trtdsl.trt.lower import lower

TEXT = """import "std/rotary.trtnet"
model m {{
  dim N = 1 .. 2 .. 4
  dim S = 1 .. 5 .. 9
  input x: float32[N, 3, S, 8]
  input positions: int64[N, S]
  cosine, sine = angles(positions, {width}, theta = 100.0)
  output y = {call}(x, cosine, sine)
}}"""
POSITIONS = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 9, 30, 31]])


def caches(width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines as transformers has them: each angle twice."""
    frequency = 1 / 100.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = POSITIONS.unsqueeze(-1) * frequency
    return angle.cos().float(), angle.sin().float()


def halves(x: torch.Tensor, width: int) -> torch.Tensor:
    """As Llama is written, and GPT-NeoX where a part is turned."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    cosine, sine = (torch.cat([c, c], -1) for c in caches(width))
    turned, _ = apply_rotary_pos_emb(x[..., :width], x[..., :width], cosine, sine)
    return torch.cat([turned, x[..., width:]], -1)


def neighbours(x: torch.Tensor, width: int) -> torch.Tensor:
    """As GPT-J is written, whose heads stand behind the positions."""
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb

    cosine, sine = caches(width)
    turned = apply_rotary_pos_emb(x[..., :width].transpose(1, 2), sine, cosine).transpose(1, 2)
    return torch.cat([turned, x[..., width:]], -1)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("width", [8, 4, 2])
@pytest.mark.parametrize("original", [halves, neighbours])
def test_is_what_pytorch_models_write(original: Any, width: int, release: str) -> None:
    graph = elaborate_text(TEXT.format(width=width, call=f"rotate_{original.__name__}"))
    x = torch.randn(2, 3, 5, 8)
    inputs = {"x": x, "positions": POSITIONS}
    assert distance(run(graph, inputs)["y"], original(x, width)) < 1e-6
    dialect = RecordingDialect(facts(release))
    lowered = lower(graph, dialect)
    given = narrowed(inputs) if release == "8.5.3" else inputs
    found = evaluate(dialect.network, given, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), 1e-5)
    kinds = [layer.type.name for layer in dialect.network]
    assert ("ROTARY_EMBEDDING" in kinds) == (release == "11.4")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("turned", [0, 6])
def test_by_position_numbers(dtype: torch.dtype, interleaved: bool, turned: int) -> None:
    op = RotaryEmbedding(interleaved=interleaved, rotary_embedding_dim=turned)
    half = (turned or 8) // 2
    angles = torch.randn(12, half)
    tables = (angles.cos().to(dtype), angles.sin().to(dtype))
    x, positions = torch.randn(2, 3, 4, 8).to(dtype), torch.randint(0, 12, (2, 4))
    (found,) = check_equals_torch(op, x, *tables, positions)
    (taken,) = check_equals_torch(op, x, *(table[positions] for table in tables))
    torch.testing.assert_close(found, taken)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (RotaryEmbedding(), ["float32[2, 3, 8]", *["float32[2, 3, 4]"] * 2], "rank 4, not 3"),
        (RotaryEmbedding(), ["int32[2, 1, 3, 8]", *["int32[2, 3, 4]"] * 2], "a floating-point tensor"),
        (RotaryEmbedding(), ["float32[2, 1, 3, 7]", *["float32[2, 3, 3]"] * 2], "an even count"),
        (RotaryEmbedding(False, 10), ["float32[2, 1, 3, 8]", *["float32[2, 3, 5]"] * 2], "an even count"),
        (RotaryEmbedding(), ["float32[2, 1, 3, 8]", *["float32[2, 3, 8]"] * 2], "the shape [2, 3, 4]"),
        (RotaryEmbedding(), ["float16[2, 1, 3, 8]", *["float32[2, 3, 4]"] * 2], "must be float16"),
        (
            RotaryEmbedding(),
            ["float32[2, 1, 3, 8]", *["float32[2, 3, 4]"] * 2, "int64[2, 3]"],
            "rotary_embedding with `position_ids` needs a tensor of rank 2",
        ),
        (
            RotaryEmbedding(),
            ["float32[2, 1, 3, 8]", *["float32[9, 4]"] * 2, "int64[2, 4]"],
            "`position_ids` must have the shape [2, 3]",
        ),
        (
            RotaryEmbedding(),
            ["float32[2, 1, 3, 8]", *["float32[9, 4]"] * 2, "float32[2, 3]"],
            "positions are int32 or int64",
        ),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Any, types: list[str], message: str) -> None:
    assert message in refused(op, *map(t, types))

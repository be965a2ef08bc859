"""`MultiheadAttention` is found again in what it runs as."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from tests.importers.programs import listed
from trtdsl.importers.capture import capture
from trtdsl.importers.inputs import read_inputs
from trtdsl.importers.program import Program
from trtdsl.importers.recognise import with_attention
from trtdsl.importers.simplify import simplify


class Attention(nn.Module):
    """Attention over what it is given, in one of the ways in which a module may be called."""

    def __init__(self, way: str, **options: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.way = way

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        match self.way:
            case "itself":
                return self.attention(x, x, x, need_weights=False)[0] + y
            case "another":
                return self.attention(x, y, y, need_weights=False)[0]
            case "values":
                return self.attention(x, y, y * 2, need_weights=False)[0]
            case "weights":
                out, weights = self.attention(x, y, y, need_weights=True)
                return out + weights.sum()
            case "masks":
                masks = y[:, :, :5].repeat_interleave(2, 0)
                return self.attention(x, x, x, attn_mask=masks, need_weights=False)[0]
            case _:
                mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
                out, _ = self.attention(x, x, x, attn_mask=mask, need_weights=False)
                return out + y


def captured(way: str, **options: bool) -> Program:
    inputs = read_inputs({"x": "float32[N, 5, 8]", "y": "float32[N, 5, 8]"}, {})
    return simplify(capture(Attention(way, **options).eval(), "m", inputs, "").program)


@pytest.mark.parametrize(
    ("way", "options", "line"),
    [
        ("itself", {}, "multihead_attention(x, x, x)"),
        ("itself", {"bias": False}, "multihead_attention(x, x, x)"),
        ("another", {}, "multihead_attention(x, y, y)"),
        ("values", {}, "multihead_attention(x, y, mul)"),
    ],
)
def test_it_is_one_operation(way: str, options: dict[str, bool], line: str) -> None:
    found = with_attention(captured(way, **options))
    assert [each.partition(" = ")[2] for each in listed(found) if "attention" in each] == [line]
    (attention,) = [each for each in found.operations if each.base == "multihead_attention"]
    assert attention.arguments["bias"] is options.get("bias", True)
    assert attention.arguments["num_heads"] == 2


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("weights", {}),
        ("mask", {}),
        ("masks", {}),
        ("itself", {"add_zero_attn": True}),
        ("itself", {"add_bias_kv": True}),
    ],
)
def test_it_stays_many(way: str, options: dict[str, bool]) -> None:
    program = captured(way, **options)
    assert with_attention(program) == program


@pytest.mark.parametrize("way", ["itself", "another", "values"])
def test_shapes_tell_a_configuration_that_is_not_known(way: str) -> None:
    program = captured(way)
    alone = msgspec.structs.replace(program, modules={})
    found = [each for each in with_attention(alone).operations if each.base == "multihead_attention"]
    wanted = [each for each in with_attention(program).operations if each.base == "multihead_attention"]
    assert [each.arguments for each in found] == [each.arguments for each in wanted]


@pytest.mark.parametrize("way", ["weights", "mask"])
def test_without_its_configuration_it_stays_many(way: str) -> None:
    program = msgspec.structs.replace(captured(way), modules={})
    assert with_attention(program) == program


def test_zeros_that_it_attends_to_are_seen_without_its_configuration() -> None:
    program = msgspec.structs.replace(captured("itself", add_zero_attn=True), modules={})
    assert with_attention(program) == program

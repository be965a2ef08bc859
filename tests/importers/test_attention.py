"""`MultiheadAttention` is one call in the text, also where a program runs it as many operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from tests.importers.comparing import held
from trtdsl.importers.module import import_exported, import_module

RANGES = {"N": "1 .. 2 .. 4", "S": "2 .. 5 .. 9", "M": "2 .. 4 .. 9"}
SIZES = {"N": 2, "S": 5, "M": 4}


@pytest.fixture(autouse=True)
def as_written() -> Iterator[None]:
    """PyTorch's way for inference takes every number of a mask that is not 0 for true."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


class Attends(nn.Module):
    """Attention, called by a function of it, of ``x``, of ``y`` and of a mask."""

    def __init__(self, call: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, **{"batch_first": True, **options})
        self.call = call

    def forward(self, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> Any:
        return self.call(self.attention, x, y, mask)


def padded(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y, key_padding_mask=mask)[0]


def masked(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y, attn_mask=mask)[0]


def masked_without_weights(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y, attn_mask=mask, need_weights=False)[0]


def masked_twice(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y, attn_mask=mask, key_padding_mask=y[:, :, 0] > 1)[0]


def with_weights(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y * 2, key_padding_mask=mask)


def with_weights_of_heads(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y, attn_mask=mask, average_attn_weights=False)


def of_each_head(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y, attn_mask=mask.repeat_interleave(2, 0), need_weights=False)[0]


def weights_alone(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    return attention(x, y, y, key_padding_mask=mask)[1]


def causal(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    hidden = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
    found, _ = attention(x, x, x, attn_mask=hidden, is_causal=True, need_weights=False)
    return found + y.sum() + mask.sum()


def called_causal(attention: Any, x: Any, y: Any, mask: Any) -> Any:
    """Not causal in truth: with weights PyTorch goes by the mask."""
    return attention(x, y, y, attn_mask=mask, is_causal=True)[0]


X, Y, FLAT = "float32[N, S, 8]", "float32[N, M, 8]", "float32[S, 8]"
CALLS: dict[str, tuple[Callable[..., Any], tuple[str, str, str], dict[str, Any], str]] = {
    "padded": (padded, (X, Y, "bool[N, M]"), {}, "2)(key_padding_mask = mask)"),
    "masked": (masked, (X, Y, "bool[S, M]"), {}, "2)(attn_mask = mask)"),
    "masked by numbers": (masked_without_weights, (X, Y, "float32[S, M]"), {}, "2)(attn_mask = mask)"),
    "without bias": (masked, (X, Y, "bool[S, M]"), {"bias": False}, "2, bias = false)(attn_mask = mask)"),
    "twice": (masked_twice, (X, Y, "bool[S, M]"), {}, "> 1, attn_mask = mask)"),
    "of each head": (
        of_each_head, (X, Y, "bool[N, S, M]"), {}, "2)(attn_mask = repeat_interleave(mask, 2, 0))",
    ),
    "with weights": (with_weights, (X, Y, "bool[N, M]"), {}, "2, need_weights = true)(key_padding_mask"),
    "of heads": (
        with_weights_of_heads, (X, Y, "bool[S, M]"), {},
        "need_weights = true, average_attn_weights = false)(attn_mask",
    ),
    "length first": (
        masked, ("float32[S, N, 8]", "float32[M, N, 8]", "bool[S, M]"), {"batch_first": False},
        "MultiheadAttention(2)(attn_mask = mask)",
    ),
}  # fmt: skip
WHOLE: dict[str, tuple[Callable[..., Any], tuple[str, str, str], dict[str, Any], str]] = {
    "weights alone": (weights_alone, (X, Y, "bool[N, M]"), {}, "_, attention = (x, y, y)"),
    "causal": (causal, (X, Y, "bool[1]"), {}, "is_causal = true)("),
    "called causal": (called_causal, (X, Y, "bool[S, M]"), {}, "2)(attn_mask = mask)"),
    "without batch": (masked, (FLAT, "float32[M, 8]", "bool[S, M]"), {}, "2)(attn_mask = mask)"),
    "of other widths": (
        padded, (X, "float32[N, M, 6]", "bool[N, M]"), {"kdim": 6, "vdim": 6}, "2)(key_padding_mask = mask)",
    ),
    "beside zeros": (
        masked, (X, Y, "bool[S, M]"), {"add_zero_attn": True, "add_bias_kv": True},
        "2, add_bias_kv = true, add_zero_attn = true)(attn_mask = mask)",
    ),
}  # fmt: skip


def typed(types: tuple[str, str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The inputs, and the ranges of the dimensions in them."""
    inputs: dict[str, str] = dict(zip(("x", "y", "mask"), types, strict=True))
    return inputs, {name: each for name, each in RANGES.items() if any(name in type for type in types)}


def plain(text: str) -> str:
    """On one line, without what every call here has."""
    return " ".join(text.split()).replace("( ", "(").replace(" )", ")").replace(", batch_first = true", "")


@pytest.mark.parametrize("case", [*CALLS, *WHOLE])
def test_of_a_module(case: str) -> None:
    call, types, options, wanted = (CALLS | WHOLE)[case]
    text = plain(held(Attends(call, **options), *typed(types)).text)
    assert text.count("MultiheadAttention") == 1
    assert wanted in text and "softmax" not in text and "masked_fill" not in text


def exported(module: nn.Module, inputs: Mapping[str, str]) -> str:
    """The text of what ``torch.export`` makes of a module."""
    ranges = {name: torch.export.Dim(f"_{name}", min=2, max=9) for name in SIZES}
    given: dict[str, torch.Tensor] = {}
    shapes: dict[str, Any] = {}
    for name, type in inputs.items():
        dtype, _, sizes = type.rstrip("]").partition("[")
        shape = sizes.split(", ")
        given[name] = torch.zeros([SIZES.get(size) or int(size) for size in shape]).to(getattr(torch, dtype))
        shapes[name] = {axis: ranges[size] for axis, size in enumerate(shape) if size in SIZES}
    return import_exported(torch.export.export(module.eval(), (), given, dynamic_shapes=shapes)).text


@pytest.mark.parametrize(
    "case",
    ["padded", "masked by numbers", "twice", "of each head", "with weights", "of heads", "length first"],
)
def test_of_a_program(case: str) -> None:
    call, types, options, _ = CALLS[case]
    module, (inputs, ranges) = Attends(call, **options), typed(types)
    calls = [
        plain(text)[plain(text).index("MultiheadAttention") :].partition(" output ")[0]
        for text in (exported(module, inputs), import_module(module, inputs, ranges).text)
    ]
    assert calls[0] == calls[1]


@pytest.mark.parametrize("case", ["weights alone", "causal", "beside zeros"])
def test_what_a_program_does_not_show_stays_many(case: str) -> None:
    call, types, options, _ = WHOLE[case]
    assert "MultiheadAttention" not in exported(Attends(call, **options), typed(types)[0])


class Encodes(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, padding: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self.encoder(x, mask=mask, src_key_padding_mask=padding)


@pytest.mark.parametrize(
    ("dtype", "options"), [("bool", {}), ("float32", {"norm_first": True, "activation": "gelu"})]
)
def test_encoder(dtype: str, options: dict[str, Any]) -> None:
    inputs = {"x": X, "mask": f"{dtype}[S, S]", "padding": f"{dtype}[N, S]"}
    text = plain(held(Encodes(**options).eval(), inputs, {each: RANGES[each] for each in "NS"}).text)
    assert "for i in range(3)" in text and "masked_fill" not in text
    assert "MultiheadAttention(2)(key_padding_mask = padding, attn_mask = mask)" in text


class Translates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.transformer = nn.Transformer(8, 2, 3, 3, 16, batch_first=True)

    def forward(self, source: torch.Tensor, target: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        hidden = self.transformer.generate_square_subsequent_mask(target.shape[1])
        return self.transformer(
            source,
            target,
            tgt_mask=hidden,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )


def test_transformer() -> None:
    inputs = {"source": Y, "target": X, "padding": "bool[N, M]"}
    text = plain(held(Translates().eval(), inputs, RANGES).text)
    assert text.count("for i in range(3)") == 2 and text.count("MultiheadAttention(") == 3
    assert "triu(full((S, S), -inf), diagonal = 1)" in text


def test_a_mask_that_is_filled_otherwise_stays_what_it_is() -> None:
    """Beside what is hidden it is not 0, or what is hidden is not lost."""

    def call(attention: Any, x: Any, y: Any, mask: Any) -> Any:
        ones = torch.ones_like(mask, dtype=x.dtype).masked_fill(mask, -math.inf)
        low = torch.zeros_like(mask, dtype=x.dtype).masked_fill(mask, -1.0)
        return attention(x, y, y, attn_mask=ones)[0] + attention(x, y, y, attn_mask=low)[0]

    text = held(Attends(call), *typed((X, Y, "bool[S, M]"))).text
    assert text.count("masked_fill(") == 2


def test_attention_in_another_type_stays_many() -> None:
    def call(attention: Any, x: Any, y: Any, mask: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return masked(attention, x, y, mask)

    assert "MultiheadAttention" not in import_module(Attends(call), *typed((X, Y, "bool[S, M]"))).text


def test_a_weight_that_is_computed_is_given_by_name() -> None:
    module = Attends(masked_without_weights)
    nn.utils.parametrizations.weight_norm(module.attention, "in_proj_weight")
    text = plain(held(module, *typed((X, Y, "bool[S, M]"))).text)
    assert "MultiheadAttention(2)(attn_mask = mask, in_proj_weight = " in text

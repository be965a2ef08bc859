"""Convolutions over patches: linear layers where tokens are read, and only there."""

from __future__ import annotations

import pytest

from tests.passes.texts import calls, changed_by, model, names
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, refusals
from trtdsl.passes import merge_moves, optimize, recognise_patches

IMAGE = "input x: float32[N, 3, 8, 12]"
PATCHES = "x -> proj: Conv2d(16, 4, stride = 4)"
TOKENS = "-> flatten(2) -> transpose(1, 2)"


def recognised(declaration: str, expression: str, *statements: str) -> Graph:
    """What the pass makes of it, found to compute the same."""
    return changed_by(recognise_patches, merge_moves(model(declaration, expression, *statements)))


def test_tokens_of_an_image() -> None:
    changed = recognised(IMAGE, f"relu({PATCHES} {TOKENS})")
    assert calls(changed) == [
        "shuffle(x, (0, 1, 2, 3), (N, 3, 2, 4, 3, 4), (0, 2, 4, 1, 3, 5))",
        "reshape(windows, (N, 6, 48))",
        'patches -> "proj+transpose": Linear(16)',
        "relu(transpose)",
    ]


@pytest.mark.parametrize(
    ("declaration", "expression"),
    [
        (IMAGE, f"{PATCHES} -> permute(0, 2, 3, 1)"),
        (IMAGE, f"{PATCHES} -> permute(0, 2, 3, 1) -> flatten(1, 2)"),
        (IMAGE, f"{PATCHES} -> permute(0, 2, 3, 1) -> reshape(N * 2, 3, 16)"),
        (IMAGE, f"x -> proj: Conv2d(16, (2, 3), stride = (2, 3), bias = false) {TOKENS}"),
        (IMAGE, f'x -> proj: Conv2d(16, 4, stride = 4, padding = "valid") {TOKENS}'),
        ("input x: float32[N, 5, 12]", "x -> proj: Conv1d(7, 3, stride = 3) -> transpose(1, 2)"),
        (
            "input x: float32[N, 2, 4, 6, 8]",
            f"x -> proj: Conv3d(6, 2, stride = 2) {TOKENS}",
        ),
    ],
)
def test_other_forms(declaration: str, expression: str) -> None:
    changed = recognised(declaration, expression)
    assert [name for name in names(changed) if name not in ("shuffle", "permute", "reshape")] == ["Linear"]


@pytest.mark.parametrize(
    ("declaration", "expression"),
    [
        (IMAGE, f"x -> proj: Conv2d(16, 4, stride = 2) {TOKENS}"),
        (IMAGE, f"x -> proj: Conv2d(16, 3, stride = 3) {TOKENS}"),  # the last rows and columns are dropped
        (IMAGE, f"x -> proj: Conv2d(16, 4, stride = 4, padding = 2) {TOKENS}"),
        (IMAGE, f"x -> proj: Conv2d(15, 4, stride = 4, groups = 3) {TOKENS}"),
        (IMAGE, f"x -> proj: Conv2d(16, 2, stride = 2, dilation = 3) {TOKENS}"),
        (IMAGE, f"x -> proj: Conv2d(16, 1) {TOKENS}"),
        # An image that was made of tokens.
        (
            "input x: float32[N, 8, 12, 3]",
            f"permute(x, (0, 3, 1, 2)) -> proj: Conv2d(16, 4, stride = 4) {TOKENS}",
        ),
        (
            "input x: float32[N, 96, 3]",
            f"reshape(transpose(x, 1, 2), (N, 3, 8, 12)) -> proj: Conv2d(16, 4, stride = 4) {TOKENS}",
        ),
        (IMAGE, PATCHES),
        (IMAGE, f"relu({PATCHES}) {TOKENS}"),
        (IMAGE, f"{PATCHES} -> permute(0, 3, 2, 1)"),
        (IMAGE, f"{PATCHES} -> flatten(2) -> transpose(0, 2)"),
        (IMAGE, f"{PATCHES} -> reshape(N, 4, 24) -> transpose(1, 2)"),
        ("input x: float32[3, 8, 12]", f"{PATCHES} -> permute(1, 2, 0)"),
        ("dim H = 4 .. 8 .. 64\n  input x: float32[N, 3, 4 * H, 8]", f"{PATCHES} -> permute(0, 2, 3, 1)"),
    ],
)
def test_what_stays_a_convolution(declaration: str, expression: str) -> None:
    graph = merge_moves(model(declaration, expression))
    assert recognise_patches(graph) is graph


def test_maps_that_something_else_reads_stay() -> None:
    graph = merge_moves(model(IMAGE, f"maps {TOKENS}", f"maps = {PATCHES}", "output maps"))
    assert recognise_patches(graph) is graph


def test_why_not_without_values() -> None:
    text = f"model m() {{\n  dim N = 1 .. 2 .. 8\n  {IMAGE}\n  output y = {PATCHES} {TOKENS}\n}}"
    with refusals() as heard:
        recognise_patches(merge_moves(elaborate_text(text)))
    (one,) = heard
    assert "give a checkpoint" in one.refusal.reason


def test_a_scale_and_a_normalisation_are_in_its_weights() -> None:
    statements = [f"maps = {PATCHES} -> bn: BatchNorm2d()"]
    changed = optimize(model(IMAGE, f"2 * (maps {TOKENS})", *statements))
    assert names(changed).count("Linear") == 1 and "BatchNorm2d" not in names(changed)

"""Reshapes and permutations: what they become, and that they move the same elements to the same places."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from tests.passes.texts import calls, model, names
from trtdsl.evaluate import evaluate
from trtdsl.ir import verify
from trtdsl.passes import merge_moves, remove_dead_nodes
from trtdsl.passes.merge_moves import Form, Shape, Step, Turn, shortest
from trtdsl.reference import random_inputs, run
from trtdsl.trt.lower import lower

X = "input x: float32[N, 4, 6]"
MERGED = {
    "shapes": ("x -> reshape(N, 24) -> unsqueeze(1)", ["reshape(x, (N, 1, 24))"]),
    "orders": ("x -> transpose(1, 2) -> permute(2, 1, 0)", ["permute(x, (1, 2, 0))"]),
    "there and back": ("x -> transpose(1, 2) -> movedim(2, 1)", []),
    "heads and back": ("x -> reshape(N, 4, 2, 3) -> transpose(1, 2) -> transpose(1, 2) -> flatten(2)", []),
    "joined heads": ("x -> transpose(1, 2) -> reshape(N, 24)", ["shuffle(x, (0, 2, 1), (N, 24), (0, 1))"]),
    "a single dimension turned": ("x -> unsqueeze(1) -> transpose(1, 2) -> squeeze(2)", []),
    "all at once": (
        "x -> transpose(1, 2) -> reshape(N, 3, 8) -> transpose(1, 2)",
        ["shuffle(x, (0, 2, 1), (N, 3, 8), (0, 2, 1))"],
    ),
    "a single dimension on its way": (
        "x -> reshape(N, 4, 2, 3) -> transpose(1, 2) -> unsqueeze(1) -> squeeze(1) -> transpose(1, 2)",
        ["reshape(x, (N, 4, 2, 3))"],
    ),
    "a form past a turn": (
        "x -> reshape(N, 4, 2, 3) -> transpose(1, 2) -> unsqueeze(2)",
        ["shuffle(x, (0, 1, 2), (N, 4, 2, 3, 1), (0, 2, 4, 1, 3))"],
    ),
    "a dimension divided, and moved as one": (
        "x -> reshape(N, 2, 2, 6) -> permute(0, 3, 1, 2) -> flatten(1)",
        ["shuffle(x, (0, 2, 1), (N, 24), (0, 1))"],
    ),
    "turned, divided and turned back": (
        "x -> transpose(1, 2) -> reshape(N, 6, 2, 2) -> permute(0, 2, 3, 1)",
        ["reshape(x, (N, 2, 2, 6))"],
    ),
    "a divided dimension turned within itself": (
        "x -> transpose(1, 2) -> reshape(N, 6, 2, 2) -> permute(0, 2, 1, 3)",
        ["shuffle(x, (0, 1, 2), (N, 2, 2, 6), (0, 1, 3, 2))"],
    ),
    "dimensions joined, and moved as one": (
        "x -> transpose(0, 2) -> transpose(0, 1) -> flatten(1) -> transpose(0, 1)",
        ["shuffle(x, (2, 0, 1), (6 * N, 4), (0, 1))"],
    ),
    "two layers": (
        "x -> reshape(N, 4, 2, 3) -> transpose(1, 2) -> flatten(1)",
        ["shuffle(x, (0, 1, 2), (N, 4, 2, 3), (0, 2, 1, 3))", "flatten(transpose, start_dim = 1)"],
    ),
}
"""What is written, and what is left of it."""


@pytest.mark.parametrize("case", MERGED)
def test_merges(case: str) -> None:
    expression, wanted = MERGED[case]
    graph = model(X, f"{expression} -> exp")
    merged = remove_dead_nodes(merge_moves(graph))
    assert calls(merged)[:-1] == wanted
    assert merge_moves(merged) is merged
    assert verify(merged) == ()
    inputs = random_inputs(graph, seed=1)
    assert (run(graph, inputs)["y"] == run(merged, inputs)["y"]).all()
    lowered = lower(merged)
    assert (run(graph, inputs)["y"] == evaluate(lowered.network, inputs, weights=lowered.weights)["y"]).all()


def test_leaves_what_something_else_reads() -> None:
    graph = model(X, "flatten(turned, 1) + sum(turned)", "turned = transpose(x, 1, 2)")
    assert merge_moves(graph) is graph


def test_undoes_what_something_else_reads() -> None:
    graph = model(X, "transpose(turned, 1, 2) + sum(turned)", "turned = transpose(x, 1, 2)")
    assert names(merge_moves(graph)) == ["transpose", "sum", "add"]


def moved(x: npt.NDArray[np.int64], steps: Sequence[Step]) -> npt.NDArray[np.int64]:
    for step in steps:
        x = x.reshape(sizes(step.shape)) if isinstance(step, Form) else x.transpose(step.order)
    return x


def sizes(shape: Shape) -> list[int]:
    return [size for size in shape if isinstance(size, int)]


def factors(rng: random.Random, count: int) -> Shape:
    """Sizes whose product is this, ones among them."""
    found: list[int] = []
    while count > 1:
        found.append(rng.choice([each for each in range(2, count + 1) if count % each == 0]))
        count //= found[-1]
    for _ in range(rng.randint(0, 2)):
        found.insert(rng.randint(0, len(found)), 1)
    return tuple(found)


def random_steps(rng: random.Random, x: npt.NDArray[np.int64]) -> list[Step]:
    steps: list[Step] = []
    for _ in range(rng.randint(1, 6)):
        kind = rng.random()
        if kind < 0.5:
            step = Turn(tuple(rng.sample(range(x.ndim), x.ndim)))
        else:
            sized = [size for size in x.shape if size != 1]
            step = Form(factors(rng, x.size) if kind < 0.75 else (*sized, 1))
        steps.append(step)
        x = moved(x, [step])
    return steps


def test_random_steps_move_the_same() -> None:
    rng = random.Random(0)
    saved = 0
    for _ in range(3000):
        count = rng.choice([1, 2, 6, 8, 12, 24])
        x = np.arange(count).reshape(sizes(factors(rng, count)))
        steps = random_steps(rng, x)
        found = shortest(x.shape, steps)
        wanted = moved(x, steps)
        assert moved(x, found).shape == wanted.shape
        assert (moved(x, found) == wanted).all()
        saved += len(steps) - len(found)
    assert saved > 3000

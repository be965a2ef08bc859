"""Whatever the text, the compiler answers in time: a graph that keeps its promises, or diagnostics.

Here a few hundred texts, always the same; ``trial.py`` tries as many as one likes.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.computing import compute, compute_alone
from tests.fuzz.operators import LEFT_OUT, NAMES
from tests.fuzz.programs import corpus, mapped, mutated, plausible, valid
from tests.fuzz.trial import Hangs, attempt, attempt_operators, time_limit
from tests.fuzz.valid import Careful, attention
from trtdsl.ops.base import OPERATORS
from trtdsl.passes import PIPELINE

FIXED = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
)


NOT_WRITTEN = {"fold_constants", "remove_identities"}
"""Passes for what these do not have: constants that are computed, and what returns its input."""


@pytest.fixture(autouse=True)
def keep_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports are relative to a text's folder, which each attempt enters."""
    monkeypatch.chdir(Path(__file__).parent)


@FIXED
@given(st.randoms(use_true_random=False))
def test_plausible_programs(rng: random.Random) -> None:
    attempt(*plausible(rng))


@FIXED
@given(st.randoms(use_true_random=False))
def test_real_programs_changed(rng: random.Random) -> None:
    attempt(*mutated(rng))


@settings(FIXED, max_examples=25)
@given(st.randoms(use_true_random=False))
def test_valid_programs_compute_the_same_everywhere(rng: random.Random) -> None:
    text, folder, _ = valid(rng)
    # Now and then a layer of the `weights` section is in a choice that is not taken.
    if attempt(text, folder) != "refused":
        assert compute(text) in ("computed", "ill-conditioned")


@settings(FIXED, max_examples=25)
@given(st.randoms(use_true_random=False))
def test_each_pass_alone_keeps_the_values(rng: random.Random) -> None:
    text, folder, _ = valid(rng)
    if attempt(text, folder) != "refused":
        compute_alone(text)


def test_programs_over_every_operator_keep_their_values() -> None:
    """A few of them; ``trial.py operators 5000 0`` tries as many as one likes."""
    seen: Counter[str] = Counter()
    for seed in range(8):
        attempt_operators(seed, seen)
    assert seen["computed"] + seen["ill-conditioned"] == 8
    assert seen["computed"] >= 6
    assert seen["scans"] and seen["conds"] and seen["pass network"] >= 6


def test_every_operator_is_written() -> None:
    """Those with bodies are statements of their own."""
    with_bodies = {name for name, op in OPERATORS.items() if op.bodies}
    assert {*OPERATORS} - {*NAMES} == with_bodies | {*LEFT_OUT}


def test_every_pass_meets_something_to_do() -> None:
    found: Counter[str] = Counter()
    for seed in range(80):
        careful = Careful(random.Random(seed))
        value = careful.moved(careful.written_out("x"))
        head = "dim N = 2 .. 4 .. 64 input x: float32[N, 8] unused = exp(x)"
        found += compute_alone(f"model m {{ {head} output y = {value} }}")
        found += compute_alone(attention(random.Random(seed)))
    assert {step.name for step in PIPELINE} - {*found} <= NOT_WRITTEN


@FIXED
@given(st.randoms(use_true_random=False))
def test_weights_maps(rng: random.Random) -> None:
    attempt(*mapped(rng))


@FIXED
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert attempt(data.decode("utf-8", "replace"), Path.cwd()) == "refused"


@FIXED
@given(
    st.from_regex(re.compile(r"model m\(\) \{( ?[xyN()\[\]{}=:.,+*>-]| (input|output|dim|for|in|1)){0,40}"))
)
def test_any_tokens(text: str) -> None:
    attempt(text, Path.cwd())


def test_texts_are_of_both_kinds() -> None:
    answers = {attempt(*plausible(random.Random(seed))) for seed in range(120)}
    answers |= {attempt(*mapped(random.Random(seed))) for seed in range(60)}
    assert answers == {"accepted", "refused", "bound"}
    kinds = [attempt(*valid(random.Random(seed))) for seed in range(30)]
    assert kinds.count("refused") < 3
    assert len(corpus()) > 100


def test_a_text_that_hangs_would_be_found() -> None:
    with pytest.raises(Hangs), time_limit(0.05):
        while True:
            pass

"""Random operators on the oldest release: what 8.5.3 leads to computes what PyTorch computes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.closeness import expected, require_close
from tests.ops import test_random as operators
from tests.ops.random_cases import FAMILIES, Case
from tests.trt.recording import RecordingDialect
from tests.trt.releases import LACKING, facts, narrowed
from trtdsl.diagnostics import DiagnosticError
from trtdsl.evaluate import evaluate
from trtdsl.trt.lower import lower


@pytest.mark.parametrize("family", FAMILIES)
def test_an_operator_on_the_oldest_release_is_pytorchs(family: str) -> None:
    compared = 0

    @operators.RANDOM
    @given(FAMILIES[family], st.integers(0, 2**32 - 1))
    def check(case: Case, seed: int) -> None:
        nonlocal compared
        compared += is_valid(case) and require_pytorchs_values(case, seed)

    check()
    assert compared


def is_valid(case: Case) -> bool:
    try:
        return (
            operators.refusal(case) is None
            and operators.pytorchs(operators.at_point(case, "opt")) is not None
        )
    except operators.NotBuilt:
        return False


def require_pytorchs_values(case: Case, seed: int) -> bool:
    """Whether there was something to compare: the release may lack the types, and says so."""
    graph = operators.graph_of(case, seed)
    dialect = RecordingDialect(facts("8.5.3"))
    try:
        lowered = lower(graph, dialect)
    except DiagnosticError as error:
        assert any(lack in error.diagnostics[0].message for lack in LACKING)
        return False
    for at in operators.POINTS:
        arrays = operators.arrays_of(case, at, seed)
        found = evaluate(dialect.network, narrowed(arrays), weights=lowered.weights)
        for name, wanted in expected(graph, arrays).items():
            # Integers are of 32 bits there, and no test draws numbers whose results need more.
            limit = max(case.op.tolerance, operators.rounding(wanted.own))
            require_close(found[name], wanted.in_32_bits, limit)
    return True

"""A fixed sample of ONNX's own tests of its operators, over the importer; `make onnx-suite` runs them all."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import onnx_suite

SAMPLE = 29
"""Every so many-th case is run here."""


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    return onnx_suite.cases()


def test_no_case_of_the_sample_is_wrong(cases: list[Any]) -> None:
    found = [onnx_suite.outcome(case) for case in cases[::SAMPLE]]
    faults = [f"{each.name}: {each.reason}" for each in found if each.kind in ("wrong", "failed")]
    assert faults == []
    equal = [each for each in found if each.kind in ("passed", "with values")]
    assert len(equal) >= 0.6 * len(found)


def test_every_refusal_says_why(cases: list[Any]) -> None:
    refused = [each for each in map(onnx_suite.outcome, cases[7::97]) if each.kind == "refused"]
    assert refused
    assert all(each.reason for each in refused)


def test_a_wrong_result_is_found(cases: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from trtdsl.importers.onnx_node import RULES

    monkeypatch.setitem(RULES, "Abs", lambda node: node.one("neg", self=node.tensor(0)))
    case = next(case for case in cases if case.name == "test_abs")
    assert onnx_suite.outcome(case).kind == "wrong"

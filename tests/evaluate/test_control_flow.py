"""Loops and conditionals, their nesting, assertions, and what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from trtdsl.evaluate import EvaluationError, evaluate, evaluate_all

SUM, PROD, LESS = trt.ElementWiseOperation.SUM, trt.ElementWiseOperation.PROD, trt.ElementWiseOperation.LESS
LAST, CONCATENATE, REVERSE = trt.LoopOutput.LAST_VALUE, trt.LoopOutput.CONCATENATE, trt.LoopOutput.REVERSE


def _binary(bench: Any, a: Any, b: Any, operation: Any) -> Any:
    return bench.net.add_elementwise(a, b, operation).get_output(0)


def _counted(bench: Any, count: Any) -> Any:
    loop = bench.net.add_loop()
    loop.add_trip_limit(count, trt.TripLimit.COUNT)
    return loop


def _doubling(bench: Any, loop: Any, start: float = 1.0) -> tuple[Any, Any]:
    """A recurrence x -> 2 x and its next value."""
    x = loop.add_recurrence(bench.constant([start]))
    doubled = _binary(bench, x.get_output(0), bench.constant([2.0]), PROD)
    x.set_input(1, doubled)
    return x, doubled


@pytest.mark.parametrize(("trips", "want"), [(0, 1.0), (1, 2.0), (5, 32.0)])
def test_last_value_after_a_counted_loop(bench: Any, trips: int, want: float) -> None:
    loop = _counted(bench, bench.constant(trips, np.int32))
    x, _ = _doubling(bench, loop)
    assert bench.value(loop.add_loop_output(x.get_output(0), LAST)).tolist() == [want]


def test_concatenated_outputs(bench: Any) -> None:
    count = bench.constant(3, np.int32)
    loop = _counted(bench, count)
    x, doubled = _doubling(bench, loop)
    outputs = [
        loop.add_loop_output(x.get_output(0), CONCATENATE),
        loop.add_loop_output(doubled, CONCATENATE, 1),
        loop.add_loop_output(doubled, REVERSE),
    ]
    for output in outputs:
        output.set_input(1, count)
    values = bench.evaluate(*outputs)
    assert [v.tolist() for v in values] == [[[1.0], [2.0], [4.0]], [[2.0, 4.0, 8.0]], [[8.0], [4.0], [2.0]]]


@pytest.mark.parametrize(("reverse", "want"), [(False, [1, 3, 6]), (True, [3, 5, 6])])
def test_iterators(bench: Any, reverse: bool, want: list[float]) -> None:
    """A running sum over the columns of a row."""
    count = bench.constant(3, np.int32)
    loop = _counted(bench, count)
    column = loop.add_iterator(bench.input([[1.0, 2.0, 3.0]]), 1, reverse).get_output(0)
    total = loop.add_recurrence(bench.constant([0.0]))
    following = _binary(bench, total.get_output(0), column, SUM)
    total.set_input(1, following)
    output = loop.add_loop_output(following, CONCATENATE)
    output.set_input(1, count)
    assert bench.value(output).flatten().tolist() == want


def _while_below(bench: Any, limit: float, start: float) -> Any:
    loop = bench.net.add_loop()
    x, _ = _doubling(bench, loop, start)
    below = _binary(bench, x.get_output(0), bench.constant([limit]), LESS)
    scalar = bench.net.add_shuffle(below)
    scalar.reshape_dims = ()
    loop.add_trip_limit(scalar.get_output(0), trt.TripLimit.WHILE)
    return loop, x


@pytest.mark.parametrize(("start", "want"), [(3.0, 12.0), (10.0, 10.0), (50.0, 50.0)])
def test_while_is_asked_before_each_iteration(bench: Any, start: float, want: float) -> None:
    loop, x = _while_below(bench, 10.0, start)
    assert bench.value(loop.add_loop_output(x.get_output(0), LAST)).tolist() == [want]


def test_while_and_count_together(bench: Any) -> None:
    loop, x = _while_below(bench, 1000.0, 1.0)
    loop.add_trip_limit(bench.constant(4, np.int32), trt.TripLimit.COUNT)
    assert bench.value(loop.add_loop_output(x.get_output(0), LAST)).tolist() == [16.0]


def test_nested_loops(bench: Any) -> None:
    """sum over i < 3 of 2 ** i, the power by an inner loop of i trips."""
    outer = _counted(bench, bench.constant(3, np.int32))
    i = outer.add_recurrence(bench.constant(0, np.int32))
    i.set_input(1, _binary(bench, i.get_output(0), bench.constant(1, np.int32), SUM))
    inner = _counted(bench, i.get_output(0))
    x, _ = _doubling(bench, inner)
    power = inner.add_loop_output(x.get_output(0), LAST).get_output(0)
    total = outer.add_recurrence(bench.constant([0.0]))
    total.set_input(1, _binary(bench, total.get_output(0), power, SUM))
    assert bench.value(outer.add_loop_output(total.get_output(0), LAST)).tolist() == [7.0]


def test_a_concatenation_longer_than_the_loop_is_refused(bench: Any) -> None:
    loop = _counted(bench, bench.constant(2, np.int32))
    _, doubled = _doubling(bench, loop)
    output = loop.add_loop_output(doubled, CONCATENATE)
    output.set_input(1, bench.constant(3, np.int32))
    with pytest.raises(EvaluationError, match="concatenates 3 iterations, the loop made 2"):
        bench.value(output)


def test_an_iterator_beyond_its_tensor_is_refused(bench: Any) -> None:
    count = bench.constant(3, np.int32)
    loop = _counted(bench, count)
    column = loop.add_iterator(bench.input([1.0, 2.0])).get_output(0)
    total = loop.add_recurrence(bench.constant(0.0))
    total.set_input(1, _binary(bench, total.get_output(0), column, SUM))
    with pytest.raises(EvaluationError, match=r"ITERATOR.*reads element 2 of 2"):
        bench.value(loop.add_loop_output(total.get_output(0), LAST))


def _conditional(bench: Any, flag: bool) -> Any:
    """``x + 1`` if the flag is set, else ``x[5 : 6]``, which is out of bounds."""
    choice = bench.net.add_if_conditional()
    choice.set_condition(bench.input(np.array(flag)))
    x = bench.input([10.0], shape=(-1,))
    entered = choice.add_input(x).get_output(0)
    grown = _binary(bench, entered, bench.constant([1.0]), SUM)
    outside = bench.net.add_slice(choice.add_input(x).get_output(0), (5,), (1,), (1,)).get_output(0)
    return choice.add_output(grown, outside)


def test_only_the_branch_that_is_taken_runs(bench: Any) -> None:
    assert bench.value(_conditional(bench, True)).tolist() == [11.0]


def test_the_other_branch_runs_when_it_is_taken(bench: Any) -> None:
    with pytest.raises(EvaluationError, match="SLICE"):
        bench.value(_conditional(bench, False))


def test_a_conditional_in_a_loop(bench: Any) -> None:
    """Doubles while below 8, then adds 1."""
    loop = _counted(bench, bench.constant(5, np.int32))
    x = loop.add_recurrence(bench.constant(1.0))
    choice = bench.net.add_if_conditional()
    choice.set_condition(_binary(bench, x.get_output(0), bench.constant(8.0), LESS))
    inside = choice.add_input(x.get_output(0)).get_output(0)
    doubled = _binary(bench, inside, bench.constant(2.0), PROD)
    grown = _binary(bench, inside, bench.constant(1.0), SUM)
    x.set_input(1, choice.add_output(doubled, grown).get_output(0))
    assert bench.value(loop.add_loop_output(x.get_output(0), LAST)).item() == 10.0


@pytest.mark.parametrize("holds", [True, False])
def test_assertions_are_checked_though_nothing_needs_them(bench: Any, holds: bool) -> None:
    bench.net.add_assertion(bench.input(np.array([True, holds])), "sizes must agree")
    layer = bench.net.add_identity(bench.input([1.0]))
    if holds:
        assert bench.value(layer).tolist() == [1.0]
        return
    with pytest.raises(EvaluationError, match=r"ASSERTION.*sizes must agree"):
        bench.value(layer)


def test_an_assertion_in_a_loop_is_checked_each_time(bench: Any) -> None:
    loop = _counted(bench, bench.constant(5, np.int32))
    x, _ = _doubling(bench, loop)
    bench.net.add_assertion(_binary(bench, x.get_output(0), bench.constant([7.0]), LESS), "below 7")
    with pytest.raises(EvaluationError, match="below 7"):
        bench.value(loop.add_loop_output(x.get_output(0), LAST))


def test_evaluate_all_returns_what_the_outputs_needed(bench: Any) -> None:
    x = bench.input([1.0, -2.0])
    relu = bench.net.add_activation(x, trt.ActivationType.RELU).get_output(0)
    unused = bench.net.add_activation(x, trt.ActivationType.TANH).get_output(0)
    bench.net.mark_output(bench.net.add_unary(relu, trt.UnaryOperation.NEG).get_output(0))
    values = evaluate_all(bench.net, bench.values)
    assert values[relu.name].tolist() == [1.0, 0.0]
    assert unused.name not in values
    assert list(evaluate(bench.net, bench.values)) == [bench.net.get_output(0).name]


def test_layers_need_no_order(bench: Any) -> None:
    """A layer may be added before the one whose output it is later given."""
    x = bench.input([1.0, 2.0])
    late = bench.net.add_unary(x, trt.UnaryOperation.NEG)
    early = bench.net.add_unary(x, trt.UnaryOperation.EXP)
    late.set_input(0, early.get_output(0))
    torch.testing.assert_close(bench.value(late), -torch.tensor([1.0, 2.0]).exp())


def test_a_deep_network_does_not_recurse(bench: Any) -> None:
    x = bench.input([1.0])
    for _ in range(3000):
        x = bench.net.add_unary(x, trt.UnaryOperation.NEG).get_output(0)
    assert bench.value(x).tolist() == [1.0]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "no value is given for input `in0`"),
        ({"in0": np.zeros((2, 2), np.float32)}, r"input `in0` is \(-1, 3\), the given value \(2, 2\)"),
        ({"in0": np.zeros((2, 3), np.int32)}, "input `in0` is FLOAT, the given value torch.int32"),
        ({"in0": np.zeros((2, 3), np.float32), "in1": np.zeros(1)}, "the network has no input `in1`"),
    ],
)
def test_wrong_inputs_are_named(bench: Any, values: dict[str, Any], why: str) -> None:
    layer = bench.net.add_identity(bench.input(np.zeros((2, 3)), shape=(-1, 3)))
    bench.net.mark_output(layer.get_output(0))
    with pytest.raises(EvaluationError, match=why):
        evaluate(bench.net, values)


def test_arrays_of_ml_dtypes_and_read_only_arrays(bench: Any) -> None:
    tensor = bench.input(torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
    name = tensor.name
    bench.net.mark_output(bench.net.add_identity(tensor).get_output(0))
    array = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    array.flags.writeable = False
    (value,) = evaluate(bench.net, {name: array}).values()
    assert (value.dtype, value.tolist()) == (torch.bfloat16, [1.5, -2.0])


def test_results_are_no_views_of_the_inputs(bench: Any) -> None:
    value = bench.value(bench.net.add_identity(bench.input(torch.zeros(2))))
    value += 1
    assert bench.values["in0"].tolist() == [0.0, 0.0]


def test_what_tensorrt_cannot_infer_is_an_error(bench: Any) -> None:
    x, y = bench.input([[1.0, 2.0]]), bench.input([[1.0, 2.0, 3.0]])
    with pytest.raises(EvaluationError, match="TensorRT cannot infer the shape"):
        bench.value(bench.net.add_elementwise(x, y, SUM))


def test_sizes_that_part_at_run_time_name_the_layer(bench: Any) -> None:
    x, y = bench.input([1.0, 2.0], shape=(-1,)), bench.input([1.0, 2.0, 3.0], shape=(-1,))
    with pytest.raises(EvaluationError, match=r"\(ELEMENTWISE\) of inputs \[\(2,\), \(3,\)\]"):
        bench.value(bench.net.add_elementwise(x, y, SUM))


def test_layers_without_a_meaning_here_are_named(bench: Any) -> None:
    x = bench.input(np.ones((1, 4)))
    layer = bench.net.add_dist_collective(
        x, trt.CollectiveOperation.ALL_REDUCE, trt.ReduceOperation.SUM, -1, []
    )
    layer.name = "reduced over devices"
    with pytest.raises(EvaluationError, match=r"`reduced over devices` \(DIST_COLLECTIVE\)"):
        bench.value(layer)


def test_something_else_than_a_network_is_refused() -> None:
    with pytest.raises(EvaluationError, match="not a TensorRT network"):
        evaluate(object(), {})

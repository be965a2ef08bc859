"""The `scan` statement: what its body sees, what it leaves behind, and what becomes of both in the graph."""

from __future__ import annotations

from typing import Any

import pytest

from tests.elaborate.bodies import graph_of, keys, mistakes_of, operators
from trtdsl.elaborate import elaborate, elaborate_text
from trtdsl.elaborate.recorder import Recorder
from trtdsl.ir import Graph, Node, difference, graphs, show, verify

DECLARED = """
dim N = 1 .. 2 .. 4
dim T = 1 .. 3 .. 8
input x: float32[T, N, 4]
input m: bool[T, N]
input h0: float32[N, 4]
"""


def scanned(body: str, head: str = "") -> Graph:
    graph = graph_of(body, head, DECLARED)
    assert verify(graph) == ()
    again = elaborate_text(show(graph))
    assert difference(graph, again) is None
    assert show(again) == show(graph)
    return graph


def the_scan(graph: Graph) -> Node:
    (node,) = (node for node in graph.nodes if node.op.name == "scan")
    return node


def types(graph: Graph) -> dict[str, str]:
    return {output.name: str(output.value.type) for output in graph.outputs}


def test_what_is_named_as_a_dimension_parses_back() -> None:
    graph = scanned("scan T in x with N = h0 { N = N + T\n emit m = N }\noutput y = m")
    assert types(graph) == {"y": "float32[T, N, 4]"}


def test_stacks_and_last_values_are_left_behind() -> None:
    graph = scanned("""
      scan xt in x with h = h0 {
        h = tanh(h + xt)
        emit y = h
        emit total = sum(h)
      }
      output y, total, h
    """)
    assert types(graph) == {"y": "float32[T, N, 4]", "total": "float32[T]", "h": "float32[N, 4]"}
    node = the_scan(graph)
    assert [str(value.type) for value in node.bodies[0].inputs] == ["float32[N, 4]", "float32[N, 4]"]
    assert [output.value.name for output in graph.outputs] == ["y", "total", "h_2"]


@pytest.mark.parametrize(
    ("options", "element", "stack"),
    [
        ("dim = 0", "float32[N, 4]", "float32[T, N, 4]"),
        ("dim = 1", "float32[T, 4]", "float32[T, N, 4]"),
        ("dim = -1", "float32[T, N]", "float32[T, N, 4]"),
        ("dim = [2]", "float32[T, N]", "float32[T, N, 4]"),
        ("reverse = true, dim = 0", "float32[N, 4]", "float32[T, N, 4]"),
    ],
)
def test_any_dimension_is_scanned(options: str, element: str, stack: str) -> None:
    graph = scanned(f"scan e in x, {options} {{ emit y = exp(e) }} output y")
    assert str(the_scan(graph).bodies[0].inputs[0].type) == element
    assert types(graph) == {"y": stack}


def test_sequences_are_scanned_together_each_along_its_own_dimension() -> None:
    graph = scanned("""
      z = transpose(x, 0, 2)
      scan xt, zt, mt in x, z, m, dim = [0, 2, 0] with h = h0 {
        h = where(unsqueeze(mt, 1), xt + transpose(zt, 0, 1), h)
        emit y = h
      }
      output y
    """)
    assert types(graph) == {"y": "float32[T, N, 4]"}
    assert len([slot for slot in the_scan(graph).slots if slot == "sequences"]) == 3


def test_what_a_body_reads_from_around_it_is_an_operand() -> None:
    graph = scanned("""
      shift = exp(h0)
      scan xt in x with h = h0 {
        h = h + xt * shift + shift
        emit y = h
        emit same = shift
      }
      output y, same
    """)
    node = the_scan(graph)
    captured = [v.name for s, v in zip(node.slots, node.operands, strict=True) if s == "captured"]
    assert captured == ["shift"]
    assert types(graph)["same"] == "float32[T, N, 4]"


def test_weights_of_a_body_are_the_models_and_stand_where_the_scan_stands() -> None:
    graph = scanned(
        """
        scan xt in x with h = h0 {
          h = (xt -> cell.ih: Linear(4)) + (h -> cell.hh: Linear(4, bias = false))
          emit y = h
        }
        z = y -> encoder: Layer
        output z
        """,
        head="""
        block Layer()(x: [T, N, D]) {
          scan xt in x { emit y = xt -> fc: Linear(3) }
          return y
        }
        """,
    )
    assert keys(graph) == [
        "cell.ih.weight",
        "cell.ih.bias",
        "cell.hh.weight",
        "encoder.fc.weight",
        "encoder.fc.bias",
    ]
    scans = [node for node in graph.nodes if node.op.name == "scan"]
    assert [node.scope for node in scans] == ["", "encoder"]
    assert len(list(graphs(graph))) == 3


def test_scans_nest_and_capture_through_each_other() -> None:
    graph = scanned("""
      bias = exp(h0)
      scan xt in x with h = h0 {
        scan row, b in xt, bias with s = zeros(4) {
          s = s + row * b + sum(h)
          emit rows = s
        }
        h = rows + h
        emit y = s
      }
      output y, h
    """)
    assert types(graph) == {"y": "float32[T, 4]", "h": "float32[N, 4]"}
    outer = the_scan(graph)
    assert [v.name for v in outer.operands] == ["x", "h0", "bias"]
    (inner,) = (node for node in outer.bodies[0].nodes if node.op.name == "scan")
    assert not {*inner.operands} & {*outer.operands}


def test_statements_within_are_those_of_a_block() -> None:
    graph = scanned("""
      widths = [4, 4]
      scan xt in x with h = h0 {
        for i, width in enumerate(widths) { h = h -> "step.{i}": Linear(width) }
        if len(widths) == 2 { emit y = h + xt } else { emit other = h }
        assert h.shape[1] == 4, "the width is {h.shape[1]}"
      }
      output y
    """)
    assert [key for key in keys(graph) if "weight" in key] == ["step.0.weight", "step.1.weight"]


def test_other_names_do_not_escape_and_hide_nothing() -> None:
    graph = scanned("""
      a = exp(x)
      scan xt in x with h = h0 {
        a = xt + 1
        h = h + a
      }
      output out = a
      output h
    """)
    assert types(graph)["out"] == "float32[T, N, 4]"
    assert "unknown name `within`" in mistakes_of(
        "scan xt in x { within = xt emit y = within } output z = within", declared=DECLARED
    )


def test_a_carried_name_that_does_not_change_is_its_beginning() -> None:
    graph = scanned("scan xt in x with h = h0 { emit y = xt + h } output y, h")
    assert [output.name for output in graph.outputs] == ["y", "h"]
    body = the_scan(graph).bodies[0]
    assert body.outputs[-1].value is body.inputs[1]


def test_an_emitted_name_is_the_element_inside_and_the_stack_outside() -> None:
    graph = scanned("scan xt in x { emit y = exp(xt) emit z = y + 1 } output y, z")
    assert types(graph) == {"y": "float32[T, N, 4]", "z": "float32[T, N, 4]"}


def test_a_mistake_inside_poisons_what_the_scan_would_leave_only() -> None:
    found = mistakes_of(
        """
        scan xt in x with h = h0 { h = h + nothing  within = xt  emit y = h }
        output a = y + h
        output b = within
        """,
        declared=DECLARED,
    )
    assert [text.partition(",")[0] for text in found] == ["unknown name `nothing`", "unknown name `within`"]


def test_names_in_a_body_are_told_to_an_editor() -> None:
    recorder = Recorder()
    text = f"model m {{ {DECLARED} scan xt in x with h = h0 {{ h = h + xt emit y = h }} output y }}"
    elaborate(text, "m.trtnet", recorder=recorder)

    def at(piece: str) -> Any:
        return recorder.describe("m.trtnet", text.index(piece))

    assert at("xt in x") == "a float32[N, 4] tensor"
    assert at("h = h0") == "a float32[N, 4] tensor"
    assert at("y = h") == "a float32[T, N, 4] tensor"
    assert recorder.describe("m.trtnet", text.rindex("y")) == "a float32[T, N, 4] tensor"


def test_a_scan_needs_no_carried_names() -> None:
    assert operators(scanned("scan xt in x { emit y = softmax(xt, 1) } output y")) == ["scan"]


@pytest.mark.parametrize(
    ("branches", "wanted"),
    [
        ("small: Linear(4), large: Linear(4, bias = false)", ["small.weight", "small.bias", "large.weight"]),
        ('a: Fc, "b.{1 + 1}": Fc(4)', ["a.fc.weight", "a.fc.bias", "b.2.fc.weight", "b.2.fc.bias"]),
        ("a: Fc, a: Fc", ["a.fc.weight", "a.fc.bias"]),
        ("Fc, norm: LayerNorm(4)", ["fc.weight", "fc.bias", "norm.weight", "norm.bias"]),
        ("_: Fc(4), Identity()", ["fc.weight", "fc.bias"]),
        ("halved, twice", ["twice.weight"]),
    ],
)
def test_a_branch_is_placed_at_its_label(branches: str, wanted: list[str]) -> None:
    head = """
    block Fc(width = 4)(x) { return x -> fc: Linear(width) }
    def halved(x, by = 2) { return x / by }
    def twice(x) { return x -> twice: Linear(4, bias = false) }
    """
    text = f"flag = amax(h0) > 0\noutput y = cond(flag, {branches}, (h0,))"
    graph = graph_of(text, head, DECLARED)
    assert keys(graph) == wanted
    again = elaborate_text(show(graph))
    assert difference(graph, again) is None
    inside = graph_of(
        "z = h0 -> enc: Outer\noutput y = z",
        f"{head}\nblock Outer()(h0) {{ {text.replace('output y =', 'return')} }}",
        DECLARED,
    )
    assert keys(inside) == [f"enc.{key}" for key in wanted]

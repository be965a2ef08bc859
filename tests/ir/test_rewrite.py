"""The rewriting driver: names, origins, readers and what nothing reads any more are its business."""

from __future__ import annotations

import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.ir import (
    Graph,
    Node,
    Outcome,
    Refusal,
    Surroundings,
    difference,
    refusals,
    rewrite,
    verify,
)
from trtdsl.ops.pointwise import Add, Mul
from trtdsl.ops.unary import Exp, Neg


def graph_of(*statements: str) -> Graph:
    lines = ["model m() {", "input x: float32[4]", "input y: float32[4]", *statements, "}"]
    return elaborate_text("\n".join(lines))


def operators(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def remove_double_negation(node: Node, around: Surroundings) -> Outcome:
    if not isinstance(node.op, Neg):
        return None
    inner = around.producer(node.operands[0])
    return inner.operands[0] if inner and isinstance(inner.op, Neg) else None


def test_a_value_in_place_of_a_node() -> None:
    graph = graph_of("a = -(-x)", "output p = exp(a)", "output q = a")
    found = rewrite(graph, remove_double_negation)
    assert operators(found) == ["exp"]
    assert [output.value.name for output in found.outputs] == [found.nodes[0].result.name, "x"]
    assert [output.name for output in found.outputs] == ["p", "q"]
    assert verify(found) == ()


def test_what_others_still_read_stays() -> None:
    found = rewrite(graph_of("b = -x", "output p = exp(-b)", "output q = b * y"), remove_double_negation)
    assert operators(found) == ["neg", "exp", "mul"]


def test_what_is_dead_already_is_left_to_others() -> None:
    found = rewrite(graph_of("unused = exp(y)", "output p = -(-x)"), remove_double_negation)
    assert operators(found) == ["exp"]


def test_nothing_changed_is_the_same_graph() -> None:
    graph = graph_of("output p = exp(x)")
    assert rewrite(graph, remove_double_negation) is graph


def test_until_stable() -> None:
    graph = graph_of("output p = -(-(-(-x)))")
    assert operators(rewrite(graph, remove_double_negation)) == []

    def one_at_a_time(node: Node, around: Surroundings) -> Outcome:
        """``neg`` becomes ``exp``, but only where what it reads is no ``neg``."""
        inner = around.producer(node.operands[0])
        before = inner is not None and isinstance(inner.op, Exp)
        return node.replace(op=Neg()) if isinstance(node.op, Exp) and not before else None

    chain = graph_of("output p = exp(exp(exp(x)))")
    assert operators(rewrite(chain, one_at_a_time, until_stable=True)) == ["neg", "neg", "neg"]


def double(node: Node, around: Surroundings) -> Outcome:
    """``a * b`` as ``exp(a) + b``: two nodes in place of one."""
    if not isinstance(node.op, Mul):
        return None
    build = around.builder()
    first = build.value(Exp(), node.operands[0], origins=node.origins)
    build.place(Add(), first, node.operands[1], results=node.results, origins=node.origins)
    return build.nodes


def test_several_nodes_make_the_same_results() -> None:
    graph = graph_of("exp = x * y", "output p = exp - 1")
    found = rewrite(graph, double)
    assert operators(found) == ["exp", "add", "full", "sub"]
    assert verify(found) == ()
    assert [node.result.name for node in found.nodes][:2] == ["exp_1", "exp"]


def test_nodes_that_make_something_else_are_a_bug() -> None:
    def forget(node: Node, around: Surroundings) -> Outcome:
        build = around.builder()
        build.place(Exp(), *node.operands, origins=node.origins)
        return build.nodes

    with pytest.raises(TypeError, match="the nodes that a rule puts in place of `neg` do not make p"):
        rewrite(graph_of("output p = -x"), forget)


def test_a_placement_of_another_type_is_a_bug() -> None:
    graph = graph_of("output p = x * 2")
    (_, product) = graph.nodes
    narrow = product.result.replace(type=product.result.type.with_shape((3,)))

    def wrong(node: Node, around: Surroundings) -> Outcome:
        made = around.builder()
        made.place(Exp(), node.operands[0], results=[narrow], origins=node.origins)
        return made.nodes

    with pytest.raises(TypeError, match=r"`exp` makes float32\[4\], not what it is placed for"):
        rewrite(graph_of("output p = -x"), wrong)


class Merge:
    """Equal unary nodes become one."""

    def __init__(self) -> None:
        self.seen: dict[object, Node] = {}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        return self.seen.setdefault((node.op.name, node.operands), node)


def test_another_node_takes_on_the_origins() -> None:
    graph = graph_of("a = exp(x)", "b = exp(x)", "output p = a + b")
    found = rewrite(graph, Merge)
    assert operators(found) == ["exp", "add"]
    origins = [each for node in graph.nodes[:2] for each in node.origins]
    assert [*found.nodes[0].origins] == origins
    assert found.nodes[1].operands == (graph.nodes[0].result,) * 2


def test_refusals_are_heard_with_their_places() -> None:
    def refuse(node: Node, around: Surroundings) -> Outcome:
        inner = around.producer(node.operands[0])
        return Refusal("it is last", (inner,)) if inner else None

    graph = graph_of("a = exp(x)", "output p = -a")
    with refusals() as heard:
        assert rewrite(graph, refuse) is graph
    (found,) = heard
    assert found.node.op.name == "neg"
    assert found.refusal.reason == "it is last"
    assert len(found.origins) == 2
    rewrite(graph, refuse)
    assert len(heard) == 1


def test_readers_are_counted() -> None:
    seen: dict[str, tuple[bool, bool]] = {}

    def look(node: Node, around: Surroundings) -> Outcome:
        (value, *_) = node.operands
        seen[node.result.name] = around.is_read_once(value), around.is_output(value)
        return None

    rewrite(graph_of("a = exp(x)", "b = -a", "c = abs(b)", "output d = c * a", "output e = b"), look)
    assert seen == {"a": (True, False), "b": (False, False), "c": (False, True), "d": (True, False)}


def test_a_rewritten_graph_prints_and_parses_back() -> None:
    found = rewrite(graph_of("exp = x * y", "output p = exp - 1"), double)
    from trtdsl.ir import show

    assert difference(found, elaborate_text(show(found))) is None


def test_a_value_of_another_type_is_a_bug() -> None:
    """Nothing else would see it: an output would change its type."""
    graph = graph_of("output p = logical_not(x)")
    with pytest.raises(TypeError, match=r"a rule puts float32\[4\] in place of `p`, which is bool\[4\]"):
        rewrite(graph, lambda node, around: node.operands[0])


@pytest.mark.parametrize("outcome", ["text", [], [1]])
def test_what_is_no_outcome_is_a_bug(outcome: object) -> None:
    with pytest.raises(TypeError, match="which is none of its outcomes"):
        rewrite(graph_of("output p = -x"), lambda node, around: outcome)


def test_a_refusal_is_told_once_however_often_it_is_met() -> None:
    def rule(node: Node, around: Surroundings) -> Outcome:
        return (
            Refusal("it is a product") if isinstance(node.op, Mul) else remove_double_negation(node, around)
        )

    with refusals() as heard:
        rewrite(graph_of("output p = -(-(x * y))"), rule, until_stable=True)
    assert [each.refusal.reason for each in heard] == ["it is a product"]


def test_a_result_cannot_stand_for_itself() -> None:
    """That would send its readers round in a circle for ever."""
    with pytest.raises(TypeError, match="a rule puts `p` in place of `p`, before that is made"):
        rewrite(graph_of("output p = -x"), lambda node, around: node.results[0])

"""The pipeline: what each pass says of itself is all that anybody says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import trtdsl
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, RefusedNode
from trtdsl.passes import (
    PIPELINE,
    Pass,
    disorder,
    graph_pass,
    inserted,
    load_pass,
    operator_counts,
    optimize,
    with_passes,
)
from trtdsl.passes.describe import describe_pass, pass_table
from trtdsl.reference import random_inputs, random_weights, run

MODEL = """model m() {
  input x: float32[2, 3, 8, 8]
  a = x -> conv1: Conv2d(4, 3) -> bn1: BatchNorm2d
  b = a -> relu -> bn2: BatchNorm2d
  c = b -> conv2: Conv2d(4, 3, padding = 1)
  output y = c -> bn3: BatchNorm2d
  output z = c
}
"""
MINE = """
from trtdsl.ir import rewrite
from trtdsl.ops.unary import Abs

def drop_abs(graph):
    return rewrite(graph, lambda node, around: node.operands[0] if isinstance(node.op, Abs) else None)

number = 3
"""


def test_stands_in_an_order_that_every_pass_allows() -> None:
    assert disorder(PIPELINE) == ()
    assert disorder(PIPELINE[::-1]) != ()


def test_every_pass_says_what_it_is() -> None:
    for step in PIPELINE:
        assert step.summary.endswith(".")
        assert "before::" in step.documentation
        assert step.summary in pass_table()
        assert step.documentation in describe_pass(step.name)


def test_a_wrong_pass_is_caught() -> None:
    """The check of the other tests can fail: this pass drops the last relu."""

    @graph_pass()
    def drop_relu(graph: Graph) -> Graph:
        """Wrong."""
        (last,) = (node for node in graph.nodes if node.op.name == "relu")
        from trtdsl.ir import rebuild

        kept = [node for node in graph.nodes if node is not last]
        return rebuild(graph, kept, {last.result: last.operands[0]})

    graph = random_weights(elaborate_text(MODEL), seed=0)
    inputs = random_inputs(graph, seed=1)
    before = run(graph, inputs)["y"]
    right = run(optimize(graph), inputs)["y"]
    wrong = run(optimize(graph, [*PIPELINE, drop_relu]), inputs)["y"]
    tolerance = max(step.tolerance for step in PIPELINE)
    assert (right - before).norm() <= tolerance * before.norm()
    assert (wrong - before).norm() > 1e-2 * before.norm()


def test_refusals_say_why_and_where() -> None:
    heard: dict[str, list[RefusedNode]] = {}
    graph = random_weights(elaborate_text(MODEL), seed=0)
    optimize(graph, refused=lambda name, found: heard.update({name: [*found]}))
    found = {(each.node.scope, each.refusal.reason) for each in heard["fold_batch_norm"]}
    assert found == {
        ("conv2", "the layer's padding brings in zeros that the normalisation has not seen"),
        ("bn3", "`c`, which lies between, is an output"),
    }
    assert all(each.origins for each in heard["fold_batch_norm"])


def test_explains_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(MODEL)
    assert trtdsl("show", "m.trtnet", "--explain", "fold_batch_norm,fold_constants") == 0
    said = capsys.readouterr().err
    assert "note: fold_batch_norm leaves `conv2`, Conv2d: the layer's padding brings in zeros that" in said
    assert "m.trtnet:4:20" in said
    assert "m.trtnet:5:12" in said
    assert "fold_constants: nothing was refused" in said
    assert trtdsl("show", "m.trtnet", "--explain", "fold") == 2


def test_passes_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("passes") == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[: len(PIPELINE)]] == [step.name for step in PIPELINE]
    assert "convert_precision" in out
    assert trtdsl("passes", "fold_batch_norm") == 0
    assert "accuracy: relative L2 error of at most 1e-05" in capsys.readouterr().out
    assert trtdsl("passes", "fold_batch") == 2


def test_a_pass_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("m.trtnet").write_text("model m() { input x: float32[2] output y = relu(abs(x)) }")
    names = [step.name for step in with_passes(["mine.py:drop_abs"])]
    assert names == [*(step.name for step in PIPELINE[:-1]), "drop_abs", PIPELINE[-1].name]
    assert trtdsl("show", "m.trtnet", "--pass", "mine.py:drop_abs") == 0
    out = capsys.readouterr().out
    assert "relu(x)" in out
    assert "abs" not in out
    assert trtdsl("compile", "m.trtnet", "--pass", "mine.py:drop_abs", "--quiet") == 0
    assert '"drop_abs"' in Path("m.engine.json").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mine.py:number", "is not a function from graph to graph"),
        ("mine.py:drop_ab", "nothing is called `drop_ab` there, did you mean `drop_abs`?"),
        ("other.py:x", "cannot read `other.py`: no such file"),
        (":x", "give a file or a module before the colon"),
        ("broken.py:x", "the file cannot be run: ZeroDivisionError"),
        ("no.such.module:x", "the module cannot be imported"),
        ("mine", "there is no pass `mine`"),
        ("my.py", "`my.py` does not say which pass of the file"),
    ],
)
def test_what_is_no_pass_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("broken.py").write_text("1 / 0")
    with pytest.raises(UsageError) as info:
        load_pass(text)
    assert says in info.value.diagnostics[0].message


@pytest.mark.parametrize("text", ["", " ", ","])
def test_an_option_without_a_pass_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text("model m { input x: float32[2] output y = relu(x) }")
    assert trtdsl("show", "m.trtnet", "--pass", text) == 2
    assert "`--pass` names no pass" in capsys.readouterr().err


def test_a_declared_place_is_kept() -> None:
    def nothing(graph: Graph) -> Graph:
        return graph

    early = Pass("early", nothing, before=("fold_constants",))
    names = [step.name for step in inserted(PIPELINE, early)]
    assert names.index("early") + 1 == names.index("fold_constants")
    late = Pass("late", nothing, after=("remove_dead_nodes",))
    assert inserted(PIPELINE, late)[-1] is late
    with pytest.raises(ValueError, match="must follow `fold_batch_norm` and precede"):
        inserted(PIPELINE, Pass("never", nothing, after=("fold_batch_norm",), before=("fold_constants",)))


def test_entry_points_are_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    point = metadata.EntryPoint("theirs", "trtdsl.passes:remove_identities", "trtdsl.passes")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == "trtdsl.passes" else [])
    assert load_pass("theirs").name == "remove_identities"
    with pytest.raises(UsageError, match="the pipeline has a pass `remove_identities` already"):
        with_passes(["theirs"])


def test_counts_see_every_operator() -> None:
    assert operator_counts(elaborate_text(MODEL))["BatchNorm2d"] == 3


def test_a_pass_of_the_pipeline_is_there_already() -> None:
    with pytest.raises(UsageError, match="the pipeline has a pass `fold_constants` already"):
        with_passes(["fold_constants"])


WRONG = """
from trtdsl.ir import rewrite

def raises(graph):
    raise ValueError("oops")

def nothing(graph):
    return None

def other_type(graph):
    return rewrite(graph, lambda node, around: node.operands[0])

def no_output(graph):
    return graph.replace(outputs=())

def dangling(graph):
    return graph.replace(nodes=())

def ends(graph):
    raise SystemExit(5)

def renames(graph):
    return graph.replace(outputs=tuple(output.replace(name="z") for output in graph.outputs))

def forgets_inputs(graph):
    from trtdsl.ops.creation import Full
    from trtdsl.types import DType
    (node,) = graph.nodes
    source = replace_operator(node, Full((2,), True, DType.BOOL))
    return graph.replace(inputs=(), nodes=(source,))

def replace_operator(node, op):
    return node.replace(op=op, operands=(), slots=())
"""


@pytest.mark.parametrize(
    "name", ["raises", "nothing", "other_type", "no_output", "dangling", "ends", "renames", "forgets_inputs"]
)
def test_a_wrong_pass_is_its_authors_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.py").write_text(WRONG)
    Path("m.trtnet").write_text("model m { input x: float32[2] output y = isnan(x) }")
    assert trtdsl("show", "m.trtnet", "--pass", f"wrong.py:{name}") == 2
    assert f"the pass `{name}` of `wrong.py:{name}` failed: " in capsys.readouterr().err


def test_what_does_not_run_explains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(MODEL)
    assert trtdsl("show", "m.trtnet", "--skip", "fold_batch_norm", "--explain", "fold_batch_norm") == 0
    assert "fold_batch_norm: it does not run" in capsys.readouterr().err

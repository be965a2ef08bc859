"""Models that are other models with some parameters set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.elaborate.bodies import keys
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.elaborate import elaborate, elaborate_models, elaborate_text, models
from trtdsl.ir import Graph, difference

BASE = """
def double(n) { return 2 * n }
## The family.
model net(layers, classes = 10, width = 4) {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 8]
  for i in range(layers) { x = x -> "l{i}": Linear(width) }
  output y = x -> fc: Linear(classes)
}
"""


def graph_of(text: str, model: str, **defines: object) -> Graph:
    return elaborate_text(BASE + text, "net.trtnet", model, defines)


def said(text: str, model: str = "net", **defines: object) -> list[str]:
    with pytest.raises(DiagnosticError) as caught:
        graph_of(text, model, **defines)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


@pytest.mark.parametrize("arguments", ["layers = 2", "2", "2, 10", "layers = len([1, 2])", "double(1)"])
def test_it_is_the_other_with_parameters_set(arguments: str) -> None:
    ours, other = graph_of(f"model two = net({arguments})", "two"), graph_of("", "net", layers=2)
    assert ours.name == "two"
    assert difference(ours.replace(name="net"), other) is None


def test_further_parameters_pass_through() -> None:
    graph = graph_of("model two = net(layers = 2)", "two", classes=3, width=5)
    assert keys(graph)[::2] == ["l0.weight", "l1.weight", "fc.weight"]
    assert str(graph.outputs[0].value.type) == "float32[N, 3]"


def test_chains() -> None:
    text = "model wide = two(width = 32) model two = net(2) model wider = wide(5)"
    assert [weight.type.shape for weight in graph_of(text, "wide").weights][::2] == [
        (32, 8),
        (32, 32),
        (10, 32),
    ]
    assert graph_of(text, "wider").weights[-1].type.shape == (5,)


def test_documentation_is_its_own_or_the_others() -> None:
    text = "## Two layers.\nmodel two = net(2)\nmodel wide = two(width = 8)"
    assert graph_of(text, "two").documentation == "Two layers."
    assert graph_of(text, "wide").documentation == "The family."


def test_several_models_are_chosen_from() -> None:
    text = f"{BASE} model two = net(2) model three = net(3)"
    assert models(text, "m.trtnet") == ("net", "two", "three")
    assert elaborate(text, "three.trtnet").graph.name == "three"
    with pytest.raises(UsageError, match="holds several models, choose one: net, two, three"):
        elaborate(text, "other.trtnet")


def test_all_that_are_complete_are_checked() -> None:
    text = f"{BASE} model two = net(2) model three = two(width = 8)"
    assert [each.graph.name for each in elaborate_models(text, "m.trtnet")] == ["two", "three"]
    with pytest.raises(DiagnosticError, match="model `net` needs `layers`"):
        list(elaborate_models(BASE, "m.trtnet"))


def test_a_derived_model_may_leave_parameters_to_those_that_are_derived_from_it() -> None:
    text = f"{BASE} model wide = net(width = 8) model three = wide(layers = 3)"
    assert [each.graph.name for each in elaborate_models(text, "m.trtnet")] == ["three"]
    with pytest.raises(DiagnosticError, match="model `wide` needs `layers`"):
        list(elaborate_models(f"{BASE} model wide = net(width = 8)", "m.trtnet"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model a = nett(2)", "there is no model `nett`, did you mean `net`?"),
        ("model a = r.net(2)", "`r.net` is not a model of this file: models are not imported"),
        ("model a = double(2)", "there is no model `double`"),
        ("model a = b(2) model b = a(3)", "a model cannot be derived from itself: a → b → a"),
        ("model a = a(2)", "a model cannot be derived from itself: a → a"),
        ("model a = net(layer = 2)", "`net` has no parameter `layer`, did you mean `layers`?"),
        ("model a = net(2, layers = 2)", "`layers` of `net` is given twice"),
        ("model b = net(2) model a = b(layers = 3)", "`layers` is set already"),
        ("model a = net(1, 2, 3, 4)", "`net` takes at most 3 parameters, 4 were given"),
        ("model a = net(2) model a = net(3)", "model `a` is defined twice"),
        ("model net = net(2)", "model `net` is defined twice"),
    ],
)
def test_a_model_that_is_derived_wrongly_is_told_of(text: str, message: str) -> None:
    assert said(text, "a")[0] == message
    with pytest.raises(DiagnosticError) as caught:
        elaborate(BASE + text, "net.trtnet")
    assert message in [diagnostic.message for diagnostic in caught.value.diagnostics]


def test_only_the_model_that_is_asked_for_needs_to_be_derived_rightly() -> None:
    text = "model right = net(layers = 2) model wrong = net(layer = 2) model cycle = cycle()"
    assert graph_of(text, "right").name == "right"
    assert graph_of(text, "net", layers=1).name == "net"
    assert said(text, "wrong") == ["`net` has no parameter `layer`, did you mean `layers`?"]


def test_mistakes_in_values() -> None:
    assert said("model a = net(layers = width)", "a") == ["unknown name `width`"]
    assert said("model a = net(layers = -x)", "a") == ["unknown name `x`"]


def test_what_it_sets_is_not_set_again() -> None:
    with pytest.raises(UsageError) as caught:
        graph_of("model two = net(layers = 2)", "two", layers=3, clases=3)
    first, second = caught.value.diagnostics
    assert (first.message, first.help) == (
        "model `two` sets `layers` itself",
        ("its parameters are classes, width",),
    )
    assert second.message == "model `two` has no parameter `clases`, did you mean `classes`?"


def test_a_base_without_its_parameters_names_its_models() -> None:
    with pytest.raises(DiagnosticError) as caught:
        graph_of("model two = net(2) model three = net(3)", "net")
    (found,) = caught.value.diagnostics
    assert found.message == "model `net` needs `layers`"
    assert found.help[-1] == "or choose a model that is derived from this one: two, three"


def test_models_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "base.trtnet").write_text(BASE)
    text = 'import "base.trtnet"\nmodel two = net(2)'
    with pytest.raises(DiagnosticError, match="there is no model `net`"):
        elaborate(text, str(tmp_path / "main.trtnet"))

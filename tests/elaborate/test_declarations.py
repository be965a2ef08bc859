"""What a model declares reaches the graph: dimensions, profiles, inputs, outputs, parameters."""

from __future__ import annotations

import pytest

from tests.elaborate.bodies import graph_of
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.elaborate import elaborate, elaborate_models, elaborate_text, evaluate_define, models

PROFILES = """
dim N = 1 .. 8 .. 64
dim S = 16
dim H = 32 .. 224 .. 512
profile small { N = 1 .. 1 .. 1 }
profile large { H = 512 .. 768 .. 1024  N = 4 }
input x: float32[N, S, H]
output y = x * 2
"""


def test_every_profile_is_complete() -> None:
    profiles = {p.name: dict(p.ranges) for p in graph_of(PROFILES, declared="").profiles}
    assert profiles == {
        "default": {"N": (1, 8, 64), "H": (32, 224, 512)},
        "small": {"N": (1, 1, 1), "H": (32, 224, 512)},
        "large": {"N": (4, 4, 4), "H": (512, 768, 1024)},
    }


def test_profiles_have_the_order_of_the_text() -> None:
    """Their number is what a program chooses one by."""
    text = PROFILES.replace("profile small", "profile coarse { H = 32 }\nprofile small")
    assert [p.name for p in graph_of(text, declared="").profiles] == ["default", "coarse", "small", "large"]


def test_a_symbol_spans_all_profiles() -> None:
    ranges = {s.name: (s.minimum, s.optimum, s.maximum) for s in graph_of(PROFILES, declared="").symbols}
    assert ranges == {"N": (1, 8, 64), "H": (32, 224, 1024)}


def test_a_static_model_has_no_profile() -> None:
    assert graph_of("input x: float32[3]\noutput y = x + 1", declared="").profiles == ()


def test_a_fixed_dimension_is_a_number() -> None:
    graph = graph_of("dim S = 4 * 4\ninput z: float32[S, S + 1]\noutput o = z + 1\noutput p = x + 1")
    assert str(graph.inputs[1].type) == "float32[16, 17]"


def test_outputs_keep_their_order_and_names() -> None:
    graph = graph_of("a = relu(x)\nb = a + 1\noutput b, a\noutput c = a\noutput d = x")
    assert [(o.name, o.value.name) for o in graph.outputs] == [("b", "b"), ("a", "a"), ("c", "a"), ("d", "x")]


def test_an_output_is_a_name_too() -> None:
    graph = graph_of("output a = relu(x)\noutput b = a + 1")
    assert graph.nodes[-1].operands[0] is graph.outputs[0].value


def test_documentation_is_kept() -> None:
    text = "## A model.\n## Of two lines.\nmodel m() { input x: float32[3] output y = x + 1 }"
    assert elaborate_text(text).documentation == "A model.\nOf two lines."


TWO = """
model a(n = 3) { input x: float32[8] output y = reshape(x, n, -1) }
model b(n) { input x: float32[8] output y = reshape(x, n, -1) }
"""


def result_of(text: str, name: str = "m.trtnet", model: str | None = None, **defines: object) -> str:
    return str(elaborate_text(text, name, model, defines).outputs[0].value.type)


def test_the_model_is_chosen_by_name() -> None:
    assert models(TWO, "m") == ("a", "b")
    assert result_of(TWO, model="b", n=4) == "float32[4, 2]"


def all_models(text: str) -> tuple[list[str], list[str]]:
    """The names of the models that are right and what is wrong with the others."""
    found: list[str] = []
    try:
        for elaborated in elaborate_models(text, "m.trtnet"):
            found.append(elaborated.graph.name)
    except DiagnosticError as error:
        return found, [diagnostic.message for diagnostic in error.diagnostics]
    return found, []


def test_all_models_are_elaborated() -> None:
    right = "model {} {{ input x: float32[8] output y = x + 1 }}\n"
    assert all_models(right.format("a") + right.format("b")) == (["a", "b"], [])
    assert all_models("model a(n) {}" + right.format("b")) == (["b"], ["model `a` needs `n`"])
    assert all_models(right.format("a") * 2) == ([], ["model `a` is defined twice"])


def test_a_mistake_of_several_models_is_reported_once() -> None:
    block = "block Wrong()(x) { return x + rleu }\n"
    assert all_models(block) == ([], ["`m.trtnet` holds no model"])
    users = "".join(f"model {name} {{ input x: float32[8] output y = x -> Wrong }}\n" for name in "ab")
    assert all_models(block + users) == ([], ["unknown name `rleu`, did you mean `relu`?"])


def test_a_model_named_like_the_file_is_taken() -> None:
    assert result_of(TWO, "folder/a.trtnet", n=2) == "float32[2, 4]"


def test_a_files_only_model_is_taken() -> None:
    assert result_of(TWO.split("model b")[0], n=8) == "float32[8, 1]"


@pytest.mark.parametrize(
    ("model", "defines", "message"),
    [
        (None, {}, "several models"),
        ("c", {}, "no model `c`"),
        ("b", {}, "model `b` needs `n`"),
        ("a", {"m": 1}, "no parameter `m`"),
    ],
)
def test_refused(model: str | None, defines: dict[str, object], message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        elaborate_text(TWO, "m.trtnet", model, defines)


def test_a_dimension_is_fixed_in_the_text() -> None:
    text = "model m {\n  dim N = 1 .. 2 .. 4\n  input x: float32[N]\n  output y = x\n}\n"
    with pytest.raises(DiagnosticError, match="`N` is a dimension, not a parameter") as error:
        elaborate_text(text, "m.trtnet", None, {"N": 2})
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.help == ("its range stands in the text; one number there fixes it: `dim N = 2`",)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("classes=100", "classes", 100),
        ("a = [1, 2]", "a", [1, 2]),
        ("a=-0.5", "a", -0.5),
        ("a=true", "a", True),
        ('a="x=y"', "a", "x=y"),
        ("a=2 * 3", "a", 6),
    ],
)
def test_defines(text: str, name: str, value: object) -> None:
    assert evaluate_define(text) == (name, value)


@pytest.mark.parametrize(
    "text", ["a", "=3", "a=", "a=x", "a=1 b=2", "a=1, b=2", "a=1) {} model b(", "if=1", "a=1/0"]
)
def test_what_is_no_define(text: str) -> None:
    with pytest.raises(UsageError):
        evaluate_define(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=", "error: `-D a=`: a parameter is set as `-D name=value`"),
        (
            "a=x",
            'error: `-D a=x`: unknown name `x`\n = help: a string stands in quotes, `"x"`\n'
            " = help: a block or def is given in the text: `model mine = other(a=x)`",
        ),
        ("class=3", "error: `-D class=3`: no parameter can be called `class`"),
        ("a=[1", "error: `-D a=[1`: `[1` is not a value"),
        ("a='x'", "error: `-D a='x'`: `'x'` is not a value\n = help: write `\"…\"`"),
        ("a=1, b=2", "error: `-D a=1, b=2`: a parameter has one value"),
    ],
)
def test_a_wrong_define_is_shown_as_it_was_typed(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        evaluate_define(text)
    assert str(error.value).replace("  =", " =") == said


def test_warnings_come_with_the_graph() -> None:
    text = "model m() { dim N = 1 .. 2 .. 4 dim M = 1 .. 1 .. 1 input x: float32[N, 4] input z: float32[3]\n"
    found = elaborate(text + "output y = reshape(x, -1, 2) }", "m").warnings
    assert [warning.message.partition(":")[0] for warning in found] == [
        "the reshape folds the batch into another dimension",
        "input `z` is never used",
        "dimension `M` is never used",
    ]
    assert {warning.severity for warning in found} == {"warning"}


def test_warnings_come_with_mistakes() -> None:
    text = "model m() { dim N = 1 .. 2 .. 4 input x: float32[N, 4]\noutput y = reshape(x, -1, 2) + z }"
    with pytest.raises(DiagnosticError) as caught:
        elaborate(text, "m")
    assert [d.severity for d in caught.value.diagnostics] == ["warning", "error"]

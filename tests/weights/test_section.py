"""The `weights` section: where a checkpoint has what a model needs; its mistakes are in ``tests/errors``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, difference, show, verify
from trtdsl.passes import optimize
from trtdsl.types import DType
from trtdsl.verification import verify as verify_model
from trtdsl.verification.oracle import load_weights, state_of
from trtdsl.weights import load_checkpoint
from trtdsl.weights.bind import Bound, bind

Arrays = dict[str, npt.NDArray[Any]]

EXAMPLES = Path(__file__).parents[2] / "examples"
RNG = np.random.default_rng(0)


def rand(*shape: int) -> npt.NDArray[Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def graph_of(lines: str, body: str = "x -> fc: Linear(4)", parameters: str = "") -> Graph:
    return elaborate_text(
        f"model m({parameters}) {{ input x: float32[2, 8] output y = {body} weights {{ {lines} }} }}"
    )


def bound_data(bound: Bound) -> Arrays:
    return {weight.key: weight.data for weight in bound.graph.weights if weight.data is not None}


def computed(right: str, weights: Arrays, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """What a right side makes of a checkpoint."""
    graph = graph_of(f'"p" = {right}', f"x[0, 0] + (p: Parameter{shape})")
    return bound_data(bind(graph, weights))["p"]


A, B, C = rand(4, 8), rand(4, 8), rand(3, 1, 5)
WEIGHTS = {"a": A, "b": B, "c": C, "lora.A": rand(2, 8), "lora.B": rand(4, 2)}


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ('"a"', A),
        ('("a")', A),
        ('cat(["a", "b"], dim = 0)', np.concatenate([A, B])),
        ('cat(["a", "b"], 1)', np.concatenate([A, B], 1)),
        ('["a", "b"] -> cat(dim = -1)', np.concatenate([A, B], 1)),
        ('("a", "b") -> cat(dim = 0)', np.concatenate([A, B])),
        ('transpose("a", 0, 1)', A.T),
        ('"a" -> transpose(0, 1) -> reshape(2, 16)', A.T.reshape(2, 16)),
        ('reshape("a", 2, -1)', A.reshape(2, -1)),
        ('reshape("a", "b".shape[1], 4)', A.reshape(8, 4)),
        ('"a"[0:2]', A[:2]),
        ('"a"[:, ::2]', A[:, ::2]),
        ('"a"["b".shape[0] // 2:]', A[2:]),
        ('"a"[1]', A[1]),
        ('split("a", 3)[0]', A[:3]),
        ('split("a", [1, 3])[1]', A[1:]),
        ('chunk("a", 2, dim = 1)[1]', A[:, 4:]),
        ('squeeze("c", 1)', C[:, 0]),
        ('unsqueeze("a", 0)', A[None]),
        ('permute("c", (2, 0, 1))', C.transpose(2, 0, 1)),
        ('stack(["a", "b"])', np.stack([A, B])),
        ('unbind("a")[3]', A[3]),
        ('flatten("c")', C.reshape(-1)),
        ('"a" * 0.5', A * np.float32(0.5)),
        ('"a" + "b"', A + B),
        ('-"a"', -A),
        ('1 - "a"', 1 - A),
        ('abs("a")', abs(A)),
        ('"a" + "lora.B" @ "lora.A" * 2.0', A + WEIGHTS["lora.B"] @ WEIGHTS["lora.A"] * 2),
        ('to("a", float16)', None),
        ('expand("c", 3, 2, 5)', np.broadcast_to(C, (3, 2, 5))),
        ("zeros(3)", np.zeros(3, np.float32)),
        ('"a" if 2 == 2 else "missing"', A),
    ],
)
def test_a_right_side_is_computed_of_the_checkpoint(right: str, expected: Any) -> None:
    if expected is None:
        with pytest.raises(DiagnosticError, match="is float16 in the checkpoint, but this layer computes in"):
            computed(right, WEIGHTS, A.shape)
        return
    found = computed(right, WEIGHTS, expected.shape)
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_pattern_moves_all_keys_and_a_more_specific_line_decides() -> None:
    lines = """
      "*" = "net.*"
      "a.*" = "first.*"
      "a.weight" = "other"
      "*.bias" = "biases.*"
    """
    graph = graph_of(lines, "x -> a: Linear(8) -> bb: Linear(8)")
    stored = {weight.key: weight.stored.text for weight in graph.weights if weight.stored}
    assert stored == {
        "a.weight": '"other"',
        "a.bias": '"biases.a"',
        "bb.weight": '"net.bb.weight"',
        "bb.bias": '"biases.bb"',
    }


def test_the_longer_of_two_patterns_decides() -> None:
    graph = graph_of('"fc.*" = "short.*" "fc.wei*" = "longer.*" "fc.*as" = "longest.*"')
    keys = [weight.stored.key for weight in graph.weights if weight.stored]
    assert keys == ["longer.ght", "longest.bi"]


def test_a_star_stands_for_several_levels_and_never_for_nothing() -> None:
    graph = graph_of('"layers.*" = "l.*.x" "layers.0.f*" = "f.*"', "x -> layers.0.fc: Linear(4)")
    assert [weight.stored and weight.stored.key for weight in graph.weights] == ["f.c.weight", "f.c.bias"]
    with pytest.raises(DiagnosticError, match=r"no weight of model `m` has a key like `fc\.weight\*`"):
        graph_of('"fc.weight*" = "x.*"')


def test_a_pattern_computes() -> None:
    lines = '"*.qkv.weight" = cat(["*.q", "*.k"], dim = 0) "*.bias" = "*.b"'
    graph = graph_of(lines, "x -> l.0.qkv: Linear(8) -> l.1.qkv: Linear(8)")
    weights = {f"l.{i}.{name}": rand(4, 8) for i in (0, 1) for name in "qk"}
    weights |= {f"l.{i}.qkv.b": rand(8) for i in (0, 1)}
    data = bound_data(bind(graph, weights))
    for i in (0, 1):
        np.testing.assert_array_equal(
            data[f"l.{i}.qkv.weight"], np.concatenate([weights[f"l.{i}.q"], weights[f"l.{i}.k"]])
        )


def test_parameters_of_the_model_fill_strings_and_numbers() -> None:
    lines = '"fc.weight" = transpose("{name}.{depth - 1}", axis, 1) "fc.bias" = "b" if depth == 2 else "c"'
    graph = graph_of(lines, parameters='depth = 2, name = "l", axis = 0')
    assert [weight.stored and weight.stored.text for weight in graph.weights] == [
        'transpose("l.1", 0, 1)',
        '"b" if 2 == 2 else "c"',
    ]
    bind(graph, {"l.1": rand(8, 4), "b": rand(4)})


def test_what_a_name_is_bound_to_does_not_hide_a_function() -> None:
    lines = '"fc.weight" = cat(["a" -> transpose(0, 1), transpose("b", 0, 1)], dim = transpose) * transpose'
    head = "model m { input x: float32[2, 8] cat = cat([x], 1) transpose = 1 output y = cat -> fc: Linear(4)"
    graph = elaborate_text(f"{head} weights {{ {lines} }} }}")
    a, b = rand(4, 4), rand(4, 4)
    bound = bind(graph, {"a": a, "b": b, "fc.bias": rand(4)})
    assert np.array_equal(bound_data(bound)["fc.weight"], np.concatenate([a.T, b.T], 1))
    assert 'cat(["a" -> transpose(0, 1), transpose("b", 0, 1)], dim = 1) * 1' in show(graph)
    assert difference(graph, elaborate_text(show(graph))) is None


def test_one_entry_may_serve_several_weights() -> None:
    graph = graph_of('"a.*" = "shared.*" "b.*" = "shared.*"', "x -> a: Linear(8) -> b: Linear(8)")
    weights = {"shared.weight": rand(8, 8), "shared.bias": rand(8)}
    bound = bind(graph, weights)
    data = bound_data(bound)
    assert bound.warnings == ()
    assert data["a.weight"] is data["b.weight"] is weights["shared.weight"], "a rename copies"


def test_what_a_section_reads_is_not_unread() -> None:
    graph = graph_of('"fc.weight" = cat(["q", "k"], dim = 0)')
    weights = {"q": rand(2, 8), "k": rand(2, 8), "fc.bias": rand(4), "fc.weight": rand(4, 8)}
    (warning,) = bind(graph, weights).warnings
    assert warning.message == "the model never reads 1 key of the checkpoint: `fc.weight`"


def test_only_the_entries_that_are_needed_are_read() -> None:
    class Costly:
        def __array__(self, dtype: object = None) -> Any:
            raise AssertionError("nobody asked for this")

    weights = {"k": rand(8, 4), "fc.bias": rand(4), "huge": Costly()}
    bind(graph_of('"*" = "k" + "huge" "fc.bias" = "fc.bias" "fc.weight" = transpose("k", 0, 1)'), weights)


def test_a_bound_graph_says_no_more_of_the_section(tmp_path: Path) -> None:
    graph = graph_of('"fc.weight" = transpose("k", 0, 1)')
    text = show(graph)
    assert '"fc.weight" = transpose("k", 0, 1)' in text
    assert difference(graph, elaborate_text(text)) is None
    bound = bind(graph, {"k": rand(8, 4), "fc.bias": rand(4)}).graph
    assert verify(bound) == () and "weights {" not in show(bound)


def test_an_unbound_graph_keeps_the_section_through_the_passes() -> None:
    graph = optimize(graph_of('"fc.weight" = transpose("k", 0, 1)', "x + 0.0 -> fc: Linear(4)"))
    assert difference(graph, elaborate_text(show(graph))) is None
    data = bound_data(bind(graph, {"k": A.T, "fc.bias": rand(4)}))
    np.testing.assert_array_equal(data["fc.weight"], A)


def test_graphs_that_differ_in_the_section_alone_differ() -> None:
    found = difference(graph_of('"fc.weight" = "a"'), graph_of('"fc.weight" = "b"'))
    assert found is not None and '"a"' in found


@pytest.mark.parametrize("name", ["module.fc", "fc"])
@pytest.mark.parametrize("kind", ["file", "arrays"])
def test_wrappers_are_found_whether_they_were_stripped_or_not(tmp_path: Path, name: str, kind: str) -> None:
    weights = {f"{name}.weight": torch.ones(4, 8), f"{name}.bias": torch.ones(4)}
    save_file(weights, tmp_path / "w.safetensors")
    given: Any = load_checkpoint(tmp_path / "w.safetensors") if kind == "file" else weights
    assert len(bound_data(bind(graph_of('"*" = "module.*"'), given))) == 2


def test_a_key_may_have_the_prefix_that_was_asked_for(tmp_path: Path) -> None:
    save_file({"net.k": torch.ones(8, 4), "net.fc.bias": torch.ones(4)}, tmp_path / "w.safetensors")
    checkpoint = load_checkpoint(tmp_path / "w.safetensors", prefix="net.")
    for key in ("k", "net.k"):
        bind(graph_of(f'"fc.weight" = transpose("{key}", 0, 1)'), checkpoint)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_a_computed_weight_is_converted_where_that_is_asked_for(dtype: Any) -> None:
    weights = {"k": rand(8, 4).astype(dtype), "fc.bias": rand(4)}
    graph = graph_of('"fc.weight" = transpose("k", 0, 1)')
    with pytest.raises(DiagnosticError, match="converts the checkpoint"):
        bind(graph, weights)
    for choice in ("model", DType.FLOAT32):
        found = bound_data(bind(graph, weights, choice))["fc.weight"]
        np.testing.assert_array_equal(found, weights["k"].T.astype(np.float32))


def test_two_sections_are_read_as_one() -> None:
    graph = graph_of('"fc.weight" = "a" } weights { "fc.bias" = "b"')
    assert [weight.stored and weight.stored.key for weight in graph.weights] == ["a", "b"]


@pytest.mark.parametrize(
    ("right", "text"),
    [
        ('cat([\n  "a",  # one\n  "b",\n], dim = axis,)', 'cat(["a", "b"], dim = 0)'),
        ('"a"[size - axis:]', '"a"[3 - 0:]'),
        ('"a" * low', '"a" * (-0.5)'),
        ('transpose("a", low_axis, 0)', 'transpose("a", -1, 0)'),
        ('"{{x}} {size}"', '"{{x}} 3"'),
        ('"\\"q\\\\ {low}"', '"\\"q\\\\ -0.5"'),
        (
            'cat([ "l.{size}.{x + axis}" for x in range(size) ], 0)',
            'cat(["l.{size}.{x + axis}" for x in range(3)], 0)'.replace("{size}", "3").replace("axis", "0"),
        ),
        ('reshape("a", (sizes[0],))', 'reshape("a", ([3, 4][0],))'),
    ],
)
def test_a_line_is_written_out_with_nothing_left_to_look_up(right: str, text: str) -> None:
    parameters = "axis = 0, low_axis = -1, size = 3, low = -0.5, sizes = [3, 4]"
    graph = graph_of(f'"fc.weight" = {right}', parameters=parameters)
    assert graph.weights[0].stored is not None and graph.weights[0].stored.text == text
    assert difference(graph, elaborate_text(show(graph))) is None


def encoder() -> torch.nn.Module:
    path = EXAMPLES / "encoder" / "encoder.py"
    spec = importlib.util.spec_from_file_location("encoder", path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    torch.manual_seed(0)
    return found.Encoder().eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_an_original_with_another_layout_is_equal(tmp_path: Path, dtype: torch.dtype) -> None:
    text, module = EXAMPLES / "encoder" / "encoder.trtnet", encoder()
    path = tmp_path / "w.pth"
    torch.save({f"module.{key}": value.to(dtype) for key, value in module.state_dict().items()}, path)
    against = f"{text.with_suffix('.py')}:Encoder"
    weights_dtype = None if dtype == torch.float32 else DType.FLOAT32
    outcome = verify_model(text, path, against, weights_dtype=weights_dtype, tolerance=1e-6)
    stripped, apart = outcome.notes
    assert outcome.equal and stripped == "stripped `module.` from all 13 keys"
    assert apart.startswith("not compared on their own")
    state = {key: value.astype(np.float32) for key, value in load_checkpoint(path).items()}
    state["final.bias"] = state["final.bias"] + 1
    graph = bind(elaborate_text(text.read_text()), state).graph
    assert not verify_model(graph, against=module).equal, "the weights make no difference"


@pytest.mark.parametrize("randomize", [False, True])
def test_an_original_lends_its_own_weights(randomize: bool) -> None:
    outcome = verify_model(EXAMPLES / "encoder" / "encoder.trtnet", against=encoder(), randomize=randomize)
    assert outcome.equal


def test_what_a_weight_is_made_of_is_rounded_in_the_original_too() -> None:
    graph = elaborate_text(
        """model m { input x: float16[2, 8] output y = x -> fc: Linear(4)
             weights { "fc.weight" = transpose("kernel", 0, 1) } }"""
    )
    module = torch.nn.Module()
    module.kernel, module.fc = torch.nn.Parameter(torch.randn(8, 4)), torch.nn.Linear(8, 4)
    before = module.kernel.detach().clone()
    load_weights(module, graph, bind(graph, state_of(module), "model"))
    assert not torch.equal(module.kernel, before) and torch.equal(module.kernel, before.half().float())


def test_a_module_with_the_texts_keys_gets_what_the_section_makes() -> None:
    graph = graph_of('"0.*" = "old.*" "0.weight" = transpose("old.kernel", 0, 1)', "x -> 0: Linear(4)")
    module = torch.nn.Sequential(torch.nn.Linear(8, 4))
    assert verify_model(graph, {"old.kernel": rand(8, 4), "old.bias": rand(4)}, module).equal
    with pytest.raises(DiagnosticError, match=r"the checkpoint has no `old\.bias`"):
        verify_model(graph, {"old.kernel": rand(8, 4)}, module)

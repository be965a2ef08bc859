"""A graph meets a checkpoint; the words of its mistakes are tested in ``tests/errors``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file, save_model

from tests.ir.bodies import Repeat, declared
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, verify, walk
from trtdsl.types import DType
from trtdsl.weights import load_checkpoint
from trtdsl.weights.bind import WeightsDType, bind
from trtdsl.weights.unfit import MOST_ERRORS

Arrays = dict[str, npt.NDArray[Any]]


def linear(dtype: str = "float32", stages: str = "-> fc: Linear(2)") -> Graph:
    return elaborate_text(f"model m() {{ input x: {dtype}[4, 3] output y = x {stages} }}")


def arrays(dtype: Any = np.float32) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "fc.weight": rng.standard_normal((2, 3)).astype(dtype),
        "fc.bias": rng.standard_normal(2).astype(dtype),
    }


def data_of(graph: Graph) -> Arrays:
    return {weight.key: weight.data for weight in graph.weights if weight.data is not None}


def test_values_are_the_checkpoints_own() -> None:
    weights = arrays()
    bound = bind(linear(), weights)
    assert verify(bound.graph) == () and bound.warnings == ()
    assert all(data_of(bound.graph)[key] is weights[key] for key in weights)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tensors_of_torch_are_taken_as_they_are(dtype: str) -> None:
    weight = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    bias = torch.nn.Parameter(torch.ones((), dtype=weight.dtype).expand(2))
    data = data_of(bind(linear(dtype), {"fc.weight": weight, "fc.bias": bias, "epoch": 3}).graph)
    assert data["fc.weight"].astype(np.float32).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert data["fc.bias"].dtype == DType(dtype).numpy
    weight.fill_(9)
    assert (data["fc.weight"].astype(np.float32) == 9).all(), "the memory was copied"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1.0, 2.0], "`fc.bias` is a list, not an array"),
        (torch.ones(2, device="meta"), "`fc.bias` is a Tensor that numpy cannot hold"),
        (torch.ones(2, dtype=torch.complex64), "weight `fc.bias` is complex64 in the checkpoint"),
    ],
)
def test_what_is_no_array_is_refused(value: Any, said: str) -> None:
    weights: dict[str, Any] = {**arrays(), "fc.bias": value}
    with pytest.raises(DiagnosticError, match=said):
        bind(linear(), weights)


def test_the_graph_itself_stays_unbound() -> None:
    graph = linear()
    bind(graph, arrays())
    assert data_of(graph) == {}


def test_tied_weights_are_one_value() -> None:
    graph = elaborate_text(
        "model m() { input x: float32[4, 2] output y = x -> fc: Linear(2) -> fc: Linear(2) }"
    )
    weights = {"fc.weight": np.ones((2, 2), np.float32), "fc.bias": np.ones(2, np.float32)}
    first, second = bind(graph, weights).graph.nodes
    assert first.weights["weight"] is second.weights["weight"]
    assert first.weights["weight"].data is weights["fc.weight"]


@pytest.mark.parametrize(
    ("stored", "model", "asked"),
    [
        (np.float16, "float32", "model"),
        (np.float16, "float32", DType.FLOAT32),
        (np.float32, "float16", "model"),
        (np.float32, "bfloat16", DType.BFLOAT16),
        (ml_dtypes.bfloat16, "float32", "model"),
        (np.float64, "float32", "model"),
    ],
)
def test_conversion_when_asked_for(stored: Any, model: str, asked: WeightsDType) -> None:
    weights = arrays(stored)
    with pytest.raises(DiagnosticError, match=f"but these layers compute in {model}"):
        bind(linear(model), weights)
    found = data_of(bind(linear(model), weights, asked).graph)
    expected = {key: value.astype(DType(model).numpy) for key, value in weights.items()}
    assert all(found[key].dtype == expected[key].dtype for key in expected)
    assert all((found[key] == expected[key]).all() for key in expected)


def test_integers_are_never_converted() -> None:
    with pytest.raises(DiagnosticError, match="are int32 in the checkpoint"):
        bind(linear(), arrays(np.int32), "model")


def test_a_conversion_that_nothing_needs_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="would become float16"):
        bind(linear("bfloat16"), arrays(), DType.FLOAT16)


def test_values_too_large_for_the_new_dtype_are_told() -> None:
    weights = {**arrays(), "fc.bias": np.array([1e6, np.inf], np.float32)}
    bound = bind(linear("float16"), weights, "model")
    (warning,) = bound.warnings
    assert warning.message == "1 value of weight `fc.bias` too large for float16 became infinite"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, None),
        ({"bn.num_batches_tracked": np.int64(3)}, None),
        ({"aux.weight": np.zeros(3)}, "the model never reads 1 key of the checkpoint: `aux.weight`"),
    ],
)
def test_keys_that_are_not_read(extra: Arrays, message: str | None) -> None:
    warnings = bind(linear(), {**arrays(), **extra}).warnings
    assert [warning.message for warning in warnings] == ([message] if message else [])


@pytest.mark.parametrize(
    ("keys", "guess"),
    [
        (["fc.weight", "head.fc.bias"], "`head.fc.bias`"),
        (["fc.weight", "fc.biass"], "`fc.biass`"),
        (["fc.weight", "unrelated"], None),
    ],
)
def test_a_missing_key_is_guessed(keys: list[str], guess: str | None) -> None:
    shapes = {"fc.weight": (2, 3)}
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(), {key: np.zeros(shapes.get(key, 2), np.float32) for key in keys})
    (found,) = caught.value.diagnostics
    assert found.message == "the checkpoint has no `fc.bias`" + (f", did you mean {guess}?" if guess else "")


def test_many_mistakes_are_counted() -> None:
    body = " ".join(f"-> l{i}: Linear(3)" for i in range(30))
    weights = {"l0.weight": np.zeros((3, 3), np.float32)}
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(stages=body), weights)
    assert len(caught.value.diagnostics) == MOST_ERRORS + 1
    assert caught.value.diagnostics[-1].message == "20 further weights are missing or do not fit"


# --- Prefixes ---------------------------------------------------------------------------------------------


def behind(prefix: str) -> Arrays:
    return {prefix + key: value for key, value in arrays().items()}


@pytest.mark.parametrize("prefix", ["model.", "model"])
def test_a_prefix_is_stripped_from_arrays(prefix: str) -> None:
    weights = {**behind("model."), "loss.weight": np.zeros(3)}
    bound = bind(linear(), weights, prefix=prefix)
    assert bound.warnings == ()
    assert data_of(bound.graph)["fc.bias"] is weights["model.fc.bias"]


def test_a_prefix_that_no_key_has() -> None:
    with pytest.raises(DiagnosticError, match=r"no key that begins with `net`; its keys are `model\.fc\.wei"):
        bind(linear(), behind("model."), prefix="net")


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.", "ema.", "a.b.c."])
def test_the_prefix_of_every_key_is_proposed(prefix: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(), {**behind(prefix), "loss.weight": np.zeros(3)})
    (found,) = caught.value.diagnostics
    spelled = f'`--weights-prefix {prefix}`, in Python `weights_prefix = "{prefix}"` (`prefix` of `bind`)'
    assert found.help[-1] == f"all of them are there below `{prefix}`: {spelled}"
    assert bind(linear(), behind(prefix), prefix=prefix).warnings == ()


def test_a_prefix_is_proposed_once_where_most_keys_have_it() -> None:
    weights = {**behind("model."), "other.weight": np.zeros((2, 2), np.float32)}
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(stages="-> fc: Linear(2) -> other: Linear(2)"), weights)
    assert [
        any("--weights-prefix model." in text for text in each.help) for each in caught.value.diagnostics
    ] == [
        True,
        False,
    ]
    assert "2 of the model's 4 keys are there below `model.`" in str(caught.value)


def test_no_prefix_is_proposed_for_what_one_layer_lacks() -> None:
    weights = {"fc.weight": arrays()["fc.weight"], "head.fc.bias": arrays()["fc.bias"]}
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(), weights)
    assert "prefix" not in str(caught.value)


# --- Tied weights -----------------------------------------------------------------------------------------

TIED = "-> a: Linear(3, bias = false) -> b: Linear(3, bias = false)"


def test_a_missing_key_of_one_shape_is_not_tied_silently() -> None:
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(stages=TIED), {"a.weight": np.zeros((3, 3), np.float32), "n": np.zeros(3)})
    (found,) = caught.value.diagnostics
    assert found.message == "the checkpoint has no `b.weight`"
    assert found.help == (
        "`a.weight` has its shape; if the two are tied, say so in the model:"
        ' `weights { "b.weight" = "a.weight" }`',
    )
    followed = linear(stages=f'{TIED} weights {{ "b.weight" = "a.weight" }}')
    assert bind(followed, {"a.weight": np.zeros((3, 3), np.float32)}).warnings == ()


def test_of_several_keys_of_one_shape_none_is_named() -> None:
    weights = {key: np.zeros((3, 3), np.float32) for key in ("a.weight", "c.weight")}
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(stages=TIED), weights)
    assert "tied" not in str(caught.value)


@pytest.mark.parametrize("kind", ["torch", "numpy", "pth", "old pth", "safetensors"])
def test_the_other_key_of_a_tied_weight_is_not_unread(tmp_path: Path, kind: str) -> None:
    weight = torch.arange(9.0).reshape(3, 3)
    state = {
        "a.weight": weight,
        "b.weight": weight.view(3, 3),
        "c.weight": weight.clone(),
        "d.weight": weight.T,
    }
    if kind == "numpy":
        weights: Any = {key: value.numpy() for key, value in state.items()}
    elif kind == "torch":
        weights = state
    elif kind == "safetensors":
        (a, b, c, d) = state
        save_file({a: weight, c: state[c], d: weight.T.contiguous()}, tmp_path / "w", metadata={b: a})
        weights = load_checkpoint(tmp_path / "w")
    else:
        torch.save(state, tmp_path / "w", _use_new_zipfile_serialization=kind == "pth")
        weights = load_checkpoint(tmp_path / "w")
    (warning,) = bind(linear(stages="-> a: Linear(3, bias = false)"), weights).warnings
    assert warning.message == "the model never reads 2 keys of the checkpoint: `c.weight`, `d.weight`"


def test_two_labels_read_a_tied_weight_from_every_format(tmp_path: Path) -> None:
    first_layer, second_layer = torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False)
    net = torch.nn.ModuleDict({"a": first_layer, "b": second_layer})
    second_layer.weight = first_layer.weight
    torch.save(net.state_dict(), tmp_path / "w.pth")
    save_model(net, str(tmp_path / "w.safetensors"))
    for name in ("w.pth", "w.safetensors"):
        bound = bind(linear(stages=TIED), load_checkpoint(tmp_path / name))
        assert bound.warnings == ()
        first, second = data_of(bound.graph).values()
        assert np.shares_memory(first, second)
        assert (first == first_layer.weight.detach().numpy()).all()


# --- Names ------------------------------------------------------------------------------------------------


def test_names_from_a_checkpoint_are_made_printable() -> None:
    evil = "fc.\x1b[31mbias\nerror: no"
    weights = {"fc.weight": arrays()["fc.weight"], evil: arrays()["fc.bias"]}
    with pytest.raises(DiagnosticError) as caught:
        bind(linear(), weights)
    (warning,) = bind(linear(), {**arrays(), evil: np.zeros(1)}).warnings
    for text in (str(caught.value), warning.message):
        assert "\x1b" not in text
        assert "\nerror: no" not in text


# --- Where weights can be ---------------------------------------------------------------------------------

LOOP = """
block Step()(state, other) {
  h = state -> fc: Linear(3) -> tanh
  return h + other
}
model m() {
  input x: float32[4, 3]
  output y = repeat_times(x, x, times = 3, body = Step())
}
"""


def test_weights_in_bodies_are_bound_and_missing_ones_are_placed() -> None:
    weights = {"fc.weight": np.ones((3, 3), np.float32), "fc.bias": np.zeros(3, np.float32)}
    with declared(Repeat):
        graph = elaborate_text(LOOP)
        bound = bind(graph, {**weights, "spare": np.zeros(1)})
        assert verify(bound.graph, "bound") == ()
        inner = [node for node in walk(bound.graph) if node not in bound.graph.nodes]
        linear = next(node for node in inner if node.weights)
        assert {slot: weight.data is not None for slot, weight in linear.weights.items()} == {
            "weight": True,
            "bias": True,
        }
        (warning,) = bound.warnings
        assert warning.message.endswith("`spare`")
        with pytest.raises(DiagnosticError) as caught:
            bind(graph, {"fc.weight": weights["fc.weight"]})
    assert "state -> fc: Linear(3)" in str(caught.value)


def test_what_a_layer_computes_its_weight_from_is_bound() -> None:
    text = """model m() {
      input x: float32[4, 3]
      output y = fc: Linear(2)(x, weight = (scale: Parameter(2, 3)) * 2)
    }"""
    weights = {"scale": np.ones((2, 3), np.float32), "fc.bias": np.zeros(2, np.float32)}
    graph = elaborate_text(text)
    assert data_of(bind(graph, weights).graph).keys() == weights.keys()
    with pytest.raises(DiagnosticError, match="the checkpoint has no `scale`"):
        bind(graph, {"fc.bias": weights["fc.bias"], "fc.weight": weights["scale"]})

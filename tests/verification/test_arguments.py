"""Inputs are matched by the names of what takes them, and what names leave open is noted or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import trtdsl
from tests.verification.networks import graph_of
from trtdsl.diagnostics import UsageError


def taking(forward: Callable[..., Any]) -> nn.Module:
    """A module whose ``forward`` has these parameters."""

    class Taking(nn.Module):
        pass

    Taking.forward = lambda self, *args, **kwargs: forward(*args, **kwargs)  # pyright: ignore
    module = Taking()
    module.forward = forward
    return module


def verify_inputs(forward: Callable[..., Any], *names: str, output: str) -> trtdsl.Verification:
    inputs = "".join(f"  input {name}: float32[4]\n" for name in names)
    text = f"model m() {{\n{inputs}  output y = {output}\n}}\n"
    return trtdsl.verify(graph_of(text), None, taking(forward))


def difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a - b


def optional(a: torch.Tensor, b: Any = None, c: Any = None) -> torch.Tensor:
    return a if c is None else a - c


def several(a: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    return a - rest[0]


def keywords(a: torch.Tensor, **rest: torch.Tensor) -> torch.Tensor:
    return a - rest["q"]


def options(a: torch.Tensor | None = None, scale: float = 2.0, **rest: torch.Tensor) -> torch.Tensor:
    assert a is not None
    return a * scale - rest.get("q", torch.zeros(()))


def only_by_name(a: torch.Tensor, *, b: torch.Tensor) -> torch.Tensor:
    return a - b


def by_place(name: str, parameter: str) -> str:
    return f"input `{name}` is given as the reference's `{parameter}`, by position"


IN_ORDER = "the inputs are given to Taking in the model's order, for it does not name what it takes"

MATCHES: dict[str, tuple[Callable[..., Any], tuple[str, ...], str, tuple[str, ...]]] = {
    "names": (difference, ("a", "b"), "a - b", ()),
    "names in another order": (difference, ("b", "a"), "a - b", ()),
    "a name that another place has": (difference, ("b", "x"), "x - b", (by_place("x", "a"),)),
    "other names": (difference, ("p", "q"), "p - q", (by_place("p", "a"), by_place("q", "b"))),
    "one of several": (optional, ("x",), "x * 1.0", (by_place("x", "a"),)),
    "names with a gap": (optional, ("c", "a"), "a - c", ()),
    "in order": (several, ("p", "q"), "p - q", (IN_ORDER,)),
    "keywords": (keywords, ("p", "q"), "p - q", (by_place("p", "a"),)),
    "before options": (options, ("p",), "p * 2.0", (by_place("p", "a"),)),
    "options": (options, ("p", "q"), "p * 2.0 - q", (by_place("p", "a"),)),
    "only by name": (only_by_name, ("x", "b"), "x - b", (by_place("x", "a"),)),
    "the only one": (torch.relu_, ("x",), "relu(x)", ()),
    "the only parameter": (lambda data: data * 2, ("x",), "x * 2.0", ()),
}


@pytest.mark.parametrize("name", MATCHES)
def test_inputs_are_matched(name: str) -> None:
    forward, inputs, output, notes = MATCHES[name]
    found = verify_inputs(forward, *inputs, output=output)
    assert found.equal
    assert found.notes == notes


@pytest.mark.parametrize(
    ("forward", "inputs", "says"),
    [
        (
            difference,
            ("a", "b", "c"),
            "Taking takes `a`, `b`: the model's input `c` has no counterpart there",
        ),
        (several, ("q", "a"), "Taking takes `a` as argument 1, not 2"),
    ],
)
def test_inputs_that_contradict_the_names_are_refused(
    forward: Callable[..., Any], inputs: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        verify_inputs(forward, *inputs, output=" - ".join(inputs))


def save_onnx(path: Path) -> None:
    """``a - b``."""
    a, b, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("a", "b", "y"))
    graph = helper.make_graph([helper.make_node("Sub", ["a", "b"], ["y"])], "difference", [a, b], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("inputs", "output", "notes"),
    [(("b", "x"), "x - b", (by_place("x", "a"),)), (("b", "a"), "a - b", ())],
)
def test_the_inputs_of_an_onnx_model_are_matched(
    tmp_path: Path, inputs: tuple[str, ...], output: str, notes: tuple[str, ...]
) -> None:
    save_onnx(tmp_path / "m.onnx")
    declared = "".join(f"  input {name}: float32[4]\n" for name in inputs)
    graph = graph_of(f"model m() {{\n{declared}  output y = {output}\n}}\n")
    found = trtdsl.verify(graph, onnx=tmp_path / "m.onnx")
    assert found.equal
    assert found.notes == notes


def test_an_input_that_an_onnx_model_does_not_have_is_refused(tmp_path: Path) -> None:
    save_onnx(tmp_path / "m.onnx")
    graph = graph_of(
        "model m() {\n  input a: float32[4]\n  input b: float32[4]\n  input c: float32[4]\n"
        "  output y = a - b\n}\n"
    )
    with pytest.raises(UsageError, match="takes `a`, `b`: the model's input `c` has no counterpart there"):
        trtdsl.verify(graph, onnx=tmp_path / "m.onnx")

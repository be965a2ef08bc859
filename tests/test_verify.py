"""`verify` finds what is wrong: a network broken in one place, and that place named."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional as F

import trtdsl
from tests.command import trtdsl as main
from trtdsl import passes
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.ir import Graph, rebuild
from trtdsl.reference import to_numpy
from trtdsl.verification.result import measure
from trtdsl.verification.table import HEADER

TEXT = """model net() {
  dim N = 1 .. 2 .. 4
  input image: float32[N, 3, 16, 16]
  x = image -> conv1: Conv2d(8, 3, padding = 1, bias = false) -> bn1: BatchNorm2d -> relu
  x = x -> max_pool2d(3, stride = 2, padding = 1)
  a = x -> conv2: Conv2d(8, 3, padding = 1)
  b = x -> conv3: Conv2d(8, 1)
  x = cat([relu(a), b], 1)
  x = x -> interpolate(scale_factor = 2.0, mode = "bilinear")
  x = x -> conv4: Conv2d(16, 3, stride = 2, padding = 1)
  x = x -> avg_pool2d(3, stride = 1, padding = 1)
  x = x -> adaptive_avg_pool2d(1) -> flatten(1)
  y = x -> norm: LayerNorm(16) -> fc1: Linear(16) -> gelu -> fc2: Linear(16)
  x = x + y
  output scores = x -> head: Linear(10) -> softmax(1)
}
"""

TOLERANCE = 1e-5
"""A dozen small layers in float32 stay below 1e-6."""


class Net(nn.Module):
    def __init__(self, width: int = 8, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=momentum)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.conv4 = nn.Conv2d(2 * width, 16, 3, stride=2, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.norm = nn.LayerNorm(16)
        self.fc1 = nn.Linear(16, 16)
        self.fc2 = nn.Linear(16, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn1(self.conv1(image)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = torch.cat([self.act(self.conv2(x)), self.conv3(x)], 1)
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = F.avg_pool2d(self.conv4(x), 3, stride=1, padding=1)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = x + self.fc2(F.gelu(self.fc1(self.norm(x))))
        return self.head(x).softmax(1)


def make_net(seed: int = 0) -> Net:
    """The module with weights that let every operator show: means and gains as if trained, values past 6."""
    torch.manual_seed(seed)
    net = Net().eval()
    with torch.no_grad():
        net.bn1.weight.uniform_(3.0, 6.0)
        net.bn1.bias.normal_()
        net.bn1.running_mean.normal_(0.0, 0.1)
        net.bn1.running_var.uniform_(0.2, 0.6)
        net.fc1.weight.mul_(4)
        net.head.weight.mul_(4)
    return net


@pytest.fixture(scope="module")
def net() -> Net:
    return make_net()


def state(net: nn.Module) -> dict[str, Any]:
    return {key: to_numpy(value) for key, value in net.state_dict().items()}


def graph_of(text: str) -> Graph:
    return trtdsl.elaborate_text(text, "net.trtnet")


def verify_text(text: str, net: nn.Module, **options: Any) -> trtdsl.Verification:
    return trtdsl.verify(graph_of(text), state(net), net, **{"tolerance": TOLERANCE, **options})


# --- What is right ----------------------------------------------------------------------------------------


def test_a_right_network_is_equal_layer_by_layer(net: Net) -> None:
    found = verify_text(TEXT, net)
    assert found.equal
    assert found.sizes == {"N": 2}
    labels = ["conv1+bn1", "conv2", "conv3", "conv4", "norm", "fc1", "fc2", "head", "scores"]
    assert [row.name for row in found.rows] == labels
    assert {row.verdict for row in found.rows} == {"equal"}
    assert found.rows[0].source == "net.trtnet:4:16"
    assert found.rows[-1].shape == (2, 10)


@pytest.mark.parametrize(("at", "size"), [("min", 1), ("opt", 2), ("max", 4)])
def test_dynamic_dimensions_are_where_they_are_asked_for(net: Net, at: Any, size: int) -> None:
    found = verify_text(TEXT, net, at=at, dtype="float64", tolerance=None)
    assert found.equal
    assert found.rows[-1].shape == (size, 10)


def test_what_only_training_reads_makes_no_difference(net: Net) -> None:
    other = Net(momentum=0.9)
    other.load_state_dict(net.state_dict())
    assert verify_text(TEXT, other).equal


def test_the_callers_module_keeps_mode_and_dtype(net: Net) -> None:
    own = make_net().train()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    assert verify_text(TEXT, own, dtype="float64", tolerance=None).equal
    assert own.training
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


# --- Broken on purpose ------------------------------------------------------------------------------------

CONV2 = "conv2: Conv2d(8, 3, padding = 1)"
CONV4 = "conv4: Conv2d(16, 3, stride = 2, padding = 1)"
MAXIMUM = "max_pool2d(3, stride = 2, padding = 1)"
AVERAGE = "avg_pool2d(3, stride = 1, padding = 1)"
CAT = "cat([relu(a), b], 1)"
MODE = 'mode = "bilinear"'

BROKEN = {
    "padding mode": (CONV2, 'conv2: Conv2d(8, 3, padding = 1, padding_mode = "reflect")', "conv2"),
    "padding of a pool": (MAXIMUM, "max_pool2d(3, stride = 2, ceil_mode = true)", "max_pool2d"),
    "kernel of a pool": (MAXIMUM, "max_pool2d(2)", "max_pool2d"),
    "kind of a pool": (MAXIMUM, "avg_pool2d(3, stride = 2, padding = 1)", "avg_pool2d"),
    "count_include_pad": (AVERAGE, f"{AVERAGE[:-1]}, count_include_pad = false)", "avg_pool2d"),
    "dilation": (CONV4, "conv4: Conv2d(16, 3, stride = 2, padding = 2, dilation = 2)", "conv4"),
    "eps of BatchNorm": ("BatchNorm2d ->", "BatchNorm2d(eps = 1e-3) ->", "bn1"),
    "eps of LayerNorm": ("LayerNorm(16)", "LayerNorm(16, eps = 1e-3)", "norm"),
    "BatchNorm left out": ("-> bn1: BatchNorm2d ->", "->", "relu"),
    "relu6 for relu": ("BatchNorm2d -> relu", "BatchNorm2d -> relu6", "hardtanh"),
    "gelu's form": ("-> gelu ->", '-> gelu(approximate = "tanh") ->', "gelu"),
    "align_corners": (MODE, f"{MODE}, align_corners = true", "interpolate"),
    "interpolation mode": (f", {MODE}", "", "interpolate"),
    "bias dropped": ("fc1: Linear(16)", "fc1: Linear(16, bias = false)", "fc1"),
    "order of cat": (CAT, "cat([b, relu(a)], 1)", "cat"),
    "activation left out": (CAT, "cat([a, b], 1)", "cat"),
    "sign of a shortcut": ("x + y", "x - y", "sub"),
    "softmax over the batch": ("softmax(1)", "softmax(0)", "softmax"),
}
"""What is changed in the text, into what, and the label or operator that is then to blame."""


@pytest.mark.parametrize("name", BROKEN)
def test_the_guilty_operator_is_named(net: Net, name: str) -> None:
    before, after, guilty = BROKEN[name]
    assert TEXT.count(before) == 1
    found = verify_text(TEXT.replace(before, after), net)
    assert found.difference is not None
    (suspect,) = found.difference.suspects
    assert guilty in (suspect.label, suspect.operator)
    assert suspect.source.startswith("net.trtnet:")


def test_swapped_labels_are_named(net: Net) -> None:
    text = TEXT.replace("fc1:", "fc0:").replace("fc2:", "fc1:").replace("fc0:", "fc2:")
    difference = verify_text(text, net).difference
    assert difference is not None
    assert [suspect.label for suspect in difference.suspects] == ["fc2"]


WEIGHTS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "transposed square matrix": (lambda s: {"fc2.weight": s["fc2.weight"].T}, "fc2"),
    "swapped layers": (lambda s: {"conv2.bias": s["conv3.bias"], "conv3.bias": s["conv2.bias"]}, "conv2"),
    "mean and offset swapped": (
        lambda s: {"bn1.bias": s["bn1.running_mean"], "bn1.running_mean": s["bn1.bias"]},
        "bn1",
    ),
    "input channels reversed": (lambda s: {"conv1.weight": s["conv1.weight"][:, ::-1]}, "conv1"),
    "one value": (lambda s: {"head.bias": s["head.bias"] + np.eye(1, 10, 3, dtype=np.float32)[0]}, "head"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_layer_with_the_wrong_weights_is_named(net: Net, name: str) -> None:
    change, guilty = WEIGHTS[name]
    right = state(net)
    graph = trtdsl.bind(graph_of(TEXT), {**right, **change(right)}).graph
    difference = trtdsl.verify(graph, None, net, tolerance=TOLERANCE).difference
    assert difference is not None
    assert [suspect.label for suspect in difference.suspects] == [guilty]


def test_what_is_computed_from_a_wrong_value_follows(net: Net) -> None:
    rows = verify_text(TEXT.replace("fc1: Linear(16)", "fc1: Linear(16, bias = false)"), net).rows
    verdicts = {row.name: row.verdict for row in rows}
    assert verdicts["norm"] == "equal"
    assert verdicts["fc1"] == "differs"
    assert verdicts["fc2"] == verdicts["scores"] == "follows"


def test_two_faults_in_parallel_both_differ(net: Net) -> None:
    text = TEXT.replace("conv2: Conv2d(8, 3, padding = 1)", "conv2: Conv2d(8, 3, padding = 1, bias = false)")
    text = text.replace("conv3: Conv2d(8, 1)", "conv3: Conv2d(8, 1, bias = false)")
    verdicts = {row.name: row.verdict for row in verify_text(text, net).rows}
    assert verdicts["conv2"] == verdicts["conv3"] == "differs"


def test_an_output_too_early_is_no_operators_fault(net: Net) -> None:
    found = verify_text(TEXT.replace(" -> softmax(1)", ""), net)
    assert found.difference is not None
    assert "PyTorch has this value too, but another output" in found.difference.message


def test_another_shape_differs(net: Net) -> None:
    found = verify_text(TEXT.replace(AVERAGE, "avg_pool2d(3, stride = 1)"), net)
    assert found.difference is not None
    # Behind it nothing has PyTorch's shape, so that the next operator cannot be acquitted.
    operators = [suspect.operator for suspect in found.difference.suspects]
    assert operators == ["avg_pool2d", "adaptive_avg_pool2d"]


def test_a_wrong_pass_is_not_blamed_on_the_model(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def negate_fc1(graph: Graph) -> Graph:
        (node,) = (node for node in graph.nodes if node.scope == "fc1")
        wrong = {w: dataclasses.replace(w, data=-w.data) for w in node.weights.values()}
        return rebuild(graph, graph.nodes, wrong)

    monkeypatch.setattr(passes, "PIPELINE", (*passes.PIPELINE, negate_fc1))
    difference = verify_text(TEXT, net).difference
    assert difference is not None
    assert "a bug in trtdsl" in difference.message
    assert [suspect.label for suspect in difference.suspects] == ["fc1"]


# --- Blocks, calls and in-place operations ----------------------------------------------------------------


class Shared(nn.Module):
    """One layer called three times, in a block whose activation works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
        self.gate = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.block(x) + self.gate(x)
        return x


SHARED = """block Layer()(x) {
  return x -> 0: Linear(4) -> relu
}
model shared() {
  input x: float32[5, 4]
  for i in range(3) {
    x = (x -> block: Layer) + (x -> gate: Linear(4))
  }
  output y = x
}
"""


def test_calls_are_compared_one_by_one() -> None:
    torch.manual_seed(0)
    found = verify_text(SHARED, Shared())
    assert found.equal
    names = ["block.0 (call 1)", "block (call 1)", "gate (call 1)", "block.0 (call 2)"]
    assert [row.name for row in found.rows[:4]] == names
    broken = verify_text(SHARED.replace("+ (x -> gate", "- (x -> gate"), Shared()).difference
    assert broken is not None
    assert broken.suspects[0].operator == "sub"


def test_where_a_blocks_braces_stand_is_no_difference() -> None:
    """PyTorch's block ends before the activation, ours behind it: all layers and the output agree."""

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block(x).relu()

    text = SHARED.replace("range(3)", "range(1)").replace(" + (x -> gate: Linear(4))", "")
    found = verify_text(text, Wrapped())
    assert found.equal
    assert [row.name for row in found.rows] == ["block.0", "y"]


# --- Other references -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: Net) -> Path:
    torch.save(net.state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.trtnet").write_text(TEXT)
    (tmp_path / "wrong.trtnet").write_text(TEXT.replace("x + y", "x - y"))
    (tmp_path / "scale.trtnet").write_text(
        "model scale(factor = 2.0) {\n  dim N = 1 .. 3 .. 5\n"
        "  input x: float32[N]\n  output y = x * factor\n}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_onnx(path: Path) -> None:
    """A graph that doubles."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("in", "out"))
    graph = helper.make_graph([helper.make_node("Add", ["in", "in"], ["out"])], "double", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def test_an_onnx_model(folder: Path) -> None:
    save_onnx(folder / "double.onnx")
    assert trtdsl.verify("scale.trtnet", onnx="double.onnx").equal
    found = trtdsl.verify("scale.trtnet", onnx="double.onnx", defines={"factor": 2.5})
    assert found.difference is not None
    assert "output `y` differs by 2.5e-01" in found.difference.message


def test_stored_outputs_with_their_inputs(folder: Path) -> None:
    x = np.arange(4, dtype=np.float32)
    np.savez(folder / "ref.npz", x=x, y=2 * x)
    assert trtdsl.verify("scale.trtnet", outputs="ref.npz").sizes == {"N": 4}
    np.savez(folder / "ref.npz", x=x, y=3 * x)
    assert not trtdsl.verify("scale.trtnet", outputs="ref.npz").equal


def test_stored_outputs_may_be_float64(folder: Path) -> None:
    x = np.arange(4, dtype=np.float32)
    np.savez(folder / "ref.npz", x=x, y=2 * x.astype(np.float64))
    assert trtdsl.verify("scale.trtnet", outputs="ref.npz").equal


def test_stored_outputs_are_numbers(folder: Path) -> None:
    np.savez(folder / "ref.npz", y=np.array(["two"]))
    with pytest.raises(UsageError, match=r"`y` in `ref.npz` holds no numbers, but <U3"):
        trtdsl.verify("scale.trtnet", outputs="ref.npz")


OWN_WEIGHTS = "no checkpoint was given: both sides have the module's own weights"


def test_weights_may_be_the_modules_own(folder: Path, net: Net) -> None:
    found = trtdsl.verify("net.trtnet", None, net)
    assert found.equal
    assert found.notes == (OWN_WEIGHTS,)
    assert verify_text(TEXT, net).notes == ()
    # A graph that has its weights is compared with the module's own, which may be others.
    assert trtdsl.verify(trtdsl.bind(graph_of(TEXT), state(net)).graph, None, net).notes == ()


# --- Weights of another dtype -----------------------------------------------------------------------------

HALF = TEXT.replace("float32", "float16")
LAYERS = "model m() {\n  input x: DTYPE[5, 8]\n  output y = x -> 0: Linear(16) -> relu -> 2: Linear(4)\n}\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rounded", ["float16", "bfloat16"])
def test_the_module_gets_what_the_network_gets(rounded: str, dtype: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    text = LAYERS.replace("DTYPE", rounded)
    before = state(copy.deepcopy(module))
    found = verify_text(text, module, weights_dtype="model", dtype=dtype)
    assert found.equal
    assert found.notes == ()
    assert trtdsl.verify(graph_of(text), None, module, tolerance=TOLERANCE, dtype=dtype).equal
    # Not the caller's module, which stays what it was.
    assert all(np.array_equal(before[key], value) for key, value in state(module).items())


@pytest.mark.parametrize(("rounded", "tolerance"), [("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_folding_rounds_once_more(net: Net, rounded: str, tolerance: float) -> None:
    text = TEXT.replace("float32", rounded)
    found = verify_text(text, net, weights_dtype="model", tolerance=None)
    assert found.equal
    assert found.tolerance == tolerance
    assert not verify_text(text, net, weights_dtype="model", tolerance=tolerance / 20).equal
    assert verify_text(TEXT, net, tolerance=None).tolerance == 1e-4


def test_what_differs_is_named_whatever_the_weights_are_rounded_to(net: Net) -> None:
    found = verify_text(HALF.replace("x + y", "x - y"), net, weights_dtype="model", tolerance=None)
    assert found.difference is not None
    assert [suspect.operator for suspect in found.difference.suspects] == ["sub"]


def test_weights_beyond_float16_are_infinite_on_both_sides(net: Net) -> None:
    large = {**state(net), "head.bias": np.full(10, 1e6, np.float32)}
    found = trtdsl.verify(graph_of(HALF), large, net, weights_dtype="model")
    assert found.equal
    assert found.notes == (
        "10 values of weight `head.bias` too large for float16 became infinite",
        "layer `head` is the first that holds NaN or infinity: 20 of 20 numbers, on both sides alike",
        "output `scores` holds 20 of 20 numbers that are NaN or infinite, on both sides alike",
    )


# --- Numbers ----------------------------------------------------------------------------------------------


def test_measures() -> None:
    a, b = np.array([3.0, 4.0], np.float32), np.array([3.0, 5.0], np.float32)
    found = measure(b, a)
    assert found is not None
    assert (found.max_abs, found.relative) == (1.0, 0.2)
    assert found.cosine == pytest.approx(29 / (5 * 34**0.5))
    assert measure(a, a[:1]) is None


@pytest.mark.parametrize(
    ("found", "expected", "relative"),
    [
        ([0.0], [0.0], 0.0),
        ([1.0], [0.0], np.inf),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_measures_of_what_is_no_number(found: list[float], expected: list[float], relative: float) -> None:
    measured = measure(np.array(found, np.float32), np.array(expected, np.float32))
    assert measured is not None
    assert measured.relative == relative


@pytest.mark.parametrize(
    ("found", "expected", "cosine", "not_finite"),
    [
        ([np.nan, np.inf], [np.nan, np.inf], np.nan, 2),
        ([np.nan, 1.0], [np.nan, 1.0], 1.0, 1),
        ([np.nan, np.nan], [np.nan, 1.0], np.nan, 1),
        ([0.0, 0.0], [0.0, 0.0], 1.0, 0),
        ([], [], np.nan, 0),
    ],
)
def test_the_cosine_is_that_of_the_finite(
    found: list[float], expected: list[float], cosine: float, not_finite: int
) -> None:
    measured = measure(np.array(found, np.float32), np.array(expected, np.float32))
    assert measured is not None
    assert measured.cosine == pytest.approx(cosine, nan_ok=True)
    assert measured.not_finite == not_finite


def test_nan_in_the_inputs_is_noted(net: Net) -> None:
    image = np.ones((2, 3, 16, 16), np.float32)
    image[0] = np.nan
    found = verify_text(TEXT, net, inputs={"image": image})
    assert found.equal
    assert found.notes == (
        "layer `conv1+bn1` is the first that holds NaN or infinity: 2048 of 4096 numbers, on both sides"
        " alike",
        "output `scores` holds 10 of 20 numbers that are NaN or infinite, on both sides alike",
    )
    image[1] = np.inf
    table = trtdsl.verification.show_verification(verify_text(TEXT, net, inputs={"image": image}))
    row = next(line for line in table.splitlines() if line.startswith("output scores"))
    assert row.split()[-2:] == ["nan", "equal"]


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float16, ml_dtypes.bfloat16])
def test_measures_are_taken_in_float64(dtype: Any) -> None:
    """A sum of 4098 ones is wrong in float16, which counts to 2048, and in bfloat16, which counts to 256."""
    ones = np.ones(4097, dtype)
    measured = measure(np.concatenate([ones, ones[:1] * 0]), np.concatenate([ones, ones[:1]]))
    assert measured is not None
    assert measured.relative == pytest.approx(1 / 4098**0.5)
    assert measured.max_abs == 1


# --- The command ------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    return main("verify", *arguments)


AGAINST = f"{Path(__file__)}:Net"


def test_the_command_prints_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("net.trtnet", "net.pth", "--against", AGAINST, "--arg", "width=8", "--at", "min") == 0
    printed = capsys.readouterr().out
    heading = printed.splitlines()[0].split("  ")
    assert [cell.strip() for cell in heading if cell] == list(HEADER)
    assert "net.trtnet:13:12" in printed
    assert "N = 1" in printed
    assert printed.endswith("equal: no relative error above 0.0001\n")


def test_the_command_exits_with_1_on_a_difference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("wrong.trtnet", "net.pth", "--against", AGAINST) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "differs: `sub` at wrong.trtnet:14:9 computes something else, from operands that agree"


def test_the_command_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("wrong.trtnet", "net.pth", "--against", AGAINST, "--json", "--dtype", "float64") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["equal"] is False
    assert printed["tolerance"] == 1e-6
    assert printed["difference"]["suspects"][0]["operator"] == "sub"


def test_the_command_takes_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "x.npy", np.zeros((3, 3, 16, 16), np.float32))
    assert command("net.trtnet", "net.pth", "--against", AGAINST, "--input", "image=x.npy") == 0
    assert "N = 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["net.pth"], 2, "one of `--against`"),
        (["net.pth", "--against", AGAINST, "--onnx", "x.onnx"], 2, "only one may say"),
        (["net.pth", "--against", "torchvision.models"], 2, "no `package.module:name`"),
        (["net.pth", "--against", "no_such_package:Net"], 2, "No module named 'no_such_package'"),
        (["net.pth", "--against", "torchvision.models:resnet19"], 2, "did you mean `resnet18`?"),
        (["net.pth", "--against", "torch:relu"], 2, "torch:relu fails"),
        (["net.pth", "--against", "torch:pi"], 2, "neither a torch.nn.Module nor makes one"),
        (["net.pth", "--against", AGAINST, "--arg", "width"], 2, "`--arg name=value`"),
        (["net.pth", "--against", AGAINST, "--arg", "depth=3"], 2, "unexpected keyword argument 'depth'"),
        (["net.pth", "--against", AGAINST, "--arg", "width=4"], 1, "does not fit"),
        (
            ["net.pth", "--against", "torchvision.models:resnet18"],
            1,
            "which torchvision.models:resnet18 needs",
        ),
        (["missing.pth", "--against", AGAINST], 2, "missing.pth"),
        (["net.pth", "--against", AGAINST, "--dtype", "float16"], 2, "choose one of float32, float64"),
        (["net.pth", "--against", AGAINST, "--at", "best"], 2, "choose one of min, opt, max"),
        (["net.pth", "--against", AGAINST, "--input", "image"], 2, "`--input name=file.npy`"),
        (["net.pth", "--against", AGAINST, "--input", "image=no.npy"], 2, "cannot read `no.npy`"),
        (["net.pth", "--against", AGAINST, "--input", "imag=big.npy"], 2, "did you mean `image`?"),
        (["net.pth", "--against", AGAINST, "--input", "image=big.npy"], 2, "outside of 1 .. 4"),
        (["net.pth", "--against", AGAINST, "--input", "image=flat.npy"], 2, "has shape [3]"),
        (["net.pth", "--against", AGAINST, "--input", "image=double.npy"], 2, "the given array is float64"),
        (["net.pth", "--outputs", "no.npz"], 2, "cannot read `no.npz`"),
        (["net.pth", "--outputs", "big.npy"], 2, "big.npy"),
        (["net.pth", "--onnx", "no.onnx"], 2, "onnxruntime cannot run `no.onnx`"),
        (["--onnx", "no.onnx"], 2, "give a checkpoint"),
    ],
)
def test_a_wrong_command_is_explained(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    np.save(folder / "big.npy", np.zeros((9, 3, 16, 16), np.float32))
    np.save(folder / "flat.npy", np.zeros(3, np.float32))
    np.save(folder / "double.npy", np.zeros((1, 3, 16, 16)))
    assert command("net.trtnet", *arguments) == code
    assert says in capsys.readouterr().err


def test_a_checkpoint_that_does_not_fit_is_shown_by_two_examples(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("net.trtnet", "net.pth", "--against", AGAINST, "--arg", "width=4") == 1
    assert capsys.readouterr().err == (
        f"error: the checkpoint does not fit {AGAINST}: size mismatch for conv1.weight: copying a param with"
        " shape torch.Size([8, 3, 3, 3]) from checkpoint, the shape in current model is"
        " torch.Size([4, 3, 3, 3]).\n"
        "  = help: size mismatch for bn1.weight: copying a param with shape torch.Size([8]) from checkpoint,"
        " the shape in current model is torch.Size([4]).\n"
        "  = help: and 8 more\n"
    )


def test_a_module_that_cannot_be_run_is_explained(net: Net) -> None:
    with pytest.raises(DiagnosticError, match="Linear cannot be run on image"):
        trtdsl.verify(trtdsl.bind(graph_of(TEXT), state(net)).graph, None, nn.Linear(3, 3))


def test_a_module_that_asserts_is_explained() -> None:
    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[0] == x.shape[1], "not square"
            return x

    graph = graph_of("model m() {\n  input x: float32[2, 3]\n  output y = x\n}\n")
    with pytest.raises(DiagnosticError, match=r"cannot be run on x: .*AssertionError: not square"):
        trtdsl.verify(graph, None, Square())


def test_a_file_may_hold_dataclasses(folder: Path) -> None:
    (folder / "scale.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "@dataclass\n"
        "class Options:\n"
        "    factor: float = 2.0\n"
        "class Scale(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * Options().factor\n"
    )
    assert trtdsl.verify("scale.trtnet", None, "scale.py:Scale").equal


def test_too_few_outputs_are_explained(folder: Path) -> None:
    np.savez(folder / "ref.npz", x=np.zeros(2, np.float32))
    with pytest.raises(UsageError, match="the model's outputs are y, but the reference gives nothing"):
        trtdsl.verify("scale.trtnet", outputs="ref.npz")

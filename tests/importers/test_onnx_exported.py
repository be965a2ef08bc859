"""ONNX files of PyTorch's exporter: the text of the module, unless the file says otherwise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.nn import functional as F

from tests.importers.exported import Exported
from trtdsl import elaborate_text
from trtdsl.importers.fx_calls import bound, parsed_call
from trtdsl.importers.onnx_file import read_model
from trtdsl.importers.onnx_import import import_onnx, import_onnx_program
from trtdsl.importers.onnx_inputs import Axes
from trtdsl.importers.onnx_lines import as_written
from trtdsl.importers.onnx_scopes import placed_calls
from trtdsl.importers.program import Call, Frame, Operation, Ref
from trtdsl.reference import run, to_numpy
from trtdsl.types import Symbol

DIMS = {
    "image": {"N": Symbol("N", 1, 2, 16)},
    "text": {"N": Symbol("N", 1, 2, 16), "S": Symbol("S", 2, 8, 64)},
    "windows": {"N": Symbol("N", 1, 2, 16)},
    "spelled": {"N": Symbol("N", 1, 2, 16)},
    "recurrent": {"N": Symbol("N", 1, 2, 16)},
    "positions": {"N": Symbol("N", 1, 2, 16), "S": Symbol("S", 2, 8, 64)},
}


class Residual(nn.Module):
    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels // stride, channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.short = nn.Conv2d(channels // stride, channels, 1, stride) if stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm(self.conv(x)))
        return y + (x if self.short is None else self.short(x))


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Residual(8), Residual(8), Residual(16, 2))
        self.act = nn.Hardswish()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.act(self.layers(x))
        left, right = self.act(x).chunk(2, 1)
        mixed = torch.cat([left.roll(1, 2), F.pad(right, (1, 1, 0, 0))[:, :, :, 2:]], 1)
        wide = F.interpolate(mixed * 0.5, scale_factor=2.0, mode="bilinear")
        return self.fc(torch.flatten(self.pool(x), 1)), wide


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * (x * scale)


class Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.after = nn.MultiheadAttention(width, 2, batch_first=True)
        self.final = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        y = self.norm(x)
        query = self.query(y).view(batch, length, -1, 8).transpose(1, 2)
        key, value = self.key_value(y).view(batch, length, 2, -1, 8).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + y.transpose(1, 2).reshape(batch, length, -1)
        x = x + self.after(x, x, x, need_weights=False)[0]
        return F.gelu(self.final(x), approximate="tanh")


class Text(nn.Module):
    table: torch.Tensor
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        self.register_buffer("table", torch.randn(64, 16), persistent=False)
        self.register_buffer("scale", torch.rand(16))
        self.layers = nn.ModuleList(Layer(16) for _ in range(3))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) * self.scale.sqrt() + self.table[: ids.shape[1]]
        hidden = mask[:, None, None, :] > 0
        for layer in self.layers:
            x = layer(x, hidden)
        return x[:, 0]


class Standardised(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(input, weight.reshape_as(self.weight), self.bias, self.stride, self.padding)


class Blur(nn.Module):
    kernel: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.rand(channels, 1, 3, 3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel, stride=2, groups=x.shape[1])


class Windows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Standardised(8, 8, 3, padding=1)
        self.blur = Blur(8)
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        self.unfold = nn.Unfold(3, dilation=1, padding=1, stride=2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, channels, *_ = x.shape
        x = self.pool(self.blur(self.conv(x)))
        columns = self.unfold(x).reshape(batch, channels, -1, 4)
        rows = F.interpolate(x, size=(3, 4), mode="bilinear").transpose(1, 3)
        largest = rows.reshape(batch, -1, channels).max(1)[0]
        return columns, largest


class Positions(nn.Module):
    def forward(self, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        shown = (mask != 1).int()
        places = (torch.cumsum(shown, dim=1).type_as(shown) + 0) * shown
        hidden = (~mask.bool()).cumsum(1, dtype=torch.float32)
        return places, hidden / 4, mask * 0.5


class Spelled(nn.Module):
    """What the exporter writes as several operators, or under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 8)
        self.groups = nn.GroupNorm(4, 8, affine=False)
        self.bias = nn.Parameter(torch.randn(8, 5))
        self.places = nn.Buffer(torch.tensor([[0, 3, 1], [4, 4, 2]]))
        self.query = nn.Parameter(torch.randn(1, 8, 2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(x) + self.groups(x)
        products = torch.einsum("b c h w, b c q -> b q h w", x, self.query.repeat(x.shape[0], 1, 1))
        return products, self.bias[:, self.places] * 2


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 4, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 5, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, (_, cell) = self.lstm(x)
        z, last = self.gru(y.transpose(0, 1))
        return z * last, cell.relu()


def recurrent() -> tuple[nn.Module, tuple[Any, ...], Any]:
    return Recurrent().eval(), (torch.randn(2, 7, 6),), ({0: "N"},)


def windows() -> tuple[nn.Module, tuple[Any, ...], Any]:
    return Windows().eval(), (torch.randn(2, 8, 12, 16),), ({0: "N"},)


def spelled() -> tuple[nn.Module, tuple[Any, ...], Any]:
    return Spelled().eval(), (torch.randn(2, 8, 6, 4),), ({0: "N"},)


def positions() -> tuple[nn.Module, tuple[Any, ...], Any]:
    return Positions().eval(), (torch.ones(2, 7, dtype=torch.int64),), ({0: "N", 1: "S"},)


def image() -> tuple[nn.Module, tuple[Any, ...], Any]:
    return Image().eval(), (torch.randn(2, 8, 12, 16),), ({0: "N"},)


def text() -> tuple[nn.Module, tuple[Any, ...], Any]:
    ids, mask = torch.ones(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)
    return Text().eval(), (ids, mask), ({0: "N", 1: "S"}, {0: "N", 1: "S"})


Files = Callable[[str], Exported]
"""The module of a name as a file."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Exports a module when it is first asked for."""
    makers = {make.__name__: make for make in (image, text, windows, positions, recurrent, spelled)}
    return cache(lambda name: Exported(makers[name], tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize("name", ["image", "text", "windows", "positions", "recurrent", "spelled"])
def test_a_file_gives_the_text_of_the_module(exported: Files, name: str) -> None:
    each = exported(name)
    found = import_onnx(each.path(), DIMS[name], name="net")
    assert found.text == each.wanted.text
    state = each.module.state_dict()
    for key, array in each.wanted.weights.items():
        assert np.array_equal(found.weights[key], np.asarray(array))
        assert np.array_equal(found.weights[key], state[key].numpy())


def test_an_optimized_file_has_the_keys_of_the_state_dict(exported: Files) -> None:
    each = exported("text")
    found = import_onnx(each.path(is_optimized=True), DIMS["text"], name="net")
    state = each.module.state_dict()
    weights = {key for key in found.weights if not key.startswith("table")}
    assert weights == {key for key in state if key != "scale"}  # whose root the exporter has computed
    for key in weights:
        assert np.array_equal(found.weights[key], state[key].numpy())


def test_torch_is_not_imported(exported: Files) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from trtdsl.importers.onnx_import import import_onnx\n"
        "from trtdsl.types import Symbol\n"
        "dims = {'N': Symbol('N', 1, 2, 16), 'S': Symbol('S', 2, 8, 64)}\n"
        "print(import_onnx(sys.argv[1], dims, name='net').text, end='')\n"
    )
    command = [sys.executable, "-c", script, str(exported("text").path())]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == exported("text").wanted.text


# --- Files that were edited -------------------------------------------------------------------------------


def call_of(node: Any) -> str:
    return next((each.value for each in node.metadata_props if each.key.endswith("fx_node")), "")


def last_of(model: Any, call: str) -> Any:
    """The node that gives what a call gives."""
    return [node for node in model.graph.node if call_of(node).startswith(f"%{call} ")][-1]


def attribute(node: Any, name: str) -> Any:
    return next(each for each in node.attribute if each.name == name)


def turn_otherwise(model: Any) -> None:
    attribute(last_of(model, "permute"), "perm").ints[:] = [3, 0, 2, 1, 4]


def normalise_less(model: Any) -> None:
    attribute(last_of(model, "layer_norm"), "epsilon").f = 0.25


def scale_attention(model: Any) -> None:
    product = [node for node in model.graph.node if "%scaled_dot_product_attention_1 " in call_of(node)]
    mul = next(node for node in product if node.op_type == "Mul")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "other_scale"))
    mul.input[1] = "other_scale"


def leave_out(model: Any) -> None:
    gelu = last_of(model, "gelu")
    for node in model.graph.node:
        node.input[:] = [gelu.input[0] if each == gelu.output[0] else each for each in node.input]


def negate(model: Any) -> None:
    place = next(n for n, node in enumerate(model.graph.node) if node.output[0] == "linear")
    model.graph.node[place].output[0] = "negated"
    model.graph.node.insert(place + 1, onnx.helper.make_node("Neg", ["negated"], ["linear"]))


def lie(model: Any) -> None:
    for node in model.graph.node:
        for each in node.metadata_props:
            each.value = each.value.replace("(%view, 1, 2)", "(%view, 1, 3)")


@pytest.mark.parametrize(
    ("edit", "is_in", "is_gone"),
    [
        (turn_otherwise, "dims2 = ", "for i in range(3)"),
        (normalise_less, "eps = 0.25", "for i in range(3)"),
        (scale_attention, "block MultiheadAttention2", "for i in range(3)"),
        (leave_out, "if with_gelu", "for i in range(3)"),
        (negate, "block Layer3", "for i in range(3)"),
        (lie, "permute(0, 2, 1, 3)", "transpose(1, 3)"),
    ],
)
def test_the_operators_decide(exported: Files, edit: Callable[[Any], None], is_in: str, is_gone: str) -> None:
    model = exported("text").read()
    edit(model)
    found = import_onnx_program(*read_model(model, "net", Axes(DIMS["text"])))
    assert is_in in found.text and is_in not in exported("text").wanted.text
    assert is_gone not in found.text
    ids = np.arange(18).reshape(3, 6)
    mask = np.ones((3, 6), np.int64)
    mask[1, 4:] = 0
    (wanted,) = ReferenceEvaluator(model).run(None, {"ids": ids, "mask": mask})
    (computed,) = run(elaborate_text(found.text), {"ids": ids, "mask": mask}, found.constants).values()
    assert np.allclose(to_numpy(computed), wanted, atol=1e-5)


def test_other_values_of_weights_are_the_files(exported: Files) -> None:
    model = exported("image").read()
    weight = next(each for each in model.graph.initializer if each.name == "fc.weight")
    weight.CopyFrom(numpy_helper.from_array(np.full((5, 16), 2.0, np.float32), "fc.weight"))
    found = import_onnx_program(*read_model(model, "net", Axes(DIMS["image"])))
    assert found.text == exported("image").wanted.text
    assert (found.constants["fc.weight"] == 2).all()


def test_without_metadata_it_is_read_by_its_operators(exported: Files) -> None:
    model = exported("image").read()
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    found = import_onnx_program(*read_model(model, "net", Axes(DIMS["image"]))).text
    assert "layers.0.conv: Conv2d(8, 3, padding = 1, bias = false)" in found


# --- What a file says otherwise than the module -----------------------------------------------------------


def at(path: str, kind: str, file: str) -> Operation:
    frames = (Frame("/site/timm/models/net.py", 9, "forward"), Frame(f"/site/{file}", 5, "forward"))
    return Operation(
        "relu", {"self": Ref("x")}, ("y",), (Call("", "timm.models.net.Net"), Call(path, kind)), frames
    )


def test_an_operation_is_not_in_a_call_whose_class_it_did_not_run_in() -> None:
    kind = "timm.layers.linear.Linear"
    inside, outside = at("fc", kind, "timm/layers/linear.py"), at("fc", kind, "torch/nn/modules/flatten.py")
    found = placed_calls([outside, inside])
    assert [[call.path for call in each.calls] for each in found] == [[""], ["", "fc"]]
    inherited = at("fc", "timm.layers.linear.Own", "torch/nn/modules/linear.py")
    assert placed_calls([inherited]) == (inherited,)


@pytest.mark.parametrize(
    ("line", "sizes", "found"),
    [
        ("x = x.reshape(batch, -1, 4)", ("N", 6, 4), ("N", -1, 4)),
        ("x = x.view((batch, width, -1)).relu()", ("N", 6, 4), ("N", 6, -1)),
        ("return torch.reshape(x, [*x.shape[:2], -1])", ("N", 6, 4), ("N", 6, -1)),
        ("x = x.reshape(-1, *shape)", ("N", 6, 4), (-1, 6, 4)),
        ("x = x.reshape(batch, -1, 5)", ("N", 6, 4), None),
        ("x = x.reshape(batch, -1)", ("N", 6, 4), None),
        ("x = x.reshape(batch, width, 4)", ("N", 6, 4), None),
        ("x = x.reshape(a, 6, -1).mT.reshape(a, -1, 4)", ("N", 6, 4), None),
        ("x = x.reshape(batch,", ("N", 6, 4), None),
    ],
)
def test_a_size_is_left_open_as_on_its_line(line: str, sizes: tuple[Any, ...], found: Any) -> None:
    shape = tuple(Symbol("N", 1, 2, 16) if each == "N" else each for each in sizes)
    frames = (Frame("net.py", 3, "forward", line),)
    operation = Operation("view", {"self": Ref("x"), "size": shape}, ("y",), (), frames)
    written = as_written(operation, {}).arguments["size"]
    assert isinstance(written, tuple)
    assert tuple("N" if isinstance(each, Symbol) else each for each in written) == (found or sizes)


# --- Calls as text ----------------------------------------------------------------------------------------


def test_a_call_is_read() -> None:
    line = (
        "%mean : [num_users=1] = call_function[target=torch.ops.aten.mean.dim]"
        "(args = (%relu, [-1, -2], True), kwargs = {dtype: torch.float16})"
    )
    call = parsed_call(line)
    assert call and call.name == "mean" and call.target == "mean.dim" and call.is_tensor
    given = bound(call)
    assert given and list(given) == ["self", "dim", "keepdim", "dtype"]
    assert given["dim"] == (-1, -2) and given["keepdim"] is True and str(given["dtype"]) == "float16"
    equation = (
        "call_function[target=torch.ops.aten.einsum.default](args = (bi,ij->bj, [%x, %w]), kwargs = {})"
    )
    call = parsed_call(f"%e : [num_users=1] = {equation}")
    assert call and (bound(call) or {})["equation"] == "bi,ij->bj"


@pytest.mark.parametrize("line", ["", "x", "%x : = call_function[target=f](args = (", "%x : placeholder"])
def test_what_is_not_a_call_is_none(line: str) -> None:
    assert parsed_call(line) is None


def test_schemas_are_those_of_torch() -> None:
    path = Path(__file__).parents[2] / "trtdsl" / "importers" / "aten_schemas.txt"
    for line in path.read_text().splitlines():
        base, _, overload = line.partition("(")[0].partition(".")
        schema = torch._C._get_schema(f"aten::{base}", overload)  # pyright: ignore[reportPrivateUsage]
        parts: list[str] = []
        for argument in schema.arguments:
            if argument.kwarg_only and "*" not in parts:
                parts.append("*")
            has_default = argument.has_default_value()
            parts.append(f"{argument.name}={argument.default_value!r}" if has_default else argument.name)
        assert line == f"{base}{f'.{overload}' if overload else ''}({', '.join(parts)})"

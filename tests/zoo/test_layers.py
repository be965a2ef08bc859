"""Examples lower to the layers that TensorRT's own ONNX parser makes of PyTorch's export, or to fewer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.zoo_entries import BATCH, Entry
from tests.zoo.entries import BY_NAME, original
from trtdsl import lower, optimize
from trtdsl.compile import check_file
from trtdsl.options import CheckOptions
from trtdsl.trt.dialect import Dialect, load_runtime

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SAME = ("resnet18", "squeezenet1_1", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x1_0", "googlenet")
FEWER = ("alexnet", "densenet121")
"""A pooling from 6 x 6 to 6 x 6 is left out; a batch norm that no convolution takes in is one layer."""


@pytest.mark.parametrize("name", SAME)
def test_the_layers_are_those_of_the_onnx_route_in_its_order(name: str, tmp_path: Path) -> None:
    ours, theirs = layers_both_ways(name, tmp_path)
    assert ours == theirs


@pytest.mark.parametrize("name", FEWER)
def test_no_layer_is_more_than_the_onnx_route_has(name: str, tmp_path: Path) -> None:
    ours, theirs = layers_both_ways(name, tmp_path)
    assert len(ours) < len(theirs)
    more = Counter(ours) - Counter(theirs)
    assert {kind for kind, _ in more} <= {"SCALE"}


def test_each_layer_of_repvgg_is_one_convolution(tmp_path: Path) -> None:
    """Of the three branches that were trained."""
    example = BY_NAME["repvgg_a0"]
    torch.save(original(example).state_dict(), tmp_path / "state.pth")
    checked = check_file(example.path, tmp_path / "state.pth", CheckOptions(model=example.model))
    left = Counter(node.op.name for node in optimize(checked.graph).nodes)
    assert left == {"Conv2d": 22, "relu": 22, "adaptive_avg_pool2d": 1, "flatten": 1, "Linear": 1}


def layers_both_ways(name: str, folder: Path) -> tuple[list[Any], list[Any]]:
    example = BY_NAME[name]
    module = original(example).eval()
    for key, parameter in module.named_parameters():
        if key.endswith(".bias"):  # new ones may be 0, which is not added
            torch.nn.init.normal_(parameter)
    torch.save(module.state_dict(), folder / "state.pth")
    options = CheckOptions(model=example.model, defines=example.defines)
    checked = check_file(example.path, folder / "state.pth", options)
    dialect = load_runtime("tensorrt_rtx")
    lowered = lower(optimize(checked.graph), dialect)
    builder = dialect.create_builder()
    parsed = dialect.create_network(builder)
    parser = dialect.trt.OnnxParser(parsed, dialect.log.logger)
    assert parser.parse(export(example, module, folder)), parser.get_error(0)
    return computing_layers(lowered.network, dialect), computing_layers(parsed, dialect)


def export(example: Entry, module: torch.nn.Module, folder: Path) -> bytes:
    ((name, image),) = example.inputs.items()
    torch.onnx.export(
        module,
        (torch.randn(image.at({BATCH: 2})),),
        folder / "model.onnx",
        input_names=[name],
        dynamic_axes={name: {0: BATCH}},
        opset_version=17,
        dynamo=False,
    )
    return (folder / "model.onnx").read_bytes()


def computing_layers(network: Any, dialect: Dialect) -> list[tuple[str, tuple[int, ...]]]:
    """Kind and shape, less the batch, of what computes numbers of rank 2 and more.

    Constants, the arithmetic of shapes, and reshapes, which compute nothing, are left out.
    """
    found: list[tuple[str, tuple[int, ...]]] = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        output = layer.get_output(0)
        computes = output.dtype == dialect.trt.float32 and len(output.shape) > 1
        if computes and layer.type.name not in ("CONSTANT", "SHUFFLE"):
            found.append((layer.type.name, tuple(output.shape)[1:]))
    return found

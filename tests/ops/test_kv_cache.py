"""A cache that is updated in place: what is written where, and what it takes of a model."""

from __future__ import annotations

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ops.kv_cache import KVCacheUpdate
from trtdsl.ops.pointwise import Mul
from trtdsl.passes import convert_precision
from trtdsl.trt.lower import lower
from trtdsl.types import DType


def test_writes_each_sequence_at_its_own_place() -> None:
    cache = torch.zeros(3, 1, 4, 1)
    update = torch.tensor([1.0, 2.0]).reshape(1, 1, 2, 1).expand(3, 1, 2, 1).contiguous()
    (found,) = check_equals_torch(KVCacheUpdate(), cache, update, torch.tensor([0, 2, 1], dtype=torch.int32))
    assert found.reshape(3, 4).tolist() == [[1, 2, 0, 0], [0, 0, 1, 2], [0, 1, 2, 0]]


@pytest.mark.parametrize("first", [-3, -1, 0, 2, 3, 4, 9])
def test_writes_nothing_beside_the_cache(first: int) -> None:
    cache, update = torch.randn(1, 2, 4, 3), torch.randn(1, 2, 2, 3)
    check_equals_torch(KVCacheUpdate(), cache, update, torch.tensor([first], dtype=torch.int32))


TEXT = """model m {{
  dim N = 1 .. 2 .. 4
  input cache: float32[N, 2, 16, 8]
  input new: float32[N, 2, 1, 8]
  input at: int32[N]
  {body}
}}"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("output y = kv_cache_update(cache * 1.5, new, at)", "which is not an input of the model"),
        ("output y = kv_cache_update(cache, new, at) * 2", "must be an output of the model"),
        (
            "output y = kv_cache_update(cache, new, at)  output z = kv_cache_update(cache, new * 2, at)",
            "`cache` is written into twice",
        ),
    ],
)
def test_writes_from_an_input_to_an_output(body: str, message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        elaborate_text(TEXT.format(body=body))
    (diagnostic,) = error.value.diagnostics
    assert message in diagnostic.message
    assert diagnostic.span is not None and diagnostic.span.text == "kv_cache_update"


@pytest.mark.parametrize("release", ["8.5.3", "10.13"])
def test_a_release_without_it_says_which_have_it(release: str) -> None:
    graph = elaborate_text(TEXT.format(body="output y = kv_cache_update(cache, new, at)"))
    with pytest.raises(DiagnosticError) as error:
        lower(graph, RecordingDialect(facts(release)))
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.message == "no cache is updated in place before TensorRT 10.15"
    assert "tensorrt_rtx or tensorrt 11" in diagnostic.help[0]


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (["float32[2, 3, 4]", "float32[2, 3, 1, 5]", "int32[2]"], "needs a tensor of rank 4, not 3"),
        (["int32[2, 3, 4, 5]", "int32[2, 3, 1, 5]", "int32[2]"], "needs a floating-point tensor"),
        (["float32[2, 3, 4, 5]", "float16[2, 3, 1, 5]", "int32[2]"], "cannot take float16"),
        (["float32[2, 3, 4, 5]", "float32[2, 2, 1, 5]", "int32[2]"], "differ in dimension 1"),
        (["float32[2, 3, 4, 5]", "float32[2, 3, 5, 5]", "int32[2]"], "does not fit into"),
        (["float32[2, 3, 4, 5]", "float32[2, 3, 1, 5]", "int64[2]"], "must be int32, not int64"),
        (["float32[2, 3, 4, 5]", "float32[2, 3, 1, 5]", "int32[3]"], "must be int32[2], not int32[3]"),
        (["float32[2, 3, 4, 5]", "float32[2, 3, 1, 5]", "int32[]"], "must be int32[2], not int32[]"),
    ],
)
def test_refuses(types: list[str], message: str) -> None:
    assert message in refused(KVCacheUpdate(), *map(t, types))


def test_a_precision_leaves_the_cache_as_it_is() -> None:
    body = "output y = kv_cache_update(cache, new * 2, at)  output s = (y * 0.5) -> sum(-1)"
    graph = convert_precision(DType.FLOAT16)(elaborate_text(TEXT.format(body=body)))
    (update,) = (node for node in graph.nodes if node.op.in_place)
    assert update.operands[0] is graph.inputs[0]
    assert [output.value.type.dtype for output in graph.outputs] == [DType.FLOAT32, DType.FLOAT32]
    assert graph.outputs[0].value is update.result
    assert (
        sum(isinstance(node.op, Mul) and node.result.type.dtype is DType.FLOAT16 for node in graph.nodes) == 2
    )
    assert convert_precision(DType.FLOAT16)(graph) is graph
    lower(graph)

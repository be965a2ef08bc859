"""One operator on given values: what PyTorch computes, and what its TensorRT layers compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.closeness import expected, require_outputs
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Node, Output, Value, Weight
from trtdsl.ops.base import Op
from trtdsl.ops.refused import Refused
from trtdsl.reference import to_numpy, type_of
from trtdsl.trt.lower import lower
from trtdsl.types import DType, TensorType


def check_equals_torch(
    op: Op, *operands: Any, weights: dict[str, Any] | None = None
) -> tuple[torch.Tensor, ...]:
    """Hold what the lowered operator computes against PyTorch, and return it.

    An operand is a torch tensor (or what becomes one), a list of them, or None where it is absent.
    """
    graph, inputs = _graph(op, operands, weights or {})
    lowered = lower(graph)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), op.tolerance)
    return tuple(found.values())


def _graph(
    op: Op, operands: tuple[Any, ...], weights: dict[str, Any]
) -> tuple[Graph, dict[str, torch.Tensor]]:
    pairs: list[tuple[str, Value]] = []
    given: dict[str, torch.Tensor] = {}
    for operand, values in zip(op.operands, operands, strict=False):
        for single in values if isinstance(values, list) else [values]:
            if single is None:
                continue
            tensor = torch.as_tensor(single)
            value = Value(f"x{len(given)}", type_of(tensor))
            given[value.name] = tensor
            pairs.append((operand.name, value))
    inputs = tuple(value for _, value in pairs)
    for name, weight in weights.items():
        tensor = torch.as_tensor(weight)
        pairs.append((name, Weight(name, type_of(tensor), name, to_numpy(tensor))))
    node = Node(op, tuple(v for _, v in pairs), tuple(s for s, _ in pairs), (), "op")
    results = tuple(Value(f"y{index}", type) for index, type in enumerate(node.infer()))
    node = Node(op, node.operands, node.slots, results, "op")
    outputs = tuple(Output(f"out{index}", value) for index, value in enumerate(results))
    return Graph("one", inputs, (node,), outputs), given


def refused(op: Op, *types: TensorType | None) -> str:
    """What the operator says in refusing operands of these types."""
    named = {
        operand.name: type for operand, type in zip(op.operands, types, strict=False) if type is not None
    }
    with pytest.raises(Refused) as info:
        op.infer(**named)
    return info.value.message


def t(text: str) -> TensorType:
    """The type ``float32[2, 3]``, its dimensions plain numbers."""
    dtype, _, shape = text.rstrip("]").partition("[")
    return TensorType(DType(dtype), tuple(int(size) for size in shape.split(",") if size))

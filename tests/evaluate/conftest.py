"""A small bench: add inputs with values, build layers with the real TensorRT API, evaluate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from trtdsl.evaluate import evaluate

_LOGGER = trt.Logger(trt.Logger.INTERNAL_ERROR)


class Bench:
    """A network under construction and the values of its inputs."""

    def __init__(self) -> None:
        self.builder = trt.Builder(_LOGGER)
        self.net = self.builder.create_network()
        self.values: dict[str, Any] = {}

    def input(self, value: Any, dtype: Any = None, shape: tuple[int, ...] | None = None) -> Any:
        """A network input; ``shape`` may hold -1 where ``value`` decides."""
        array = torch.as_tensor(np.asarray(value)) if not isinstance(value, torch.Tensor) else value
        if array.dtype == torch.float64:
            array = array.float()
        kinds = {
            torch.float32: trt.float32,
            torch.float16: trt.float16,
            torch.bfloat16: trt.bfloat16,
            torch.int32: trt.int32,
            torch.int64: trt.int64,
            torch.int8: trt.int8,
            torch.bool: trt.bool,
        }
        name = f"in{len(self.values)}"
        self.values[name] = array
        return self.net.add_input(name, dtype or kinds[array.dtype], shape or tuple(array.shape))

    def constant(self, value: Any, dtype: Any = np.float32) -> Any:
        """The output of a constant layer."""
        array = np.ascontiguousarray(np.asarray(value, dtype))
        shape = np.shape(value)
        return self.net.add_constant(shape, trt.Weights(array)).get_output(0)

    def evaluate(self, *wanted: Any, **options: Any) -> list[torch.Tensor]:
        """The values of layers' first outputs or of tensors."""
        tensors = [each if isinstance(each, trt.ITensor) else each.get_output(0) for each in wanted]
        names = [tensor.name for tensor in tensors]
        results = evaluate(self.net, self.values, outputs=names, **options)
        return [results[name] for name in names]

    def value(self, wanted: Any, **options: Any) -> torch.Tensor:
        return self.evaluate(wanted, **options)[0]


@pytest.fixture
def bench() -> Bench:
    return Bench()

"""TensorRT's own entropy calibrator, for the ONNX route in int8, over arrays of numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trtdsl.runtime import cuda


def entropy_calibrator(trt: Any, data: Mapping[str, Any], batch: int) -> Any:
    """An ``IInt8EntropyCalibrator2`` that gives the samples of ``data`` in order, ``batch`` at a time.

    Samples are along the first dimension; a last batch that is not full is left out, for the calibrator runs
    one shape only.
    """

    class Calibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self) -> None:
            super().__init__()
            self._done = 0
            self._memory: dict[str, cuda.DeviceArray] = {}

        def get_batch_size(self) -> int:
            return batch

        def get_batch(self, names: list[str]) -> list[int] | None:
            parts = {
                name: np.ascontiguousarray(data[name][self._done : self._done + batch]) for name in names
            }
            if any(len(part) < batch for part in parts.values()):
                return None
            self._done += batch
            for name, part in parts.items():
                if name not in self._memory:
                    self._memory[name] = cuda.DeviceArray.empty(part.shape, part.dtype)
                cuda.copy_to_device(self._memory[name].pointer, part, 0)
            cuda.call("cudaDeviceSynchronize")
            return [self._memory[name].pointer for name in names]

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            pass

    return Calibrator()

"""What the checks of :mod:`gpu_engine` work with: two engines, their inputs, and what they must give."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import trtdsl
from trtdsl.compile import compile_graph
from trtdsl.diagnostics import DiagnosticError
from trtdsl.options import CompileOptions
from trtdsl.runtime import cuda
from trtdsl.runtime.engine import Engine

MODEL = """\
model gram() {
  dim N = 1 .. 4 .. 512
  profile single { N = 1 .. 1 .. 1 }
  input x: float32[N, 2048]
  input keep: bool[N, 1]
  input shift: int32[1]
  product = matmul(x, transpose(x, 0, 1))
  output y = where(keep, product, 0.0)
  output scaled = to(x * 0.5, float16)
  output moved = shift + 1
}
"""
OTHER = """\
model other() {
  input x: float32[2, 2048]
  input stream: float32[2]
  output y = relu(x) + unsqueeze(stream, 1)
}
"""
SIZES = (4, 1, 512, 2, 512, 1)
"""In this order memory grows, is used again, and the profile changes both ways."""


class Bench:
    """The two engines."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self.folder = folder
        self.path, self.other = folder / "gram.engine", folder / "other.engine"
        for path, text in ((self.path, MODEL), (self.other, OTHER)):
            path.with_suffix(".trtnet").write_text(text)
            compile_graph(trtdsl.elaborate_text(text), path, CompileOptions(runtime=runtime, tf32=False))
        self.engine = Engine.load(self.path)
        self.runtime = self.engine.dialect.name

    def command(self, code: int, *arguments: object) -> str:
        """What `trtdsl` prints; it must end with this exit code."""
        line = [sys.executable, "-m", "trtdsl", *map(str, arguments)]
        found = subprocess.run(line, capture_output=True, text=True, check=False)
        if found.returncode != code:
            raise AssertionError(f"exit code {found.returncode}: {found.stdout}{found.stderr}")
        return found.stdout + found.stderr


class NotHere(Exception):
    """What this machine lacks for a check."""


def inputs_of(count: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng([count, seed])
    return {
        "x": random.standard_normal((count, 2048), dtype=np.float32),
        "keep": random.random((count, 1)) < 0.7,
        "shift": np.array([seed], np.int32),
    }


def expected(inputs: dict[str, Any]) -> dict[str, Any]:
    x = inputs["x"].astype(np.float64)
    y = np.where(inputs["keep"], x @ x.T, 0)
    return {"y": y, "scaled": (inputs["x"] * 0.5).astype(np.float16), "moved": inputs["shift"] + 1}


def require_equal(found: Any, inputs: dict[str, Any]) -> None:
    wanted = expected(inputs)
    assert {*found} == {*wanted}
    assert found["y"].dtype == np.float32 and found["scaled"].dtype == np.float16
    for name, right in wanted.items():
        assert found[name].shape == right.shape, name
    # The rounding of sums of 2048 products; of the others nothing is rounded.
    error = np.linalg.norm(found["y"] - wanted["y"]) / max(np.linalg.norm(wanted["y"]), 1e-30)
    assert error < 1e-5, f"relative L2 {error:.1e}"
    np.testing.assert_array_equal(found["scaled"], wanted["scaled"])
    np.testing.assert_array_equal(found["moved"], wanted["moved"])


def on_gpu(inputs: dict[str, Any]) -> dict[str, cuda.DeviceArray]:
    arrays = {name: cuda.DeviceArray.empty(array.shape, array.dtype) for name, array in inputs.items()}
    for name, array in inputs.items():
        cuda.copy_to_device(arrays[name].pointer, array, 0)
    cuda.call("cudaDeviceSynchronize")
    return arrays


def from_gpu(outputs: Any) -> dict[str, Any]:
    return {name: output.numpy() for name, output in outputs.items()}


@contextmanager
def refused(*words: str) -> Generator[None]:
    """The block must raise a diagnostic with these words."""
    try:
        yield
    except DiagnosticError as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"{missing} not in: {error}"
    else:
        raise AssertionError("nothing was refused")


@dataclasses.dataclass
class Interface:
    """An array of a library that has nothing but ``__cuda_array_interface__``."""

    array: cuda.DeviceArray
    changes: dict[str, Any]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.array.__cuda_array_interface__ | self.changes

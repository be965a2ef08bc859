"""The same models quantised by others, to compare with: ONNX Runtime, and NVIDIA's ModelOpt where it is.

Both take the ONNX file that PyTorch's exporter writes. What they make is computed by ONNX Runtime without
its optimisations, so that Q and DQ are what they are in the file.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from precision_models import Arrays, Subject

MODELOPT = """
import sys
import numpy as np
from modelopt.onnx.quantization import quantize
source, data, method, mode, target = sys.argv[1:]
quantize(source, quantize_mode=mode, calibration_data=dict(np.load(data)), calibration_method=method,
         output_path=target, high_precision_dtype="fp32", calibration_eps=["cpu"])
"""
SECONDS = 900


def exported(subject: Subject, path: Path) -> Path:
    """The module's ONNX file, with any number of samples."""
    names = list(subject.inputs)
    arguments = tuple(torch.from_numpy(subject.calibration[name][:2]) for name in names)
    batch = torch.export.Dim("N", min=1, max=1024)
    program: Any = torch.onnx.export(
        subject.module,
        arguments,
        input_names=names,
        dynamic_shapes=tuple({0: batch} for _ in names),
        dynamo=True,
        verbose=False,
    )
    program.save(path)
    return path


def outputs(path: Path, data: Arrays) -> list[torch.Tensor]:
    """What a file computes, in parts of 64 samples."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    count = len(next(iter(data.values())))
    names = [each.name for each in session.get_inputs()]
    parts: list[list[Any]] = []
    for start in range(0, count, 64):
        batch = {name: data[name][start : start + 64] for name in names}
        parts.append(session.run(None, batch))
    return [torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True)]


class _Reader:
    """ONNX Runtime asks for one sample after the other."""

    def __init__(self, data: Arrays) -> None:
        count = len(next(iter(data.values())))
        self._rows = iter([{name: array[i : i + 1] for name, array in data.items()} for i in range(count)])

    def get_next(self) -> Any:
        return next(self._rows, None)


ONNXRUNTIME: dict[str, dict[str, Any]] = {
    "ONNX Runtime, default": {"per_channel": False, "symmetric": False, "linear": False},
    "ONNX Runtime, per channel, linear operators only": {
        "per_channel": True,
        "symmetric": False,
        "linear": True,
    },
    "ONNX Runtime, as TensorRT takes it": {"per_channel": True, "symmetric": True, "linear": False},
    "ONNX Runtime, as TensorRT takes it, linear operators only": {
        "per_channel": True,
        "symmetric": True,
        "linear": True,
    },
}


def by_onnxruntime(subject: Subject, source: Path, name: str) -> tuple[Path, float]:
    """The quantised file and the seconds that it took."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    chosen = ONNXRUNTIME[name]
    target = source.with_name("onnxruntime.onnx")
    begin = time.perf_counter()
    quantize_static(
        str(source),
        str(target),
        _Reader(subject.calibration),  # pyright: ignore[reportArgumentType]
        quant_format=QuantFormat.QDQ,
        per_channel=chosen["per_channel"],
        activation_type=QuantType.QInt8 if chosen["symmetric"] else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"] if chosen["linear"] else None,
        extra_options={"ActivationSymmetric": chosen["symmetric"], "WeightSymmetric": True},
    )
    return target, time.perf_counter() - begin


def by_modelopt(subject: Subject, source: Path, python: str, method: str, mode: str) -> tuple[Path, float]:
    """The same by ModelOpt, in an interpreter of its own, whose dependencies are others."""
    data, target = source.with_name("calibration.npz"), source.with_name("modelopt.onnx")
    np.savez(data, **subject.calibration)  # pyright: ignore[reportArgumentType]
    begin = time.perf_counter()
    command = [python, "-c", MODELOPT, *map(str, (source, data, method, mode, target))]
    # It may build an extension where it runs, which setuptools refuses among the packages of this repository.
    subprocess.run(command, check=True, timeout=SECONDS, capture_output=True, cwd=source.parent)
    return target, time.perf_counter() - begin


def by_blocks(source: Path, block: int) -> tuple[Path, float]:
    """ONNX Runtime's weights of four bits in blocks, symmetric, as TensorRT takes them."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    target = source.with_name("blocks.onnx")
    begin = time.perf_counter()
    model = onnx.load(source)
    found = MatMulNBitsQuantizer(model, block_size=block, is_symmetric=True, accuracy_level=1)
    found.process()
    quantised: Any = found.model
    quantised.save_model_to_file(str(target))
    return target, time.perf_counter() - begin


def rivals(
    subject: Subject, folder: Path, python: str | None, asked: Callable[[str], bool]
) -> Iterator[tuple[str, str, list[torch.Tensor] | str, float]]:
    """Each rival's name and way with the outputs for the test's samples, or why there are none, and its
    seconds."""
    source = exported(subject, folder / "float.onnx")
    steps: list[tuple[str, str, Any]] = [
        (name, "", lambda name=name: by_onnxruntime(subject, source, name)) for name in ONNXRUNTIME
    ]
    for mode in ("int8", "fp8") if python and subject.name == "minilm" else ("int8",) if python else ():
        named = f"ModelOpt, {mode}, max"
        steps.append((named, "", lambda mode=mode: by_modelopt(subject, source, python or "", "max", mode)))
    if subject.name == "minilm":
        for block in (128, 32):
            way = f"int4 weights, blocks of {block}"
            steps.append(("ONNX Runtime", way, lambda block=block: by_blocks(source, block)))
        if python:
            way = "int4 weights, nearest"
            steps.append(("ModelOpt", way, lambda: by_modelopt(subject, source, python, "rtn_dq", "int4")))
    for name, way, step in steps:
        if not asked(way):
            continue
        try:
            path, seconds = step()
            yield name, way, outputs(path, subject.test), seconds
        except Exception as error:
            # A rival's failure is a row of the table; its last words say why.
            said = (
                error.stderr.decode().strip()
                if isinstance(error, subprocess.CalledProcessError)
                else str(error)
            )
            yield name, way, f"{type(error).__name__}: {(said.splitlines() or [''])[-1][:120]}", 0.0

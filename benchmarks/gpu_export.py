"""Scripts of `trtdsl export`, run where trtdsl is not: what their engines compute beside PyTorch.

    python3    benchmarks/gpu_export.py make DIR    # needs trtdsl and PyTorch, no GPU
    python3.10 benchmarks/gpu_export.py run DIR     # needs TensorRT, numpy and cuda-bindings, not trtdsl

`make` writes for each model a script for TensorRT 8.5 and later ones with its weights, and inputs with the
outputs that PyTorch computes in float64 (`NAME.data.npz`), all far below 64 MB. `run` runs each script as a
user does, with what stands after `--` added to its command line, and its engine once with these inputs; it
prints a table and writes `run.json`. `--models` names some of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LIMITS = {"float32": 1e-5, "float16": 1e-2, "int8": 5e-2}
"""Relative L2 error allowed; random networks have no sharper one for narrow types."""

ZOO = ("cnn", "mobilenet_v2", "resnet18")
SIZES: dict[str, dict[str, Any]] = {
    "encoder": {"vocabulary": 500, "width": 128, "depth": 4, "batch": 4, "length": 32},
    "choice": {},
    "lstm": {"vocabulary": 200, "hidden": 64},
    "scan": {"vocabulary": 200, "hidden": 64},
}
"""What the models of `tests/exporters` are given beside their own sizes."""
CASES = (
    *(("cnn", "float32"), ("cnn", "float16"), ("cnn", "int8"), ("mobilenet_v2", "float32")),
    *(("resnet18", "float16"), ("encoder", "float32"), ("encoder", "float16")),
    *(("choice", "float32"), ("lstm", "float32"), ("lstm", "float16"), ("scan", "float32")),
)


def make(folder: Path, names: set[str]) -> None:
    """Scripts, weights, inputs and outputs."""
    from trtdsl.exporters.script import export_graph
    from trtdsl.options import CompileOptions
    from trtdsl.recipe import Recipe

    folder.mkdir(parents=True, exist_ok=True)
    for name, precision in CASES:
        if names and name not in names:
            continue
        graph, inputs, outputs = from_zoo(name) if name in ZOO else from_tests(name)
        case = f"{name}_{precision}"
        np.savez(
            folder / f"{case}.data.npz",
            **{f"input.{key}": value for key, value in inputs.items()},
            **{f"output.{key}": value for key, value in outputs.items()},
        )
        options = CompileOptions(precision=None if precision == "float32" else precision)
        if precision == "int8":
            np.savez(folder / "calibration.npz", **inputs)
            options = CompileOptions(
                recipe=Recipe(precision="int8", calibrate=str(folder / "calibration.npz"))
            )
        exported = export_graph(graph, options, script=f"build_{case}.py", source=f"{name}.trtnet")
        (folder / f"build_{case}.py").write_text(exported.text, encoding="utf-8")
        (folder / f"build_{case}.npz").write_bytes(exported.archive())
        print(f"{case}: {exported.lowered.network.num_layers} layers", flush=True)


def from_zoo(name: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A model with its module's random weights, inputs, and the module's outputs."""
    import gpu_reference
    import torch
    from zoo_entries import read_zoo

    from trtdsl.elaborate import elaborate_file
    from trtdsl.weights import bind

    entry = read_zoo()[name]
    module = gpu_reference.make_module(entry, "cpu")
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    graph = elaborate_file(entry.path, model=entry.model, defines=entry.defines)
    tensors = gpu_reference.inputs_of(entry, 4, "cpu")
    with torch.inference_mode():
        y = gpu_reference.first(module.double()(*gpu_reference.cast(tensors, torch.float64)))
    inputs = dict(zip(entry.inputs, (x.numpy() for x in tensors), strict=True))
    return bind(graph, state).graph, inputs, {graph.outputs[0].name: y.numpy()}


def from_tests(name: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A model of the tests with random weights, inputs, and what PyTorch's functions make of them."""
    from tests.exporters.models import model
    from trtdsl.reference import random_inputs, run

    graph = model(name, **SIZES[name])
    inputs = random_inputs(graph, "opt", 0)
    if name == "encoder":
        inputs["padding"] = np.arange(32) > np.array([[31], [20], [9], [30]])
    wanted = run(graph, inputs, in_float64=True)
    # An index jumps where two numbers are near.
    kept = {key: value.numpy() for key, value in wanted.items() if value.is_floating_point()}
    return graph, inputs, kept


# On the GPU


def run_all(folder: Path, names: set[str], more: list[str]) -> bool:
    """Build and run every script that was made; whether all are right."""
    rows = []
    for script in sorted(folder.glob("build_*.py")):
        case = script.stem[len("build_") :]
        name, precision = case.rsplit("_", 1)
        if names and name not in names:
            continue
        row: dict[str, Any] = {"case": case, "limit": LIMITS[precision]}
        start = time.time()
        try:
            engine = folder / f"{case}.engine"
            subprocess.run([sys.executable, script, "-o", engine, *more], check=True)
            row["seconds"] = round(time.time() - start, 1)
            row["errors"] = errors_of(engine, folder / f"{case}.data.npz")
            row["right"] = max(row["errors"].values()) <= row["limit"]
        except Exception as error:
            traceback.print_exc()
            row |= {"right": False, "failed": f"{type(error).__name__}: {error}"[:300]}
        rows.append(row)
        (folder / "run.json").write_text(json.dumps(rows, indent=1))
        print(json.dumps(row), flush=True)
    for row in rows:
        found = row.get("failed") or ", ".join(f"{key} {value:.1e}" for key, value in row["errors"].items())
        print(
            f"| {row['case']} | {'right' if row['right'] else 'WRONG'} | {row.get('seconds')} s | {found} |"
        )
    return all(row["right"] for row in rows)


def errors_of(engine: Path, data: Path) -> dict[str, float]:
    """The relative L2 error of each output."""
    with np.load(data) as arrays:
        inputs = {key[len("input.") :]: arrays[key] for key in arrays if key.startswith("input.")}
        wanted = {key[len("output.") :]: arrays[key] for key in arrays if key.startswith("output.")}
    found = run_engine(engine.read_bytes(), inputs)
    errors = {}
    for key, array in wanted.items():
        assert found[key].shape == array.shape, (key, found[key].shape, array.shape)
        difference = found[key].astype(np.float64) - array
        errors[key] = float(np.linalg.norm(difference) / max(np.linalg.norm(array), 1e-30))
    return errors


def run_engine(data: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
    """One run of an engine by TensorRT's API alone."""
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    trt.init_libnvinfer_plugins(logger, "")
    engine = trt.Runtime(logger).deserialize_cuda_engine(data)
    context = engine.create_execution_context()
    memory, outputs = [], {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            # Of 64-bit integers, as TensorRT 8 has none.
            dtype = _DTYPES[engine.get_tensor_dtype(name).name]
            inputs[name] = np.ascontiguousarray(inputs[name], dtype)
            context.set_input_shape(name, inputs[name].shape)
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = _DTYPES[engine.get_tensor_dtype(name).name]
        array = inputs.get(name)
        if array is None:
            array = outputs[name] = np.zeros(tuple(context.get_tensor_shape(name)), dtype)
        pointer = cuda("cudaMalloc", max(array.nbytes, 1))
        memory.append((pointer, array))
        cuda("cudaMemcpy", pointer, array.ctypes.data, array.nbytes, _kind("HostToDevice"))
        context.set_tensor_address(name, int(pointer))
    stream = cuda("cudaStreamCreate")
    assert context.execute_async_v3(int(stream))
    cuda("cudaStreamSynchronize", stream)
    for pointer, array in memory:
        cuda("cudaMemcpy", array.ctypes.data, pointer, array.nbytes, _kind("DeviceToHost"))
        cuda("cudaFree", pointer)
    del context
    return outputs


_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
    "INT8": np.int8,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}


def cuda(name: str, *arguments: Any) -> Any:
    """A function of the CUDA runtime; its result."""
    from cuda.bindings import runtime

    error, *results = getattr(runtime, name)(*arguments)
    if int(error):
        raise RuntimeError(f"{name}: {error}")
    return results[0] if results else None


def _kind(name: str) -> Any:
    from cuda.bindings import runtime

    return getattr(runtime.cudaMemcpyKind, f"cudaMemcpy{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("make", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", default="", help="some, by commas")
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options, more = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    names = {name for name in options.models.split(",") if name}
    if options.what == "make":
        make(options.folder, names)
    elif not run_all(options.folder, names, more):
        sys.exit(1)


if __name__ == "__main__":
    main()

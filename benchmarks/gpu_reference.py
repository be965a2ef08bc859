"""What `gpu.py` compares with, made by PyTorch on the same GPU.

For each model of examples/zoo.json (or of `--zoo`), into a folder of its own: random weights, with which
activations keep their size (`state.safetensors`), inputs and the float64 module's outputs at
each batch (`data.8.npz`), how far PyTorch's own float32 is from those (`float32.json`), other inputs of the
same kind to calibrate int8 with (`calibration.npz`), the float32 module as ONNX for TensorRT 8.5's parser
(`model.onnx`), and PyTorch's own times (`torch.json`).
The batches are 1, 8 and 32 where the text takes them, all other sizes those that it is tuned for.

    python3 benchmarks/gpu_reference.py OUTDIR --models resnet50,cnn

needs torch with CUDA, torchvision, safetensors, onnx, and pytest, for the tests of the zoo give the weights;
no TensorRT.  What a model's folder has is left as it is.  Several processes may work into one folder: those
of one GPU take turns on it, so that no time is another's.
"""

from __future__ import annotations

import argparse
import copy
import fcntl
import json
import os
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_points import batch_axes, batches, best_batch, drawn
from gpu_table import FLOAT32
from safetensors.torch import save_file
from torch import nn
from zoo_entries import BATCH, EXAMPLES, Entry, read_zoo

from trtdsl.output import write_atomically

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.zoo.entries import tensors_of
from tests.zoo.oracles import calibrated, default_dtype

QUICK = "cnn,lenet,resnet18,resnet50,mobilenet_v2"
SAMPLES = 64
"""How many inputs to calibrate with, of a model that is tuned for batches."""
OPSET = 16
"""The newest that TensorRT 8.5's parser reads whole: 17 brings a layer norm that it lacks."""


def make_module(entry: Entry, device: str) -> nn.Module:
    """The model with the random weights that the tests give it, so that its activations keep their size."""
    with torch.device("cpu"):
        return calibrated(entry).to(device)


def inputs_of(entry: Entry, batch: int, device: str) -> list[torch.Tensor]:
    """Random inputs, always the same numbers."""
    return [torch.from_numpy(array).to(device) for array in drawn(entry, batch, seed=1).values()]


def cast(tensors: Iterable[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """The floating ones in another dtype."""
    return [x.to(dtype) if x.is_floating_point() else x for x in tensors]


def write_data(folder: Path, entry: Entry, module: nn.Module, device: str) -> None:
    """Weights, inputs, outputs in float64 at each batch, and the relative error of those in float32."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
    save_file(state, folder / "state.safetensors")
    exact = copy.deepcopy(module).double()
    errors: dict[int, float] = {}
    for batch in batches(entry):
        inputs = inputs_of(entry, batch, device)
        with torch.inference_mode(), default_dtype(torch.float64):
            outputs = tensors_of(exact(*cast(inputs, torch.float64)))
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            errors[batch] = error_of(tensors_of(module(*inputs)), outputs)
        arrays = {f"input.{n}": x.cpu().numpy() for n, x in zip(entry.inputs, inputs, strict=True)}
        arrays |= {f"output.{i}": y.cpu().numpy() for i, y in enumerate(outputs)}
        np.savez(folder / f"data.{batch}.npz", **arrays)
    (folder / FLOAT32).write_text(json.dumps(errors))


def write_calibration(folder: Path, entry: Entry) -> None:
    """Inputs that are none of the data's."""
    if best_batch(entry) > 1:
        np.savez(folder / "calibration.npz", **drawn(entry, SAMPLES, seed=2))


def floating(outputs: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return [output for output in outputs if output.is_floating_point()]


def error_of(found: Iterable[torch.Tensor], expected: Iterable[torch.Tensor]) -> float:
    """The largest relative L2 error of an output; NaN where all are integers."""
    pairs = zip(floating(found), floating(expected), strict=True)
    errors = [float((one.double() - other).norm() / other.norm()) for one, other in pairs]
    return max(errors, default=float("nan"))


class _Called(nn.Module):
    """A module without names of its arguments, for which the exporter would give its own defaults.

    Transformers' BERT refuses those: "forward() got multiple values for argument 'use_cache'".
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.module(*inputs)


def write_onnx(folder: Path, entry: Entry, module: nn.Module, opset: int = OPSET) -> None:
    """The batch is the only size that is dynamic.

    On the processor: the exporter crashes where what it folds lies on the GPU, as a default device has it.
    """
    module = _Called(copy.deepcopy(module).cpu())
    inputs = inputs_of(entry, batches(entry)[:2][-1], "cpu")
    with torch.device("cpu"), torch.no_grad():  # what YOLO keeps of a call in inference mode cannot be traced
        count = len(tensors_of(module(*inputs)))
    with torch.device("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs),
            folder / "model.onnx",
            input_names=list(entry.inputs),
            output_names=[f"output.{i}" for i in range(count)],
            dynamic_axes={name: {axis: BATCH} for name, axis in batch_axes(entry).items()},
            opset_version=opset,
            dynamo=False,
        )


def write_times(folder: Path, entry: Entry, module: nn.Module) -> None:
    with np.load(folder / f"data.{batches(entry)[-1]}.npz") as stored:
        count = len(stored.files) - len(entry.inputs)
        expected = [torch.from_numpy(stored[f"output.{i}"]).cuda() for i in range(count)]
    write_atomically(folder / "torch.json", json.dumps(time_torch(entry, module, expected)).encode())


def time_torch(entry: Entry, module: nn.Module, expected: list[torch.Tensor]) -> dict[str, Any]:
    """PyTorch in float16: median milliseconds, eager and as a CUDA graph, by batch, and the relative error.

    In channels_last, which its convolutions are fastest in, unless the module cannot run on it; inputs lie so
    in float16 before, and outputs stay so. ``whole`` is a graph from the tensors that the engine reads to
    those that it writes, contiguous and in float32. Without times of a graph where PyTorch captures none.
    """
    half = module.half()
    layout = torch.channels_last
    largest = batches(entry)[-1]
    with torch.inference_mode():
        try:
            found = tensors_of(half.to(memory_format=layout)(*halves(entry, largest, layout)))
        except RuntimeError:  # `view` wants what is contiguous
            layout = torch.contiguous_format
            found = tensors_of(half.to(memory_format=layout)(*halves(entry, largest, layout)))
        error = error_of(found, expected)
        kinds = ("eager", "graph", "whole")
        times: dict[str, Any] = {**{kind: {} for kind in kinds}, "error": error, "layout": str(layout)}
        for batch in batches(entry):
            run = _runner(half, halves(entry, batch, layout))
            times["eager"][str(batch)] = median_ms(run)
            try:
                times["graph"][str(batch)] = median_ms(captured(run))
                whole = _runner(_Whole(half, layout), inputs_of(entry, batch, "cuda"))
                times["whole"][str(batch)] = median_ms(captured(whole))
            except RuntimeError as error_of_capture:
                times["no graph"] = str(error_of_capture).splitlines()[0]
                torch.cuda.synchronize()
    return times


def captured(run: Any) -> Any:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def halves(entry: Entry, batch: int, layout: torch.memory_format) -> list[torch.Tensor]:
    return _halved(inputs_of(entry, batch, "cuda"), layout)


def _halved(inputs: Iterable[torch.Tensor], layout: torch.memory_format) -> list[torch.Tensor]:
    return [x.to(memory_format=layout) if x.dim() == 4 else x for x in cast(inputs, torch.float16)]


class _Whole(nn.Module):
    """A module in float16 from float32 to float32."""

    def __init__(self, module: nn.Module, layout: torch.memory_format) -> None:
        super().__init__()
        self.module, self.layout = module, layout

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        found = tensors_of(self.module(*_halved(inputs, self.layout)))
        return [x.contiguous() for x in cast(found, torch.float32)]


def _runner(module: nn.Module, inputs: list[torch.Tensor]) -> Any:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # capture wants what was warmed up elsewhere than on the default stream
        for _ in range(5):
            module(*inputs)
    torch.cuda.synchronize()
    return lambda: module(*inputs)


def median_ms(run: Any, rounds: int = 60) -> float:
    """The median time of one run between two events, after a warm-up."""
    for _ in range(15):
        run()
    torch.cuda.synchronize()
    found: list[float] = []
    for _ in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return statistics.median(found)


def make(entry: Entry, folder: Path, *, onnx: bool, times: bool, device: str) -> None:
    """What is missing of one model; ``done`` is there once the rest can be compared with.

    PyTorch's exporter or float16 may fail at what the engine can do: that is noted, and is not an end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    module = make_module(entry, device)
    if not (folder / "done").exists():
        with alone(folder.parent):
            write_data(folder, entry, module, device)
        write_calibration(folder, entry)
        if onnx:
            tried(folder / "model.onnx.failed", lambda: write_onnx(folder, entry, module))
        (folder / "done").touch()
    if times:
        with alone(folder.parent):
            tried(folder / "torch.json.failed", lambda: write_times(folder, entry, module))


@contextmanager
def alone(outdir: Path) -> Generator[None]:
    """While no other of these processes works on the same GPU."""
    with (outdir / f"gpu{os.environ.get('CUDA_VISIBLE_DEVICES', '')}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_made(folder: Path, times: bool) -> bool:
    wanted = ("torch.json", "torch.json.failed")
    return (folder / "done").exists() and (not times or any((folder / each).exists() for each in wanted))


def tried(note: Path, work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        note.write_text(traceback.format_exc())
        traceback.print_exc()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--zoo", type=Path, default=EXAMPLES / "zoo.json", help="models and originals")
    parser.add_argument("--models", default=QUICK, help="names of the zoo, or `all`")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--errors-only", action="store_true", help="no ONNX file and no times")
    options = parser.parse_args()
    zoo = read_zoo(options.zoo)
    names = list(zoo) if options.models == "all" else options.models.split(",")
    torch.backends.cudnn.benchmark = True
    torch.set_default_device(options.device)  # for what a forward makes
    options.outdir.mkdir(parents=True, exist_ok=True)
    times = options.device == "cuda" and not options.errors_only
    about = {"torch": torch.__version__, "python": sys.version.split()[0]}
    if options.device == "cuda":
        about |= {"device": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    (options.outdir / "about.json").write_text(json.dumps(about))
    for name in names:
        folder = options.outdir / name
        if is_made(folder, times):
            continue
        start = time.monotonic()
        try:
            make(zoo[name], folder, onnx=not options.errors_only, times=times, device=options.device)
        except Exception:
            # One model that fails must not cost the others their turn on a machine that is lent.
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "failed").write_text(traceback.format_exc())
            traceback.print_exc()
        print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
    (options.outdir / "complete").touch()


if __name__ == "__main__":
    main()

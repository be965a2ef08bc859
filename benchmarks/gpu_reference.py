"""What `gpu.py` compares with, made by PyTorch on the same GPU.

For each model of examples/zoo.json (or of `--zoo`), into a folder of its own: random weights whose batch
norms know the statistics of their inputs (`state.safetensors`), inputs and the float64 module's outputs
(`data.npz`), other inputs of the same kind to calibrate int8 with (`calibration.npz`), the float32 module as
ONNX for TensorRT 8.5's parser (`model.onnx`), and PyTorch's own times (`torch.json`).

    python3 benchmarks/gpu_reference.py OUTDIR --models resnet50,cnn

needs torch with CUDA, torchvision, safetensors and onnx, and nothing of trtdsl.  A model whose folder is
complete is left as it is.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from zoo_entries import BATCH, EXAMPLES, Entry, EntryError, load_oracle, read_zoo

QUICK = "cnn,lenet,resnet18,resnet50,mobilenet_v2"
BATCHES = (1, 8, 32)
SAMPLES = 64
"""How many inputs to calibrate with."""
OPSET = 16
"""The newest that TensorRT 8.5's parser reads whole: 17 brings a layer norm that it lacks."""


def make_module(entry: Entry, device: str) -> nn.Module:
    """The model with random weights; its batch norms are calibrated on random inputs, so that activations
    keep their size through the network as trained ones do.

    A norm divides by the root mean square of its input, not by the deviation from the mean: dividing
    small deviations from large means multiplies rounding errors a thousandfold in a deep random
    network, whose errors then say nothing about the engine (PyTorch's own float32 is off by 3.5e-5).
    """
    torch.manual_seed(0)
    module = load_oracle(entry.oracle)(**entry.arguments).to(device).eval()
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.3, 0.7)
        nn.init.normal_(norm.bias, std=0.2)
    hooks = [norm.register_forward_pre_hook(calibrate) for norm in norms]
    with torch.no_grad():
        module(*inputs_of(entry, 8, device))
    for hook in hooks:
        hook.remove()
    return module


def calibrate(norm: nn.Module, arguments: tuple[torch.Tensor]) -> None:
    """Set a batch norm's statistics by its input, before it runs."""
    (x,) = arguments
    square = (x**2).mean([d for d in range(x.dim()) if d != 1])
    norm.running_var.copy_(square + 0.1 * square.mean())
    norm.running_mean.copy_(0.3 * square.sqrt() * torch.randn_like(square))


def inputs_of(entry: Entry, batch: int, device: str) -> list[torch.Tensor]:
    """Random inputs, the same numbers for a smaller batch."""
    whole = drawn(entry, max(BATCHES), seed=1)
    return [torch.from_numpy(array[:batch].copy()).to(device) for array in whole.values()]


def drawn(entry: Entry, batch: int, seed: int) -> dict[str, Any]:
    """Arrays for all inputs of an entry, whose samples stand along the first axis."""
    for name, each in entry.inputs.items():
        if each.shape[0] != BATCH:
            raise EntryError(f"{entry.name}: the samples of {name} do not stand along its first axis")
    sizes = {**optima(entry), BATCH: batch}
    return {name: each.draw(sizes, seed * 1000 + i) for i, (name, each) in enumerate(entry.inputs.items())}


def optima(entry: Entry) -> dict[str, int]:
    """The size of each dim: what the text is tuned for, where it states that by a number, or the last at
    which the entry compares."""
    text = entry.path.read_text(encoding="utf-8")
    stated = {dim: int(best) for dim, best in re.findall(r"dim (\w+) = \d+ \.\. (\d+) \.\. \d+", text)}
    return {**{dim: sizes[-1] for dim, sizes in entry.sizes.items()}, **stated}


def cast(tensors: Iterable[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """The floating ones in another dtype."""
    return [x.to(dtype) if x.is_floating_point() else x for x in tensors]


def write_data(folder: Path, entry: Entry, module: nn.Module, device: str) -> torch.Tensor:
    """Weights, inputs, and outputs in float64 for the largest batch; the outputs are returned too."""
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file(state, folder / "state.safetensors")
    inputs = inputs_of(entry, max(BATCHES), device)
    exact = copy.deepcopy(module).double()
    with torch.inference_mode():
        found = [
            exact(*cast((x[i : i + 8] for x in inputs), torch.float64)) for i in range(0, max(BATCHES), 8)
        ]
    output = torch.cat([first(y) for y in found])
    arrays = {f"input.{n}": x.cpu().numpy() for n, x in zip(entry.inputs, inputs, strict=True)}
    np.savez(folder / "data.npz", output=output.cpu().numpy(), **arrays)
    return output


def write_calibration(folder: Path, entry: Entry) -> None:
    """Inputs that are none of the data's."""
    np.savez(folder / "calibration.npz", **drawn(entry, SAMPLES, seed=2))


def first(output: Any) -> torch.Tensor:
    """A module's output, or the first of several: of a tuple, a list or a mapping."""
    while not isinstance(output, torch.Tensor):
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output


def write_onnx(folder: Path, entry: Entry, module: nn.Module, device: str) -> None:
    names = list(entry.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs_of(entry, 2, device)),
            folder / "model.onnx",
            input_names=names,
            output_names=["output"],
            dynamic_axes={name: {0: "N"} for name in (*names, "output")},
            opset_version=OPSET,
            dynamo=False,
        )


def time_torch(entry: Entry, module: nn.Module, expected: torch.Tensor) -> dict[str, Any]:
    """PyTorch in float16: median milliseconds, eager and as a CUDA graph, by batch, and the relative error.

    In channels_last, which its convolutions are fastest in, unless the module cannot run on it.
    """
    half = module.half()
    layout = torch.channels_last
    with torch.inference_mode():
        try:
            first(half.to(memory_format=layout)(*halves(entry, 1, layout)))
        except RuntimeError:  # `view` wants what is contiguous
            layout = torch.contiguous_format
            half = half.to(memory_format=layout)
        found = torch.cat(
            [
                first(half(*(x[i : i + 8] for x in halves(entry, max(BATCHES), layout))))
                for i in range(0, max(BATCHES), 8)
            ]
        )
        error = float((found.double() - expected).norm() / expected.norm())
        times: dict[str, Any] = {"eager": {}, "graph": {}, "error": error, "layout": str(layout)}
        for batch in BATCHES:
            run = _runner(half, halves(entry, batch, layout))
            times["eager"][str(batch)] = median_ms(run)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
            times["graph"][str(batch)] = median_ms(graph.replay)
    return times


def halves(entry: Entry, batch: int, layout: torch.memory_format) -> list[torch.Tensor]:
    inputs = cast(inputs_of(entry, batch, "cuda"), torch.float16)
    return [x.to(memory_format=layout) if x.dim() == 4 else x for x in inputs]


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


def make(entry: Entry, folder: Path, device: str, errors_only: bool) -> None:
    """Everything about one model; ``done`` is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    module = make_module(entry, device)
    expected = write_data(folder, entry, module, device)
    write_calibration(folder, entry)
    if not errors_only:
        write_onnx(folder, entry, module, device)
    if device == "cuda" and not errors_only:
        (folder / "torch.json").write_text(json.dumps(time_torch(entry, module, expected)))
    (folder / "done").touch()


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
    options.outdir.mkdir(parents=True, exist_ok=True)
    about = {"torch": torch.__version__, "python": sys.version.split()[0]}
    if options.device == "cuda":
        about |= {"device": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    (options.outdir / "about.json").write_text(json.dumps(about))
    for name in names:
        folder = options.outdir / name
        if (folder / "done").exists():
            continue
        start = time.monotonic()
        try:
            make(zoo[name], folder, options.device, options.errors_only)
        except Exception:
            # One model that fails must not cost the others their turn on a machine that is lent.
            (folder / "failed").write_text(traceback.format_exc())
            traceback.print_exc()
        print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
    (options.outdir / "complete").touch()


if __name__ == "__main__":
    main()

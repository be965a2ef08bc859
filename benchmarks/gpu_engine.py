"""Running engines on a real GPU: every way to call one, and every way to call one wrongly.

    python3.10 benchmarks/gpu_engine.py OUTDIR

compiles small models for the GPU at hand, calls them as a program and as the command line would, and compares
with numpy.  Prints one line a check, writes them to `engine.md`, and ends with 1 if any failed.

Needs trtdsl and TensorRT, no PyTorch.  What a machine cannot show is called not checked, with what it lacks:
the checks of engines on one GPU and threads on another need two.  With TensorRT 8.5 run it twice, with and
without cuBLAS in LD_LIBRARY_PATH: the line of the transformer says what was built and what was refused.
`--only NAME,...` runs single checks, by the names of their functions.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gpu_engine_bench import (
    SIZES,
    Bench,
    Interface,
    NotHere,
    expected,
    from_gpu,
    inputs_of,
    on_gpu,
    refused,
    require_equal,
)
from gpu_engine_machine import (
    another_current_device,
    computed_mask,
    empty_cuda_graph,
    own_log,
    the_gpu_is_recorded,
    transformer,
    windows_beyond_the_limit,
    without_elements,
)
from gpu_engine_plugins import plugin_mistakes, plugin_of_each_float, plugin_of_several_outputs

from trtdsl.diagnostics import DiagnosticError
from trtdsl.runtime import cuda
from trtdsl.runtime.arrays import tensor_in
from trtdsl.runtime.engine import Engine
from trtdsl.trt.dialect import load_runtime
from trtdsl.trt.manifest import NOT_INSTALLED, manifest_path, own_version

# The checks; the docstring is the line of the table.


def numpy_arrays(bench: Bench) -> None:
    """numpy in, numpy out; sizes in both profiles, up and down"""
    for seed, count in enumerate(SIZES):
        inputs = inputs_of(count, seed)
        require_equal(bench.engine(**inputs), inputs)


def odd_numpy_arrays(bench: Bench) -> None:
    """numpy arrays that are strided, or of the other byte order"""
    inputs = inputs_of(8)
    strided = np.asfortranarray(inputs["x"])
    require_equal(bench.engine(**{**inputs, "x": strided}), inputs)
    swapped = inputs["x"].astype(inputs["x"].dtype.newbyteorder())
    require_equal(bench.engine(**{**inputs, "x": swapped}), inputs)


def device_arrays(bench: Bench) -> None:
    """arrays on the GPU in, arrays on the GPU out"""
    for count in SIZES:
        inputs = inputs_of(count)
        found = bench.engine(**on_gpu(inputs))
        assert all(isinstance(output, cuda.DeviceArray) for output in found.values())
        require_equal(from_gpu(found), inputs)


def mixed_arrays(bench: Bench) -> None:
    """some arrays on the GPU, some in numpy"""
    inputs = inputs_of(8)
    require_equal(from_gpu(bench.engine(**{**inputs, "x": on_gpu(inputs)["x"]})), inputs)


def outputs_live_on(bench: Bench) -> None:
    """outputs of one call are not overwritten by the next"""
    first, second = inputs_of(8, 1), inputs_of(8, 2)
    for place in (dict, on_gpu):
        one, two = bench.engine(**place(first)), bench.engine(**place(second))
        read = from_gpu if place is on_gpu else dict
        require_equal(read(one), first)
        require_equal(read(two), second)


class Capsule:
    """An array on the GPU that is given by DLPack: numpy's capsule, made to point there."""

    def __init__(self, array: cuda.DeviceArray) -> None:
        self.array = array
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int | None = None) -> Any:
        assert stream is not None
        self.streams.append(stream)
        capsule = np.empty(self.array.shape, self.array.dtype).__dlpack__()
        tensor = tensor_in(capsule)
        tensor.data, tensor.byte_offset, tensor.device_type = self.array.pointer, 0, 2
        return capsule


def cuda_array_interface(bench: Bench) -> None:
    """`__cuda_array_interface__`, with and without strides and a stream"""
    inputs = inputs_of(8)
    arrays = on_gpu(inputs)
    for changes in ({}, {"strides": (8192, 4)}, {"stream": 1}):
        found = bench.engine(**{**arrays, "x": Interface(arrays["x"], changes)})
        require_equal(from_gpu(found), inputs)
    with refused("not contiguous"):
        bench.engine(**{**arrays, "x": Interface(arrays["x"], {"strides": (4, 32)})})


def dlpack(bench: Bench) -> None:
    """DLPack on the GPU, ordered before the stream that runs the engine"""
    inputs = inputs_of(8)
    arrays = on_gpu(inputs)
    context = Engine.load(bench.path).context()
    x = Capsule(arrays["x"])
    require_equal(from_gpu(context.run({**arrays, "x": x})), inputs)
    assert x.streams == [context.stream.handle]


def own_stream(bench: Bench) -> None:
    """a stream of the caller's: copies, runs and copies in order, without waiting"""
    stream, context = cuda.Stream(), Engine.load(bench.path).context()
    many = [inputs_of(512, seed) for seed in range(8)]
    arrays = [on_gpu(inputs_of(512, 99)) for _ in many]
    held = []
    for inputs, there in zip(many, arrays, strict=True):
        for name, array in inputs.items():
            cuda.copy_to_device(there[name].pointer, array, stream.handle)
        outputs = context(stream=stream.handle, **there)
        hosts = {name: np.empty(y.shape, y.dtype) for name, y in outputs.items()}
        for name, output in outputs.items():
            cuda.copy_to_host(hosts[name], output.pointer, stream.handle)
        held.append((outputs, hosts))
    stream.synchronize()
    for inputs, (_, hosts) in zip(many, held, strict=True):
        require_equal(hosts, inputs)
    with refused("only arrays on the GPU"):
        context(stream=stream.handle, **many[0])


def cuda_graph(bench: Bench) -> None:
    """a CUDA graph: called with numpy and with GPU arrays, and launched on inputs written in place"""
    engine = Engine.load(bench.path)
    first, second, third = (inputs_of(16, seed) for seed in range(3))
    graph = engine.graph({name: array.shape for name, array in first.items()})
    require_equal(graph(**first), first)
    require_equal(from_gpu(graph(**on_gpu(second))), second)
    for name, array in third.items():
        cuda.copy_to_device(graph.inputs[name].pointer, array, graph.stream.handle)
    graph.launch()
    graph.stream.synchronize()
    require_equal(from_gpu(graph.outputs), third)
    with refused("this CUDA graph takes `x` of shape (16, 2048)"):
        graph(**inputs_of(8))
    with refused("dimension 1 is 2048"):
        engine.graph({"x": (8, 3), "keep": (8, 1), "shift": (1,)})


def threads(bench: Bench) -> None:
    """eight threads that share an engine"""
    failures: list[str] = []

    def work(seed: int) -> None:
        try:
            for turn in range(20):
                inputs = inputs_of((seed * 7 + turn) % 40 + 1, seed)
                require_equal(bench.engine(**inputs), inputs)
        except BaseException:
            failures.append(traceback.format_exc())

    running = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failures, failures[0]


def contexts(bench: Bench) -> None:
    """two contexts at work; before TensorRT 10 each on its own profile, and two on one are refused"""
    engine = Engine.load(bench.path)
    one, two = engine.context(), engine.context()
    first, second = inputs_of(512, 1), inputs_of(1, 2)
    for _ in range(3):
        require_equal(one(**first), first)
        require_equal(two(**second), second)
    if engine.dialect.facts.shares_profiles:
        require_equal(two(**first), first)
        return
    with refused("profile `default` is in use by another context"):
        two(**first)
    with refused("profile `default` is in use by another context"):
        engine(**first)
    require_equal(two(**second), second)
    del one
    require_equal(two(**first), first)


def memory_is_returned(bench: Bench) -> None:
    """contexts, graphs and engines give their memory back"""
    inputs = inputs_of(512)
    shapes = {name: array.shape for name, array in inputs.items()}

    def use() -> int:
        engine = Engine.load(bench.path)
        require_equal(engine(**inputs), inputs)
        del engine
        engine = Engine.load(bench.path)
        require_equal(engine.graph(shapes)(**inputs), inputs)
        del engine
        gc.collect()
        return int(cuda.call("cudaMemGetInfo")[0])

    use()
    free = [use() for _ in range(10)]
    assert free[0] - free[-1] < 4 << 20, f"{(free[0] - free[-1]) >> 20} MiB are lost in nine rounds"


def input_names_of_arguments(bench: Bench) -> None:
    """an input called `stream`"""
    engine = Engine.load(bench.other)
    x, stream = np.full((2, 2048), -1, np.float32), np.array([3, 4], np.float32)
    found = engine(x=x, stream=stream)["y"]
    np.testing.assert_array_equal(found, np.broadcast_to(stream[:, None], (2, 2048)))
    np.testing.assert_array_equal(engine.context().run({"x": x, "stream": stream})["y"], found)


def mistakes(bench: Bench) -> None:
    """wrong names, types, shapes and sizes are refused, and the engine works on"""
    inputs = inputs_of(4)
    for changes, words in (
        ({"image": inputs["x"]}, ("no input `image`",)),
        ({"x": inputs["x"].astype(np.float64)}, ("`x` is float32, but the array is float64",)),
        ({"x": inputs["x"][:, :7]}, ("dimension 1 is 2048",)),
        ({"x": inputs["x"][0]}, ("2 dimensions are expected",)),
        ({"x": inputs["x"][:2]}, ("`N` is 2 in dimension 0 of `x` and 4 in dimension 0 of `keep`",)),
        ({"x": "picture"}, ("`x` is given a str, which is not an array",)),
        (inputs_of(513), ("no profile of the engine accepts", "x from 1x2048 to 512x2048")),
    ):
        with refused(*words):
            bench.engine(**{**inputs, **changes})
    with refused("no value is given for the input `keep`"):
        bench.engine(x=inputs["x"], shift=inputs["shift"])
    require_equal(bench.engine(**inputs), inputs)


def spoilt_files(bench: Bench) -> None:
    """cut and foreign engines, and one of another release"""
    data, manifest = bench.path.read_bytes(), json.loads(manifest_path(bench.path).read_text())
    spoilt = bench.folder / "spoilt.engine"
    # A package that is only on the path has no version to tell apart.
    installed = own_version() != NOT_INSTALLED
    other_trtdsl = [(data, {"trtdsl": "0.0.1"}, "the engine was built by trtdsl 0.0.1")] if installed else []
    for bytes_, changes, words in (
        (data[:-100], {}, "is truncated"),
        (bench.other.read_bytes(), {}, "is truncated"),
        (data, {"runtime_version": "7.1.3"}, "engines cannot move between releases"),
        (data, {"targets": ["sm75"]}, "the engine was built for sm75"),
        *other_trtdsl,
    ):
        spoilt.write_bytes(bytes_)
        manifest_path(spoilt).write_text(json.dumps({**manifest, **changes}))
        with refused(words):
            Engine.load(spoilt)
    # Bytes that only TensorRT can tell to be wrong.
    with refused("cannot load the engine"):
        Engine(data[: len(data) // 2], bench.engine.manifest)


def command_run(bench: Bench) -> None:
    """`trtdsl run`"""
    inputs = inputs_of(3)
    given, written = bench.folder / "in.npz", bench.folder / "out.npz"
    np.savez(given, **inputs)
    single = bench.folder / "x.npy"
    np.save(single, inputs["x"])
    options = [f"--input={name}={given}" for name in inputs]
    text = bench.command(0, "run", bench.path, *options, "--output", written)
    with np.load(written) as found:
        require_equal(dict(found), inputs)
    assert "scaled" in text
    assert "has no input `image`" in bench.command(2, "run", bench.path, f"--input=image={single}")


def command_bench(bench: Bench) -> None:
    """`trtdsl bench`"""
    for extra in ((), ("--cuda-graph",)):
        shapes = ("--shape", "x=512x2048", "--shape", "keep=512x1")
        text = bench.command(0, "bench", bench.path, *shapes, "--duration", 0.3, "--json", *extra)
        found = json.loads(text)
        assert 0 < found["gpu"]["min"] <= found["gpu"]["median"] <= found["gpu"]["p99"]
        assert found["runs"] >= 10 and found["runs_per_second"] > 0
    assert "latency" in bench.command(0, "bench", bench.path, "--duration", 0.3)


def command_verify(bench: Bench) -> None:
    """`trtdsl verify --engine`: right, wrong, and another model's engine"""
    inputs = inputs_of(5)
    stored = bench.folder / "stored.npz"
    text = bench.path.with_suffix(".trtnet")
    arguments = ("verify", text, "--outputs", stored, "--engine")
    np.savez(stored, **inputs, **expected(inputs))
    assert "y" in bench.command(0, *arguments, bench.path)
    np.savez(stored, **inputs, **{**expected(inputs), "y": expected(inputs)["y"] * 1.01})
    assert "differs" in bench.command(1, *arguments, bench.path)
    assert "of the model `other`" in bench.command(2, *arguments, bench.other)


CHECKS: tuple[Callable[[Bench], str | None], ...] = (
    numpy_arrays,
    odd_numpy_arrays,
    device_arrays,
    mixed_arrays,
    outputs_live_on,
    cuda_array_interface,
    dlpack,
    own_stream,
    cuda_graph,
    threads,
    contexts,
    memory_is_returned,
    input_names_of_arguments,
    mistakes,
    spoilt_files,
    command_run,
    command_bench,
    command_verify,
    the_gpu_is_recorded,
    empty_cuda_graph,
    own_log,
    another_current_device,
    transformer,
    computed_mask,
    windows_beyond_the_limit,
    without_elements,
    plugin_of_several_outputs,
    plugin_of_each_float,
    plugin_mistakes,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--runtime", default="tensorrt")
    parser.add_argument("--patience", type=float, default=180, help="seconds after which a check hangs")
    parser.add_argument("--only", default="", help="names of checks, by commas")
    options = parser.parse_args()
    chosen = [check for check in CHECKS if not options.only or check.__name__ in options.only.split(",")]
    options.outdir.mkdir(parents=True, exist_ok=True)
    try:
        device = cuda.current_device()
        bench = Bench(options.outdir, options.runtime)
    except DiagnosticError as error:
        print(error, file=sys.stderr)
        return 1
    lines = ["| check | |", "|---|---|"]
    failures: list[str] = []
    for check in chosen:
        begin = time.monotonic()
        faulthandler.dump_traceback_later(options.patience, exit=True)
        try:
            detail = check(bench)
            verdict = f"ok, {time.monotonic() - begin:.1f} s{f': {detail}' if detail else ''}"
        except NotHere as lacking:
            verdict = f"not checked: {lacking}"
        except Exception:
            # A failure is a result here: the machine is lent, and the other checks wait.
            failures.append(f"{check.__name__}: {traceback.format_exc()}")
            print(failures[-1])
            verdict = "**failed**"
        faulthandler.cancel_dump_traceback_later()
        lines.append(f"| {check.__doc__} | {verdict} |")
        print(lines[-1], flush=True)
    about = f"{device.name}, {load_runtime(options.runtime)}\n"
    (options.outdir / "engine.md").write_text("\n".join([about, *lines, "", *failures]) + "\n")
    print(about)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

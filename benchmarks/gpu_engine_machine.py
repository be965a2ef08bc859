"""What an engine does to the machine: whose GPU, whose log, which kernels; and models that need all of it."""

from __future__ import annotations

import threading

from gpu_engine_bench import (
    Bench,
    Interface,
    NotHere,
    from_gpu,
    inputs_of,
    on_gpu,
    refused,
    require_equal,
)
from gpu_engine_models import CASES, Case

import trtdsl
from trtdsl.compile import compile_graph
from trtdsl.diagnostics import DiagnosticError
from trtdsl.options import CompileOptions
from trtdsl.runtime import cuda
from trtdsl.runtime.engine import Engine


def the_gpu_is_recorded(bench: Bench) -> str:
    """the manifest names the GPU that TensorRT built for, and the kernels it was allowed"""
    manifest, here = bench.engine.manifest, cuda.current_device()
    if not bench.engine.dialect.targets:
        assert manifest.targets == (here.target,), manifest.targets
    return (
        f"{', '.join(manifest.targets) or 'no target'}; {', '.join(manifest.tactic_sources) or 'no sources'}"
    )


def empty_cuda_graph(bench: Bench) -> None:
    """an empty CUDA graph is refused, and the stream works on"""
    stream, memory = cuda.Stream(), cuda.Memory(4)
    with refused("the CUDA graph is empty"):
        cuda.Graph.capture(stream, lambda: None)
    stream.synchronize()
    cuda.Graph.capture(stream, lambda: cuda.call("cudaMemsetAsync", memory.pointer, 0, 4, stream.handle))


def own_log(bench: Bench) -> None:
    """what TensorRT says in one thread is not read in another"""
    log, said = bench.engine.dialect.log, []

    def work() -> None:
        context = bench.engine.context()
        log.clear()
        # Larger than any profile allows.
        assert not context.raw.set_input_shape("x", (9999, 2048))
        said.extend(log.take())

    log.clear()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said, "TensorRT said nothing of a shape that it refused"
    assert log.take() == ()


def another_current_device(bench: Bench) -> None:
    """a thread whose current GPU is another calls an engine, and keeps its own"""
    require_two_gpus()
    inputs = inputs_of(8)
    # Three, for before TensorRT 10 each context needs a profile of its own.
    engine, apart, captured = (Engine.load(bench.path) for _ in range(3))
    with cuda.on_device(1):
        require_equal(engine(**inputs), inputs)
        require_equal(apart.context()(**inputs), inputs)
        graph = captured.graph({name: array.shape for name, array in inputs.items()})
        require_equal(graph(**inputs), inputs)
        assert cuda.current_device().index == 1
        with refused("`x` is on GPU 1, but the engine is on GPU 0"):
            engine(**{**inputs, "x": on_gpu(inputs)["x"]})
        with refused("`x` is on GPU 1, but the engine is on GPU 0"):
            engine(**{**inputs, "x": Interface(on_gpu(inputs)["x"], {})})
        elsewhere = Engine.load(bench.path)
        on_one = on_gpu(inputs)
    found = elsewhere(**on_one)
    assert all(output.memory.device == 1 for output in found.values())
    require_equal(from_gpu(found), inputs)
    assert cuda.current_device().index == 0


def require_two_gpus() -> None:
    if int(cuda.call("cudaGetDeviceCount")) < 2:
        raise NotHere("this machine has one GPU")


def build_and_compare(bench: Bench, case: Case) -> str:
    """Compile a case, run it, and hold it against numpy; DiagnosticError where TensorRT refuses it."""
    graph = trtdsl.elaborate_text(case.text)
    if case.weights:
        graph = trtdsl.bind(graph, case.weights).graph
    path = bench.folder / f"{graph.name}.engine"
    compile_graph(graph, path, CompileOptions(runtime=bench.runtime, tf32=False))
    found = Engine.load(path)(**case.inputs)
    return f"built, relative L2 {case.error_of(found):.1e}"


def transformer(bench: Bench) -> str:
    """a transformer builds where cuBLAS can be loaded; without it, a refusal says that it was missing"""
    lacking = "CUBLAS" in bench.engine.dialect.unusable_tactics
    try:
        return build_and_compare(bench, CASES["encoder"]) + (" without cuBLAS" if lacking else "")
    except DiagnosticError as error:
        assert lacking and "TensorRT had to build without cuBLAS" in str(error), error
        return "refused, for cuBLAS was missing"


def computed_mask(bench: Bench) -> str:
    """a mask of bools that is computed beside a matrix product: built, or refused with what to do"""
    try:
        return build_and_compare(bench, CASES["masked"])
    except DiagnosticError as error:
        lacking = "TensorRT had to build without cuBLAS" in str(error)
        assert lacking or "make the mask an input" in str(error), error
        return "refused, for cuBLAS was missing" if lacking else "refused with cuBLAS too"


def windows_beyond_the_limit(bench: Bench) -> str:
    """pools of windows that are too large for one layer"""
    return build_and_compare(bench, CASES["pools"])


def without_elements(bench: Bench) -> str:
    """constants without elements"""
    return build_and_compare(bench, CASES["none"])

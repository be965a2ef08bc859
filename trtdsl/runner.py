"""A model as something that can be called, on the GPU where there is one, else on the CPU.

In: a text with its checkpoint, a graph with its weights, or an engine file.  Out: a :class:`Runner`, whose
calls take and give numpy arrays by name, wherever it computes::

    net = trtdsl.load("cnn.trtnet", "weights.pth")
    net(data=images)["logits"]            # float32[8, 10]
    net.place                             # "the CPU (tensorrt_rtx 1.7.1.116, evaluated by PyTorch)"

    for found in net.stream({"data": batch} for batch in batches):    # reading, moving, computing overlap
        ...

On the GPU an engine computes, which is built first unless it is a file. On the CPU the same TensorRT network
is evaluated layer by layer with PyTorch: slow beside a GPU, but the same meaning and the same checks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from trtdsl.compile import built_engine, check_file, lowered_network, optimize_graph, require_values
from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT, UsageError
from trtdsl.ir import Graph
from trtdsl.ops.lowering import Array
from trtdsl.options import CheckOptions, CompileOptions, WeightFiles
from trtdsl.syntax.source import is_checkpoint
from trtdsl.trt.manifest import Binding, Manifest

if TYPE_CHECKING:
    from trtdsl.runtime.cuda import Device
    from trtdsl.runtime.engine import Engine

Place = Literal["gpu", "cpu"]


class Runner(ABC):
    """A model that is ready to be called.

    ``manifest`` says what it takes and gives: names, dtypes, shapes, the ranges of dynamic dimensions.
    ``place`` says in words where it computes. A runner may be shared by threads; their calls take turns.
    """

    manifest: Manifest
    place: str

    @property
    def inputs(self) -> tuple[Binding, ...]:
        """Name, dtype and shape of each input; a dynamic size is its expression, ``"N"``."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[Binding, ...]:
        """The same of each output."""
        return self.manifest.outputs

    def __call__(self, /, *given: Any, **arrays: Any) -> dict[str, Array]:
        """:meth:`run` with the arrays by name."""
        from trtdsl.runtime.binding import require_named

        require_named(self.manifest, given)
        return self.run(arrays)

    @abstractmethod
    def run(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """The outputs, as numpy arrays that are the caller's own.

        The arrays must have the inputs' dtypes and shapes within the model's ranges; they are numpy's, or
        have DLPack. int64 is taken for an int32 input that can hold the values: before TensorRT 10 there are
        no 64-bit integers. Raises UsageError with everything that is wrong with them.
        """

    def stream(self, batches: Iterable[Mapping[str, Any]], ahead: int = 2) -> Iterator[dict[str, Array]]:
        """The outputs of every batch, in order, while the batches that follow are under way.

        Batches are read, moved to the GPU, computed and moved back in a thread each; at most ``ahead`` are
        begun before they are asked for. What a batch raises is raised at its place and ends the stream.
        Arrays must stay as they are until the outputs of their batch are given, so that only with ``ahead=0``
        the next batch may be in the same ones.
        """
        _require_batches(batches, ahead)
        return self._stream(batches, ahead)

    @abstractmethod
    def _stream(self, batches: Iterable[Mapping[str, Any]], ahead: int) -> Iterator[dict[str, Array]]: ...


def _require_batches(batches: object, ahead: object) -> None:
    """Refuse what is not a stream's."""
    if isinstance(batches, Mapping) or not isinstance(batches, Iterable):
        kind = "one batch" if isinstance(batches, Mapping) else f"of type {type(batches).__name__}"
        text = f"batches are expected one after the other, but what is given is {kind}"
        raise UsageError(Diagnostic(text, help=("a list or a generator of mappings: `[{...}, {...}]`",)))
    if not isinstance(ahead, int) or ahead < 0:
        raise UsageError(Diagnostic(f"`ahead` must be a number of batches, 0 or more, not {ahead!r}"))


def load(
    model: str | Path | Graph,
    weights: WeightFiles | Mapping[str, Any] = None,
    *,
    device: Place | None = None,
    options: CompileOptions = CompileOptions(),
    check: CheckOptions = CheckOptions(),
) -> Runner:
    """A model to be called: a ``.trtnet`` file with its checkpoint, a bound graph, or an engine's file. The
    checkpoint is a file, or arrays or tensors by key, such as a ``state_dict()``.

    ``device`` is ``"gpu"``, ``"cpu"``, or None for the GPU where there is one. ``options`` and ``check`` are
    those of :func:`trtdsl.compile_file`: precision, passes, which model of the file, its parameters. On the
    GPU the engine is built in memory, for that GPU.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError`: UsageError for what cannot be loaded so,
    RefusedByTensorRT where TensorRT, a GPU that was asked for, or PyTorch on the CPU is missing.
    """
    if device not in ("gpu", "cpu", None):
        raise UsageError(Diagnostic(f"the device must be `gpu` or `cpu`, not `{device}`"))
    for name, given, kind in (("options", options, CompileOptions), ("check", check, CheckOptions)):
        if not isinstance(given, kind):  # pyright: ignore[reportUnnecessaryIsInstance]  # whatever is given
            text = f"`{name}` must be trtdsl.{kind.__name__}, not {type(given).__name__}"
            raise UsageError(Diagnostic(text, help=(f"give `{name}=trtdsl.{kind.__name__}(...)`",)))
    if isinstance(model, (str, Path)) and Path(model).suffix != ".trtnet":
        return _of_engine(Path(model), weights, device, options)
    graph = model if isinstance(model, Graph) else check_file(model, weights, check).graph
    if isinstance(model, Graph) and weights is not None:
        text = "a graph has its weights already"
        raise UsageError(Diagnostic(text, help=("bind them to it: `trtdsl.bind(graph, weights).graph`",)))
    require_values(graph)
    gpu = None if device == "cpu" else _gpu(required=device == "gpu")
    return _OnCPU(graph, options) if gpu is None else _built(graph, options, gpu)


def _of_engine(path: Path, weights: object, device: Place | None, options: CompileOptions) -> Runner:
    """An engine file, which only its GPU can run."""
    from trtdsl.runtime.engine import Engine

    if path.suffix == ".onnx":
        text = f"`{path}` is an ONNX file"
        raise UsageError(
            Diagnostic(text, help=(f"load its graph: `trtdsl.import_onnx({str(path)!r}).graph`",))
        )
    if is_checkpoint(path):
        order = f'`trtdsl.load("model.trtnet", "{path.name}")`'
        text = f"`{path}` is a checkpoint, which does not say what its model computes"
        raise UsageError(Diagnostic(text, help=(f"give the model first: {order}",)))
    if weights is not None:
        raise UsageError(Diagnostic(f"`{path}` is taken for an engine, which has its weights in it"))
    if device == "cpu":
        help = ("load the `.trtnet` file it was compiled from",)
        raise UsageError(Diagnostic(f"`{path}` is an engine, which the CPU cannot run", help=help))
    return _OnGPU(Engine.load(path, options.runtime, options.plugins))


def _gpu(*, required: bool) -> Device | None:
    """The current GPU; None where there is none and none is required."""
    from trtdsl.runtime.cuda import current_device

    try:
        return current_device()
    except RefusedByTensorRT as error:
        if not required:
            return None
        (found, *others) = error.diagnostics
        help = ('`device="cpu"`, or none, computes the model on the CPU',)
        raise RefusedByTensorRT(msgspec.structs.replace(found, help=help), *others) from error


def _built(graph: Graph, options: CompileOptions, gpu: Device) -> Runner:
    """The engine of a graph, built in memory."""
    import dataclasses

    from trtdsl.runtime.engine import Engine
    from trtdsl.trt.dialect import load_runtime

    dialect = load_runtime(options.runtime)
    if dialect.targets and not options.targets:
        options = dataclasses.replace(options, targets=(gpu.target,))
    optimized, lowered = lowered_network(graph, options)
    (built, manifest), _ = built_engine(lowered, optimized, options)
    return _OnGPU(Engine(built.data, manifest, dialect, plugins=options.plugins))


class _OnGPU(Runner):
    """An engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.manifest = engine.manifest
        self.place = f"{engine.device.name} ({engine.dialect})"

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        found = self._engine(**_narrowed(self.manifest, arrays))
        return {
            name: array if isinstance(array, np.ndarray) else array.numpy() for name, array in found.items()
        }

    def _stream(self, batches: Iterable[Mapping[str, Any]], ahead: int) -> Iterator[dict[str, Array]]:
        from trtdsl.runtime.pipeline import EngineStages, staged

        narrowed = (_narrowed(self.manifest, batch) for batch in batches)
        yield from staged(narrowed, [*EngineStages(self._engine, ahead)], ahead)


class _OnCPU(Runner):
    """A TensorRT network, evaluated. Plugins are computed by their references."""

    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        import threading

        from trtdsl.reference import require_torch
        from trtdsl.trt.dialect import load_runtime
        from trtdsl.trt.lower import lower
        from trtdsl.trt.manifest import make_manifest

        require_torch("running a model on the CPU")
        from trtdsl.evaluate import Evaluator

        dialect = load_runtime(options.runtime)
        dialect.plugins.load(options.plugins)
        optimized = optimize_graph(graph, options, dialect)
        self._lowered = lower(optimized.graph, dialect, by_reference=True)
        self._evaluator = Evaluator(self._lowered.network, weights=self._lowered.weights)
        self._lock = threading.Lock()
        # There is no engine, so it has no bytes, and no weights to be hashed.
        self.manifest = make_manifest(
            self._lowered, b"", options, taken=optimized.taken, passes=optimized.passes, weights=()
        )
        self.place = f"the CPU ({self._lowered.dialect}, evaluated by PyTorch)"

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        from trtdsl.reference import to_numpy
        from trtdsl.runtime.engine import check_arrays

        views = check_arrays(self.manifest, _narrowed(self.manifest, arrays))
        hosted = {name: seen.host for name, seen in views.items() if seen.host is not None}
        for name in views.keys() - hosted.keys():
            raise UsageError(Diagnostic(f"`{name}` is on a GPU, but the model runs on the CPU"))
        with self._lock:
            found = self._evaluator(hosted)
        # Copies: a tensor may be one of the network's own constants.
        return {name: to_numpy(tensor).copy() for name, tensor in found.items()}

    def _stream(self, batches: Iterable[Mapping[str, Any]], ahead: int) -> Iterator[dict[str, Array]]:
        from trtdsl.runtime.pipeline import staged

        yield from staged(batches, [self.run], ahead)


def _narrowed(manifest: Manifest, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays, those of int64 as int32 where the input is that; UsageError where it cannot hold them."""
    from trtdsl.runtime.arrays import on_cpu
    from trtdsl.runtime.binding import require_mapping

    require_mapping(manifest, arrays)
    wanted = {binding.name for binding in manifest.inputs if binding.dtype == "int32"}
    found = dict(arrays)
    for name in wanted & arrays.keys():
        array = on_cpu(name, arrays[name])
        if array is not None and array.dtype == np.int64:
            found[name] = array.astype(np.int32)
            if unfit := array[found[name] != array].tolist():
                text = f"input `{name}` is int32, which does not hold the array's {unfit[0]}"
                raise UsageError(Diagnostic(text))
    return found

"""Running an engine.

In: an engine file with its manifest, and arrays.  Out: arrays::

    engine = Engine.load("cnn.engine")
    engine(data=image)["logits"]                 # numpy in, numpy out
    engine(data=tensor.cuda())["logits"]         # GPU in, GPU out, without a copy

    graph = engine.graph({"data": (8, 3, 32, 32)})
    graph(data=images)["logits"]                 # as a CUDA graph, for one shape

An engine and its calls may be shared by threads: calls take turns.  For work side by side, each thread
makes a :class:`Context` of its own with :meth:`Engine.context`; a context is for one thread at a time.

An engine lives on the GPU that was current when it was loaded.  Whichever is current in a thread that calls
it or lets go of it, the work, the memory and the streams are on the engine's, and the thread's own is
current again after.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT, UsageError, cannot_read
from trtdsl.ops.lowering import Array
from trtdsl.runtime import cuda
from trtdsl.runtime.arrays import View, view
from trtdsl.runtime.binding import (
    ProfileUsers,
    check_names,
    check_shapes,
    check_types,
    check_values,
    choose_profile,
    require_mapping,
    require_named,
)
from trtdsl.runtime.fitting import (
    missing_libraries,
    require_libraries,
    require_plugins,
    require_release,
    require_runtime,
    require_target,
)
from trtdsl.syntax.source import is_checkpoint
from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.manifest import Manifest, engine_of_manifest, load_manifest, manifest_path
from trtdsl.types import DType

Result = Mapping[str, Any]
"""Outputs by name: numpy arrays, or DeviceArrays where an input was on the GPU."""


_SOURCES = {
    ".trtnet": ("a text of the language", "`trtdsl compile {} WEIGHTS` makes an engine of it"),
    ".onnx": (
        "an ONNX model",
        "`trtdsl import {} -o model.trtnet` writes a text, of which `trtdsl compile` makes an engine",
    ),
}
"""What files of other kinds hold of which an engine can be made, and how."""


def read_engine(path: Path | str) -> tuple[bytes, Manifest]:
    """An engine's bytes and its manifest; raises UsageError unless they are whole and belong together."""
    path = Path(path)
    if is_checkpoint(path):
        help = (f"give the text first: `compile MODEL.trtnet {path.name}` makes an engine of both",)
        raise UsageError(Diagnostic(f"`{path}` is a checkpoint, not an engine", help=help))
    if path.suffix in _SOURCES:
        what, first = _SOURCES[path.suffix]
        help = (first.format(quote(str(path))),)
        raise UsageError(Diagnostic(f"`{path}` is {what}, not an engine", help=help))
    if (engine := engine_of_manifest(path)) is not None:
        text = f"`{path}` is the manifest of an engine, not an engine"
        raise UsageError(Diagnostic(text, help=(f"give `{engine}`",)))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from error
    manifest = load_manifest(path)
    advice = "compile the model again, and keep the engine and its manifest together"
    if len(data) != manifest.size:
        sizes = f"it has {len(data)} bytes, `{manifest_path(path)}` says {manifest.size}"
        text = f"`{path}` is truncated, or does not belong to its manifest: {sizes}"
        raise UsageError(Diagnostic(text, help=(advice,)))
    if hashlib.sha256(data).hexdigest() != manifest.sha256:
        text = f"`{path}` does not belong to its manifest: the SHA-256 sums differ"
        raise UsageError(Diagnostic(text, help=(advice,)))
    return data, manifest


class Engine:
    """An engine on the GPU ``device``. ``manifest`` says what it takes and gives."""

    def __init__(
        self,
        data: bytes | memoryview,
        manifest: Manifest,
        runtime: str | Dialect | None = None,
        path: Path | str | None = None,
        plugins: Sequence[str | Path] = (),
    ) -> None:
        """From bytes in memory; :meth:`load` reads and checks a file, which is at ``path``.

        ``plugins`` are libraries to load before it.

        Raises RefusedByTensorRT where there is no GPU, or not the one or the TensorRT it was built for.
        """
        dialect = runtime if isinstance(runtime, Dialect) else load_runtime(runtime or manifest.runtime)
        require_release(manifest, path)
        require_runtime(manifest, dialect, path)
        require_libraries(manifest, dialect, path)
        require_plugins(manifest, dialect, plugins)
        self.device = cuda.current_device()
        require_target(manifest, self.device, path)
        self.manifest = manifest
        self.dialect = dialect
        dialect.log.clear()
        try:
            self._runtime = cuda.Held(dialect.trt.Runtime(dialect.log.logger), self.device)
        except TypeError as error:
            # pybind11's way to say that TensorRT returned nothing.
            raise RefusedByTensorRT(
                Diagnostic(f"{dialect} cannot create a runtime on this machine", help=dialect.log.take())
            ) from error
        self.held = cuda.Held(self._runtime.raw.deserialize_cuda_engine(data), self.device, self._runtime)
        if self.raw is None:
            text = f"{dialect} cannot load the engine of `{manifest.model}` on this GPU"
            advice = (*dialect.log.take(), *missing_libraries(manifest, dialect, path))
            raise RefusedByTensorRT(Diagnostic(text, help=advice))
        self._require_own_memory()
        self.profile_users = ProfileUsers(shared=dialect.facts.shares_profiles)
        self._lock = threading.Lock()
        self._shared: Context | None = None

    @property
    def raw(self) -> Any:
        """The ``ICudaEngine``. Keep no reference to it: it must be let go of on its own GPU."""
        return self.held.raw

    def _require_own_memory(self) -> None:
        """Refuse an engine whose output lies where an input does: the arrays of a call are apart."""
        aliased: Callable[[str], str | None] = getattr(self.raw, "get_aliased_input_tensor", lambda _: None)
        for output in self.manifest.outputs:
            if source := aliased(output.name):
                text = f"the engine writes into its input `{source}`, which `run` and `bench` cannot do"
                help = f"bind `{source}` and `{output.name}` to one address in a program of your own"
                raise UsageError(Diagnostic(text, help=(help,)))

    @classmethod
    def load(cls, path: Path | str, runtime: str | None = None, plugins: Sequence[str | Path] = ()) -> Engine:
        """The engine in a file, by its own runtime unless another is named; its manifest lies beside it."""
        return cls(*read_engine(path), runtime, path, plugins)

    def __call__(self, /, *given: Any, **arrays: Any) -> Result:
        """Run once and wait. Arrays are by input name; GPU arrays are read in place."""
        require_named(self.manifest, given)
        with self.own_context() as context:
            return context.run(arrays)

    @contextmanager
    def own_context(self) -> Generator[Context]:
        """The context of the engine's calls, which wait until the block is left."""
        with self._lock:
            if self._shared is None:
                self._shared = self.context()
            yield self._shared

    def context(self) -> Context:
        """A further context, with its own memory and stream.

        Before TensorRT 10 each needs a profile of its own; the engine's calls and graphs have contexts too.
        """
        with self.device.current():
            return Context(self)

    def graph(self, shapes: Mapping[str, tuple[int, ...]]) -> GraphContext:
        """A context for one set of shapes, whose work is a CUDA graph."""
        with self.device.current():
            return GraphContext(self, shapes)


class Context:
    """One thread's way to run an engine: an execution context, a stream, and memory that grows as needed.

    What is not :meth:`run` is called with the engine's GPU as the current one.
    """

    def __init__(self, engine: Engine) -> None:
        self.manifest = engine.manifest
        self.device = engine.device
        self.stream = cuda.Stream()
        self._log = engine.dialect.log
        self._log.clear()
        # Not the Engine, which holds a context itself: its memory would wait for the garbage collector.
        self._held = cuda.Held(engine.raw.create_execution_context(), engine.device, engine.held)
        if self.raw is None:
            raise self._refused("TensorRT cannot make an execution context")
        self._profile_users = engine.profile_users
        # The first context of an engine is on profile 0 from the start; a later one may be on none, -1.
        if self.raw.active_optimization_profile >= 0:
            self._profile_users.claim(self.raw.active_optimization_profile, self)
        self._pool = cuda.Pool()

    @property
    def raw(self) -> Any:
        """The ``IExecutionContext``. Keep no reference to it: it must be let go of on the engine's GPU."""
        return self._held.raw

    def __call__(self, /, *given: Any, stream: int | None = None, **arrays: Any) -> Result:
        """:meth:`run` with the arrays by name; an input called ``stream`` can be given to that only."""
        require_named(self.manifest, given)
        return self.run(arrays, stream)

    def run(self, arrays: Mapping[str, Any], stream: int | None = None) -> Result:
        """Run and wait; the outputs lie where the inputs lie.

        With ``stream``, a CUDA stream's address, the work is only put there, after what is in it already:
        for arrays on the GPU, which must live on until it is done.
        """
        with self.device.current():
            return self._run(arrays, stream)

    def _run(self, arrays: Mapping[str, Any], stream: int | None) -> Result:
        at = self.stream.handle if stream is None else stream
        views = check_arrays(self.manifest, arrays, at, self.device.index)
        on_device = any(seen.on_device for seen in views.values())
        if stream is not None and not all(seen.on_device for seen in views.values()):
            raise UsageError(Diagnostic("only arrays on the GPU can be run in a stream of the caller's"))
        self.prepare({name: seen.shape for name, seen in views.items()}, at)
        for name, seen in views.items():
            self._set_address(name, self._upload(name, seen, at))
        outputs = self.new_outputs() if on_device else self.outputs_in(self._pool.allocate)
        for name, output in outputs.items():
            self._set_address(name, output.pointer)
        self.enqueue(at)
        if stream is not None:
            return outputs
        results = outputs if on_device else {name: download(array, at) for name, array in outputs.items()}
        self.stream.synchronize()
        return results

    def prepare(self, shapes: Mapping[str, tuple[int, ...]], stream: int) -> None:
        """Choose the profile for these shapes, which have been checked, and set them."""
        self._log.clear()
        profile = choose_profile(self.manifest, shapes)
        if self.manifest.profiles and profile != self.raw.active_optimization_profile:
            self._switch(profile, stream)
        for name, shape in shapes.items():
            if not self.raw.set_input_shape(name, shape):
                raise self._refused(f"TensorRT does not accept the shape of `{name}`")

    def _switch(self, profile: int, stream: int) -> None:
        name = self.manifest.profiles[profile].name
        if not self._profile_users.claim(profile, self):
            raise RefusedByTensorRT(
                Diagnostic(
                    f"profile `{name}` is in use by another context of this engine",
                    help=(
                        "before TensorRT 10 each context needs a profile of its own, those of the engine's "
                        "calls and graphs too: let the other go, or give the model a further `profile`",
                    ),
                )
            )
        if not self.raw.set_optimization_profile_async(profile, stream):
            raise self._refused(f"TensorRT cannot switch to profile `{name}`")

    def new_outputs(self) -> dict[str, cuda.DeviceArray]:
        """Fresh memory for every output, of the shapes that the inputs' shapes make."""
        return self.outputs_in(lambda _, size: cuda.Memory(size))

    def outputs_in(self, allocate: Callable[[str, int], cuda.Memory]) -> dict[str, cuda.DeviceArray]:
        """Every output, of the shapes that the inputs' shapes make, in the memory that ``allocate`` gives for
        its name and its bytes."""
        found: dict[str, cuda.DeviceArray] = {}
        for output in self.manifest.outputs:
            shape = tuple(int(size) for size in self.raw.get_tensor_shape(output.name))
            if any(size < 0 for size in shape):
                raise self._refused(f"the shape of the output `{output.name}` depends on the data")
            dtype = DType(output.dtype).numpy
            memory = allocate(output.name, int(np.prod(shape)) * dtype.itemsize)
            found[output.name] = cuda.DeviceArray(memory, shape, dtype)
        return found

    def _upload(self, name: str, seen: View, stream: int) -> int:
        if seen.host is None:
            return seen.pointer
        memory = self._pool.allocate(name, seen.host.nbytes)
        cuda.copy_to_device(memory.pointer, seen.host, stream)
        return memory.pointer

    def use_arrays(self, arrays: Mapping[str, cuda.DeviceArray]) -> None:
        """Read and write these arrays from now on."""
        for name, array in arrays.items():
            self._set_address(name, array.pointer)

    def _set_address(self, name: str, pointer: int) -> None:
        if not self.raw.set_tensor_address(name, pointer):
            raise self._refused(f"TensorRT does not accept the memory of `{name}`")

    def enqueue(self, stream: int) -> None:
        """Put one run into a stream; shapes and memory must be set."""
        if not self.raw.execute_async_v3(stream):
            raise self._refused("TensorRT cannot run the engine")

    def _refused(self, message: str) -> RefusedByTensorRT:
        return RefusedByTensorRT(Diagnostic(message, help=self._log.take()))


class BoundContext:
    """A context for one set of shapes: ``inputs`` and ``outputs`` are its arrays on the GPU.

    Write the inputs in place and call :meth:`launch`. It has run once. The engine's GPU is the current one.
    """

    def __init__(self, engine: Engine, shapes: Mapping[str, tuple[int, ...]]) -> None:
        manifest = engine.manifest
        check_names(manifest, shapes)
        check_shapes(manifest, shapes)
        self.context = Context(engine)
        self.stream = self.context.stream
        self.context.prepare(shapes, self.stream.handle)
        # The first runs read them before anything is written: what happens to lie there may be no position.
        self.inputs = {
            binding.name: cuda.DeviceArray.zeros(
                tuple(shapes[binding.name]), DType(binding.dtype).numpy, self.stream.handle
            )
            for binding in manifest.inputs
        }
        self.outputs = self.context.new_outputs()
        self.context.use_arrays({**self.inputs, **self.outputs})
        # The first run after a change of shape does work that no graph may hold.
        self.context.enqueue(self.stream.handle)
        self.stream.synchronize()

    def launch(self, stream: int | None = None) -> None:
        """Run once on what ``inputs`` hold, without waiting."""
        self.context.enqueue(self.stream.handle if stream is None else stream)


class GraphContext(BoundContext):
    """A context for one set of shapes, whose work is a CUDA graph.

    :meth:`launch` it, or call it like an engine and have the inputs copied.
    Raises RefusedByTensorRT where the engine's work makes an empty CUDA graph.
    """

    def __init__(self, engine: Engine, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(engine, shapes)
        self._graph = cuda.Graph.capture(self.stream, lambda: self.context.enqueue(self.stream.handle))

    def launch(self, stream: int | None = None) -> None:
        """Run once on what ``inputs`` hold, without waiting."""
        with self.context.device.current():
            self._graph.launch(self.stream.handle if stream is None else stream)

    def __call__(self, /, *given: Any, **arrays: Any) -> Result:
        """Copy the inputs in, run and wait; the outputs are copied out as numpy, or lie in ``outputs``."""
        require_named(self.context.manifest, given)
        with self.context.device.current():
            return self._run(arrays)

    def _run(self, arrays: Mapping[str, Any]) -> Result:
        at = self.stream.handle
        views = check_arrays(self.context.manifest, arrays, at, self.context.device.index)
        for name, seen in views.items():
            target = self.inputs[name]
            if seen.shape != target.shape:
                raise UsageError(
                    Diagnostic(f"this CUDA graph takes `{name}` of shape {target.shape}, not {seen.shape}")
                )
            upload(seen, target, at)
        self.launch()
        if any(seen.on_device for seen in views.values()):
            self.stream.synchronize()
            return self.outputs
        results = {name: download(array, at) for name, array in self.outputs.items()}
        self.stream.synchronize()
        return results


def check_arrays(
    manifest: Manifest, arrays: Mapping[str, Any], stream: int = 0, device: int | None = None
) -> dict[str, View]:
    """The arrays of a call, checked against the manifest; raises UsageError with everything that is wrong.

    The values of arrays on the GPU are not looked at: that would make the call wait for them.
    """
    require_mapping(manifest, arrays)
    check_names(manifest, arrays)
    names = [binding.name for binding in manifest.inputs]
    views = {name: view(name, arrays[name], stream, device) for name in names}
    check_types(manifest, {name: seen.dtype for name, seen in views.items()})
    shapes = {name: seen.shape for name, seen in views.items()}
    check_shapes(manifest, shapes)
    choose_profile(manifest, shapes)
    check_values(manifest, {name: seen.host for name, seen in views.items() if seen.host is not None})
    return views


def not_finite(arrays: Mapping[str, Array]) -> tuple[Diagnostic, ...]:
    """A warning for every array that holds NaN or infinity."""
    found: list[Diagnostic] = []
    for name, array in arrays.items():
        if array.dtype.kind not in "fV":
            continue
        numbers = array.astype(np.float32)
        bad = numbers.size - int(np.isfinite(numbers).sum())
        if bad:
            text = f"`{name}` has {bad} values of {numbers.size} that are NaN or infinite"
            found.append(Diagnostic(text, severity="warning"))
    return tuple(found)


def upload(seen: View, target: cuda.DeviceArray, stream: int) -> None:
    """Copy what was seen into an array of its shape and dtype; both must live on until the copy is done."""
    if seen.host is None:
        cuda.copy_on_device(target.pointer, seen.pointer, target.nbytes, stream)
    else:
        cuda.copy_to_device(target.pointer, seen.host, stream)


def download(array: cuda.DeviceArray, stream: int) -> Array:
    """An array on the CPU, whose values are there when the stream has come so far."""
    host = np.empty(array.shape, array.dtype)
    cuda.copy_to_host(host, array.pointer, stream)
    return host

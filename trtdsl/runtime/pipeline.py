"""Work in stages that overlap: while one item is computed, the next is read and moved, the last moved back.

In: items and functions, each of which takes what the one before it gave.  Out: what the last one gives, in
order, while the items that follow are under way::

    for result in staged(decode(video), [upload, compute, download], ahead=2):
        write(result)

The items are read and every stage is run in a thread of its own.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trtdsl.ops.lowering import Array
from trtdsl.runtime import cuda
from trtdsl.runtime.engine import Engine, check_arrays, download, upload
from trtdsl.types import DType

_END = object()
"""What the reader gives when there is nothing left."""


def staged(items: Iterable[Any], stages: Sequence[Callable[[Any], Any]], ahead: int) -> Generator[Any]:
    """The results of all stages, in order; no more than ``ahead`` items are under way beyond the one awaited.

    What the items or a stage raise is raised at its place, and ends the work; so does a caller who stops. The
    item that is being read then is waited for, but not on Ctrl-C.
    """
    reader = _Reader(items)
    with ExitStack() as stack:
        workers = [stack.enter_context(ThreadPoolExecutor(1)) for _ in stages]
        waiting: deque[Future[Any]] = deque()

        def start() -> None:
            job = reader.ask()
            for worker, stage in zip(workers, stages, strict=True):
                job = worker.submit(_after, job, stage)
            waiting.append(job)

        interrupted = False
        try:
            for _ in range(ahead + 1):
                start()
            while (result := waiting.popleft().result()) is not _END:
                yield result
                start()
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            reader.stop()
            for executor in workers:
                executor.shutdown(wait=False, cancel_futures=True)
            if not interrupted:
                reader.join()


class _Reader:
    """Items that are read in a thread of their own, each when it is asked for.

    An item may never come, and no thread can be stopped: the process ends without waiting for this one.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._asked: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._jobs: list[Future[Any]] = []
        self._thread = threading.Thread(target=_read, args=(iter(items), self._asked), daemon=True)
        self._thread.start()

    def ask(self) -> Future[Any]:
        """The next item to come, or ``_END``."""
        job: Future[Any] = Future()
        self._jobs = [*(each for each in self._jobs if not each.done()), job]
        self._asked.put(job)
        return job

    def stop(self) -> None:
        """Let nobody wait for an item any more."""
        self._asked.put(None)
        for job in self._jobs:
            job.cancel()

    def join(self) -> None:
        self._thread.join()


def _read(source: Iterator[Any], asked: queue.SimpleQueue[Future[Any] | None]) -> None:
    """Answer with an item each; one that nobody waits for any more is let go."""
    while (job := asked.get()) is not None:
        if job.cancelled():
            continue
        try:
            found, raised = next(source, _END), None
        except BaseException as error:
            found, raised = None, error
        with suppress(InvalidStateError):
            if raised is None:
                job.set_result(found)
            else:
                job.set_exception(raised)


def _after(job: Future[Any], stage: Callable[[Any], Any]) -> Any:
    given = job.result()
    return given if given is _END else stage(given)


@dataclass(eq=False)
class _Slot:
    """Memory on the GPU for one item under way, and what lies in it."""

    pool: cuda.Pool = field(default_factory=cuda.Pool)
    inputs: Mapping[str, cuda.DeviceArray] = field(default_factory=dict[str, cuda.DeviceArray])
    outputs: Mapping[str, cuda.DeviceArray] = field(default_factory=dict[str, cuda.DeviceArray])


class EngineStages:
    """The three stages of an engine's work: arrays to the GPU, its run, and its outputs back as numpy.

    Each has a stream of its own, so that the GPU copies while it computes; ``ahead`` is :func:`staged`'s.
    """

    def __init__(self, engine: Engine, ahead: int) -> None:
        self._engine = engine
        self._device = engine.device
        self._manifest = engine.manifest
        with self._device.current():
            self._up, self._down = cuda.Stream(), cuda.Stream()
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        for _ in range(ahead + 1):
            self._free.put(_Slot())

    def __iter__(self) -> Iterator[Callable[[Any], Any]]:
        """The stages in their order, each on the engine's GPU whatever thread runs it."""
        return iter([partial(self._on_device, stage) for stage in (self._upload, self._run, self._download)])

    def _on_device(self, stage: Callable[[Any], Any], given: Any) -> Any:
        with self._device.current():
            return stage(given)

    def _upload(self, arrays: Mapping[str, Any]) -> _Slot:
        at = self._up.handle
        views = check_arrays(self._manifest, arrays, at, self._device.index)
        slot = self._free.get()
        inputs: dict[str, cuda.DeviceArray] = {}
        for binding in self._manifest.inputs:
            seen, dtype = views[binding.name], DType(binding.dtype).numpy
            memory = slot.pool.allocate(binding.name, math.prod(seen.shape) * dtype.itemsize)
            inputs[binding.name] = cuda.DeviceArray(memory, seen.shape, dtype)
            upload(seen, inputs[binding.name], at)
        self._up.synchronize()
        slot.inputs = inputs
        return slot

    def _run(self, slot: _Slot) -> _Slot:
        with self._engine.own_context() as context:
            shapes = {name: array.shape for name, array in slot.inputs.items()}
            context.prepare(shapes, context.stream.handle)
            slot.outputs = context.outputs_in(slot.pool.allocate)
            context.use_arrays({**slot.inputs, **slot.outputs})
            context.enqueue(context.stream.handle)
            context.stream.synchronize()
        return slot

    def _download(self, slot: _Slot) -> dict[str, Array]:
        found = {name: download(array, self._down.handle) for name, array in slot.outputs.items()}
        self._down.synchronize()
        self._free.put(slot)
        return found

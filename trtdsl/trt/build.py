"""Building: a lowered network becomes an engine.

In: a :class:`~trtdsl.trt.lower.LoweredNetwork`, the GPUs to build for and a callback for progress.  Out: the
engine's bytes.  TensorRT builds in a thread of its own, so that Ctrl-C and the callback are served by the
caller's thread; both end the build cleanly.

Two builds of one input are byte-identical where all sizes are fixed. With dynamic sizes that holds for
plain chains only: TensorRT-RTX 1.7.1 numbers the sizes it computes in an order that differs from run to
run (with its ONNX parser too), and the engines differ in how these sizes are named and ordered.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from trtdsl.diagnostics import Cancelled, Diagnostic, RefusedByTensorRT, UsageError, did_you_mean
from trtdsl.ir import Node
from trtdsl.options import CompileOptions
from trtdsl.trt.dialect import Dialect
from trtdsl.trt.facts import Facts
from trtdsl.trt.gpu import compute_capability, current_gpu, work_on
from trtdsl.trt.kernels import Kernel, read_kernels
from trtdsl.trt.lower import LoweredNetwork
from trtdsl.trt.profiles import add_profiles


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of the build: ``step`` of ``total`` in ``phase``, which lies within ``parent``."""

    phase: str
    parent: str | None
    step: int
    total: int


ProgressCallback: TypeAlias = Callable[[Progress], object]


@dataclass(frozen=True)
class Built:
    """An engine's bytes, and what the builder configuration had to do with them at last.

    ``tactic_sources`` are the sources of kernels that were allowed; ``targets`` are the compute capabilities
    that the engine is for, none where TensorRT decides; ``kernels`` are listed where that was asked for.
    """

    data: memoryview
    tactic_sources: tuple[str, ...]
    targets: tuple[str, ...]
    kernels: tuple[Kernel, ...] = ()


def build(
    lowered: LoweredNetwork,
    options: CompileOptions = CompileOptions(),
    *,
    progress: ProgressCallback | None = None,
    tune: Callable[[Any], object] | None = None,
) -> memoryview:
    """The engine's bytes, for the targets and with or without TF32 as the options say.

    Their other choices were made when the network was. ``progress`` is called in the caller's thread; what it
    raises ends the build and is raised again.
    ``tune`` gets the ``IBuilderConfig`` when it is complete.
    Raises Cancelled on Ctrl-C and RefusedByTensorRT, with its words, where it cannot build.
    """
    return build_with_facts(lowered, options, progress=progress, tune=tune).data


def build_with_facts(
    lowered: LoweredNetwork,
    options: CompileOptions = CompileOptions(),
    *,
    progress: ProgressCallback | None = None,
    tune: Callable[[Any], object] | None = None,
    kernels: bool = False,
) -> Built:
    """What :func:`build` builds, and what its manifest must know of how; with its ``kernels`` if asked."""
    dialect = lowered.dialect
    config = lowered.builder.create_builder_config()
    dialect.configure(
        config,
        float16=lowered.uses_float16,
        int8=lowered.uses_int8,
        mixed=lowered.mixed,
        tf32=options.tf32,
    )
    _set_targets(dialect, config, options.targets)
    add_profiles(lowered.graph, lowered.builder, config, dialect)
    if kernels:
        config.profiling_verbosity = dialect.enum("ProfilingVerbosity.DETAILED")
    if tune:
        tune(config)
    dialect.log.clear()
    engine = _Build(lowered, config).run(progress)
    if engine is None:
        raise RefusedByTensorRT(_failure(lowered, config, options.targets))
    targets = tuple(options.targets) or _built_for(dialect, config)
    listing = dialect.log.take_listing()
    listed = read_kernels(listing) if kernels and listing else ()
    return Built(memoryview(engine), dialect.tactic_sources(config), targets, listed)


def _built_for(dialect: Dialect, config: Any) -> tuple[str, ...]:
    """The GPU at hand, where TensorRT builds for that and was not asked for an engine for others too."""
    none = "HardwareCompatibilityLevel.NONE"
    own_only = not dialect.facts.has(none) or config.hardware_compatibility_level == dialect.enum(none)
    here = compute_capability() if own_only and not dialect.targets else None
    return (here,) if here else ()


def require_targets(dialect: Dialect, targets: Sequence[str]) -> None:
    """Refuse targets that a runtime cannot build for; UsageError."""
    known = dialect.targets
    if targets and not known:
        raise UsageError(
            Diagnostic(
                f"{dialect} builds for the GPU it runs on and cannot be given a target",
                help=("leave out the target, or build with tensorrt_rtx",),
            )
        )
    unknown = [target for target in targets if target.lower() not in known]
    if unknown:
        raise UsageError(*(_unknown_target(target, dialect) for target in unknown))


def require_builds(dialect: Dialect, builds: int) -> None:
    """Refuse to choose among builds of a runtime whose builds do not differ; UsageError."""
    if builds > 1 and dialect.targets:
        text = (
            f"{dialect} chooses kernels when an engine is loaded: builds of one model do not differ in them"
        )
        raise UsageError(Diagnostic(text, help=("leave out `--builds`, or build with tensorrt",)))


def _set_targets(dialect: Dialect, config: Any, targets: Sequence[str]) -> None:
    require_targets(dialect, targets)
    if not targets:
        return
    known = dialect.targets
    wanted = tuple(dict.fromkeys(target.lower() for target in targets))
    config.num_compute_capabilities = len(wanted)
    for index, target in enumerate(wanted):
        config.set_compute_capability(known[target], index)


def _unknown_target(target: str, dialect: Dialect) -> Diagnostic:
    known = dialect.targets
    # NVIDIA's own tables say 8.9, nvcc says sm_89 and compute_89.
    capability = f"sm{re.sub(r'[^0-9]', '', target)}"
    help = (f"known targets: {', '.join(known)}",)
    if capability in known:
        meant = f", did you mean `{capability}`?"
    elif _CAPABILITY.fullmatch(target):  # another GPU's, for which none of the known ones would do
        meant, help = "", (*help, "for another GPU build with TensorRT on it: `--runtime tensorrt`")
    else:
        meant = did_you_mean(target.lower(), known)
        help = (*help, "a target is a GPU's compute capability, 8.9 as `sm89`")
    return Diagnostic(f"{dialect} cannot build for `{target}`{meant}", help=help)


_CAPABILITY = re.compile(r"(sm|compute)?_?[0-9]+(\.[0-9])?[af]?", re.IGNORECASE)
"""A compute capability as NVIDIA writes it: `9.0`, `sm90`, `sm_90a`."""


class _Build:
    """One run of the builder in a thread; events come back through a queue, None at the end."""

    def __init__(self, lowered: LoweredNetwork, config: Any) -> None:
        self._lowered = lowered
        self._config = config
        self._events: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._engine: Any = None
        self._error: Exception | None = None
        if lowered.dialect.facts.progress:
            config.progress_monitor = _make_monitor(lowered.dialect.trt, self._events, self._cancelled)

    def run(self, progress: ProgressCallback | None) -> Any:
        """The serialized engine, or None where the build failed."""
        thread = threading.Thread(
            target=self._build,
            args=(self._lowered.dialect.log.owner, current_gpu()),
            name="trtdsl build",
        )
        thread.start()
        try:
            while (event := self._events.get()) is not None:
                if progress:
                    progress(event)
        except KeyboardInterrupt as interrupt:
            raise Cancelled from interrupt
        finally:
            # Reached early only by an exception; the builder must stop before its objects may die.
            self._cancelled.set()
            thread.join()
        if self._error:
            raise self._error
        return self._engine

    def _build(self, caller: object, device: int | None) -> None:
        """In the thread of its own, which speaks for the caller's and works on its GPU."""
        self._lowered.dialect.log.speak_for(caller)
        work_on(device)
        try:
            self._engine = self._lowered.builder.build_serialized_network(self._lowered.network, self._config)
        except Exception as error:
            self._error = error
        finally:
            self._events.put(None)


def _make_monitor(trt: Any, events: queue.SimpleQueue[Progress | None], cancelled: threading.Event) -> Any:
    """An ``IProgressMonitor``: TensorRT calls it from the thread that builds."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str | None, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (parent_phase, num_steps)
            events.put(Progress(phase_name, parent_phase, 0, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            parent, total = self._phases[phase_name]
            events.put(Progress(phase_name, parent, step + 1, total))
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            parent, total = self._phases.pop(phase_name)
            events.put(Progress(phase_name, parent, total, total))

    return Monitor()


def _failure(lowered: LoweredNetwork, config: Any, targets: Sequence[str]) -> Diagnostic:
    """TensorRT's reasons, at the source of the first layer that they name."""
    lines = lowered.dialect.log.take()
    missing = missing_products(lowered.dialect, config)
    where = f" for {', '.join(targets)}" if targets else ""
    message = f"{lowered.dialect} cannot build this model{where}"
    reasons = (
        *(_NUMBERS.sub("{…}", line) for line in lines),
        *advice(lowered.dialect.facts, lines, missing),
    )
    node = _mentioned(lowered, " ".join(lines))
    if node is None or not node.origins:
        return Diagnostic(message, help=reasons)
    return Diagnostic.at(message, node.origins, reasons)


def missing_products(dialect: Dialect, config: Any) -> str:
    """Why a build had to do without cuBLAS, which TensorRT 8 makes matrix products with; "" if it had it."""
    needed = "CUBLAS"
    if not dialect.facts.has(f"TacticSource.{needed}") or dialect.facts.strongly_typed:
        return ""
    if needed in dialect.tactic_sources(config):
        return ""
    return str(dialect.unusable_tactics.get(needed, "its tactic source was not allowed"))


def advice(facts: Facts, lines: Iterable[str], missing: str = "") -> tuple[str, ...]:
    """What to do, where experience of a release says why it cannot build.

    ``missing`` is what :func:`missing_products` says.
    """
    no_kernel = any("Could not find any implementation" in line and "ForeignNode" in line for line in lines)
    if not facts.narrow or not no_kernel or not missing:
        return ()
    return f"TensorRT had to build without cuBLAS: {missing}", _INSTALL_CUBLAS


_INSTALL_CUBLAS = (
    "most transformers need its matrix products: install cuBLAS of the CUDA release that TensorRT is for "
    "(for CUDA 11 `pip install nvidia-cublas-cu11`), put its folder in LD_LIBRARY_PATH, and compile again"
)
_NUMBERS = re.compile(r"\{-?[\d.]+(e-?\d+)?, [^{}]*\}")
"""Values of a weight, which TensorRT lists without end."""

_REGION = re.compile(r"\{ForeignNode\[(.*?)\]\}")
"""Layers compiled as one, ``{ForeignNode[conv1...fc]}``, by the names of the first and the last."""


def _mentioned(lowered: LoweredNetwork, text: str) -> Node | None:
    """The node of the layer whose name stands first in the text, or else first in the name of a region."""
    regions = " ".join(_REGION.findall(text)).replace("...", " ")
    return _named_first(lowered, _REGION.sub(" ", text)) or _named_first(lowered, regions)


def _named_first(lowered: LoweredNetwork, text: str) -> Node | None:
    found: dict[int, str] = {}
    for name in lowered.nodes:
        # `conv1` is part of `layer1.0.conv1`, and not meant there.
        if name in text and (match := re.search(rf"(?<![\w./]){re.escape(name)}(?![\w./])", text)):
            found[match.start()] = name
    return lowered.nodes[found[min(found)]] if found else None

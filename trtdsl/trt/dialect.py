"""Which TensorRT this is, and what its network API has.

In: the name of a runtime module, or None for the first that is installed.  Out: a :class:`Dialect`, the
one place that knows how ``tensorrt_rtx``, ``tensorrt`` 11, 10 and 8.5 differ.  Everything is decided by
the release's :class:`~trtdsl.trt.facts.Facts`, that is by what the module *has*: version strings say little,
and enum integers were renumbered between releases.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT, UsageError
from trtdsl.ops.lowering import Array
from trtdsl.options import RUNTIMES
from trtdsl.trt.control_flow import ADDED_BY
from trtdsl.trt.facts import Facts, facts_of
from trtdsl.trt.gpu import compute_capability
from trtdsl.trt.installation import how_to_install
from trtdsl.trt.log import Log
from trtdsl.trt.registry import PluginRegistry
from trtdsl.trt.tactics import Lack, unusable
from trtdsl.types import DType

DATA_TYPES = {
    DType.FLOAT32: "FLOAT",
    DType.FLOAT16: "HALF",
    DType.BFLOAT16: "BF16",
    DType.FLOAT8: "FP8",
    DType.FLOAT8_E8M0: "E8M0",
    DType.FLOAT4: "FP4",
    DType.INT4: "INT4",
    DType.INT8: "INT8",
    DType.INT32: "INT32",
    DType.INT64: "INT64",
    DType.UINT8: "UINT8",
    DType.BOOL: "BOOL",
}
"""What TensorRT's ``DataType`` calls each of ours."""


def load_runtime(name: str | None = None) -> Dialect:
    """The runtime of that name (``tensorrt-rtx`` is understood), by default the first installed.

    Raises RefusedByTensorRT with what to install, UsageError for an unknown name.
    """
    wanted = name.replace("-", "_") if name else None
    if wanted is not None and wanted not in RUNTIMES:
        raise UsageError(
            Diagnostic(f"unknown runtime `{name}`", help=(f"known runtimes: {', '.join(RUNTIMES)}",))
        )
    failures: dict[str, ImportError] = {}
    for candidate in (wanted,) if wanted else RUNTIMES:
        try:
            return _dialect(candidate)
        except ImportError as error:
            failures[candidate] = error
    raise RefusedByTensorRT(_not_installed(failures))


def _not_installed(failures: Mapping[str, ImportError]) -> Diagnostic:
    reasons = [f"`{name}` cannot be imported: {error}" for name, error in failures.items()]
    # The same advice once, where it is the same for all.
    advice = dict.fromkeys(map(how_to_install, failures))
    return Diagnostic(f"TensorRT is not installed ({'; '.join(reasons)})", help=tuple(advice))


@functools.cache
def _dialect(name: str) -> Dialect:
    # One for each module and process: TensorRT keeps the first logger it is given.
    return Dialect(name, importlib.import_module(name))


class Dialect:
    """One runtime module: ``trt`` is the module, ``log`` collects what it says, ``facts`` is what it has."""

    def __init__(self, name: str, trt: Any, facts: Facts | None = None, log: Log | None = None) -> None:
        self.name = name
        self.trt = trt
        # TensorRT keeps the first logger of a process: whoever makes a second dialect passes the first's.
        self.log = log or Log(trt)
        self.facts = facts or facts_of(trt)

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    # What it has

    def has(self, layer: str) -> bool:
        """Whether the network API has the method ``add_<layer>``."""
        return layer in self.facts.layers

    @property
    def normalization(self) -> str | None:
        """The newest normalisation layer, or None (8.5): compose it from reductions there."""
        return next((name for name in ("normalization_v2", "normalization") if self.has(name)), None)

    @cached_property
    def targets(self) -> Mapping[str, Any]:
        """Compute capabilities that can be built for by name, ``sm89``; empty where it is the GPU's own."""
        if not hasattr(self.trt, "ComputeCapability"):
            return {}
        members = self.trt.ComputeCapability.__members__
        return {name.lower(): member for name, member in members.items() if name.startswith("SM")}

    @property
    def own_target(self) -> str | None:
        """The compute capability of the GPU at hand, where it builds for that alone and CUDA says which it
        is."""
        return None if self.targets else compute_capability()

    @cached_property
    def unusable_tactics(self) -> Mapping[str, Lack]:
        """Why a source of kernels, ``CUBLAS``, cannot be used here; from TensorRT 9 on none is needed."""
        if self.facts.strongly_typed:
            return {}
        return {name: lack for name, lack in unusable().items() if self.facts.has(f"TacticSource.{name}")}

    def tactic_sources(self, config: Any) -> tuple[str, ...]:
        """The sources of kernels that a builder configuration allows."""
        allowed = config.get_tactic_sources()
        members = self.trt.TacticSource.__members__
        return tuple(name for name, member in members.items() if allowed >> int(member) & 1)

    @cached_property
    def plugins(self) -> PluginRegistry:
        """The plugins that a network or an engine may have here."""
        return PluginRegistry(self.trt, self.log.logger)

    @property
    def places_plugins(self) -> bool:
        """Whether the network API can place a plugin, as that of TensorRT-RTX cannot."""
        return self.has("plugin_v2") or self.has("plugin_v3")

    @property
    def why_no_plugins(self) -> str:
        """Why networks have none here, if that is not for the API."""
        return ""

    @property
    def mixes_types(self) -> bool:
        """Whether it is left to TensorRT which float32 it computes in float16: what is weakly typed can."""
        return not self.facts.strongly_typed

    # Types

    @cached_property
    def data_types(self) -> Mapping[DType, Any]:
        """TensorRT's DataType of each of our dtypes that this release has."""
        known = {
            dtype: getattr(self.trt.DataType, name)
            for dtype, name in DATA_TYPES.items()
            if self.facts.has(f"DataType.{name}")
        }
        # Before TensorRT 10 there are no 64-bit integers: indices and sizes are 32-bit throughout.
        known.setdefault(DType.INT64, self.trt.DataType.INT32)
        return known

    def spell(self, data_type: Any) -> str:
        """Our name of a TensorRT DataType."""
        names = (str(dtype) for dtype, known in self.data_types.items() if known == data_type)
        return next(names, str(data_type))

    def enum(self, path: str) -> Any:
        """An enum member such as ``PoolingType.MAX``; LookupError where this release lacks it."""
        if not self.facts.has(path):
            raise LookupError(f"{self} has no {path}")
        return functools.reduce(getattr, path.split("."), self.trt)

    def weights(self, data_type: Any, array: Array, count: int | None = None) -> Any:
        """``trt.Weights`` over the array's own memory, which the caller keeps alive.

        Of a type of four bits the array is the packed bytes of ``count`` elements.
        """
        if array.size == 0:
            # TensorRT refuses an address where there is nothing to read.
            return self.trt.Weights(data_type)
        if self.facts.weights_by_address:
            return self.trt.Weights(data_type, array.ctypes.data, array.size if count is None else count)
        return self.trt.Weights(array)

    # Creating things

    def create_builder(self) -> Any:
        """A builder, None-checked: TensorRT wants a GPU here where it is not tensorrt_rtx."""
        self.log.clear()
        try:
            builder = self.trt.Builder(self.log.logger)
        except TypeError:
            # pybind11 raises TypeError("factory function returned nullptr") where TensorRT gave None.
            builder = None
        if builder is None:
            raise RefusedByTensorRT(
                Diagnostic(f"{self} cannot create a builder on this machine", help=self.log.take())
            )
        return builder

    def create_network(self, builder: Any) -> Any:
        """A strongly typed network, or on 8.5 one with an explicit batch."""
        flags = self.trt.NetworkDefinitionCreationFlag
        flag = flags.STRONGLY_TYPED if self.facts.strongly_typed else flags.EXPLICIT_BATCH
        return builder.create_network(1 << int(flag))

    def configure(
        self,
        config: Any,
        *,
        float16: bool,
        int8: bool = False,
        mixed: bool = False,
        tf32: bool | None = None,
    ) -> None:
        """Set up a builder configuration. ``tf32`` lets float32 products round to 10 bits.

        A weakly typed network is told to obey the types that :meth:`pin` fixed, or to prefer them, with a
        warning where it cannot, if there are quantised tensors or it is ``mixed``; to use no ``float16`` or
        ``int8`` unless it may, and no kernels of libraries that cannot be loaded.
        """
        flags = self.trt.BuilderFlag
        if tf32 is not None:
            (config.set_flag if tf32 else config.clear_flag)(flags.TF32)
        if self.facts.strongly_typed:
            return
        # 8.5.3 finds no kernel for layers between quantised tensors where it must obey.
        prefers = int8 or mixed
        config.set_flag(flags.PREFER_PRECISION_CONSTRAINTS if prefers else flags.OBEY_PRECISION_CONSTRAINTS)
        if float16:
            config.set_flag(flags.FP16)
        if int8:
            config.set_flag(flags.INT8)
        for source in self.unusable_tactics:
            bit = 1 << int(self.enum(f"TacticSource.{source}"))
            config.set_tactic_sources(config.get_tactic_sources() & ~bit)

    def pin(
        self, layer: Any, kind: str, computes_in: Any, results: Sequence[Any], mixed: bool = False
    ) -> None:
        """Fix the types of a layer of a weakly typed network, where TensorRT may choose: floating-point ones.

        ``computes_in`` is that of its floating-point numbers, or None; ``mixed`` leaves it to TensorRT
        which float32 is computed in float16. Only a cast may turn a number of one kind into one of the
        other, and its result's type is what makes it a cast.
        """
        if self.facts.strongly_typed or kind in _TYPED_BY_THEMSELVES:
            return
        half = (self.trt.DataType.HALF,)
        pinned = half if mixed else (*half, self.trt.DataType.FLOAT)
        if computes_in in pinned and kind not in _COPIES:
            layer.precision = computes_in
        for index, data_type in enumerate(results):
            if kind == "identity" or data_type in pinned:
                layer.set_output_type(index, data_type)

    def reorder(self, network: Any) -> None:
        """Have TensorRT 8.5 put the layers of a complete network into an order of its own.

        It does so where an input of any layer has been set anew, to what it was too. Of two convolutions that
        are added it then adds in the kernel of the shortcut's, and otherwise in that of the 3 × 3 one, which
        is slower (8.5.3, benchmarks/gpu.md).
        """
        if self.facts.strongly_typed:
            return
        layers = map(network.get_layer, range(network.num_layers))
        convolution = self.trt.LayerType.CONVOLUTION
        if found := next((layer for layer in layers if layer.type == convolution), None):
            found.set_input(0, found.get_input(0))

    def has_type(self, handle: Any, data_type: Any) -> bool:
        """Whether a tensor is of a type, as far as TensorRT says before the build.

        A weakly typed network reports float for products and constants whatever they are pinned to, and for
        what a layer quantises, so that there only these and other types are told apart (seen in 8.5.3).
        """
        floats = (self.trt.DataType.FLOAT, self.trt.DataType.HALF)
        if not self.facts.strongly_typed and data_type in (*floats, self.trt.DataType.INT8):
            return handle.dtype in (*floats, data_type)
        return bool(handle.dtype == data_type)


QUANTISING = frozenset({"quantize", "dequantize"})
"""Layers that make and read quantised numbers, those of int8 where nothing else has that type."""

_TYPED_BY_THEMSELVES = frozenset({"shape", *QUANTISING, *ADDED_BY})
_COPIES = frozenset({"constant", "identity", "shuffle", "slice", "concatenation"})
"""Layers that compute nothing: the types of their results say all."""
NOT_COMPUTING = _TYPED_BY_THEMSELVES | _COPIES
"""Layers that compute in no type of their own."""

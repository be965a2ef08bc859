"""A model held against what it should compute: PyTorch, an ONNX model, or stored outputs.

In: a model, its weights and something to compare with.  Out: a :class:`Verification`, layer by layer::

    found = verify("resnet18.trtnet", "weights.pth", "torchvision.models:resnet18")
    found.equal, found.difference, found.rows

The model goes the whole way to a TensorRT network, optimisations included, which is read back and computed
on the CPU. Where it differs from a PyTorch module, the operator at fault is named. With an engine, that
computes the outputs on the GPU, and the CPU is asked only where they differ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtdsl.compile import check_file, require_values
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph
from trtdsl.options import CheckOptions, WeightsDType
from trtdsl.reference import ProfilePoint
from trtdsl.types import DType
from trtdsl.verification.comparison import Floats, Setting, compare_with
from trtdsl.verification.engine import EngineLike, compare_engine, engine_of, loaded
from trtdsl.verification.inputs import Array, choose_inputs, load_inputs
from trtdsl.verification.oracle import (
    OnnxReference,
    Reference,
    TorchReference,
    load_module,
    load_reference_arrays,
    load_state,
    load_weights,
    require_torch,
    state_of,
)
from trtdsl.verification.result import Difference, Measure, Row, Suspect, Verification
from trtdsl.verification.stored import stored_inputs, stored_notes
from trtdsl.verification.table import show_verification
from trtdsl.weights import Bound, bind, load_checkpoint

if TYPE_CHECKING:
    from torch import nn

TOLERANCES: Mapping[Floats, float] = {"float32": 1e-4, "float64": 1e-6}
"""Relative L2 error by evaluation precision. float32 sums of some thousand terms in another order differ by
1e-6, and a hundred layers may enlarge that tenfold. In float64 what remains is that folding rounds weights
to their own float32 once, 6e-8."""

ROUNDED_TOLERANCES: Mapping[DType, float] = {DType.FLOAT16: 2e-3, DType.BFLOAT16: 1.6e-2}
"""Relative L2 error on the CPU of a model with weights of these dtypes, if that is more. Folding rounds
weights to their own dtype once more, by 5e-4 at most in float16 and 4e-3 in bfloat16; after up to 155 layers
with BatchNorm, in torchvision's ResNets and DenseNet-121, 1.2e-3 and 1.1e-2 were seen."""

ENGINE_TOLERANCES: Mapping[str, float] = {
    "float32": 1e-4,
    "float32 with TF32": 2e-3,
    "float16": 1e-2,
    "bfloat16": 8e-2,
}
"""Relative L2 error by the engine's arithmetic, as its manifest records it. float16 rounds to 11 bits, by
5e-4 at most, and what the layers add to that grows with their number: the engines in benchmarks/gpu.md are
2e-4 to 6e-3 from float64, and only VGG-16 with random weights, 1.4e-2, goes beyond 1e-2. bfloat16 has 3 bits
less, so eight times the error. TF32 rounds the operands of products as float16 does, but nothing else, which
leaves a fifth of it. float32 without TF32 (5e-6 at most in benchmarks/gpu.md) is held to what the CPU is."""

OWN_WEIGHTS = "no checkpoint was given: both sides have the module's own weights"
OWN_WEIGHTS_BESIDE_ENGINE = (
    "no checkpoint was given: the module has its own weights, the engine those it was built with"
)


def verify(
    graph: Graph | str | Path,
    weights: str | Path | Mapping[str, Array] | None = None,
    against: str | nn.Module | Callable[..., nn.Module] | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    onnx: str | Path | None = None,
    outputs: str | Path | None = None,
    engine: str | Path | EngineLike | None = None,
    inputs: Mapping[str, Array] | None = None,
    at: ProfilePoint = "opt",
    seed: int = 0,
    dtype: Floats = "float32",
    tolerance: float | None = None,
    model: str | None = None,
    defines: Mapping[str, Any] | None = None,
    weights_dtype: WeightsDType = None,
    section: str | None = None,
    weights_prefix: str | None = None,
) -> Verification:
    """Compare a model with PyTorch, an ONNX model, or the outputs in a ``.npz`` file.

    ``against`` is a module, what makes one from ``arguments``, or ``package.module:name``; it gets the same
    weights, rounded as binding rounds them. All inputs must be given where ``outputs`` are; those that the
    ``.npz`` file holds too are taken from there.

    ``engine``, a file or a loaded :class:`~trtdsl.runtime.engine.Engine`, computes the outputs on the GPU;
    the network is computed on the CPU only to explain a difference. So where the outputs agree with ``onnx``
    or ``outputs``, neither weights nor PyTorch are needed.

    Other inputs that are not given are random, their dynamic dimensions ``at`` one point of their ranges.
    Without ``weights`` the module's own are used, which a note says. ``dtype`` is what both sides compute in,
    but an engine is what it is. ``tolerance`` replaces :data:`TOLERANCES`, :data:`ROUNDED_TOLERANCES` and
    :data:`ENGINE_TOLERANCES`.
    Raises :class:`DiagnosticError`, as :class:`UsageError` where the call itself is wrong or the engine is of
    another model, and as :class:`~trtdsl.diagnostics.RefusedByTensorRT` where it cannot be run.
    """
    if engine is None:
        require_torch("computing the network on the CPU")
    _require_one(against=against, onnx=onnx, outputs=outputs)
    _require_numbers(tolerance, seed)
    notes: list[str] = []
    if not isinstance(graph, Graph):
        checked = check_file(graph, options=CheckOptions(model=model, defines=defines or {}))
        graph, notes = checked.graph, [warning.message for warning in checked.warnings]
    runner = None if engine is None else engine_of(engine, graph)
    stored = None if outputs is None else load_reference_arrays(outputs)
    given = stored_inputs(graph, stored, inputs or {}) if stored else inputs or {}
    chosen = choose_inputs(graph, given, at, seed)
    if runner is not None:
        runner = loaded(runner, chosen)
    if stored is not None:
        notes += stored_notes(graph, stored, chosen)
    if isinstance(weights, (str, Path)):
        state = load_checkpoint(weights, section=section, prefix=weights_prefix)
    else:
        state = weights
    reference = stored or _reference(against, arguments or {}, onnx, state, dtype)
    if state is None and isinstance(reference, TorchReference) and _is_unbound(graph):
        state, weights_dtype = state_of(reference.module), weights_dtype or "model"
        notes.append(OWN_WEIGHTS if runner is None else OWN_WEIGHTS_BESIDE_ENGINE)
    if state is not None:
        bound = _bind_both(graph, reference, state, weights_dtype)
        graph, notes = bound.graph, notes + [warning.message for warning in bound.warnings]
    if runner is None:
        require_values(graph)
    setting = Setting(chosen, dtype, _cpu_tolerance(graph, dtype) if tolerance is None else tolerance)
    if runner is None:
        return compare_with(graph, reference, setting, notes)
    limit = ENGINE_TOLERANCES[runner.manifest.arithmetic] if tolerance is None else tolerance
    return compare_engine(runner, graph, reference, setting, limit, notes)


def _require_one(**given: object) -> None:
    spelled = {name: f"`--{name}` ({name}=)" for name in given}
    named = [spelled[name] for name, value in given.items() if value is not None]
    if not named:
        raise UsageError(Diagnostic(f"one of {', '.join(spelled.values())} says what to compare with"))
    if len(named) > 1:
        text = f"{' and '.join(named)} are given, but only one may say what to compare with"
        raise UsageError(Diagnostic(text))


def _require_numbers(tolerance: float | None, seed: int) -> None:
    if tolerance is not None and not 0 <= tolerance < math.inf:
        text = f"`--tolerance` is {tolerance:g}, but must be a number that is 0 or more"
        raise UsageError(Diagnostic(text))
    if seed < 0:
        raise UsageError(Diagnostic(f"`--seed` is {seed}, but must be 0 or more"))


def _bind_both(
    graph: Graph, reference: Reference, state: Mapping[str, Array], weights_dtype: WeightsDType
) -> Bound:
    """The graph with its weights; what binding rounds is rounded in the module too."""
    bound = bind(graph, state, weights_dtype)
    if weights_dtype is not None and isinstance(reference, TorchReference):
        load_weights(reference.module, bound.graph)
    return bound


def _cpu_tolerance(graph: Graph, dtype: Floats) -> float:
    rounded = [ROUNDED_TOLERANCES.get(weight.type.dtype, 0.0) for weight in graph.weights]
    return max([TOLERANCES[dtype], *rounded])


def _is_unbound(graph: Graph) -> bool:
    return any(weight.data is None for weight in graph.weights)


def _reference(
    against: str | nn.Module | Callable[..., nn.Module] | None,
    arguments: Mapping[str, Any],
    onnx: str | Path | None,
    state: Mapping[str, Array] | None,
    dtype: Floats,
) -> Reference:
    if onnx is not None:
        return OnnxReference(Path(onnx))
    assert against is not None
    name, module = load_module(against, arguments)
    # A caller's own module keeps its weights, dtype and mode.
    module = copy.deepcopy(module) if module is against else module
    if state is not None:
        load_state(name, module, state)
    import torch

    floats = torch.float32 if dtype == "float32" else torch.float64
    return TorchReference(name, module.eval().to(floats), floats)


__all__ = [
    "ENGINE_TOLERANCES",
    "ROUNDED_TOLERANCES",
    "TOLERANCES",
    "Difference",
    "EngineLike",
    "Measure",
    "Row",
    "Suspect",
    "Verification",
    "load_inputs",
    "show_verification",
    "verify",
]

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
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from trtdsl.compile import check_file, given_weights, proposing_parameters, require_values
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph, Value, rebuild
from trtdsl.options import CheckOptions, CompileOptions, WeightFiles, WeightsDType
from trtdsl.recipe import Recipe
from trtdsl.reference import require_torch
from trtdsl.types import DType
from trtdsl.verification.comparison import compare_with
from trtdsl.verification.engine import EngineFile, EngineLike, compare_engine, engine_of, loaded
from trtdsl.verification.inputs import Array, At, choose_inputs, input_advice, load_inputs
from trtdsl.verification.loading import load_module
from trtdsl.verification.lowered import compare_lowered
from trtdsl.verification.mixed import is_narrow
from trtdsl.verification.oracle import (
    ArraysReference,
    OnnxReference,
    Reference,
    TorchReference,
    Weights,
    load_constants,
    load_reference_arrays,
    load_state,
    load_weights,
    moved,
    state_of,
    tensors_in,
    with_ties,
)
from trtdsl.verification.randomize import randomize as randomize_weights
from trtdsl.verification.result import CannotCompute, Difference, Measure, Row, Suspect, Verification
from trtdsl.verification.setting import Setting
from trtdsl.verification.stored import stored_inputs, stored_notes
from trtdsl.verification.table import show_verification
from trtdsl.verification.tolerances import (
    ENGINE_TOLERANCES,
    ROUNDED_TOLERANCES,
    TOLERANCES,
    Floats,
    cpu_tolerance,
    engine_tolerance,
)
from trtdsl.weights import bind
from trtdsl.weights.arrays import as_array
from trtdsl.weights.entries import keys_of, keys_read

if TYPE_CHECKING:
    from torch import nn

OWN_WEIGHTS = "no checkpoint was given: both sides have the module's own weights"
RANDOM_WEIGHTS = "both sides have the same random weights, not those of the checkpoint or the module"
OWN_WEIGHTS_BESIDE_ENGINE = (
    "no checkpoint was given: the module has its own weights, the engine those it was built with"
)


@dataclass(frozen=True)
class VerifyOptions:
    """How two sides are compared: the keyword arguments of :func:`verify` that are not about files."""

    at: At = "opt"
    seed: int = 0
    dtype: Floats = "float32"
    tolerance: float | None = None
    weights_dtype: WeightsDType = None
    randomize: bool = False

    def __post_init__(self) -> None:
        if self.tolerance is not None and not 0 <= self.tolerance < math.inf:
            text = f"`--tolerance` is {self.tolerance:g}, but must be a number that is 0 or more"
            raise UsageError(Diagnostic(text))
        if self.seed < 0:
            raise UsageError(Diagnostic(f"`--seed` is {self.seed}, but must be 0 or more"))


def verify(
    graph: Graph | str | Path,
    weights: WeightFiles | Mapping[str, Array] = None,
    against: str | nn.Module | Callable[..., nn.Module] | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    onnx: str | Path | None = None,
    outputs: str | Path | None = None,
    engine: str | Path | EngineLike | None = None,
    plugins: Sequence[str | Path] = (),
    inputs: Mapping[str, Array] | None = None,
    at: At = "opt",
    seed: int = 0,
    dtype: Floats = "float32",
    tolerance: float | None = None,
    model: str | None = None,
    defines: Mapping[str, Any] | None = None,
    weights_dtype: WeightsDType = None,
    section: str | None = None,
    weights_prefix: str | None = None,
    weights_map: str | Path | None = None,
    randomize: bool = False,
    precision: DType | str | None = None,
    recipe: Recipe | None = None,
) -> Verification:
    """Compare a model with PyTorch, an ONNX model, or the outputs in a ``.npz`` file.

    ``against`` is a module, what makes one from ``arguments``, or ``package.module:name``; it gets the same
    weights, rounded as binding rounds them. All inputs must be given where ``outputs`` are, in that file too.

    ``engine``, a file or a loaded :class:`~trtdsl.runtime.engine.Engine`, computes the outputs on the GPU,
    libraries ``plugins`` loaded; the network is computed on the CPU only to explain a difference. So neither
    weights nor PyTorch are needed where the outputs agree with ``onnx`` or ``outputs``.

    Inputs that are not given are random, of sizes ``at`` one point of their ranges (``"min"``, ``"opt"`` or
    ``"max"``), or of the engine's where it does not take these; ``{"N": 3}`` sets some, and the others are
    at ``"opt"``. Without ``weights`` the module's own are used, which a note says; ``randomize`` gives both
    sides random ones, of a size that lets every layer be seen. ``precision``, or a ``recipe``, computes the
    model as `compile` lowers it and TensorRT rounds it, beside the reference, or with none itself; what
    each tensor may be off follows from its roundings (`trtdsl.verification.lowered`). ``dtype`` is what all
    but an engine compute in, ``tolerance`` replaces `trtdsl.verification.tolerances`.
    Raises :class:`DiagnosticError`, as :class:`UsageError` where the call itself is wrong or the engine is of
    another model, and as :class:`~trtdsl.diagnostics.RefusedByTensorRT` where it cannot be run.
    """
    recipe = _recipe_of(precision, recipe, engine)
    _require_one(recipe is not None, against=against, onnx=onnx, outputs=outputs)
    options = VerifyOptions(at, seed, dtype, tolerance, weights_dtype, randomize)
    _require_weights_to_choose(randomize, against, engine)
    graph, notes, binding = _model(graph, model, defines or {}, weights_map)
    runner = None if engine is None else engine_of(engine, graph)
    stored = None if outputs is None else load_reference_arrays(outputs)
    chosen, made_up = _inputs(graph, stored, inputs or {}, options, runner)
    runner = None if runner is None else loaded(runner, chosen, plugins)  # ahead of what takes long
    notes += stored_notes(graph, stored, chosen) if stored else ()
    state, found = given_weights(weights, section, weights_prefix)
    notes += [note.message for note in found]
    reference = stored or (None if onnx is None else OnnxReference(Path(onnx)))
    with _advising(graph, made_up):
        with binding:
            sides = _sides(graph, reference, against, arguments, state, options, runner is not None, chosen)
        return _compare(sides, chosen, made_up, runner, options, notes, recipe)


@contextmanager
def _advising(graph: Graph, made_up: frozenset[str]) -> Generator[None]:
    """Says of a side that cannot be run what may be wrong about inputs that were made up."""
    try:
        yield
    except CannotCompute as error:
        (found,) = error.diagnostics
        help = (*found.help, *input_advice(graph, made_up))
        raise CannotCompute(replace(found, help=help)) from error


def _model(
    graph: Graph | str | Path,
    model: str | None,
    defines: Mapping[str, Any],
    weights_map: str | Path | None,
) -> tuple[Graph, list[str], AbstractContextManager[None]]:
    """The graph, checked if it is a file, its warnings, and what its weights are bound in."""
    if isinstance(graph, Graph):
        return graph, [], nullcontext()
    options = CheckOptions(model=model, defines=defines, weights_map=weights_map)
    checked = check_file(graph, options=options)
    notes = [warning.message for warning in checked.warnings]
    return checked.graph, notes, proposing_parameters(graph, options)


@dataclass(frozen=True, eq=False)
class _Sides:
    """The reference and the graph that is held against it, with what there is to note about its weights."""

    reference: Reference | None
    graph: Graph
    notes: tuple[str, ...]


def _compare(
    sides: _Sides,
    inputs: Mapping[str, Array],
    made_up: frozenset[str],
    engine: EngineLike | None,
    options: VerifyOptions,
    notes: Sequence[str],
    recipe: Recipe | None,
) -> Verification:
    """The comparison that is asked for, on the CPU or by an engine."""
    graph, notes = sides.graph, [*notes, *sides.notes]
    if engine is None:
        require_values(graph)
    on_cpu = cpu_tolerance(graph, options.dtype) if options.tolerance is None else options.tolerance
    setting = Setting(
        inputs, options.dtype, on_cpu, options.tolerance is not None, made_up, options.randomize
    )
    if recipe is not None or sides.reference is None:
        return compare_lowered(graph, sides.reference, recipe or Recipe(precision="float32"), setting, notes)
    if engine is None:
        return compare_with(graph, sides.reference, setting, notes)
    limit = engine_tolerance(engine.manifest) if options.tolerance is None else options.tolerance
    return compare_engine(engine, graph, sides.reference, setting, limit, notes)


def _inputs(
    graph: Graph,
    stored: ArraysReference | None,
    given: Mapping[str, Array],
    options: VerifyOptions,
    engine: EngineLike | EngineFile | None,
) -> tuple[dict[str, Array], frozenset[str]]:
    """An array for each input, of those given or stored where there are some, and which were made up.

    These are of sizes that the engine takes, if there is one.
    """
    found = stored_inputs(graph, stored, given) if stored else given
    profiles = [profile.dims for profile in engine.manifest.profiles] if engine is not None else []
    chosen = choose_inputs(graph, found, options.at, options.seed, profiles)
    return chosen, frozenset({*chosen} - {*found})


def _sides(
    graph: Graph,
    reference: Reference | None,
    against: str | nn.Module | Callable[..., nn.Module] | None,
    arguments: Mapping[str, Any] | None,
    state: Weights | None,
    options: VerifyOptions,
    by_engine: bool,
    inputs: Mapping[str, Array],
) -> _Sides:
    """The module, or else the reference if there is one, and the graph with the weights for it."""
    if against is not None:
        return _sides_of_module(graph, against, arguments or {}, state, options, by_engine, inputs)
    if state is None:
        return _Sides(reference, graph, ())
    bound = bind(graph, state, options.weights_dtype, owner="the checkpoint")
    return _Sides(reference, bound.graph, tuple(warning.message for warning in bound.warnings))


def _sides_of_module(
    graph: Graph,
    against: str | nn.Module | Callable[..., nn.Module],
    arguments: Mapping[str, Any],
    state: Weights | None,
    options: VerifyOptions,
    by_engine: bool,
    inputs: Mapping[str, Array],
) -> _Sides:
    """A PyTorch module with the checkpoint's weights, or the graph with the module's own."""
    name, module = load_module(against, arguments)
    import torch

    # A caller's own module keeps its weights, dtype and mode.
    module = copy.deepcopy(module) if module is against else module
    fixed = _constants(graph, module, state)
    if state and len(state) == sum(key in state for key in fixed):
        state = None  # The others are the module's own.
    if state is not None and not options.randomize:
        state = with_ties(module, state)
        load_state(name, module, _mapped(graph, module, state, options.weights_dtype))
    floats = torch.float32 if options.dtype == "float32" else torch.float64
    is_mixed = is_narrow(module)
    reference = TorchReference(name, moved(module, floats), floats, is_mixed)
    weights_dtype = options.weights_dtype
    notes: list[str] = []
    owner = "the checkpoint"
    if options.randomize:
        randomize_weights(module, options.seed, lambda: reference.call(inputs))
        load_constants(module, fixed)
        graph = _by_own_keys(graph, module)
        others = _others(graph, module, state)
        state, weights_dtype = {**others, **state_of(module), **fixed}, weights_dtype or "model"
        owner = "the checkpoint" if others else "the module"
        notes.append(RANDOM_WEIGHTS)
    elif state is None and (not graph.weights or any(weight.data is None for weight in graph.weights)):
        # Of a graph without weights, that it reads none of the module's is worth a note.
        load_constants(module, fixed)
        graph = _by_own_keys(graph, module)
        state, weights_dtype = {**state_of(module), **fixed}, weights_dtype or "model"
        owner = "the module"
        if state:
            notes.append(OWN_WEIGHTS_BESIDE_ENGINE if by_engine else OWN_WEIGHTS)
    if state is None:
        return _Sides(reference, graph, tuple(notes))
    bound = bind(graph, state, weights_dtype, owner=owner)
    if weights_dtype is not None:
        load_weights(module, graph, bound)
    return _Sides(reference, bound.graph, (*notes, *(warning.message for warning in bound.warnings)))


def _constants(graph: Graph, module: nn.Module, state: Weights | None) -> dict[str, Array]:
    """The values of the text's constants, of a file or, where the module has such a tensor, its own."""
    own = tensors_in(module)
    keys = [weight.key for weight in graph.weights if weight.constant]
    given: Weights = {} if state is None else state
    mine = {key: as_array(key, own[key]).copy() for key in keys if key in own}
    return {**mine, **{key: given[key] for key in keys if key in given}}


def _mapped(graph: Graph, module: nn.Module, state: Weights, weights_dtype: WeightsDType) -> Weights:
    """The checkpoint, for a module with the keys of a text whose `weights` section maps the checkpoint's.

    What the checkpoint has at a key of the module is the module's.
    """
    own = tensors_in(module)
    if not any(weight.stored and weight.key in own and weight.key not in state for weight in graph.weights):
        return state
    bound = bind(graph, state, weights_dtype).graph
    mapped = {weight.key: weight.data for weight in bound.weights if weight.data is not None}
    return {**mapped, **{key: state[key] for key in own if key in state}}


def _by_own_keys(graph: Graph, module: nn.Module) -> Graph:
    """The graph without what its `weights` section says of those that a module has by the text's own keys."""
    own = tensors_in(module)
    own_keys: dict[Value, Value] = {
        weight: weight.replace(stored=None)
        for weight in graph.weights
        if weight.stored and weight.key in own and not own.keys() >= {*keys_of(weight, own)}
    }
    return rebuild(graph, graph.nodes, own_keys)


def _others(graph: Graph, module: nn.Module, state: Weights | None) -> dict[str, Array]:
    """What the graph needs of a checkpoint that the module does not have."""
    if not state:
        return {}
    own = module.state_dict()
    return {key: state[key] for key in keys_read(graph, state) if key not in own and key in state}


def _require_weights_to_choose(randomize: bool, against: object, engine: object) -> None:
    if randomize and (against is None or engine is not None):
        raise UsageError(Diagnostic("`--randomize` needs `--against`, and the CPU to compute the network"))


def _recipe_of(precision: DType | str | None, recipe: Recipe | None, engine: object) -> Recipe | None:
    """The recipe by which the network is computed on the CPU; an engine takes none."""
    if engine is None:
        require_torch("computing the network on the CPU")
    found = CompileOptions(precision=precision, recipe=recipe).recipe
    if found is not None and engine is not None:
        text = "an engine has the precision that it was built with"
        raise UsageError(Diagnostic(text, help=("leave out `--precision`, or `--engine`",)))
    return found


def _require_one(optional: bool, **given: object) -> None:
    spelled = {name: f"`--{name}` ({name}=)" for name in given}
    named = [spelled[name] for name, value in given.items() if value is not None]
    if not named and not optional:
        raise UsageError(Diagnostic(f"one of {', '.join(spelled.values())} says what to compare with"))
    if len(named) > 1:
        text = f"{' and '.join(named)} are given, but only one may say what to compare with"
        raise UsageError(Diagnostic(text))


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
    "VerifyOptions",
    "load_inputs",
    "show_verification",
    "verify",
]

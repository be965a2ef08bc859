"""A module, called once with example inputs, as a program.

In: a ``torch.nn.Module`` in eval mode and the types of its inputs, dynamic dimensions by name.  Out: the
:class:`~trtdsl.importers.program.Program` that ``torch.export`` finds, with the ranges it found.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.constructed import Constructed
from trtdsl.importers.program import ModuleFacts, Program
from trtdsl.importers.torch_export import WritesThroughViews, read_program
from trtdsl.types import Symbol, SymbolicDim, TensorType, evaluate_shape, symbols

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.export import ExportedProgram

_SUGGESTED = re.compile(r"^\s*(?P<name>\w+) = (?P<step>\d+)\*(?P<base>\w+)\s*$", re.MULTILINE)
_SPECIALISED = re.compile(
    r"(?P<name>\w+).*specialized.*?(?P<size>\d+)|^\s*(?P<fixed>\w+) = (?P<value>\d+)\s*$", re.MULTILINE
)
_GREATEST = 2**31 - 1


def capture(
    module: nn.Module,
    name: str,
    inputs: Mapping[str, TensorType],
    dims: Mapping[str, Symbol],
    source: str,
    constructed: Constructed | None = None,
) -> Program:
    """The program of a module, called with its inputs by name or in order.

    ``dims`` are the dimensions that the inputs' types name; a range that torch finds narrower is narrowed.
    Raises :class:`DiagnosticError` where torch.export does, in words and with the line of the source.
    """
    exported, steps = export(module, inputs, dims)
    names = [node.name for node in _input_nodes(exported, inputs)]
    found = found_symbols(exported, inputs, dims, steps)
    try:
        program = read_program(exported, name, found)
    except WritesThroughViews:
        program = read_program(exported.run_decompositions({}), name, found)
    return msgspec.structs.replace(
        program,
        modules=facts_of(module, constructed),
        ties=ties_of(module),
        input_names=dict(zip(names, inputs, strict=True)),
        source=source,
    )


def export(
    module: nn.Module, inputs: Mapping[str, TensorType], dims: Mapping[str, Symbol]
) -> tuple[ExportedProgram, dict[str, int]]:
    """The exported program, and of each dimension the step that it must be a multiple of."""
    from torch.export import Dim

    steps = {name: symbol.step for name, symbol in dims.items()}
    for _ in range(len(dims) + 2):
        made: dict[str, Any] = {}
        for name, symbol in dims.items():
            step = steps[name]
            low, high = max(symbol.minimum, 1) // step, symbol.maximum // step
            base = Dim(name if step == 1 else f"_{name}", min=max(low, 1), max=high)
            made[name] = base if step == 1 else step * base
        try:
            return _export(module, inputs, dims, made), steps
        except Exception as error:
            suggested = {
                match["name"]: int(match["step"])
                for match in _SUGGESTED.finditer(str(error))
                if match["name"] in dims and steps[match["name"]] != int(match["step"])
            }
            if not suggested:
                raise DiagnosticError(_refused(error, dims)) from error
            steps |= suggested
    raise DiagnosticError(Diagnostic("torch.export does not settle which sizes the model takes"))


def _export(
    module: nn.Module, inputs: Mapping[str, TensorType], dims: Mapping[str, Symbol], made: Mapping[str, Any]
) -> ExportedProgram:
    import torch

    examples = example_inputs(inputs, dims)
    shapes = {
        name: {
            number: made[next(iter(symbols(dim))).name]
            for number, dim in enumerate(type.shape)
            if isinstance(dim, SymbolicDim)
        }
        for name, type in inputs.items()
    }
    positional, named = arranged(module, examples)
    given = {**dict(zip(_parameters(module), positional, strict=False)), **named}
    dynamic = {key: shapes[_owner(key, given, examples)] for key in given}
    with torch.no_grad():
        return torch.export.export(module, tuple(positional), named, dynamic_shapes=dynamic, strict=False)


def example_inputs(inputs: Mapping[str, TensorType], dims: Mapping[str, Symbol]) -> dict[str, torch.Tensor]:
    """A tensor for each input, with the optimum of each dimension; integers are 0 or 1."""
    import torch

    sizes = {name: symbol.optimum for name, symbol in dims.items()}
    random = torch.Generator().manual_seed(0)
    found: dict[str, torch.Tensor] = {}
    for name, type in inputs.items():
        shape = evaluate_shape(type.shape, sizes)
        dtype = getattr(torch, type.dtype.value)
        if type.dtype.is_floating:
            found[name] = torch.randn(shape, generator=random).to(dtype)
        else:
            found[name] = torch.ones(shape, dtype=dtype)
    return found


def arranged(module: nn.Module, tensors: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Tensors as ``forward`` takes them: by name where it has all the names, else in order."""
    names = _parameters(module)
    if all(name in names for name in tensors):
        first = 0
        positional: list[Any] = []
        while first < len(names) and names[first] in tensors:
            positional.append(tensors[names[first]])
            first += 1
        return positional, {name: value for name, value in tensors.items() if name not in names[:first]}
    return list(tensors.values()), {}


def _parameters(module: nn.Module) -> list[str]:
    kinds = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return [name for name, each in inspect.signature(module.forward).parameters.items() if each.kind in kinds]


def _owner(key: str, given: Mapping[str, Any], examples: Mapping[str, Any]) -> str:
    return next(name for name, value in examples.items() if value is given[key])


def found_symbols(
    exported: ExportedProgram,
    inputs: Mapping[str, TensorType],
    dims: Mapping[str, Symbol],
    steps: Mapping[str, int],
) -> dict[str, Any]:
    """The language's dimension for each of torch's symbols, its range as far as torch allows."""
    from trtdsl.types import symbol

    found: dict[str, Any] = {}
    for node, type in zip(_input_nodes(exported, inputs), inputs.values(), strict=True):
        for size, dim in zip(node.meta["val"].shape, type.shape, strict=True):
            if not isinstance(dim, SymbolicDim) or isinstance(size, int):
                continue
            name, step = next(iter(symbols(dim))).name, steps[next(iter(symbols(dim))).name]
            (base,) = size.node.expr.free_symbols
            if str(base) in found:
                continue
            limits = exported.range_constraints.get(base)
            wanted = dims[name]
            low, high = wanted.minimum, wanted.maximum
            if limits is not None:
                low = max(low, int(limits.lower) * step)
                high = (
                    min(high, int(limits.upper) * step) if str(limits.upper).lstrip("-").isdigit() else high
                )
            low, high = -(-low // step) * step, high // step * step
            best = min(max(wanted.optimum // step * step, low), high)
            found[str(base)] = symbol(name, low, best, high, step) // step
    return found


def _input_nodes(exported: ExportedProgram, inputs: Mapping[str, TensorType]) -> list[Any]:
    """The placeholder of each input."""
    from torch.export.graph_signature import InputKind

    user = {
        spec.arg.name for spec in exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT
    }
    nodes = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name in user]
    by_name = {node.name: node for node in nodes}
    return [by_name[name] for name in inputs] if all(name in by_name for name in inputs) else nodes


def _refused(error: Exception, dims: Mapping[str, Symbol]) -> Diagnostic:
    text = str(error)
    for match in _SPECIALISED.finditer(text):
        name, size = match["name"] or match["fixed"], match["size"] or match["value"]
        if name in dims:
            return Diagnostic(
                f"the model fixes `{name}` at {size}: write {size} in the input's type",
                help=tuple(line.strip() for line in text.splitlines() if line.strip().startswith("File "))[
                    -1:
                ],
            )
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return Diagnostic(f"torch.export refuses the module: {type(error).__name__}: {first}")


def ties_of(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The keys that hold one and the same tensor, by each of them."""
    places: dict[int, list[str]] = {}
    tensors = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    for key, tensor in tensors:
        places.setdefault(id(tensor), []).append(key)
    return {key: tuple(keys) for keys in places.values() if len(keys) > 1 for key in keys}


def facts_of(module: nn.Module, constructed: Constructed | None = None) -> dict[str, ModuleFacts]:
    """What is known of each module inside, by path."""
    constructed = constructed or Constructed()
    found: dict[str, ModuleFacts] = {}
    kinds: dict[type, tuple[str, int, dict[str, Any], tuple[str, ...]]] = {}
    for path, each in module.named_modules(remove_duplicate=False):
        cls = type(each)
        if cls not in kinds:
            kinds[cls] = (*_place(cls), _defaults(cls), tuple(_parameters(each)))
        file, line, defaults, tensors = kinds[cls]
        attributes = {name: value for name, value in vars(each).items() if _is_plain(name, value)}
        found[path] = ModuleFacts(
            f"{cls.__module__}.{cls.__qualname__}",
            file,
            line,
            attributes,
            {key: value for key, value in constructed.arguments_of(each).items() if _is_plain(key, value)},
            defaults,
            tensors,
        )
    return found


def _is_plain(name: str, value: Any) -> bool:
    if name.startswith("_") or name == "training":
        return False
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (int, float)) for item in value)
    return isinstance(value, (bool, int, float, str))


def _place(cls: type) -> tuple[str, int]:
    try:
        return inspect.getsourcefile(cls) or "", inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return "", 0


def _defaults(cls: Any) -> dict[str, Any]:
    try:
        found = inspect.signature(cls.__init__).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        each.name: None if each.default is inspect.Parameter.empty else each.default
        for each in list(found)[1:]
    }

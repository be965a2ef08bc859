"""A module, called once with example tensors, as torch's exported program.

In: a module in eval mode and the types of its inputs.  Out: an :class:`Exported`: the program, the ranges of
its dimensions as far as the module takes them, and the lines that say so.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import math
import re
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.complaints import Place, complaint, fixed_sizes, too_narrow
from trtdsl.importers.examples import (
    STRIDE,
    arranged,
    example_inputs,
    example_sizes,
    named,
    parameters_of,
    require_names,
)
from trtdsl.importers.experts import every_expert
from trtdsl.importers.guards import Decisions, watched
from trtdsl.importers.inputs import Inputs
from trtdsl.importers.layouts import layouts_ignored
from trtdsl.importers.multiples import NONE, Avoided, steps_avoided
from trtdsl.importers.opaque import sizes_kept
from trtdsl.importers.opaque_attention import attention_kept
from trtdsl.importers.returned_fields import fields_returned
from trtdsl.importers.traces import helpers_kept
from trtdsl.importers.unchanged import unchanged
from trtdsl.importers.violations import guards_in, is_fixed, where_they_hold
from trtdsl.types import Dim, Symbol, SymbolicDim, symbol, symbols
from trtdsl.types.dim import terms_of

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

_SUGGESTED = re.compile(r"^\s*(?P<name>\w+) = (?P<value>.+?)\s*$", re.MULTILINE)
_STEP = re.compile(r"(?P<step>\d+)\*(?P<base>\w+)$")
_UNMET = re.compile(
    r"Not all values of _?(?P<name>\w+) = (?P<size>.+?) in the specified range .*?"
    r"satisfy the generated guard (?P<guard>.+?)\.$",
    re.MULTILINE,
)
_ARITHMETIC = (
    ast.Expression, ast.Compare, ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
SHORT = 7
"""How much more than its minimum a guessed size is where another one fails."""
_ENDS = re.compile(r"(?P<end>min|max)=(?P<size>\d+)")


class Exported(msgspec.Struct, frozen=True):
    """torch's program of a module."""

    program: Any
    dims: Mapping[str, Symbol]
    """the dimensions, in the ranges and steps that the module takes"""
    sizes: Mapping[str, int]
    """those that it was called with"""
    places: Mapping[str, Place] = {}
    """the line that decided of a dimension's range or step"""


def export(module: nn.Module, inputs: Inputs) -> Exported:
    """The exported program, undecomposed; raises :class:`DiagnosticError` with the line at fault."""
    _require_no_script(module)
    require_names(module, inputs.types)
    with named(module, inputs.types):
        return _exported(module, inputs)


def _require_no_script(module: nn.Module) -> None:
    import torch

    for path, each in module.named_modules():
        if isinstance(each, torch.jit.ScriptModule):
            what = f"`{path}` is" if path else "this is"
            text = f"{what} TorchScript, which torch.export does not take"
            raise DiagnosticError(Diagnostic(text, help=("import the module that it was made of",)))


def _exported(module: nn.Module, inputs: Inputs) -> Exported:
    """The program at example sizes by which the module can be exported."""
    try:
        return _widest(module, inputs, _settled(module, inputs, 1))
    except DiagnosticError as error:
        first = error
    # A module that halves or groups a size may fail at the example's, and work at others.
    with contextlib.suppress(DiagnosticError):
        if inputs.dims:
            return _widest(module, inputs, _settled(module, inputs, STRIDE))
    # One that looks up positions in a short table fails at a length that nobody asked for.
    shorter = _with_short_guesses(inputs)
    with contextlib.suppress(DiagnosticError):
        if shorter.dims != inputs.dims:
            return _settled(module, shorter, 1)
    raise first


def _widest(module: nn.Module, inputs: Inputs, found: Exported) -> Exported:
    """The program at sizes that are not multiples of the steps that were found, where it has more sizes.

    A module that pads to a multiple pads nothing of an example that is one, and would take no others.
    """
    for avoided in steps_avoided(inputs.dims, found.dims):
        with contextlib.suppress(DiagnosticError):
            other = _settled(module, inputs, 1, avoided)
            if _count(other) > _count(found):
                return other
    return found


def _count(exported: Exported) -> int:
    """How many sizes of all dimensions together a program takes."""
    return math.prod((each.maximum - each.minimum) // each.step + 1 for each in exported.dims.values())


def _with_short_guesses(inputs: Inputs) -> Inputs:
    """With the best of a guessed range close to its minimum."""
    dims = {
        name: Symbol(name, each.minimum, min(each.minimum + SHORT, each.optimum), each.maximum, each.step)
        if name in inputs.guessed and each.minimum == 1
        else each
        for name, each in inputs.dims.items()
    }
    return msgspec.structs.replace(inputs, dims=dims)


def _settled(module: nn.Module, inputs: Inputs, grain: int, avoided: Avoided = NONE) -> Exported:
    """The program with the ranges and steps that torch asks for, at sizes that are multiples of ``grain``,
    but of no step that is ``avoided``.
    """
    dims = dict(inputs.dims)
    decided: dict[str, Place] = {}
    is_tried = is_oblivious = False
    for _ in range(3 * len(dims) + 4):
        sizes = example_sizes(inputs.types, dims, grain=grain, steps=avoided)
        examples = example_inputs(inputs.types, sizes, inputs.values)
        shapes = _argument_shapes(module, inputs, examples)
        with _quiet(), watched() as decisions:
            try:
                with _oblivious() if is_oblivious else contextlib.nullcontext():
                    program = _export(module, inputs, shapes, dims, examples, grain, is_tried=is_tried)
            except DiagnosticError:
                raise
            except Exception as error:  # torch's errors have no common base, the module may raise any
                caught = error
            else:
                return Exported(program, dims, sizes, decided)
        text, places = str(caught), _places(decisions, shapes)
        changes = _changes(text, dims)
        if not changes or fixed_sizes(text, dims):
            guards = guards_in(text)
            tried = (
                where_they_hold(guards, dims, shapes, sizes, in_steps=is_oblivious)
                if guards and not is_tried
                else None
            )
            # On some guards torch itself fails. Without them it does not find what divides a size, and a
            # range that is sought because it is wider would be too wide.
            if (
                not is_oblivious
                and not avoided
                and (isinstance(caught, AssertionError) or (guards and _cuts(tried, dims)))
            ):
                is_oblivious = True
                dims = {name: each if each.step > 1 else inputs.dims[name] for name, each in dims.items()}
                continue
            if tried is None and avoided:
                raise DiagnosticError(Diagnostic("the module takes no such sizes")) from caught
            if tried is None:
                raise DiagnosticError(*complaint(caught, module, inputs, dims, examples, places)) from caught
            changes = {name: each for name, each in tried.items() if each != dims[name]}
            # What holds for every size that was tried need not be proved by torch.
            is_tried = not changes
        if fixed := [each for each in changes.values() if _is_fixed(inputs, each)]:
            raise DiagnosticError(*(too_narrow(each, places.get(each.name)) for each in fixed)) from caught
        decided |= {name: place for name, place in places.items() if name in changes}
        dims |= changes
    raise DiagnosticError(Diagnostic("torch.export does not settle which sizes the module takes"))


def _is_fixed(inputs: Inputs, found: Symbol) -> bool:
    """Whether the module is made for about one size; of a range that nobody asked for the beginning may be
    left.
    """
    before = inputs.dims[found.name]
    is_shortened = found.name in inputs.guessed and found.minimum <= max(before.minimum, 2) < found.maximum
    return is_fixed(before, found) and not is_shortened


def _cuts(tried: Mapping[str, Symbol] | None, dims: Mapping[str, Symbol]) -> bool:
    """Whether more than the smallest sizes of a range would be lost."""
    return tried is None or any(tried[name].maximum < each.maximum for name, each in dims.items())


def _export(
    module: nn.Module,
    inputs: Inputs,
    shapes: Mapping[str, Sequence[Dim]],
    dims: Mapping[str, Symbol],
    examples: Mapping[str, Any],
    grain: int,
    *,
    is_tried: bool,
) -> ExportedProgram:
    """torch's program. With ``is_tried`` what it cannot prove of the sizes is left to the running program."""
    import torch

    made = _torch_dims(dims, inputs)
    dynamic = {
        key: {number: _torch_dim(dim, made) for number, dim in enumerate(shape) if symbols(dim)}
        for key, shape in shapes.items()
    }
    assert len(dynamic) == len(examples), "torch.export would make numbers of sizes"
    positional, by_name = arranged(module, examples)
    with (
        torch.no_grad(),
        unchanged(module),
        sizes_kept(are_multiples=grain > 1),
        attention_kept(),
        layouts_ignored(),
        every_expert(module),
        helpers_kept(),
        fields_returned(module),
    ):
        return torch.export.export(
            module,
            tuple(positional),
            by_name,
            dynamic_shapes=dynamic,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=is_tried,
        )


def _torch_dims(dims: Mapping[str, Symbol], inputs: Inputs) -> dict[str, Any]:
    """What torch.export is told of each dimension; one of multiples is a number times another."""
    from torch.export import Dim

    made: dict[str, Any] = {}
    sizes = [size for type in inputs.types.values() for size in type.shape]
    calculated = {each.name for size in sizes if str(size) not in dims for each in symbols(size)}
    for name, each in dims.items():
        low, high = max(-(-each.minimum // each.step), 1), each.maximum // each.step
        # sympy reads a bare S or N as one of its own.
        is_plain = each.step == 1 and name not in calculated
        base = Dim(name if is_plain else f"_{name}", min=low, max=high)
        made[name] = base if each.step == 1 else each.step * base
    return made


def _torch_dim(dim: Dim, made: Mapping[str, Any]) -> Any:
    """A size of an input, ``N`` or ``2 * N + 1``, for torch."""
    assert isinstance(dim, SymbolicDim)
    terms = dict(terms_of(dim))
    constant = terms.pop((), 0)
    if len(terms) != 1 or len(symbols(dim)) != 1:
        raise DiagnosticError(_not_linear(dim))
    ((monomial, factor),) = terms.items()
    (each,) = symbols(dim)
    if monomial != next(
        iter(terms_of(symbol(each.name, each.minimum, each.optimum, each.maximum, each.step)))
    ):
        raise DiagnosticError(_not_linear(dim))
    found = made[each.name]
    factor //= each.step  # ``H`` in steps of 8 is 8 times what the terms are of
    found = found if factor == 1 else factor * found
    return found if constant == 0 else found + constant


def _not_linear(dim: Dim) -> Diagnostic:
    text = f"an input's size may be a multiple of one dimension and a number more, not {dim}"
    return Diagnostic(text)


def _owner(key: str, given: Mapping[str, Any], examples: Mapping[str, Any]) -> str:
    return next(name for name, value in examples.items() if value is given[key])


def _changes(text: str, dims: Mapping[str, Symbol]) -> dict[str, Symbol]:
    """The dimensions that torch wants in another step or range."""
    steps, ends = {name: each.step for name, each in dims.items()}, dict[str, dict[str, int]]()
    shifted: set[str] = set()
    _, _, fixes = text.partition("Suggested fixes:")
    for match in _SUGGESTED.finditer(fixes):
        name, value = match["name"], match["value"]
        if step := _STEP.match(value):
            if name in dims:
                steps[name] = int(step["step"])
        elif value.startswith("Dim("):
            ends[name] = {end["end"]: int(end["size"]) for end in _ENDS.finditer(value)}
        else:
            # ``S = 2*_S - 1`` has no step from zero, so the ends of ``_S`` say nothing of it.
            shifted.add(name)
    for name, least in _least_sizes(text, dims):
        ends.setdefault(name, {}).setdefault("min", least)
    found: dict[str, Symbol] = {}
    for name, each in dims.items():
        step, base = steps[name], {} if name in shifted else ends.get(f"_{name}", {})
        own = ends.get(name, {})
        low = max(each.minimum, own.get("min", 0), base.get("min", 0) * step)
        high = min(each.maximum, own.get("max", each.maximum), base.get("max", each.maximum) * step)
        low, high = -(-max(low, 1) // step) * step, high // step * step
        if low > high:
            continue
        best = min(max(each.optimum // step * step, low), high)
        changed = Symbol(name, low, best, high, step)
        if changed != each:
            found[name] = changed
    return found


def _least_sizes(text: str, dims: Mapping[str, Symbol]) -> Iterator[tuple[str, int]]:
    """One more than a dimension's minimum, where torch says only what the minimum itself does not meet."""
    for match in _UNMET.finditer(text):
        each = dims.get(match["name"])
        if each is None or each.step > 1:
            continue
        met = [_is_met(match["guard"], match["size"], each.minimum + more) for more in (0, 1)]
        if met == [False, True]:
            yield each.name, each.minimum + 1


def _is_met(guard: str, size: str, value: int) -> bool | None:
    """Whether a condition such as ``((-1) + size) != 1`` holds; None where it is not about numbers alone."""
    try:
        parsed = ast.parse(guard.replace(size, str(value)), mode="eval")
    except SyntaxError:
        return None
    if not all(isinstance(node, _ARITHMETIC) for node in ast.walk(parsed)):
        return None
    try:
        return bool(eval(compile(parsed, "<guard>", "eval"), {"__builtins__": {}}))
    except ZeroDivisionError:
        return False


def _argument_shapes(
    module: nn.Module, inputs: Inputs, examples: Mapping[str, Any]
) -> dict[str, tuple[Dim, ...]]:
    """The sizes of each of ``forward``'s arguments, by its name there."""
    positional, by_name = arranged(module, examples)
    given = {**dict(zip(parameters_of(module), positional, strict=False)), **by_name}
    return {key: inputs.types[_owner(key, given, examples)].shape for key in given}


def _places(decisions: Decisions, shapes: Mapping[str, tuple[Dim, ...]]) -> dict[str, tuple[str, int]]:
    """The line that decided about each dimension."""
    found: dict[str, tuple[str, int]] = {}
    for argument, shape in shapes.items():
        for axis, dim in enumerate(shape):
            for each in symbols(dim):
                place = decisions.place(argument, axis, each.maximum)
                if place and each.name not in found:
                    found[each.name] = place
    return found


@contextmanager
def _oblivious() -> Generator[None]:
    """In the meantime torch does not ask whether a size that is calculated is 1, which it would be guarded
    by: ``(W + 6) // 7 != 1``.  Nor does it find what divides a size then.
    """
    from torch.fx.experimental import _config

    config: Any = _config
    with config.patch(backed_size_oblivious=True):
        yield


@contextmanager
def _quiet() -> Generator[None]:
    """Without what torch prints and logs beside what it raises."""
    noise = [
        logging.getLogger(name) for name in ("torch._subclasses.fake_tensor", "torch.export", "torch._export")
    ]
    levels = [logger.level for logger in noise]
    for logger in noise:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(noise, levels, strict=True):
            logger.setLevel(level)

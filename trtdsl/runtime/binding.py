"""What an engine may be given: names, types, shapes and profiles, checked against its manifest.

In: a manifest and the shapes of a call.  Out: the profile to run under, or every mistake at once.  Nothing
here touches CUDA, so a wrong call is refused the same way on every machine.
"""

from __future__ import annotations

import ast
import math
import operator
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from trtdsl.diagnostics import Diagnostic, UsageError, counted, did_you_mean
from trtdsl.ops.lowering import Array
from trtdsl.trt.manifest import Binding, Manifest, ProfileEntry
from trtdsl.types import refitting_help

Shape: TypeAlias = tuple[int, ...]


def require_named(manifest: Manifest, given: Sequence[object]) -> None:
    """Refuse arrays that were given by position: inputs have names, and no order that a caller must know."""
    if not given:
        return
    call = ", ".join(f"{binding.name}=..." for binding in manifest.inputs)
    help = (f"write `({call})`", _inputs(manifest))
    if isinstance(given[0], Mapping):
        help = ("`run` takes a mapping of arrays; a call takes them as keywords: `(**arrays)`",)
    raise UsageError(Diagnostic("inputs are given by name, not by position", help=help))


def require_mapping(manifest: Manifest, arrays: object) -> None:
    """Refuse what is not arrays by the inputs' names."""
    if isinstance(arrays, Mapping) and all(isinstance(name, str) for name in arrays):
        return
    example = ", ".join(f'"{binding.name}": ...' for binding in manifest.inputs)
    kind = "a mapping with other keys" if isinstance(arrays, Mapping) else f"of type {type(arrays).__name__}"
    text = f"arrays are expected in a mapping by the inputs' names, but what is given is {kind}"
    raise UsageError(Diagnostic(text, help=(f"give `{{{example}}}`", _inputs(manifest))))


def check_names(manifest: Manifest, names: Mapping[str, object]) -> None:
    """Refuse inputs that are missing or that the model does not have."""
    known = [binding.name for binding in manifest.inputs]
    mistakes = [
        Diagnostic(f"the model has no input `{name}`{did_you_mean(name, known)}", help=(_inputs(manifest),))
        for name in names
        if name not in known
    ]
    mistakes += [
        Diagnostic(f"no value is given for the input `{binding.name}`: {show_binding(binding)}")
        for binding in manifest.inputs
        if binding.name not in names
    ]
    _raise(mistakes)


def check_types(manifest: Manifest, dtypes: Mapping[str, str]) -> None:
    """Refuse arrays whose element type is not the input's own; nothing is converted silently."""
    _raise(
        [
            Diagnostic(
                f"input `{binding.name}` is {binding.dtype}, but the array is {dtypes[binding.name]}",
                help=(f"convert it: `array.astype({binding.dtype!r})`",),
            )
            for binding in manifest.inputs
            if dtypes[binding.name] != binding.dtype
        ]
    )


def check_values(manifest: Manifest, arrays: Mapping[str, Array]) -> None:
    """Refuse arrays with elements outside of their inputs' ranges; inputs may be missing."""
    found = [
        binding.range.problem(binding.name, arrays[binding.name])
        for binding in manifest.inputs
        if binding.range is not None and binding.name in arrays
    ]
    _raise([Diagnostic(problem) for problem in found if problem is not None])


def check_shapes(manifest: Manifest, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The value of every dynamic dimension; refuses what contradicts the manifest or itself."""
    mistakes: list[Diagnostic] = []
    values: dict[str, tuple[int, str]] = {}
    for binding in manifest.inputs:
        shape = shapes[binding.name]
        if len(shape) != len(binding.shape):
            reason = f"it must have {_dimensions(len(binding.shape))}, not {len(shape)}"
            mistakes.append(_misshapen(binding, shape, reason))
            continue
        for axis, (size, wanted) in enumerate(zip(shape, binding.shape, strict=True)):
            place = f"dimension {axis} of `{binding.name}`"
            if isinstance(wanted, str) and wanted.isidentifier():
                known, where = values.setdefault(wanted, (size, place))
                if known != size:
                    mistakes.append(Diagnostic(f"`{wanted}` is {known} in {where} and {size} in {place}"))
            elif isinstance(wanted, int) and size != wanted:
                mistakes.append(_misshapen(binding, shape, f"dimension {axis} must be {wanted}, not {size}"))
    _raise(mistakes)
    _raise(
        [
            Diagnostic(
                f"`{name}` must be a multiple of {step}, but it is {values[name][0]} in {values[name][1]}"
            )
            for name, step in manifest.steps.items()
            if name in values and values[name][0] % step
        ]
    )
    sizes = {name: size for name, (size, _) in values.items()}
    _check_expressions(manifest, shapes, sizes)
    return sizes


def _check_expressions(manifest: Manifest, shapes: Mapping[str, Shape], sizes: Mapping[str, int]) -> None:
    """Compare dimensions such as `4 * N` where the inputs say what N is."""
    mistakes: list[Diagnostic] = []
    for binding in manifest.inputs:
        for axis, (size, wanted) in enumerate(zip(shapes[binding.name], binding.shape, strict=True)):
            expected = size_of(wanted, sizes) if isinstance(wanted, str) else None
            if expected is not None and expected != size:
                reason = f"dimension {axis}, `{wanted}`, must be {expected}, not {size}"
                mistakes.append(_misshapen(binding, shapes[binding.name], reason))
    _raise(mistakes)


def choose_profile(manifest: Manifest, shapes: Mapping[str, Shape]) -> int:
    """The profile that these shapes fit; of several, the one tuned for the nearest sizes."""
    if not manifest.profiles:
        return 0
    fitting = [index for index, profile in enumerate(manifest.profiles) if _fits(profile, shapes)]
    if not fitting:
        raise UsageError(_outside(manifest, shapes))
    return min(fitting, key=lambda index: _distance(manifest.profiles[index], shapes))


class ProfileUsers:
    """Which context is on which profile of an engine; ``shared`` says that any number may be on one.

    A context that is gone is on none. Any thread may ask.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._users: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def claim(self, profile: int, context: object) -> bool:
        """Put a context on a profile and off its last one; False, and no change, where another is on it."""
        if self._shared:
            return True
        with self._lock:
            if self._users.get(profile, context) is not context:
                return False
            for last in [number for number, user in self._users.items() if user is context]:
                del self._users[last]
            self._users[profile] = context
            return True


def _fits(profile: ProfileEntry, shapes: Mapping[str, Shape]) -> bool:
    return all(
        low <= size <= high
        for name, (smallest, _, largest) in profile.inputs.items()
        for size, low, high in zip(shapes[name], smallest, largest, strict=True)
    )


def _distance(profile: ProfileEntry, shapes: Mapping[str, Shape]) -> float:
    """How far the sizes are from what the profile is tuned for, in factors."""
    return sum(
        abs(math.log(max(size, 1) / max(typical, 1)))
        for name, (_, tuned, _) in profile.inputs.items()
        for size, typical in zip(shapes[name], tuned, strict=True)
    )


def _outside(manifest: Manifest, shapes: Mapping[str, Shape]) -> Diagnostic:
    given = ", ".join(f"{name} = {show_shape(shapes[name])}" for name in manifest.profiles[0].inputs)
    lines = [
        f"profile {profile.name}: {name} from {show_shape(low)} to {show_shape(high)}"
        for profile in manifest.profiles
        for name, (low, _, high) in profile.inputs.items()
    ]
    what = "no profile of the model accepts" if len(manifest.profiles) > 1 else "the model does not accept"
    return Diagnostic(f"{what} {given}", help=tuple(lines))


_OPERATIONS: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {"min": min, "max": max}


def size_of(expression: str, sizes: Mapping[str, int]) -> int | None:
    """The value of a dimension as a manifest writes it, ``4 * N``.

    None where a name is not known, or the sizes give no value: an input of size 0 may be what others are
    divided by.
    """
    try:
        return _value(ast.parse(expression, mode="eval").body, sizes)
    except ZeroDivisionError:
        return None
    except SyntaxError as error:
        raise _no_dimension(expression) from error


def _value(node: ast.AST, sizes: Mapping[str, int]) -> int | None:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return sizes.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _apply(_negated, [operand], sizes)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _apply(_OPERATIONS[type(op)], [left, right], sizes)
        case ast.Call(func=ast.Name(id=name), args=[_, _, *_] as arguments) if name in _FUNCTIONS:
            return _apply(_FUNCTIONS[name], arguments, sizes)
        case _:
            raise _no_dimension(ast.unparse(node))


def _no_dimension(text: str) -> UsageError:
    return UsageError(Diagnostic(f"the manifest has an invalid dimension: `{text}`"))


def _negated(value: int) -> int:
    return -value


def _apply(function: Callable[..., int], operands: list[Any], sizes: Mapping[str, int]) -> int | None:
    values = [_value(operand, sizes) for operand in operands]
    known = [value for value in values if value is not None]
    return function(*known) if len(known) == len(values) else None


def show_binding(binding: Binding) -> str:
    """``float32[N, 3, 32, 32]``, or ``int64[N, S] in 0 .. 50256``."""
    values = "" if binding.range is None else f" in {binding.range}"
    return f"{binding.dtype}[{', '.join(map(str, binding.shape))}]{values}"


def show_shape(shape: Shape) -> str:
    """``8x3x32x32``, as the command line takes it."""
    return "x".join(map(str, shape)) if shape else "a scalar"


def _dimensions(count: int) -> str:
    return counted(count, "dimension")


def _inputs(manifest: Manifest) -> str:
    return "its inputs: " + ", ".join(
        f"{binding.name}: {show_binding(binding)}" for binding in manifest.inputs
    )


def _misshapen(binding: Binding, shape: Shape, reason: str) -> Diagnostic:
    given = f"but the array is {show_shape(shape)}"
    text = f"input `{binding.name}` is {show_binding(binding)}, {given}: {reason}"
    return Diagnostic(text, help=refitting_help(binding.name, binding.shape, shape))


def _raise(mistakes: list[Diagnostic]) -> None:
    if mistakes:
        raise UsageError(*mistakes)

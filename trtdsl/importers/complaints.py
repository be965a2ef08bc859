"""Why torch.export cannot follow a module, in words.

In: the error that it raised.  Out: the line of the user's at fault, what is wrong there and what to write
instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.diagnostics import Diagnostic
from trtdsl.importers.conditional_pads import pads_if_needed, without_condition
from trtdsl.importers.examples import arranged
from trtdsl.importers.inputs import Inputs
from trtdsl.importers.places import failed_place, span_of
from trtdsl.importers.unchanged import unchanged
from trtdsl.importers.violations import guards_in
from trtdsl.types import Symbol

if TYPE_CHECKING:
    from torch import nn

Place = tuple[str, int]
_FIXED = re.compile(r"^\s*(?P<name>\w+) = (?P<size>\d+)\s*$", re.MULTILINE)
_SIZE = re.compile(r"(?P<name>\w+) = (?P<size>L\['\w+'\]\.size\(\)\[\d+\])")
_MAKES_NUMBER = re.compile(r"\b((?:math\.\w+|int|float|round|len)(?=\())")
_RETURNED = re.compile(r"Found <class '(?P<type>[\w.]+)'> in output")
_LOOP = re.compile(r"(for|while)\b|.*\bfor\b.+\bin\b")
_PIECES = re.compile(r"\b(unbind|split|tensor_split)\(")
_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "UserErrorType.DYNAMIC_CONTROL_FLOW")


def complaint(
    error: Exception,
    module: nn.Module,
    inputs: Inputs,
    dims: Mapping[str, Symbol],
    examples: Mapping[str, Any],
    places: Mapping[str, Place],
) -> list[Diagnostic]:
    """What is wrong, as far as torch says."""
    text = str(error)
    if fixed := fixed_sizes(text, dims):
        return [_fixed(name, size, places.get(name)) for name, size in fixed.items()]
    if guards := guards_in(text):
        return [_violated(guards, text, dims, places)]
    place = failed_place(error)
    if type(error).__name__ in _DATA_DEPENDENT:
        return [_data_dependent(place)]
    own = _own_error(module, examples)
    if own is not None:
        sizes = ", ".join(f"{name}: {list(each.shape)}" for name, each in examples.items())
        types = ", ".join(f"{name}: {type}" for name, type in inputs.types.items())
        message = f"the module itself fails on {sizes}: {_first_line(own)}"
        return [_at(message, failed_place(own), (f"the inputs are {types}",))]
    if match := _RETURNED.search(text):
        return [_returned(match["type"].rpartition(".")[2], module, place)]
    message = f"torch.export refuses the module: {_first_line(error)}"
    return [_at(message, place, ())]


def fixed_sizes(text: str, dims: Mapping[str, Symbol]) -> dict[str, int]:
    """The dimensions that torch says are numbers."""
    _, _, fixes = text.partition("Suggested fixes:")
    return {
        match["name"].removeprefix("_") if match["name"] not in dims else match["name"]: int(match["size"])
        for match in _FIXED.finditer(fixes)
        if match["name"] in dims or match["name"].removeprefix("_") in dims
    }


def narrowed(before: Symbol, after: Symbol, place: Place | None) -> Diagnostic:
    """A note on a dimension of which the module takes fewer sizes than were asked for."""
    step = f" in steps of {after.step}" if after.step != before.step else ""
    range = f"{after.minimum} .. {after.maximum}{step}"
    help = (without_condition(after.name),) if place and pads_if_needed(place) else ()
    return _at(f"the module takes `{after.name}` from {range}", place, help, severity="note")


def too_narrow(found: Symbol, place: Place | None) -> Diagnostic:
    """That the module is made for about one size."""
    text = f"the module takes `{found.name}` from {found.minimum} .. {found.maximum} only"
    return _at(
        text,
        place,
        (_instead(place, found.name) or f"write one size for `{found.name}` in the input's type",),
    )


def _fixed(name: str, size: int, place: Place | None) -> Diagnostic:
    help = (
        f"write a number for `{name}` in the input's type, such as {size}",
        _instead(place, name) or "or take the size from the tensor: `x.shape[0]`, -1 in a view, `flatten`",
    )
    what = "this line" if place else "the module"
    message = f"`{name}` cannot be dynamic: {what} turns it into a number, here {size}"
    return _at(message, place, help)


def _violated(
    guards: Sequence[str], text: str, dims: Mapping[str, Symbol], places: Mapping[str, Place]
) -> Diagnostic:
    """That the module does other things at other sizes."""
    sizes = {match["size"]: match["name"] for match in _SIZE.finditer(text)}
    names = [name for name in dict.fromkeys(sizes.values()) if name in dims]
    place = next((places[name] for name in names if name in places), None)
    shown = guards[0]
    for size, name in sizes.items():
        shown = shown.replace(size, name)
    about = " and ".join(f"`{name}`" for name in names) or "a size"
    message = f"the module does other things at other sizes of {about}: it is the same only where `{shown}`"
    help = (_instead(place, next(iter(names), "size")) or "give a range in which that holds",)
    return _at(message, place, help)


def _instead(place: Place | None, size: str) -> str:
    """What to write in place of what makes a number of a size, or decides something by it."""
    if place and pads_if_needed(place):
        return without_condition(size)
    span = span_of(*place) if place else None
    if span and _LOOP.match(span.text):
        return "Python unrolls a loop: compute all steps at once instead, with `cumsum`, `matmul` or the like"
    if span and (pieces := _PIECES.search(span.text)):
        return f"`{pieces[1]}` makes a tensor of each part: compute with the whole tensor instead"
    found = _MAKES_NUMBER.search(span.text) if span else None
    if not found:
        return ""
    other = "`S // 2` for `int(S / 2)`, `S ** 0.5` for `math.sqrt(S)`, `x.shape[0]` for `len(x)`"
    return f"`{found[1]}` makes a number of a size: write {other}"


def _data_dependent(place: Place | None) -> Diagnostic:
    span = span_of(*place) if place else None
    code = span.text if span else ""
    if re.match(r"(if|elif)\b|.*\bif\b.*\belse\b", code):
        help = "`torch.where(condition, a, b)` computes both sides and takes of each element one"
    elif re.match(r"(while|for)\b", code):
        help = "loop a fixed number of times, and keep what is done already with `torch.where`"
    elif re.search(r"\.item\(\)|\bint\(|\bfloat\(|\.tolist\(\)", code):
        help = "keep it a tensor: sizes and Python's numbers are fixed when the network is built"
    else:
        help = "compute with tensors alone: `torch.where` chooses, `masked_fill` leaves out"
    return _at("what runs here depends on values that only the running network has", place, (help,))


def _returned(type: str, module: nn.Module, place: Place | None) -> Diagnostic:
    """That the module returns something with tensors in it that torch.export cannot take apart."""
    if getattr(getattr(module, "config", None), "use_cache", False):
        help = "make it with `use_cache=False` in its configuration: then it returns no cache"
    else:
        help = "return tensors, or tuples, lists and dicts of them"
    return _at(f"the module returns a `{type}`, which is not a tensor", place, (help,))


def _own_error(module: nn.Module, examples: Mapping[str, Any]) -> Exception | None:
    """What the module raises when it is just called."""
    import torch

    positional, named = arranged(module, examples)
    try:
        with torch.no_grad(), unchanged(module, runs=True):
            module(*positional, **named)
    except Exception as error:  # the user's own code
        return error
    return None


def _first_line(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return f"{type(error).__name__}: {next(filter(None, lines), 'without a word')}"


def _at(message: str, place: Place | None, help: tuple[str, ...], severity: Any = "error") -> Diagnostic:
    return Diagnostic(message, span_of(*place) if place else None, help=help, severity=severity)

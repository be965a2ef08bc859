"""What a user says about a model's inputs, as types.

In: ``{"ids": "int64[N, S] in 0 .. 50256"}`` and the ranges of some of the letters.  Out: an :class:`Inputs`,
read by the language's own parser, with a likely range for every letter that has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, Source, Span, UsageError
from trtdsl.elaborate import elaborate
from trtdsl.flags import by_name
from trtdsl.syntax import tree
from trtdsl.syntax.parser import parse
from trtdsl.types import DType, Symbol, TensorType, ValueRange, symbols

if TYPE_CHECKING:
    import torch

BATCH = "1 .. 8 .. 32"
PIXELS = "64 .. 224 .. 512"
FRAMES = "4 .. 16 .. 32"
LENGTH = "1 .. 128 .. 512"
"""The ranges of dimensions that nobody gave one."""

_MODEL = "inputs"
_NAME = "<inputs>"
_BATCHES = ("n", "b", "batch", "batch_size")
_LENGTHS = ("s", "l", "t", "seq", "length", "sequence")
_SIDES = ("h", "w", "height", "width")


class Inputs(msgspec.Struct, frozen=True):
    """The types of a model's inputs by name, and the dynamic dimensions that they have."""

    types: Mapping[str, TensorType]
    dims: Mapping[str, Symbol]
    values: Mapping[str, ValueRange] = {}
    """those that an input takes, where the user says so"""
    guessed: tuple[str, ...] = ()
    """the dimensions whose range nobody gave"""


def read_inputs(inputs: Mapping[str, str], dims: Mapping[str, str]) -> Inputs:
    """The types that these texts say, ``float32[N, 3, H, W]``, and the ranges, ``1 .. 8 .. 64``.

    Raises :class:`~trtdsl.diagnostics.UsageError` with the place in what the user wrote.
    """
    for name in (*inputs, *dims):
        if not name.isidentifier():
            raise UsageError(Diagnostic(f"`{name}` cannot be a name in a model"))
    for name, range in dims.items():
        if range.count("..") != 2 and not range.strip().isdecimal():
            text = f"`{name} = {range}`: a range is `minimum .. optimum .. maximum`"
            raise UsageError(Diagnostic(text))
    try:
        letters = dict(_letters(_text(inputs, {})))
        for name in dims:
            if name not in letters:
                raise UsageError(Diagnostic(f"no input has a dimension `{name}`"))
        guesses = {name: _guess(name, places) for name, places in letters.items() if name not in dims}
        graph = elaborate(_text(inputs, {**dims, **guesses}), _NAME).graph
    except UsageError:
        raise
    except Exception as error:
        if not hasattr(error, "diagnostics"):
            raise
        diagnostics: Sequence[Diagnostic] = getattr(error, "diagnostics", ())
        raise UsageError(*(_as_written(each) for each in diagnostics if each.severity == "error")) from error
    types = {value.name: value.type for value in graph.inputs}
    found = {each.name: each for type in types.values() for dim in type.shape for each in _sorted(dim)}
    return Inputs(types, found, dict(graph.ranges), tuple(name for name in guesses if name in found))


def type_text(tensor: torch.Tensor, axes: Mapping[int, str]) -> str:
    """The type of an example tensor, some of its dimensions dynamic."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in map(str, DType):
        help = ("give `example.float()`, and the module as `module.float()`",) if dtype == "float64" else ()
        raise UsageError(Diagnostic(f"an example is {dtype}, which no input can be", help=help))
    rank = tensor.ndim
    named = {axis % rank if -rank <= axis < rank else axis: name for axis, name in axes.items()}
    for axis in named:
        if not 0 <= axis < rank:
            raise UsageError(Diagnostic(f"an example has {rank} dimensions, no dimension {axis}"))
    return f"{dtype}[{', '.join(named.get(axis, str(size)) for axis, size in enumerate(tensor.shape))}]"


def split_pairs(texts: Sequence[str], option: str, example: str) -> dict[str, str]:
    """``("x=float32[N, 3]",)`` by name; raises :class:`~trtdsl.diagnostics.UsageError`."""

    def pair(text: str) -> tuple[str, str]:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not value or not name:
            raise UsageError(Diagnostic(f"`{option} {text}`: write it as `{option} {example}`"))
        return name, value

    return by_name(option, map(pair, texts))


def _text(inputs: Mapping[str, str], dims: Mapping[str, str]) -> str:
    """The inputs as a model, for the language to read."""
    lines = [f"  dim {name} = {' '.join(range.split())}" for name, range in dims.items()]
    lines += [f"  input {name}: {' '.join(type.split())}" for name, type in inputs.items()]
    lines += [f"  output _ = {next(iter(inputs))}"] if inputs else []
    return "\n".join([f"model {_MODEL} {{", *lines, "}", ""])


def _as_written(diagnostic: Diagnostic) -> Diagnostic:
    """A message about the model, on the input or the range that the user wrote."""
    span, is_end = _place(diagnostic.span)
    message = diagnostic.message
    if is_end:
        message = re.sub(r"found `[^`]*`$", "found the end", message)
    origins = tuple(replace(each, span=_place(each.span)[0]) for each in diagnostic.origins)
    return replace(diagnostic, message=message, span=span, origins=origins)


def _place(span: Span | None) -> tuple[Span | None, bool]:
    """A place in the model as one in ``x: float32[N, 3]``; and whether that ended there too soon."""
    if span is None or span.source.name != _NAME:
        return span, False
    lines = span.source.text.split("\n")
    line, column = span.line - 1, span.column - 1
    found = _WRITTEN.match(lines[line])
    is_end = found is None or column < found.end()
    if is_end:
        line -= 1
        column = len(lines[line])
        found = _WRITTEN.match(lines[line])
    if found is None:
        return None, False
    text = lines[line][found.end() :]
    name = re.split(r"\W", text, maxsplit=1)[0]
    start = column - found.end()
    stop = start + 1 if is_end else min(start + span.end - span.start, len(text))
    return Span(Source(f"{found['kind']} {name}", text), start, stop), is_end


_WRITTEN = re.compile(r"  (?P<kind>input|dim) ")


def _letters(text: str) -> Iterator[tuple[str, list[tuple[tree.Input, int]]]]:
    """The names in the inputs' shapes, each with the inputs and dimensions where it stands."""
    found: dict[str, list[tuple[tree.Input, int]]] = {}
    for item in parse(text, _NAME).items:
        for statement in item.body if isinstance(item, tree.Model) else ():
            if isinstance(statement, tree.Input):
                for number, size in enumerate(statement.type.shape):
                    for name in re.findall(r"[A-Za-z_]\w*", size.span.text):
                        found.setdefault(name, []).append((statement, number))
    yield from found.items()


def _guess(name: str, places: Sequence[tuple[tree.Input, int]]) -> str:
    """A likely range, by the letter's name and by where it stands."""
    statement, number = places[0]
    rank = len(statement.type.shape)
    word = name.rstrip("0123456789_").lower()
    if word in _BATCHES or number == 0:
        return BATCH
    if word in _SIDES or (rank >= 4 and number >= rank - 2 and word not in _LENGTHS):
        return PIXELS
    return FRAMES if rank == 5 else LENGTH


def _sorted(dim: Any) -> list[Symbol]:
    return sorted(symbols(dim), key=str)

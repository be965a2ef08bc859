"""The inputs of an ONNX file, with its dynamic axes as dimensions.

In: a file's graph, and the ranges that the user gives.  Out: the type of each input, or why it has none.  A
file says at most what an axis is called; a range that nobody gave is a guess, which a refusal may question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic
from trtdsl.importers.names import numbered
from trtdsl.importers.onnx_node import dtype_of
from trtdsl.ir.names import identifier
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, Symbol, TensorType, symbol, symbols

_BATCH, _IMAGE, _LENGTH = (1, 8, 64, 1), (32, 256, 1024, 32), (1, 64, 512, 1)
"""Likely ranges."""
_BATCHES = frozenset({"n", "b", "batch", "batchsize", "bs"})
_SIDES = frozenset({"h", "w", "height", "width", "imageheight", "imagewidth"})
_NAMELESS = re.compile(r"unk_*\d+|.*dynamic_?dim(ension)?[._]?\d+", re.IGNORECASE)
"""What TensorFlow's and PaddlePaddle's exporters call axes that have no name."""
_CALCULATED = re.compile(r"(?:(?P<factor>\d+)\*)?(?P<name>[A-Za-z_]\w*)(?: (?P<sign>[+-]) (?P<more>\d+))?")
"""What PyTorch's exporter says of a size of which it knows how it comes about: ``2*s + 1``."""
_CHANNELS = (1, 3, 4)


@dataclass
class Axes:
    """The dynamic axes of a file's inputs, as dimensions of the language."""

    given: Mapping[str, Symbol]
    """ranges by the file's or the text's name of a dimension"""
    raised: Mapping[str, int] = field(default_factory=dict[str, int])
    """how often the least size of a dimension whose range is a guess is raised"""
    steps: Mapping[str, int] = field(default_factory=dict[str, int])
    """what a dimension whose range is a guess is a multiple of"""
    dims: dict[str, Dim] = field(default_factory=dict[str, Dim])
    """by the file's name, or by the text's where the file has none"""
    guessed: list[str] = field(default_factory=list[str])
    """the dimensions whose range nobody gave"""
    used: set[str] = field(default_factory=set[str])
    """the names of ``given`` that an axis has"""

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        found = [each for dim in self.dims.values() for each in sorted(symbols(dim), key=str)]
        return tuple(dict.fromkeys(found))

    def type_of(self, info: Any) -> TensorType:
        """The type of an input of the file."""
        import onnx

        if not info.type.HasField("tensor_type"):
            raise Refused("it is not a tensor")
        tensor = info.type.tensor_type
        dtype = dtype_of(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        if not tensor.HasField("shape"):
            raise Refused("the file does not say its rank")
        sides = _sides(tensor.shape.dim)
        names = [
            "N" if axis == 0 else sides.get(axis, f"{info.name}_{axis}")
            for axis in range(len(tensor.shape.dim))
        ]
        return TensorType(dtype, tuple(map(self._dim, tensor.shape.dim, names)))

    def _dim(self, dim: Any, wish: str) -> Dim:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            return dim.dim_value
        said: str = dim.dim_param
        calculated = _CALCULATED.fullmatch(said)
        if calculated and calculated["name"] != said:
            more = int(f"{calculated['sign'] or '+'}{calculated['more'] or 0}")
            return int(calculated["factor"] or 1) * self._named(calculated["name"], wish) + more
        return self._named(said, wish)

    def _named(self, said: str, wish: str) -> Dim:
        is_name = said.isidentifier() and not _NAMELESS.fullmatch(said)
        name = identifier(said if is_name else wish)
        key = said if re.search(r"[A-Za-z]", said) else name
        if key not in self.dims:
            taken = {str(each) for each in self.dims.values()}
            name = next(each for each in numbered(name) if each not in taken)
            self.dims[key] = self._ranged(name, key, is_first=wish == "N")
        return self.dims[key]

    def _ranged(self, name: str, key: str, *, is_first: bool) -> Dim:
        for each in (key, name):
            if each in self.given:
                self.used.add(each)
                given = self.given[each]
                is_fixed = given.minimum == given.maximum
                return given.minimum if is_fixed else symbol(name, *_range_of(given))
        self.guessed.append(name)
        low, best, high, step = _likely(name, is_first=is_first)
        factor, step = 2 if step > 1 else 8, max(step, self.steps.get(name, 1))
        low = min(low * factor ** self.raised.get(name, 0), best)
        return symbol(name, -(-low // step) * step, -(-best // step) * step, high, step)


def _range_of(given: Symbol) -> tuple[int, int, int, int]:
    return given.minimum, given.optimum, given.maximum, given.step


def _sides(dims: Sequence[Any]) -> dict[int, str]:
    """Which axes are the height and width of images, if any are."""
    if len(dims) != 4:
        return {}
    is_last = dims[3].dim_value in _CHANNELS and dims[1].dim_value not in _CHANNELS
    return {1: "H", 2: "W"} if is_last else {2: "H", 3: "W"}


def _likely(name: str, *, is_first: bool) -> tuple[int, int, int, int]:
    word = re.sub(r"[\d_]", "", name).lower()
    if word in _SIDES:
        return _IMAGE
    return _BATCH if is_first or word in _BATCHES else _LENGTH


# --- What a refusal says of them --------------------------------------------------------------------------


def questioned(diagnostics: Iterable[Diagnostic], axes: Axes) -> list[str]:
    """The dimensions of a guessed range that a refusal is about."""
    words = {word for each in diagnostics for word in re.findall(r"\w+", each.message)}
    return [name for name in axes.guessed if name in words]


def advised(diagnostics: Sequence[Diagnostic], axes: Axes) -> Iterator[Diagnostic]:
    """Refusals, with what to give where they are about a range that nobody gave."""
    ranges = {each.name: each for each in axes.symbols}
    for diagnostic in diagnostics:
        help = [
            f"the file gives no sizes of `{name}`, taken to be {_said(ranges[name])}: give them with"
            f" --dim {name}=MIN..OPT..MAX, or the only one with --dim {name}=SIZE"
            for name in questioned([diagnostic], axes)
        ]
        yield replace(diagnostic, help=(*diagnostic.help, *help))


def _said(range: Symbol) -> str:
    step = f" in steps of {range.step}" if range.step > 1 else ""
    return f"{range.minimum} .. {range.optimum} .. {range.maximum}{step}"

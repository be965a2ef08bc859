"""Names and what they stand for: scopes, dotted paths, and which names a piece of text reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from trtdsl.diagnostics import Span, did_you_mean
from trtdsl.elaborate.builtins import prelude
from trtdsl.elaborate.mistakes import POISON, Mistake, Poisoned, mistake
from trtdsl.elaborate.placing import Place
from trtdsl.elaborate.values import CALLEES, Names, Namespace, in_words, is_tensor
from trtdsl.ir import Value
from trtdsl.ops import pytorch_names
from trtdsl.ops.arguments import describe_value
from trtdsl.syntax import tree
from trtdsl.types import SymbolicDim


class Iteration(msgspec.Struct):
    """What one iteration of a scan has emitted so far, by name, each with its place."""

    emitted: dict[str, tuple[Value, Span]] = msgspec.field(default_factory=dict[str, tuple[Value, Span]])


class Scope(msgspec.Struct):
    """The names visible at a point, and where in the model it is."""

    globals: Mapping[str, Any]
    place: Place = msgspec.field(default_factory=Place)
    names: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    iteration: Iteration | None = None
    """of the scan whose body this is"""
    inside: set[str] = msgspec.field(default_factory=set[str])
    """names that only the bodies of scans here have bound"""
    refuted: bool = False
    """whether an assertion failed here, so that what follows from it would be wrong as well"""

    def find(self, name: tree.Name) -> Any:
        """What a name stands for; raises :class:`Mistake` or :class:`Poisoned`."""
        for names in (self.names, self.globals, prelude()):
            if name.text in names:
                value = names[name.text]
                if value is POISON:
                    raise Poisoned
                return value
        raise self._unknown(name)

    def find_callee(self, name: tree.Name) -> Any:
        """What a name means where it is called: a tensor of that name does not hide a function."""
        for names in (self.names, self.globals, prelude()):
            if isinstance(names.get(name.text), CALLEES):
                return names[name.text]
        return self.find(name)

    def path(self, path: tree.Path) -> Any:
        """What a dotted path stands for."""
        first, *rest = path.parts
        if rest and first.text in _PREFIXES and not {first.text} & {*self.names, *self.globals}:
            help = _PREFIXES[first.text].format(rest[-1].text)
            raise mistake(f"unknown name `{first.text}`", first.span, "", help)
        value, span = self.find(first), first.span
        for part in rest:
            value = attribute(value, part, span)
            span = span.until(part.span.end)
        return value

    def _unknown(self, name: tree.Name) -> Mistake:
        spaces = [value for value in self.globals.values() if isinstance(value, Namespace)]
        inside = [f"{space.name}.{name.text}" for space in spaces if name.text in space.items]
        if inside:
            return mistake(f"unknown name `{name.text}`, did you mean `{inside[0]}`?", name.span)
        help = pytorch_names.advice(name.text)
        if isinstance(self.globals, Names) and name.text in self.globals.models:
            help = "it is a model, which nothing can call: what others use too stands in a block"
        if name.text in self.inside:
            help = "a scan binds it in its body only: `emit` it there to have all of its values"
        private = _private(name.text)
        known = () if help or private else prelude()
        guess = did_you_mean(name.text, [*self.names, *self.globals, *known])
        help = help or ("" if guess else private)
        return mistake(f"unknown name `{name.text}`{guess}", name.span, "", help)


def _private(name: str) -> str:
    return "a name that begins with `_` is private to the file that defines it" if name[:1] == "_" else ""


_PREFIXES = {
    **dict.fromkeys(("torch", "torchvision", "nn", "F", "math"), "write `{0}` alone"),
    "self": "a layer is placed by its label: `x -> {0}: Name(…)`",
}
"""Python's names in front of functions, modules and layers, and what is written without them."""

_OTHER_ATTRIBUTES = {
    "ndim": "rank",
    "ndimension": "rank",
    "dim": "rank",
    "type": "dtype",
    "T": "transpose",
    "mT": "transpose",
    "contiguous": "",
}
"""PyTorch's attributes of a tensor that are written otherwise here."""


_CASTS = {
    "float": "float32",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "bool": "bool",
}
"""PyTorch's methods that cast a tensor, and the dtypes they cast to."""


def attribute(value: Any, name: tree.Name, span: Span) -> Any:
    """``value.name``; ``span`` is the value's."""
    if isinstance(value, Namespace):
        if name.text in value.items:
            return value.items[name.text]
        guess = did_you_mean(name.text, value.items)
        help = "" if guess else _private(name.text)
        raise mistake(f"`{value.name}` has no block or def `{name.text}`{guess}", name.span, "", help)
    if not is_tensor(value):
        raise mistake(f"{in_words(value)} has no attribute `{name.text}`", name.span)
    attributes = {"shape": tuple(value.type.shape), "dtype": value.type.dtype, "rank": value.type.rank}
    if name.text in attributes:
        return attributes[name.text]
    other = _OTHER_ATTRIBUTES.get(name.text, name.text)
    if name.text in _CASTS:
        dtype = _CASTS[name.text]
        message, help = "", f"write `to({span.text}, {dtype})`, or in a pipe `{span.text} -> to({dtype})`"
    elif name.text == "size":
        message, help = "", f"write `{span.text}.shape`, or `{span.text}.shape[0]` for one of its sizes"
    elif other in attributes:
        message, help = f", did you mean `{other}`?", ""
    elif other in prelude():
        message, help = "", f"write `{other}({span.text}, …)`, or in a pipe `{span.text} -> {other}(…)`"
    else:
        help = pytorch_names.advice(name.text)
        message = "" if help else did_you_mean(name.text, attributes)
    raise mistake(f"a tensor has no attribute `{name.text}`{message}", name.span, "", help)


# What a block or def was given, for the note where it was placed or called


def placed_note(expr: tree.Path | tree.Call | tree.Labelled, scope: Scope, done: str = "placed") -> str:
    """ "placed here with i = 2": the compile-time names that the text at a use reads."""
    shown: list[str] = []
    for name in names_in(expr):
        value = scope.names.get(name, POISON)
        if value is None or isinstance(value, (bool, int, float, str, SymbolicDim)):
            text = str(value) if isinstance(value, SymbolicDim) else describe_value(value)
            shown.append(f"{name} = {text.removeprefix('the string ').strip('`')}")
    return f"{done} here with {', '.join(shown)}" if shown else f"{done} here"


@lru_cache(maxsize=1024)
def names_in(part: tree.Node | tuple[object, ...]) -> tuple[str, ...]:
    """The names that a piece of the tree reads, in order, each once; those that a comprehension in it binds
    are among them."""
    return tuple(dict.fromkeys(_names_in(part)))


def _names_in(item: object) -> Iterator[str]:
    if isinstance(item, tree.Label) and isinstance(item.path, tree.Path):
        return
    if isinstance(item, tree.Path):
        yield item.parts[0].text
    elif isinstance(item, tree.Output) and item.value is None:
        yield from (name.text for name in item.names)
    elif isinstance(item, tuple):
        for part in item:
            yield from _names_in(part)
    elif isinstance(item, tree.Node):
        for field in item.__struct_fields__:
            yield from _names_in(getattr(item, field))

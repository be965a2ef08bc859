"""The calls of PyTorch that an ONNX file of its exporter has in its metadata, as text.

In: one line as ``torch.fx`` prints a node, and the signature of the exported program::

    %conv2d : [num_users=1] = call_function[target=torch.ops.aten.conv2d.default](args = (%x, %w, None), …)
    p_conv1_weight: PARAMETER target='conv1.weight'

Out: an :class:`FxCall`, and what each placeholder is.  Nothing of it needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from trtdsl.importers.program import Ref
from trtdsl.importers.schemas import plain_name
from trtdsl.types import DType

_NODE = re.compile(r"%(?P<name>\w+) : .*?= call_function\[target=(?P<target>.+?)\]\(args = ", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"^(?P<name>\w+): (?P<kind>\w+)(?: target='(?P<target>[^']*)')?(?: persistent=(?P<persistent>\w+))?",
    re.MULTILINE,
)
_PLAIN: Mapping[str, Any] = {"None": None, "True": True, "False": False}


class FxCall(msgspec.Struct, frozen=True):
    """A call: ``conv2d`` or ``add.Tensor`` of ATen, any other target under its full name."""

    name: str
    target: str
    arguments: tuple[Any, ...]
    """numbers, strings, dtypes, tuples, and Refs for what other calls give"""
    named: Mapping[str, Any]

    @property
    def is_tensor(self) -> bool:
        """Whether it gives tensors, rather than a size."""
        return "." not in self.target.partition(".")[2] and not self.target.startswith(("sym_", "operator"))


class Placeholder(msgspec.Struct, frozen=True):
    """An input of the exported program: its kind, and of a weight the key in the state dict."""

    kind: str
    target: str
    is_persistent: bool


@cache
def parsed_call(text: str) -> FxCall | None:
    """The call that a line of ``torch.fx`` says; None for what is not one."""
    match = _NODE.match(text)
    if match is None:
        return None
    reader = _Reader(text, match.end())
    try:
        arguments = reader.value()
        reader.skip(", kwargs = ")
        named = reader.value()
    except (ValueError, IndexError):
        return None
    if not isinstance(arguments, tuple) or not isinstance(named, dict):
        return None
    target = match["target"].removeprefix("torch.ops.")
    if target.startswith("aten."):
        target = plain_name(target)
    return FxCall(match["name"], target, arguments, named)  # pyright: ignore[reportUnknownArgumentType]


def placeholders(signature: str) -> dict[str, Placeholder]:
    """The inputs that a graph's signature lists, by name."""
    inputs, _, _ = signature.partition("# outputs")
    return {
        match["name"]: Placeholder(match["kind"], match["target"] or "", match["persistent"] != "False")
        for match in _PLACEHOLDER.finditer(inputs)
    }


class _Reader:
    """Reads one value after the other of a printed line."""

    def __init__(self, text: str, position: int) -> None:
        self._text = text
        self._position = position

    def skip(self, expected: str) -> None:
        if not self._text.startswith(expected, self._position):
            raise ValueError(expected)
        self._position += len(expected)

    def value(self) -> Any:
        match self._text[self._position]:
            case "(":
                return tuple(self._items(")"))
            case "[":
                return tuple(self._items("]"))
            case "{":
                return dict(self._items("}", has_keys=True))
            case _:
                return self._atom()

    def _items(self, end: str, has_keys: bool = False) -> Iterator[Any]:
        self._position += 1
        while self._text[self._position] != end:
            if has_keys:
                key, _, _ = self._text[self._position :].partition(": ")
                self.skip(f"{key}: ")
                yield key, self.value()
            else:
                yield self.value()
            while self._text[self._position] in ", ":
                self._position += 1
        self._position += 1

    def _atom(self) -> Any:
        match = re.compile(r"[^,)\]}]*").match(self._text, self._position)
        assert match
        self._position = match.end()
        return _atom(match[0])


def _atom(text: str) -> Any:
    if text.startswith("%"):
        return Ref(text[1:])
    if text in _PLAIN:
        return _PLAIN[text]
    if text.startswith("torch."):
        name = text.removeprefix("torch.")
        return DType(name) if name in {dtype.value for dtype in DType} else None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# --- Schemas ----------------------------------------------------------------------------------------------

_REQUIRED = object()


@cache
def _schemas() -> Mapping[str, tuple[tuple[tuple[str, Any], ...], int]]:
    """Of each overload the parameters with their defaults, and how many may be given by position."""
    text = (files("trtdsl.importers") / "aten_schemas.txt").read_text()
    found: dict[str, tuple[tuple[tuple[str, Any], ...], int]] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("(")
        found[name] = _parameters(rest.removesuffix(")"))
    return found


def _parameters(text: str) -> tuple[tuple[tuple[str, Any], ...], int]:
    found: list[tuple[str, Any]] = []
    positional: int | None = None
    for part in re.split(r", (?=[a-z*_])", text) if text else ():
        name, has_default, default = part.partition("=")
        if name == "*":
            positional = len(found)
        else:
            found.append((name, _default(default) if has_default else _REQUIRED))
    return tuple(found), len(found) if positional is None else positional


def _default(text: str) -> Any:
    return _Reader(text, 0).value() if text.startswith("[") else _atom(text.strip("'"))


def bound(call: FxCall) -> dict[str, Any] | None:
    """A call's arguments by the schema's names, those with defaults too; None for what has no schema here."""
    if call.target not in _schemas():
        return None
    parameters, positional = _schemas()[call.target]
    given = _joined(call.arguments) if call.target == "einsum" else call.arguments
    found: dict[str, Any] = {}
    for number, (name, default) in enumerate(parameters):
        if number < min(positional, len(given)):
            found[name] = given[number]
        elif name in call.named:
            found[name] = call.named[name]
        elif default is not _REQUIRED:
            found[name] = default
    return found if len(given) <= positional else None


def _joined(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """The equation of an ``einsum`` whole again, which is printed without quotes."""
    words = [each for each in arguments if isinstance(each, str)]
    return (",".join(words), *arguments[len(words) :])


@cache
def defaults_of(base: str) -> Mapping[str, tuple[Any, ...]]:
    """What the parameters of any overload of an operation are where they are left out."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, (parameters, _) in _schemas().items():
        if name.partition(".")[0] == base:
            for parameter, default in parameters:
                if default is not _REQUIRED:
                    found[parameter] = (*found.get(parameter, ()), default)
    return found

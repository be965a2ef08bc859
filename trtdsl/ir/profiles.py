"""Profiles that were chosen, in place of those of a text.

In: a graph, and sizes of some of its dynamic dimensions for each profile.  Out: the graph with these
profiles, where a dimension that is not named keeps the range of its `dim`::

    graph = with_profiles(graph, ["N=8", {"N": 1, "S": (1, 64, 128)}])

Where all profiles give a dimension one and the same size, :func:`with_fixed_sizes` has that in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.ir.graph import Graph, Node, Profile, Value
from trtdsl.profiles import ChosenProfile, GivenProfile, Sizes, chosen_profiles
from trtdsl.types import Symbol, beside_step, with_sizes


def with_profiles(graph: Graph, given: Sequence[GivenProfile] | GivenProfile) -> Graph:
    """The graph with these profiles; as it is where none is given.

    Raises UsageError for dimensions that the graph does not have, and for sizes that they do not take.
    """
    chosen = chosen_profiles(given)
    if not chosen:
        return graph
    symbols = {symbol.name: symbol for symbol in graph.symbols}
    if not symbols:
        text = f"`{graph.name}` has no dynamic dimensions, and so no profiles: `--profile {chosen[0]}`"
        raise UsageError(Diagnostic(text, help=("declare one: `dim N = 1 .. 8 .. 64`",)))
    own = graph.profiles[0].ranges
    profiles: list[Profile] = []
    for each in chosen:
        for name, sizes in each.sizes:
            _require_taken(each, name, sizes, symbols)
        ranges = {**own, **dict(each.sizes)}
        if any(profile.ranges == ranges for profile in profiles):
            raise UsageError(Diagnostic(f"`--profile {each}` is given twice"))
        profiles.append(Profile(each.name, ranges))
    return msgspec.structs.replace(graph, profiles=tuple(profiles))


def with_fixed_sizes(graph: Graph) -> Graph:
    """The graph with the size in place of each dimension that has the same one in all profiles.

    What depends on no other dimension can be computed now, and TensorRT sees which sizes are equal.
    """
    sizes = _fixed_sizes(graph.profiles)
    if not sizes or (len(graph.profiles) > 1 and len(sizes) == len(graph.symbols)):
        return graph  # without a dynamic dimension an engine has one profile
    return _Fixing(sizes).graph(graph)


def _fixed_sizes(profiles: Sequence[Profile]) -> dict[str, int]:
    found = profiles[0].ranges if profiles else {}
    return {
        name: low
        for name, (low, _, high) in found.items()
        if low == high and all(profile.ranges[name] == found[name] for profile in profiles)
    }


class _Fixing:
    """Makes each value anew, in the order in which they are made."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._values: dict[Value, Value] = {}

    def graph(self, graph: Graph) -> Graph:
        sizes = self._sizes
        symbols = tuple(symbol for symbol in graph.symbols if symbol.name not in sizes)
        profiles = [
            Profile(each.name, {name: given for name, given in each.ranges.items() if name not in sizes})
            for each in graph.profiles
        ]
        return graph.replace(
            inputs=tuple(map(self._made, graph.inputs)),
            nodes=tuple(map(self._node, graph.nodes)),
            outputs=tuple(out.replace(value=self._read(out.value)) for out in graph.outputs),
            symbols=symbols,
            profiles=tuple(profiles) if symbols else (),
        )

    def _node(self, node: Node) -> Node:
        return node.replace(
            op=node.op.at(self._sizes),
            operands=tuple(map(self._read, node.operands)),
            bodies=tuple(map(self.graph, node.bodies)),
            results=tuple(map(self._made, node.results)),
        )

    def _read(self, value: Value) -> Value:
        return self._values.get(value, value)  # a weight stays what it is

    def _made(self, value: Value) -> Value:
        shape = tuple(with_sizes(dim, self._sizes) for dim in value.type.shape)
        made = self._values[value] = value.replace(type=value.type.with_shape(shape))
        return made


def _require_taken(profile: ChosenProfile, name: str, sizes: Sizes, symbols: Mapping[str, Symbol]) -> None:
    symbol = symbols.get(name)
    if symbol is None:
        text = f"sets `{name}`, which is not a dynamic dimension{did_you_mean(name, symbols)}"
        others = ", ".join(f"`{each}`" for each in symbols)
        raise _mistake(profile, text, f"the model's dynamic dimensions: {others}")
    outside = [size for size in sizes if not symbol.minimum <= size <= symbol.maximum]
    if outside:
        text = f"sets `{name}` to {outside[0]}, which the model does not take"
        raise _mistake(profile, text, f"its text has {name} from {symbol.minimum} to {symbol.maximum}")
    for size in sizes:
        if help := beside_step(size, symbol.step):
            text = f"sets `{name}`, which goes in steps of {symbol.step}, to {size}"
            raise _mistake(profile, text, help)


def _mistake(profile: ChosenProfile, text: str, help: str) -> UsageError:
    return UsageError(Diagnostic(f"`--profile {profile}` {text}", help=(help,)))

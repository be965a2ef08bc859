"""Profiles that were chosen, in place of those of a text.

In: a graph, and sizes of some of its dynamic dimensions for each profile.  Out: the graph with these
profiles, where a dimension that is not named keeps the range of its `dim`::

    graph = with_profiles(graph, ["N=8", {"N": 1, "S": (1, 64, 128)}])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.ir.graph import Graph, Profile
from trtdsl.profiles import ChosenProfile, GivenProfile, Sizes, chosen_profiles
from trtdsl.types import Symbol, beside_step


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

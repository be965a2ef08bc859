"""What releases of TensorRT have that need not be installed here.

In: a release's name, of :data:`RELEASES`.  Out: its :class:`~trtdsl.trt.facts.Facts`, from `releases.json`,
which was read off the releases' Python bindings: since which release, and until which, there is each layer
and each enum member. Tests hold it against the bindings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from trtdsl.trt.facts import Facts

VERSIONS = (
    *("8.5", "8.6", "10.0", "10.3", "10.7", "10.9", "10.12", "10.13", "10.14", "10.15", "10.16"),
    *("11.0", "11.1", "11.2", "11.3", "11.4"),
)
"""The releases of TensorRT whose bindings were read, oldest first. What one of them has, others up to the
next have too, as far as is known."""

RTX = "TensorRT-RTX 1.7"
RELEASES = (*(f"TensorRT {version}" for version in VERSIONS), RTX)
"""Oldest first, RTX last."""


@cache
def _known() -> Mapping[str, Any]:
    return json.loads((files("trtdsl.trt") / "releases.json").read_text(encoding="utf-8"))


@cache
def release_facts(release: str) -> Facts:
    """The facts of one of :data:`RELEASES`; KeyError for any other."""
    if release not in RELEASES:
        raise KeyError(release)
    if release == RTX:
        known = dict(_known()[release])
        layers = frozenset(known.pop("layers").split())
        enums = {name: frozenset(members.split()) for name, members in known.pop("enums").items()}
        return Facts(layers, enums, **known)
    place = VERSIONS.index(release.removeprefix("TensorRT "))
    since = {name: VERSIONS.index(first) <= place for name, first in _known()["since"].items()}
    enums = {name: frozenset(_there(members, place)) for name, members in _known()["enums"].items()}
    there = {name: members for name, members in enums.items() if members}
    return Facts(frozenset(_there(_known()["layers"], place)), there, **since)


def _there(spans: Mapping[str, str], place: int) -> Iterator[str]:
    """The names that are there at a place of :data:`VERSIONS`; ``8.5-8.6`` and ``10.0-`` are spans."""
    for span, names in spans.items():
        first, _, last = span.partition("-")
        if VERSIONS.index(first) <= place <= VERSIONS.index(last or VERSIONS[-1]):
            yield from names.split()

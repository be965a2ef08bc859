"""What releases of TensorRT have that need not be installed here.

In: a release's name, of :data:`RELEASES`.  Out: its :class:`~trtdsl.trt.facts.Facts`, from `releases.json`,
which was read off the release's Python bindings; a test holds it against those that are installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from trtdsl.trt.facts import Facts

RELEASES = ("TensorRT 8.5", "TensorRT 10.13", "TensorRT 11.4", "TensorRT-RTX 1.7")
"""Oldest first, RTX last."""


@cache
def _known() -> Mapping[str, Any]:
    return json.loads((files("trtdsl.trt") / "releases.json").read_text(encoding="utf-8"))


@cache
def release_facts(release: str) -> Facts:
    """The facts of one of :data:`RELEASES`; KeyError for any other."""
    known = dict(_known()[release])
    layers = frozenset(known.pop("layers").split())
    enums = {name: frozenset(members.split()) for name, members in known.pop("enums").items()}
    return Facts(layers, enums, **known)

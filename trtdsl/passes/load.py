"""Passes of others: from a file, a module, or an installed package's entry point.

In: ``my.py:name``, ``package.module:name``, or the name of an entry point in the group ``trtdsl.passes``.
Out: a :class:`~trtdsl.passes.declare.Pass`. A plain function from graph to graph becomes one of its name.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read, did_you_mean
from trtdsl.passes.declare import Pass

GROUP = "trtdsl.passes"


def load_pass(text: str) -> Pass:
    """The pass of that name; UsageError where there is none or what is there cannot be called."""
    place, colon, name = text.rpartition(":")
    found = _attribute(_module(place, text), name, text) if colon else _entry_point(text)
    if isinstance(found, Pass):
        return dataclasses.replace(found, source=f"`{text}`")
    if not callable(found):
        raise UsageError(Diagnostic(f"`{text}` is not a function from graph to graph"))
    function: Any = found
    own_name = str(getattr(function, "__name__", name))
    return Pass(own_name, function, before=("remove_dead_nodes",), source=f"`{text}`")


def _module(place: str, text: str) -> Any:
    if not place:
        raise UsageError(Diagnostic(f"`{text}`: give a file or a module before the colon"))
    path = Path(place)
    if path.suffix != ".py":
        try:
            return importlib.import_module(place)
        except (Exception, SystemExit) as error:
            raise UsageError(Diagnostic(f"`{text}`: the module cannot be imported: {error}")) from error
    spec = importlib.util.spec_from_file_location(f"trtdsl_pass_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise cannot_read(place, "no such file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        message = f"`{text}`: the file cannot be run: {type(error).__name__}: {error}"
        raise UsageError(Diagnostic(message)) from error
    return module


def _attribute(module: Any, name: str, text: str) -> Any:
    if not hasattr(module, name):
        raise UsageError(
            Diagnostic(f"`{text}`: nothing is called `{name}` there{did_you_mean(name, dir(module))}")
        )
    return getattr(module, name)


def _entry_point(name: str) -> Any:
    from importlib import metadata

    if name.endswith(".py"):
        help = f"write `{name}:NAME`, where NAME is a function from graph to graph"
        raise UsageError(Diagnostic(f"`{name}` does not say which pass of the file", help=(help,)))
    found = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if name not in found:
        help = f"give a file and a name, `my.py:{name}`, or install a package that declares it in `{GROUP}`"
        raise UsageError(Diagnostic(f"there is no pass `{name}`{did_you_mean(name, found)}", help=(help,)))
    return found[name].load()

"""A Python script that builds a model's network with TensorRT and numpy alone.

In: a file and its checkpoint.  Out: the script, and its weights as a ``.npz`` beside it::

    export_file("cnn.trtnet", "cnn.pth", "build_cnn.py")

It is for machines that trtdsl does not run on, as a Jetson with JetPack 5, whose TensorRT 8.5 is for Python
3.8: it needs Python 3.6 and the TensorRT that it was written for, or a later one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from trtdsl.compile import check_file, optimize_graph, require_values, sources_of
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.exporters.recording import ScriptDialect, TensorMade
from trtdsl.exporters.statements import Writer
from trtdsl.ir import Graph
from trtdsl.ops.lowering import Array
from trtdsl.options import CheckOptions, CompileOptions, WeightFiles
from trtdsl.output import cannot_write, require_unread, require_writable, write_together
from trtdsl.trt.dialect import DATA_TYPES
from trtdsl.trt.lower import LoweredNetwork, lower
from trtdsl.trt.manifest import own_version
from trtdsl.trt.profiles import input_range
from trtdsl.trt.releases import VERSIONS
from trtdsl.types import DType, TensorType

_OWN_KEYS = ("fingerprint", "file", "allow_pickle")
"""What no weight's key may be: that of what is stored beside them, and parameters of ``numpy.savez``."""

OLDEST = VERSIONS[0]
"""What a script is for if nothing else is asked for: TensorRT 8.5, and what came after it."""


@dataclass(frozen=True)
class Exported:
    """A script and its weights, and what there is to say about them.

    ``lowered`` is the network that the script builds, defined here.
    """

    text: str
    arrays: Mapping[str, Array]
    lowered: LoweredNetwork
    dialect: ScriptDialect
    notes: tuple[Diagnostic, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    def archive(self) -> memoryview:
        """The arrays as the bytes of the `.npz` that the script reads."""
        data = io.BytesIO()
        np.savez(data, **self.arrays)  # pyright: ignore[reportArgumentType]
        return data.getbuffer()


def export_file(
    path: str | Path,
    weights: WeightFiles,
    script: str | Path,
    options: CompileOptions = CompileOptions(),
    *,
    check: CheckOptions = CheckOptions(),
    release: str = OLDEST,
) -> Exported:
    """Write a file's model and its checkpoint as a script; raises :class:`DiagnosticError`."""
    script = Path(script)
    _require_place(script, (*sources_of(path, weights, check), *options.files_read))
    checked = check_file(path, weights, check)
    exported = export_graph(
        checked.graph, options, release=release, script=script.name, source=Path(path).name
    )
    write_together({arrays_path(script): exported.archive(), script: exported.text.encode()})
    return dataclasses.replace(exported, warnings=checked.warnings)


def arrays_path(script: Path) -> Path:
    """Where the weights of a script are."""
    return script.with_suffix(".npz")


def export_graph(
    graph: Graph,
    options: CompileOptions = CompileOptions(),
    *,
    release: str = OLDEST,
    script: str = "build.py",
    source: str = "",
) -> Exported:
    """A graph whose weights are bound as a script for a release of TensorRT and those that came after it."""
    recipe = options.recipe
    dialect = ScriptDialect(_known(release), mixed=recipe is not None and recipe.is_narrow)
    require_values(graph)
    optimized = optimize_graph(graph, options, dialect)
    lowered = lower(optimized.graph, dialect, mixed=optimized.mixed, wide=optimized.wide)
    types, narrow = _types(lowered, dialect), dialect.facts.narrow
    writer = Writer(_own_names(), types, _lines(lowered), narrow, _OWN_KEYS)
    lines = [*writer.write(dialect.statements)]
    body = "\n".join(f"    {line}".rstrip() for line in lines)
    fingerprint = _fingerprint(writer.arrays)
    parts = _Parts(lowered, dialect, options, script, source or graph.name)
    text = _template().substitute(parts.all(), body=body, fingerprint=f'"{fingerprint}"')
    return Exported(
        text, {**writer.arrays, "fingerprint": np.array(fingerprint)}, lowered, dialect, optimized.notes
    )


def _known(release: str) -> str:
    """The release, as ``8.5`` or ``10.3``, by the newest known one that it has all of."""
    try:
        wanted = (*map(int, release.split(".")[:2]), 0)[:2]
        known = [each for each in VERSIONS if tuple(map(int, each.split("."))) <= wanted]
    except ValueError:
        known = []
    if not known:
        text = f"`{release}` is not a release of TensorRT that a script can be written for"
        raise UsageError(
            Diagnostic(text, help=(f"give one from {OLDEST} on, such as {', '.join(VERSIONS)}",))
        )
    return f"TensorRT {known[-1]}"


def _require_place(script: Path, sources: Sequence[str | Path]) -> None:
    if script.suffix != ".py":
        raise cannot_write(script, "a script's name ends in `.py`")
    for path in (script, arrays_path(script)):
        require_writable(path)
        require_unread(path, sources, "the script is made from it")


def _fingerprint(arrays: Mapping[str, Array]) -> str:
    """What tells whether weights belong to a script."""
    found = hashlib.sha256()
    for key, array in arrays.items():
        found.update(f"{key} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:16]


@cache
def _template() -> Template:
    return Template((files("trtdsl.exporters") / "build_script.txt").read_text(encoding="utf-8"))


@cache
def _own_names() -> frozenset[str]:
    """The names that `define` uses of the script."""
    head = _template().template.partition("def define")[0]
    assigned = re.findall(r"^(?:def )?(\w+)(?: = |\()", head, re.MULTILINE)
    return frozenset({*assigned, *DATA_TYPES.values(), "float"})


def _types(lowered: LoweredNetwork, dialect: ScriptDialect) -> dict[TensorMade, str]:
    """The type of each tensor that the graph has a value for."""
    found: dict[TensorMade, str] = {}
    for tensor in lowered.tensors.values():
        made = vars(tensor).get("handle")
        if made is not None and tensor.array is None:
            found[made.made] = _type_text(tensor.type, dialect)
    return found


def _type_text(type: TensorType, dialect: ScriptDialect) -> str:
    narrow = dialect.facts.narrow and type.dtype is DType.INT64
    return str(type.with_dtype(DType.INT32) if narrow else type)


def _lines(lowered: LoweredNetwork) -> dict[str, str]:
    """The line of the text that each layer stands in, as ``file:line: text``."""
    found: dict[str, str] = {}
    for name, node in lowered.nodes.items():
        span = node.origins[0].span if node.origins else None
        if span is not None:
            line = f"{span.source.name}:{span.line}: {span.source.line(span.line).strip()}"
            found[name] = _in_one_line(line)
    return found


def _in_one_line(text: str) -> str:
    """A text for a comment: what Python or an editor takes for the end of a line would end it."""
    return " ".join(text.splitlines())


def _in_docstring(text: str) -> str:
    """A name of a file, which may have any character, within three quotes."""
    return _in_one_line(text).replace("\\", "\\\\").replace('"', '\\"')


class _Parts:
    """What the template is filled in with, but for the network."""

    def __init__(
        self,
        lowered: LoweredNetwork,
        dialect: ScriptDialect,
        options: CompileOptions,
        script: str,
        source: str,
    ) -> None:
        self._lowered = lowered
        self._graph = lowered.graph
        self._dialect = dialect
        self._options = options
        self._script = script
        self._source = source

    def all(self) -> dict[str, str]:
        name = self._graph.name
        version = self._dialect.release.removeprefix("TensorRT ")
        return {
            "title": f"Builds a TensorRT engine of the model {name}.",
            "version": own_version(),
            "source": _in_docstring(self._source),
            "script": _in_docstring(shlex.quote(self._script)),
            "name": name,
            "name_repr": f'"{name}"',
            "weights": _in_docstring(str(arrays_path(Path(self._script)))),
            "needs_words": f"TensorRT {version} or a later release, or TensorRT-RTX",
            "needs": self._needs(version),
            "interface": "\n".join(self._interface()),
            "tf32": str(self._options.tf32),
            "uses_float16": str(self._lowered.uses_float16),
            "uses_int8": str(self._lowered.uses_int8),
            "profiles": self._profiles(),
        }

    def _needs(self, version: str) -> str:
        major, minor = version.split(".")
        # What TensorRT-RTX had before 1.7 is not known.
        return f'{{"tensorrt": ({major}, {minor}), "tensorrt_rtx": (1, {0 if major == "8" else 7})}}'

    def _interface(self) -> list[str]:
        inputs = [(value.name, value.type) for value in self._graph.inputs]
        outputs = [(output.name, output.value.type) for output in self._graph.outputs]
        lines = [f"    input   {name}: {_type_text(type, self._dialect)}" for name, type in inputs]
        lines += [f"    output  {name}: {_type_text(type, self._dialect)}" for name, type in outputs]
        for profile in self._graph.profiles:
            ranges = [
                f"{name} = {low} .. {typical} .. {high}"
                for name, (low, typical, high) in profile.ranges.items()
            ]
            lines += [f"    profile {profile.name}: {', '.join(ranges)}"] if ranges else []
        if self._dialect.facts.narrow and any(type.dtype is DType.INT64 for _, type in (*inputs, *outputs)):
            lines += [
                "",
                "Where the model has int64 the engine has int32, for TensorRT 8 has no other integers.",
            ]
        return lines

    def _profiles(self) -> str:
        dynamic = [value for value in self._graph.inputs if not value.type.is_static]
        lines: list[str] = []
        for profile in self._graph.profiles if dynamic else ():
            lines.append("\n    {")
            for value in dynamic:
                shapes = ", ".join(map(str, input_range(value.type, profile.ranges)))
                lines.append(f'\n        "{value.name}": ({shapes}),')
            lines.append("\n    },")
        return "".join(lines) + ("\n" if lines else "")

"""The manifest: what an engine is, in JSON beside it, since an engine cannot be opened without its GPU.

In: a lowered network and its engine.  Out: ``cnn.engine.json``, the same text for the same input::

    {
     "format": 4,
     "model": "cnn",
     "inputs": [{"name": "data", "dtype": "float32", "shape": ["N", 3, 32, 32], "range": [0.0, 1.0]}],
     "profiles": [{"name": "default", "dims": {"N": [1, 8, 64]}, "inputs": {"data": [[1, 3, 32, 32], …]}}],
     "layers": [{"name": "conv1", "operator": "Conv2d", "scope": "conv1", "source": "cnn.trtnet:6:15"}],
     …
    }
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from trtdsl.diagnostics import Diagnostic, UsageError, reason_of
from trtdsl.ir import Graph, Node, Value, Weight, walk
from trtdsl.json_object import json_object
from trtdsl.ops.logic import To, TypeAs
from trtdsl.ops.lowering import Array
from trtdsl.options import CompileOptions
from trtdsl.recipe import DYNAMIC, NARROW, WEIGHTS_ONLY
from trtdsl.trt.dialect import Dialect
from trtdsl.trt.lower import LoweredNetwork
from trtdsl.trt.naming import source_of
from trtdsl.trt.profiles import input_range
from trtdsl.types import PRECISIONS, DType, ValueRange

FORMAT = 4
"""Raised when a reader of the old form would misread the new one."""

Size: TypeAlias = "int | str"


@dataclass(frozen=True)
class Binding:
    """An input or output; a size that is dynamic is its expression, such as ``"N"``.

    ``range`` holds the lowest and the highest value that an input takes, where the model says so.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...]
    range: ValueRange | None = None


@dataclass(frozen=True)
class ProfileEntry:
    """A profile: min, opt and max of each dimension, and of each dynamic input's shape."""

    name: str
    dims: Mapping[str, tuple[int, int, int]]
    inputs: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class LayerEntry:
    """A TensorRT layer and the operator of the model it belongs to."""

    name: str
    operator: str
    scope: str
    source: str


@dataclass(frozen=True)
class WeightEntry:
    """A weight by its state-dict key; the hash is of its elements in C order, little-endian."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class PluginEntry:
    """A plugin that the engine needs, as TensorRT's registry knows it."""

    name: str
    version: str
    namespace: str


@dataclass(frozen=True)
class Manifest:
    """Everything known about an engine without opening it.

    ``size`` is in bytes, ``targets`` are the compute capabilities that it was built for, ``precision`` is the
    coarsest type that is computed in, casts aside; where that is a narrow one, which some layers only are
    in, ``around`` is the coarsest floating-point type of the others. With ``tf32``, products of float32 may
    round their operands to 10 bits. ``tactic_sources`` are the libraries and kinds of kernels that TensorRT
    was allowed to take. ``plugins`` must be in TensorRT's registry before the engine is loaded; the
    ``plugin_libraries`` are those that it was compiled with. Of a dimension in ``steps`` only multiples are
    taken. ``command`` builds the engine again: the arguments of `trtdsl`, where a file was compiled.
    ``recipe`` says how layers came to a narrow type, in the words of a file of a recipe, with the hash of
    their ``ranges`` and ``worst_error``, that of the sample of its data that is furthest off.
    """

    format: int
    model: str
    size: int
    sha256: str
    trtdsl: str
    runtime: str
    runtime_version: str
    targets: tuple[str, ...]
    precision: str
    tf32: bool
    tactic_sources: tuple[str, ...]
    passes: tuple[str, ...]
    command: tuple[str, ...]
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    profiles: tuple[ProfileEntry, ...]
    steps: Mapping[str, int]
    layers: tuple[LayerEntry, ...]
    weights: tuple[WeightEntry, ...]
    plugins: tuple[PluginEntry, ...] = ()
    plugin_libraries: tuple[str, ...] = ()
    recipe: Mapping[str, Any] | None = None
    around: str | None = None

    @property
    def arithmetic(self) -> str:
        """``float16``, ``bfloat16``, ``float32``, or ``float32 with TF32``, for layers in int8 ``int8, around
        it float16``: what decides how exact it is."""
        floats = self.around or self.precision
        floats = "float32 with TF32" if floats == "float32" and self.tf32 else floats
        return floats if self.around is None else f"{self.precision}, around it {floats}"

    def to_json(self) -> str:
        """One entry of a list a line: a manifest of a thousand layers can still be read and compared."""
        fields = dataclasses.asdict(self, dict_factory=_stated)
        return "{\n" + ",\n".join(f" {json.dumps(k)}: {_lines(v)}" for k, v in fields.items()) + "\n}\n"


def make_manifest(
    lowered: LoweredNetwork,
    engine: bytes | memoryview,
    options: CompileOptions = CompileOptions(),
    *,
    taken: Graph | None = None,
    targets: Sequence[str] | None = None,
    tactic_sources: Sequence[str] = (),
    passes: Sequence[str] = (),
    command: Sequence[str] = (),
    weights: tuple[WeightEntry, ...] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of an engine that :func:`trtdsl.trt.build.build` made with these options.

    ``taken`` is a graph whose dimensions and profiles say what the engine takes, where the lowered one has
    the size of some in their place. ``passes`` are those that ran, ``weights`` what the engine holds, where
    that is described already; ``recipe`` is what layers in a narrow type were made with;
    ``targets`` are the options' own unless the engine is for others, as for the GPU at hand.
    """
    graph = lowered.graph
    taken = taken or graph
    floats = str(DType.FLOAT16 if lowered.mixed else _coarsest(graph))
    return Manifest(
        format=FORMAT,
        model=graph.name,
        size=len(engine),
        sha256=hashlib.sha256(engine).hexdigest(),
        trtdsl=own_version(),
        runtime=lowered.dialect.name,
        runtime_version=lowered.dialect.version,
        targets=tuple(options.targets if targets is None else targets),
        precision=floats if recipe is None else str(recipe["precision"]),
        tf32=options.tf32 is not False,
        tactic_sources=tuple(tactic_sources),
        passes=tuple(passes),
        command=tuple(command),
        inputs=tuple(
            _binding(value.name, value, given, lowered.dialect, graph.ranges.get(value.name))
            for value, given in zip(graph.inputs, taken.inputs, strict=True)
        ),
        outputs=tuple(
            _binding(out.name, out.value, given.value, lowered.dialect)
            for out, given in zip(graph.outputs, taken.outputs, strict=True)
        ),
        profiles=_profiles(taken),
        steps={symbol.name: symbol.step for symbol in taken.symbols if symbol.step > 1},
        layers=tuple(
            LayerEntry(name, node.op.name, node.scope, source_of(node))
            for name, node in lowered.nodes.items()
        ),
        weights=describe_weights(graph) if weights is None else weights,
        plugins=tuple(PluginEntry(*plugin) for plugin in lowered.plugins),
        plugin_libraries=tuple(map(str, options.plugins)),
        recipe=recipe,
        around=None if recipe is None else floats,
    )


def describe_weights(graph: Graph) -> tuple[WeightEntry, ...]:
    """The entries of a graph's weights. Hashing takes half a second a gigabyte, and can be done elsewhere
    while TensorRT builds: neither holds Python's lock. ValueError if a weight has no data."""
    return tuple(map(_weight, graph.weights))


def manifest_path(engine: Path | str) -> Path:
    """Where the manifest of an engine lies: ``cnn.engine.json`` beside ``cnn.engine``."""
    engine = Path(engine)
    return engine.with_name(f"{engine.name}.json")


def engine_of_manifest(path: Path | str) -> Path | None:
    """The engine that a manifest stands beside, or None of another file."""
    path = Path(path)
    return path.with_suffix("") if path.suffix == ".json" else None


def load_manifest(engine: Path | str) -> Manifest:
    """The manifest beside an engine; raises UsageError where there is none, or not a whole one."""
    path = manifest_path(engine)
    try:
        return _read(json_object(path.read_bytes()))
    except OSError as error:
        text = f"`{engine}` has no manifest: cannot read `{path}`: {reason_of(error)}"
        advice = f"`compile` writes `{path.name}` beside the engine: keep them together"
        raise UsageError(Diagnostic(text, help=(advice,))) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
        advice = "compile the model again to write it anew"
        raise UsageError(Diagnostic(f"`{path}` is not a manifest: {reason}", help=(advice,))) from error


def hash_of(array: Array) -> str:
    """The SHA-256 of an array's elements in C order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8).data).hexdigest()


def _coarsest(graph: Graph) -> DType:
    """The coarsest type of what is computed; of what is only cast, where nothing else is done."""
    cast = _floating(node for node in walk(graph) if isinstance(node.op, To | TypeAs))
    computed = _floating(node for node in walk(graph) if not isinstance(node.op, To | TypeAs))
    return max(computed or cast, key=PRECISIONS.index, default=DType.FLOAT32)


def _floating(nodes: Iterable[Node]) -> set[DType]:
    return {result.type.dtype for node in nodes for result in node.results} & {*PRECISIONS}


def _weight(weight: Weight) -> WeightEntry:
    if weight.data is None:
        raise ValueError(f"weight `{weight.key}` has no data")
    data = weight.data
    return WeightEntry(weight.key, str(weight.type.dtype), tuple(data.shape), hash_of(data))


def _binding(
    name: str, value: Value, taken: Value, dialect: Dialect, range: ValueRange | None = None
) -> Binding:
    """What is bound for a value, by the dimensions that it is taken with."""
    # Asked of the dialect: before TensorRT 10 what the model calls int64 is int32 in the engine.
    dtype = dialect.spell(dialect.data_types[value.type.dtype])
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in taken.type.shape)
    return Binding(name, dtype, shape, range)


def _profiles(graph: Graph) -> tuple[ProfileEntry, ...]:
    dynamic = [value for value in graph.inputs if not value.type.is_static]
    return tuple(
        ProfileEntry(
            profile.name,
            dict(profile.ranges),
            {value.name: input_range(value.type, profile.ranges) for value in dynamic},
        )
        for profile in graph.profiles
    )


NOT_INSTALLED = "not installed"
"""The release of a trtdsl that runs from its sources."""


def own_version() -> str:
    """The release of this trtdsl."""
    try:
        return metadata.version("trtdsl")
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def _stated(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a dataclass but for those that say nothing."""
    return {name: value for name, value in fields if value is not None}


def _lines(value: Any) -> str:
    if not isinstance(value, tuple) or not value:
        return json.dumps(value, ensure_ascii=False)
    return "[\n" + ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in value) + "\n ]"


# Reading: every field is asked for by name and made of its own type, so that what is missing or of
# another kind is said here and not met later.


def _read(fields: dict[str, Any]) -> Manifest:
    if fields["format"] != FORMAT:
        writer = f"written by trtdsl {fields.get('trtdsl')}; trtdsl {own_version()} is installed"
        raise ValueError(f"its format is {fields['format']}, this release reads {FORMAT} ({writer})")
    return Manifest(
        format=FORMAT,
        size=_integer(fields["size"]),
        **{name: _text(fields[name]) for name in ("model", "sha256", "trtdsl", "runtime", "runtime_version")},
        targets=_texts(fields["targets"]),
        precision=_precision(
            fields["precision"], (*NARROW.values(), *WEIGHTS_ONLY, *DYNAMIC) if "recipe" in fields else ()
        ),
        tf32=_boolean(fields["tf32"]),
        tactic_sources=_texts(fields["tactic_sources"]),
        passes=_texts(fields["passes"]),
        command=_texts(fields["command"]),
        inputs=tuple(map(_read_binding, _list(fields["inputs"]))),
        outputs=tuple(map(_read_binding, _list(fields["outputs"]))),
        profiles=tuple(map(_read_profile, _list(fields["profiles"]))),
        steps={name: _integer(step) for name, step in fields["steps"].items()},
        layers=tuple(
            LayerEntry(*(_text(layer[name]) for name in ("name", "operator", "scope", "source")))
            for layer in _list(fields["layers"])
        ),
        weights=tuple(map(_read_weight, _list(fields["weights"]))),
        # What knows no plugins writes none of this.
        plugins=tuple(
            PluginEntry(*(_text(plugin[name]) for name in ("name", "version", "namespace")))
            for plugin in _list(fields.get("plugins", []))
        ),
        plugin_libraries=_texts(fields.get("plugin_libraries", [])),
        recipe=_table(fields["recipe"]) if "recipe" in fields else None,
        around=_precision(fields["around"]) if "recipe" in fields else None,
    )


def _read_binding(data: Any) -> Binding:
    shape = tuple(size if isinstance(size, str) else _integer(size) for size in _list(data["shape"]))
    dtype = DType(_text(data["dtype"]))
    values = _read_range(data["range"], dtype) if "range" in data else None
    return Binding(_text(data["name"]), str(dtype), shape, values)


def _read_range(data: Any, dtype: DType) -> ValueRange:
    ends = tuple(map(_integer if dtype.is_integer else _float, _list(data)))
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ValueError(f"the lowest and the highest value are expected, not {list(ends)}")
    return ValueRange(*ends)


def _read_profile(data: Any) -> ProfileEntry:
    dims = {name: _triple(_integers(sizes)) for name, sizes in data["dims"].items()}
    inputs = {name: _triple(tuple(map(_integers, _list(shapes)))) for name, shapes in data["inputs"].items()}
    return ProfileEntry(_text(data["name"]), dims, inputs)


def _read_weight(data: Any) -> WeightEntry:
    return WeightEntry(
        _text(data["key"]), _text(data["dtype"]), _integers(data["shape"]), _text(data["sha256"])
    )


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"a table is expected, not {value!r}")
    return cast(dict[str, Any], value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text is expected, not {value!r}")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"an integer is expected, not {value!r}")
    return value


def _float(value: Any) -> float:
    if not isinstance(value, float):
        raise ValueError(f"a float is expected, not {value!r}")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false is expected, not {value!r}")
    return value


def _precision(value: Any, narrow: Iterable[str] = ()) -> str:
    known = [*map(str, PRECISIONS), *dict.fromkeys(narrow)]
    if value not in known:
        raise ValueError(f"one of {', '.join(known)} is expected, not {value!r}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list is expected, not {value!r}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(map(_integer, _list(value)))


def _triple(values: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    if len(values) != 3:
        raise ValueError(f"min, opt and max are expected, not {list(values)}")
    return values[0], values[1], values[2]

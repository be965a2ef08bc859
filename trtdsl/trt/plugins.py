"""Plugins in a network: from the fields of a text to a layer of TensorRT.

In: a :class:`~trtdsl.ops.plugin.Plugin` and its tensors.  Out: the layer, made by the plugin's creator, its
results held against what the text says of them; what is wrong is refused at its place in the text.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trtdsl.diagnostics import RefusedByTensorRT, did_you_mean
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.plugin import FIELD_TYPES, Plugin
from trtdsl.trt.dialect import NOT_COMPUTING, Dialect
from trtdsl.trt.registry import PluginName, declared_fields
from trtdsl.types import DType, TensorType

PLUGINS = ("plugin_v2", "plugin_v3")
"""The layers that a plugin may become: an ``IPluginV2``, or an ``IPluginV3`` from TensorRT 10 on."""

NEVER_FREE = NOT_COMPUTING.union(PLUGINS)
"""Layers whose type is not TensorRT's to choose: those that compute in no type of their own, and plugins."""

_NUMBERS: Mapping[str, Any] = {
    "FLOAT64": np.float64,
    "INT16": np.int16,
    "CHAR": np.int8,
    **{name: dtype.numpy for dtype, name in FIELD_TYPES.items()},
}
"""The element type of each ``PluginFieldType`` that holds numbers."""


class PluginNetwork(Network):
    """A network that places the plugins of a registry."""

    dialect: Dialect
    _by_reference = False

    def __init__(self) -> None:
        super().__init__()
        self.plugins: list[PluginName] = []
        self._made: list[Any] = []

    @property
    def why_no_plugins(self) -> str:
        if self._by_reference:
            return "the CPU cannot compute plugins"
        return self.dialect.why_no_plugins or super().why_no_plugins

    @property
    def where_plugins(self) -> str:
        return "" if self._by_reference or self.dialect.why_no_plugins else super().where_plugins

    @abstractmethod
    def add_plugin(
        self, layer: str, *arguments: Any, results: Sequence[TensorType]
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """Add a plugin's layer: the layer, and its outputs."""

    @abstractmethod
    def refused(self, message: str, *help: str) -> RefusedByTensorRT:
        """A mistake at the node being lowered."""

    def plugin(self, plugin: Plugin, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        name = PluginName(plugin.plugin_name, plugin.version, plugin.namespace)
        creator = self.dialect.plugins.find(name)
        if creator is None:
            message, help = self.dialect.plugins.missing(name, str(self.dialect))
            raise self.refused(message, *help)
        made, layer = self._made_by(creator, plugin)
        self.plugins.append(name)
        # A plugin that is written in Python lives as long as its object does.
        self._made.append((creator, made))
        shapes = ([],) if layer == "plugin_v3" else ()
        added, results = self.add_plugin(layer, list(tensors), *shapes, made, results=self.results)
        if added.num_outputs > len(results):
            said = f"`outputs` says {len(results)}"
            raise self.refused(f"the plugin `{plugin.plugin_name}` has {added.num_outputs} outputs, {said}")
        return results

    def _made_by(self, creator: Any, plugin: Plugin) -> tuple[Any, str]:
        """The plugin with its fields, and the layer that takes it."""
        trt = self.dialect.trt
        # Each keeps what it points into.
        fields = self._fields(creator, plugin)
        kind = next((each for each in _KINDS if isinstance(creator, getattr(trt, each, ()))), None)
        if kind is None:
            text = f"the plugin `{plugin.plugin_name}` is made by an {type(creator).__name__}"
            raise self.refused(f"{text}, which trtdsl does not know")
        layer = _KINDS[kind]
        phase = (trt.TensorRTPhase.BUILD,) if layer == "plugin_v3" else ()
        self.dialect.log.clear()
        made = creator.create_plugin(plugin.plugin_name, trt.PluginFieldCollection(fields), *phase)
        if made is None:
            listed = ", ".join(f"{name}: {type.lower()}" for name, type in declared_fields(creator).items())
            help = (f"its fields are {listed}",) if listed else ()
            text = f"the plugin `{plugin.plugin_name}` cannot be made with these fields"
            raise self.refused(text, *self.dialect.log.take(), *help)
        return made, layer

    def _fields(self, creator: Any, plugin: Plugin) -> list[Any]:
        """The fields as TensorRT takes them."""
        trt, declared = self.dialect.trt, declared_fields(creator)
        fields: list[Any] = []
        for name, value in plugin.fields:
            type, array = self._field(plugin, name, value, declared)
            if not self.dialect.facts.has(f"PluginFieldType.{type}"):
                raise self.refused(f"{self.dialect} has no fields of {type}, as `{name}` is")
            fields.append(trt.PluginField(name, array, getattr(trt.PluginFieldType, type)))
        return fields

    def _field(self, plugin: Plugin, name: str, value: Any, declared: Mapping[str, str]) -> tuple[str, Array]:
        """The type and the elements of one field."""
        if isinstance(value, tuple) and value and isinstance(value[0], DType):
            # Said with its dtype, it is passed on whatever the plugin declares.
            dtype, numbers = value
            return FIELD_TYPES[dtype], self._numbers_of(name, numbers, dtype.numpy, str(dtype))
        if declared and name not in declared:
            known = ", ".join(f"`{each}`" for each in declared)
            text = f"the plugin `{plugin.plugin_name}` has no field `{name}`{did_you_mean(name, declared)}"
            raise self.refused(text, f"its fields are {known}")
        wanted = declared.get(name, "UNKNOWN")
        if isinstance(value, str):
            if wanted in _NUMBERS and wanted not in ("CHAR", "INT8"):
                raise self.refused(f"the field `{name}` must be {wanted.lower()}, not a string")
            # Ended by a zero beyond its length, as C has it.
            return "CHAR", np.frombuffer(value.encode() + b"\0", np.int8)[:-1]
        if wanted not in _NUMBERS:
            numbers = value if isinstance(value, tuple) else (value,)
            wanted = "FLOAT32" if any(isinstance(each, float) for each in numbers) else "INT32"
        return wanted, self._numbers_of(name, value, _NUMBERS[wanted], wanted.lower())

    def _numbers_of(self, name: str, value: Any, dtype: Any, said: str) -> Array:
        """Numbers with an element type that holds them, in bytes that TensorRT can be given."""
        given = np.asarray(value if isinstance(value, tuple) else (value,))
        is_integer = np.issubdtype(dtype, np.integer)
        with np.errstate(over="ignore"):
            array = given.astype(dtype)
        fits = (
            np.array_equal(array, given) if is_integer else np.array_equal(np.isinf(array), np.isinf(given))
        )
        if given.size and not fits:
            raise self.refused(f"the field `{name}` is {said}, which cannot be {_listed(value)}")
        # Python's buffers know neither bfloat16 nor float8.
        return array if array.dtype.kind in "fiu" else array.view(f"u{array.itemsize}")


_KINDS: Mapping[str, str] = {"IPluginCreatorV3One": "plugin_v3", "IPluginCreator": "plugin_v2"}
"""The layer that takes what a creator of each class makes."""


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

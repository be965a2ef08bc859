"""Every use that is made of TensorRT's network API, written down.

The network, layers and tensors of a real TensorRT stand behind; what a release has that this one lacks
(types pinned on layers, casts by identity layers, sizes of 32 bits) is written down and answered here, so
that the dialect of another release can lower whole models.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import tensorrt_rtx

from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.facts import Facts

trt: Any = tensorrt_rtx
_FLOATS = (trt.DataType.FLOAT, trt.DataType.HALF)
_PARTS = (trt.ILoop, trt.IIfConditional, trt.IAttention)
_RECORDED = (trt.INetworkDefinition, trt.ILayer, trt.ITensor, *_PARTS)


_QUANTISED = {"add_quantize": trt.DataType.INT8, "add_dequantize": trt.DataType.FLOAT}


class Use(NamedTuple):
    """``owner.member`` was called with ``arguments`` (their types, enums with the member), set, or read."""

    owner: str
    member: str
    kind: str
    arguments: tuple[str, ...] = ()


class RecordingDialect(Dialect):
    """A dialect by its facts, over ``tensorrt_rtx``; ``uses`` is what was asked of the API."""

    def __init__(self, facts: Facts) -> None:
        super().__init__("tensorrt", trt, facts, load_runtime("tensorrt_rtx").log)
        self.uses: set[Use] = set()
        self._known: dict[int, tuple[Any, Recorded]] = {}

    def create_network(self, builder: Any) -> Any:
        self.network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        return self.wrap(self.network)

    def wrap(self, value: Any) -> Any:
        """Networks, loops, conditionals, layers and tensors are recorded; each has one stand-in."""
        if not isinstance(value, _RECORDED):
            return value
        if id(value) not in self._known:
            # With the object itself, which keeps it alive and its id its own.
            self._known[id(value)] = value, Recorded(self, value)
        return self._known[id(value)][1]

    @staticmethod
    def config(found: dict[str, set[str]]) -> Any:
        """A builder configuration that writes down its ``members`` and the ``flags`` they were given."""
        return _Config(found)

    def flags_set(self, **choices: Any) -> dict[str, set[str]]:
        """The builder flags, and the settings, that ``configure`` asks for."""
        found: dict[str, set[str]] = {"flags": set(), "members": set()}
        flags = SimpleNamespace(**{name: name for name in self.facts.enums["BuilderFlag"]})
        sources = SimpleNamespace(**dict.fromkeys(self.facts.enums["TacticSource"], 0))
        real, self.trt = self.trt, SimpleNamespace(BuilderFlag=flags, TacticSource=sources)
        self.configure(_Config(found), **choices)
        self.trt = real
        return found


class _Config:
    """A builder configuration that only writes down."""

    def __init__(self, found: dict[str, set[str]]) -> None:
        self._found = found

    def __getattr__(self, member: str) -> Callable[..., int]:
        self._found["members"].add(member)

        def note(*values: Any) -> int:
            self._found["flags"].update(value for value in values if isinstance(value, str))
            return 0

        return note


class Recorded:
    """One object of the API."""

    def __init__(self, dialect: RecordingDialect, real: Any) -> None:
        vars(self).update(dialect=dialect, real=real, owner=type(real).__name__)

    def __getattr__(self, member: str) -> Any:
        if member == "metadata" and not self.dialect.facts.metadata:
            raise AttributeError(member)
        if member == "set_output_type" and not hasattr(self.real, member):
            return self._set_output_type
        if member in ("add_plugin_v2", "add_plugin_v3"):
            return lambda *arguments: self._add_plugin(member, arguments)
        value = getattr(self.real, member)
        if callable(value):
            return lambda *arguments: self._call(member, value, arguments)
        self._note(member, "read")
        return self.dialect.wrap(value)

    def __setattr__(self, member: str, value: Any) -> None:
        self._note(member, "set", (_spell(value),))
        if member == "dtype":
            self.convert_output(value)
        elif member != "precision":
            setattr(self.real, member, _real(value))

    def _call(self, member: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        self._note(member, "call", tuple(map(_spell, arguments)))
        if len(arguments) == 2 and member in _QUANTISED:
            # A layer that is not told its type.
            arguments = (*arguments, _QUANTISED[member])
        result = function(*map(_real, arguments))
        if member == "mark_output" and not self.dialect.facts.strongly_typed:
            # An output of a weakly typed network is float32, whatever makes it, unless it is told.
            arguments[0].convert_output(trt.DataType.FLOAT)
        return self._output(result) if member == "get_output" else self.dialect.wrap(result)

    def _add_plugin(self, member: str, arguments: tuple[Any, ...]) -> Any:
        """What tensorrt_rtx has no layer for: in a plugin's place its first input, as it is."""
        self._note(member, "call", tuple(map(_spell, arguments)))
        return self.dialect.wrap(self.real.add_identity(_real(arguments[0][0])))

    def _output(self, tensor: Any) -> Any:
        """A layer's result; where there are no 64-bit integers, a shape of 32 bits."""
        if isinstance(self.real, trt.IShapeLayer) and self.dialect.facts.narrow:
            tensor = self._converted(tensor, trt.DataType.INT32)
        return self.dialect.wrap(vars(self).get("cast", tensor))

    def _set_output_type(self, index: int, data_type: Any) -> None:
        self._note("set_output_type", "call", ("int", _spell(data_type)))
        tensor = self.real.get_output(index)
        if isinstance(self.real, trt.IIdentityLayer) and tensor.dtype != data_type:
            vars(self).update(cast=self._converted(self.real.get_input(0), data_type))

    def convert_output(self, data_type: Any) -> None:
        """Write a network output in another type, as a weakly typed network does."""
        if self.real.dtype == data_type or self.real.dtype not in _FLOATS:
            return
        name, network = self.real.name, self.dialect.network
        network.unmark_output(self.real)
        self.real.name = f"{name} in {self.real.dtype}"
        vars(self).update(real=self._converted(self.real, data_type))
        self.real.name = name
        network.mark_output(self.real)

    def _converted(self, tensor: Any, data_type: Any) -> Any:
        return self.dialect.network.add_cast(tensor, data_type).get_output(0)

    def _note(self, member: str, kind: str, arguments: tuple[str, ...] = ()) -> None:
        self.dialect.uses.add(Use(self.owner, member, kind, arguments))


def _real(value: Any) -> Any:
    if isinstance(value, list):
        return [_real(item) for item in value]
    return value.real if isinstance(value, Recorded) else value


def _spell(value: Any) -> str:
    """The type of an argument as signatures write it; of an enum, with the member."""
    if isinstance(value, Recorded):
        return value.owner
    if hasattr(type(value), "__members__"):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple):
        return "Dims"
    if isinstance(value, list):
        return f"Sequence[{_spell(value[0]) if value else 'ITensor'}]"
    if isinstance(value, (trt.IPluginV2, trt.IPluginV3)):
        return "IPluginV2" if isinstance(value, trt.IPluginV2) else "IPluginV3"
    return type(value).__name__

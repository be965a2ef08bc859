"""Layers that TensorRT gets from a library: plugins, by their names in its registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from trtdsl.ops.arguments import Form
from trtdsl.ops.base import Function, Signature
from trtdsl.ops.refused import Refused
from trtdsl.types import DType, SymbolicDim, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

FIELD_TYPES: Mapping[DType, str] = {
    DType.FLOAT32: "FLOAT32",
    DType.FLOAT16: "FLOAT16",
    DType.BFLOAT16: "BF16",
    DType.FLOAT8: "FP8",
    DType.INT8: "INT8",
    DType.INT32: "INT32",
    DType.INT64: "INT64",
}
"""What TensorRT's ``PluginFieldType`` calls each of ours that fields may have."""

_WHAT_FIELDS_HOLD = "a number, a string, a list of numbers, or numbers with their dtype, `(int64, [1, 2])`"


class OutputTypes(Form):
    """The annotation of ``outputs``: a list of pairs, ``[(float32, [N, 4])]``, kept as types."""

    words = (
        "a list of the dtype and shape of each output, `[(float32, [N, 4])]`",
        "pairs of a dtype and a shape, `(float32, [N, 4])`",
    )

    @classmethod
    def fit(cls, value: object) -> tuple[bool, Any]:
        pairs = _items(value)
        found = [_output_type(pair) for pair in pairs or ()]
        return bool(found) and None not in found, tuple(found)


class Fields(Form):
    """The annotation of ``fields``: a list of pairs, ``[("axis", 1)]``."""

    words = ('a list of names and values, `[("axis", 1)]`', 'pairs of a name and a value, `("axis", 1)`')

    @classmethod
    def fit(cls, value: object) -> tuple[bool, Any]:
        pairs = _items(value)
        named = [_named(pair) for pair in pairs or ()]
        return pairs is not None and None not in named, tuple(named)


def _items(value: Any) -> tuple[Any, ...] | None:
    return tuple(value) if isinstance(value, (list, tuple)) else None  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _as_tuples(value: Any) -> Any:
    items = _items(value)
    return value if items is None else tuple(map(_as_tuples, items))


def _output_type(pair: Any) -> TensorType | None:
    """``(float32, [N, 4])`` as a type; None for anything else."""
    if isinstance(pair, TensorType):
        return pair
    parts = _items(pair)
    if parts is None or len(parts) != 2 or not isinstance(parts[0], DType):
        return None
    dims = _items(parts[1])
    return TensorType(parts[0], dims) if dims is not None and all(map(_is_size, dims)) else None


def _named(pair: Any) -> tuple[str, Any] | None:
    """``("axis", 1)``; None for anything else."""
    parts = _items(pair)
    if parts is None or len(parts) != 2 or not isinstance(parts[0], str):
        return None
    return parts[0], _as_tuples(parts[1])


def _is_size(dim: Any) -> bool:
    return isinstance(dim, SymbolicDim) or (type(dim) is int and dim >= 0)


class Plugin(Function):
    """A TensorRT plugin by its name, version and namespace in TensorRT's registry, on any tensors.

    What it gives is the text's word: `outputs` lists the dtype and shape of each result. Any other name is a
    field of the plugin: an integer becomes int32, a float float32, a string characters, a list an array,
    unless the plugin declares the field as another type; `(int64, [1, 2])` has the dtype that it says. A
    field whose name is taken here goes into `fields = [("version", 2)]`.

    `reference` is a block or function that computes the same from the same tensors. It is what `verify` holds
    the model to, and what a runtime computes that cannot place plugins, as TensorRT-RTX.
    """

    name = "plugin"
    bodies = ("reference",)
    bodies_optional = True
    in_two_lists = True
    further = "fields"
    keeps_types = True
    examples = (
        'plugin("CustomGeluPluginDynamic", outputs = [(float32, [N, S, 8])], type_id = 0, reference = gelu)'
        "(float32[N, S, 8]) -> float32[N, S, 8]",
        'plugin("Sorted", version = "2", namespace = "mine", outputs = [(float16, [N, 8]), (int64, [N, 8])],'
        ' k = (int64, 1), scales = [0.5, 2.0], mode = "fast", reference = sort)'
        "(float16[N, 8]) -> float16[N, 8], int64[N, 8]",
    )

    plugin_name: str
    outputs: Annotated[tuple[TensorType, ...], OutputTypes]
    version: str = "1"
    namespace: str = ""
    fields: Annotated[tuple[tuple[str, Any], ...], Fields] = ()

    @classmethod
    def further_value(cls, name: str, value: object) -> Any:
        value = _as_tuples(value)
        parts = _items(value) or ()
        dtype = parts[0] if parts and isinstance(parts[0], DType) else None
        if dtype is not None and dtype not in FIELD_TYPES:
            known = ", ".join(map(str, FIELD_TYPES))
            raise Refused(f"a field of a plugin cannot be {dtype}: choose one of {known}")
        if value == ():
            raise Refused(f"the field `{name}` is empty: say its dtype, `(int32, [])`")
        plain = value if dtype is None else parts[1] if len(parts) == 2 else None
        items = _items(plain)
        numbers = (plain,) if items is None else items
        if any(isinstance(each, SymbolicDim) for each in numbers):
            raise Refused(f"the field `{name}` must be known at compile time, not a dynamic dimension")
        if isinstance(plain, str) and dtype is None:
            return value
        if not all(isinstance(each, (bool, int, float)) for each in numbers):
            raise Refused(f"the field `{name}` must be {_WHAT_FIELDS_HOLD}")
        return value

    def body_inputs(self, tensors: Sequence[TensorType]) -> Mapping[str, tuple[TensorType, ...]]:
        return {"reference": tuple(tensors)}

    def infer(
        self, tensors: Sequence[TensorType], *, bodies: Mapping[str, Signature] | None = None
    ) -> tuple[TensorType, ...]:
        given = bodies["reference"].outputs if bodies else self.outputs
        if given != self.outputs:
            text = f"`outputs` says {_listed(self.outputs)}, but `reference` gives {_listed(given)}"
            raise Refused(text, "reference")
        return self.outputs

    def lower(
        self,
        net: Network,
        tensors: Sequence[Tensor],
        *,
        bodies: Mapping[str, Callable[..., Any]] | None = None,
    ) -> tuple[Tensor, ...]:
        why_not = net.why_no_plugins
        if not why_not:
            return net.plugin(self, tensors)
        if not bodies:
            help = "say with `reference` what computes the same"
            raise Refused(f"{why_not}, such as `{self.plugin_name}`", help=f"{net.where_plugins}{help}")
        return bodies["reference"](*tensors)

    def reference(
        self,
        torch: Any,
        tensors: Sequence[Any],
        *,
        bodies: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Any:
        if not bodies:
            raise ValueError(f"the plugin `{self.plugin_name}` has no `reference` that says what it computes")
        return bodies["reference"](*tensors)


def _listed(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types))

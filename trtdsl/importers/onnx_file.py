"""An ONNX file as a :class:`~trtdsl.importers.program.Program`.

In: the path of a file, whatever wrote it.  Out: its operations by PyTorch's names, and the arrays of its
weights by the keys that the text asks for.  Shape arithmetic is computed with the language's dimensions, and
what no input decides in numpy; each remaining node is translated by its rule.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError
from trtdsl.importers import (
    onnx_rules_images,
    onnx_rules_layers,
    onnx_rules_moving,
    onnx_rules_picking,
    onnx_rules_pointwise,
    onnx_rules_quantized,
    onnx_rules_reducing,
    onnx_rules_runtime,
    onnx_rules_sequences,
    onnx_rules_windows,
)
from trtdsl.importers.names import unpacked
from trtdsl.importers.onnx_calls import as_called
from trtdsl.importers.onnx_constants import evaluate
from trtdsl.importers.onnx_control import controlled
from trtdsl.importers.onnx_functions import defaults, definition, with_attributes
from trtdsl.importers.onnx_inputs import Axes, advised
from trtdsl.importers.onnx_lists import Lists
from trtdsl.importers.onnx_node import RULES, Known, Node, Results, Store, Value
from trtdsl.importers.onnx_rewrites import recognized
from trtdsl.importers.onnx_rules_quantized import AROUND
from trtdsl.importers.onnx_rules_runtime import reason_of
from trtdsl.importers.onnx_scopes import (
    call_text,
    calls_of,
    frames_of,
    is_key,
    numbered_calls,
    placed_calls,
    scope_of,
)
from trtdsl.importers.onnx_signature import signature_of
from trtdsl.importers.program import Argument, Array, Program, Ref
from trtdsl.ir.names import NEVER_NAMES, identifier
from trtdsl.ops.refused import Refused
from trtdsl.types import TensorType, Undecided

RULE_FILES = (
    onnx_rules_pointwise,
    onnx_rules_layers,  # whose `Add` knows linear layers
    onnx_rules_moving,
    onnx_rules_picking,
    onnx_rules_quantized,
    onnx_rules_reducing,
    onnx_rules_runtime,
    onnx_rules_sequences,
    onnx_rules_images,
    onnx_rules_windows,
)
"""Where the rules are: importing them registers them."""


def read_model(model: Any, name: str, axes: Axes | None = None) -> tuple[Program, dict[str, Array]]:
    """The program of a ModelProto whose external data are loaded, and its weights by key.

    ``axes`` says what its dynamic axes are. Raises
    :class:`~trtdsl.diagnostics.DiagnosticError` with everything that cannot be imported.
    """
    import onnx.inliner

    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    reader = _Reader(model, axes or Axes({}))
    return reader.program(name)


@dataclass(frozen=True)
class _Broken:
    """A value that a node could not give."""


class _Dependent(Exception):
    """A body gives what a refused node would have given it, and that was said there."""


class _Reader:
    def __init__(self, model: Any, axes: Axes) -> None:
        self._graph = model.graph
        self._opsets = {each.domain: each.version for each in model.opset_import}
        self._axes = axes
        self._values: dict[str, Value | _Broken] = {}
        self._missing: list[tuple[str, str, str]] = []
        self._lists = Lists()
        names = [*(each.name for each in model.graph.initializer), *_constants(model.graph)]
        says = "torch" in model.producer_name.lower()
        is_torch = says or any(name.endswith(".weight") for name in names)
        self._signature = signature_of(model)
        if self._signature.is_known:
            names = [name for name in names if name in self._signature.weights]
        self._store = Store(reserved=frozenset(filter(is_key, names)), keeps_layout=is_torch)
        self._users = _users(model.graph)
        self._contradicted: list[str] = []
        self._declared = _declared(model.graph)

    def program(self, name: str) -> tuple[Program, dict[str, Array]]:
        inputs = dict(self._inputs())
        for tensor in self._graph.initializer:
            self._values[tensor.name] = self._of_signature(_initialiser(tensor))
        for proto in self._graph.node:
            self._node(proto, ())
        outputs = tuple(self._outputs())
        if self._contradicted:
            raise DiagnosticError(_contradiction(self._contradicted))
        if self._missing:
            raise DiagnosticError(*advised(_diagnostics(self._missing), self._axes))
        program = Program(
            name=name,
            symbols=self._axes.symbols,
            inputs=inputs,
            weights=self._store.weights,
            constants=self._store.constants,
            operations=numbered_calls(placed_calls(self._store.operations)),
            outputs=outputs,
            types=self._store.types,
        )
        program = recognized(program, self._store.called)
        self._store.types.update(program.types)
        program = msgspec.structs.replace(program, types=self._store.types)
        if self._signature.is_known:
            program = as_called(program, self._store, self._values, self._signature)
        origins = {**dict.fromkeys(self._store.constants, ("", ())), **self._store.origins}
        return msgspec.structs.replace(program, origins=origins), self._store.arrays

    def _of_signature(self, tensor: Known) -> Known:
        """A tensor of the file as what the exported program had it for."""
        name = tensor.initialiser
        if not self._signature.is_known:
            return tensor
        if name in self._signature.weights:
            self._store.state[name] = tensor.array
            return replace(tensor, is_weight=True)
        labels = self._signature.labels
        self._store.origins[name] = (labels.get(name, ""), ())
        return replace(tensor, name=name, is_constant=name in labels)

    # --- Inputs and outputs -------------------------------------------------------------------------------

    def _inputs(self) -> Iterator[tuple[str, TensorType]]:
        initialised = {each.name for each in self._graph.initializer}
        for each in self._graph.input:
            if each.name in initialised:
                continue
            try:
                type = self._axes.type_of(each)
            except Refused as refusal:
                self._missing.append((f"the input `{each.name}`", "", str(refusal)))
                self._values[each.name] = _Broken()
                continue
            name = self._store.name(identifier(each.name))
            self._store.types[name] = type
            self._values[each.name] = Ref(name)
            yield name, type

    def _outputs(self) -> Iterator[tuple[str, Argument]]:
        taken: set[str] = set()
        for each in self._graph.output:
            value = self._values.get(each.name)
            if isinstance(value, (_Broken, type(None))):
                continue
            if value in self._lists:
                reason = "it is a sequence, which the language does not have"
                self._missing.append((f"the output `{each.name}`", "", reason))
                continue
            if isinstance(value, Known):
                node = Node("", self._store, (value,), {}, (), 0)
                try:
                    value = node.tensor(0)
                except Refused as refusal:
                    self._missing.append((f"the output `{each.name}`", "", str(refusal)))
                    continue
            name = each.name if each.name.isidentifier() else "output"
            name = f"{name}_" if name in NEVER_NAMES else name
            wish, number = name, 1
            while wish in taken:
                number += 1
                wish = f"{name}{number}"
            taken.add(wish)
            yield wish, value

    # --- Nodes --------------------------------------------------------------------------------------------

    def _node(self, proto: Any, outer: Sequence[Any]) -> None:
        values = [self._values.get(name) if name else None for name in proto.input]
        if any(isinstance(each, _Broken) for each in values):
            self._give(proto, tuple(_Broken() for _ in proto.output))
            return
        calls = calls_of(proto) or tuple(outer)
        # They stand around a module's call, with its name.
        calls = calls[:-1] if proto.op_type in AROUND else calls
        node = Node(
            op=proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}",
            store=self._store,
            inputs=[each for each in values if not isinstance(each, _Broken)],
            attributes={each.name: _attribute(each) for each in proto.attribute},
            outputs=tuple(proto.output),
            opset=self._opsets.get(proto.domain, self._opsets.get("", 1)),
            calls=calls,
            frames=frames_of(proto),
            scope=scope_of(calls, proto.name, proto.op_type),
            users=self._users,
            names=tuple(proto.input),
            proto=proto,
            called=call_text(proto) if self._signature.is_known else "",
        )
        before = len(self._store.operations)
        results: Sequence[Value | _Broken | None] | Value | None
        try:
            results = self._translated(node, proto)
        except (Refused, Undecided, ZeroDivisionError) as refusal:
            del self._store.operations[before:]
            self._missing.append((node.op, proto.name, str(refusal)))
            results = tuple(_Broken() for _ in proto.output)
        except _Dependent:
            results = tuple(_Broken() for _ in proto.output)
        if results is not None:
            self._give(proto, self._named(node, results if isinstance(results, tuple) else (results,)))

    def _named(
        self, node: Node, results: Sequence[Value | _Broken | None]
    ) -> Sequence[Value | _Broken | None]:
        """Constants under the names of the calls that made them."""
        found: list[Value | _Broken | None] = []
        for name, value in zip(node.outputs, results, strict=False):
            if node.called and isinstance(value, Known) and _is_new(value, node):
                place = node.scalar(1, "which one it takes") if node.op == "SequenceAt" else None
                label = "" if place is None else unpacked(node.frames, place)
                self._store.origins[name] = (label, node.frames)
                value = replace(value, name=name)
            if node.called and isinstance(value, Known) and value.is_weight and value.is_transposed:
                self._store.moved.add(node.called)
            found.append(value)
        return found

    def _translated(self, node: Node, proto: Any) -> Results | None:
        """What a node gives; None where it was read as the nodes of its own definition."""
        if self._lists.handles(node):
            return self._lists.translated(node)
        if node.op in ("If", "Loop", "Scan"):
            return controlled(node, self._run)
        found = None if node.op == "Constant" else evaluate(node)
        if found is not None:
            return found
        if node.op in RULES:
            return RULES[node.op](node)
        body = definition(proto, node)
        if body is None:
            raise Refused(reason_of(node.op))
        self._inline(body, proto, node)
        return None

    # --- Bodies -------------------------------------------------------------------------------------------

    def _run(self, graph: Any, given: Mapping[str, Value], calls: Sequence[Any]) -> list[Value]:
        """The results of a body, which sees the values around it."""
        outer, before = self._values, len(self._missing)
        self._values = {**outer, **{each.name: _initialiser(each) for each in graph.initializer}, **given}
        for proto in graph.node:
            self._node(proto, calls)
        results = [self._values.get(each.name, _Broken()) for each in graph.output]
        self._values = outer
        if len(self._missing) > before:
            name, _, reason = self._missing[before]
            del self._missing[before:]
            raise Refused(f"in its body, `{name}`: {reason}")
        found = [each for each in results if not isinstance(each, _Broken)]
        if len(found) < len(results):
            raise _Dependent
        return found

    def _inline(self, body: Any, proto: Any, node: Node) -> None:
        """Read the function that defines an operator in the place of its node."""
        outer, opsets = self._values, self._opsets
        attributes = {
            each.name: each for each in [*defaults(proto, node), *body.attribute_proto, *proto.attribute]
        }
        given = dict(zip(body.input, [outer.get(name) for name in proto.input if True], strict=False))
        self._values = {name: value for name, value in given.items() if value is not None}
        self._opsets = {**opsets, **{each.domain: each.version for each in body.opset_import}}
        before = len(self._missing)
        for inner in body.node:
            self._node(with_attributes(inner, attributes), node.calls)
        results = [self._values.get(name, _Broken()) for name in body.output]
        self._values, self._opsets = outer, opsets
        del self._missing[before + 1 :]
        self._missing[before:] = [
            (node.op, proto.name, f"of its definition, `{name}`: {reason}")
            for name, _, reason in self._missing[before:]
        ]
        self._give(proto, tuple(results))

    def _give(self, proto: Any, results: Sequence[Value | _Broken | None]) -> None:
        for name, value in zip(proto.output, results, strict=False):
            if name and value is not None:
                self._values[name] = value
                self._compare(proto, name, value)

    def _compare(self, proto: Any, name: str, value: Value | _Broken) -> None:
        """Note where the file declares another type for a value than it has."""
        declared = self._declared.get(name)
        if declared is None or isinstance(value, _Broken) or value in self._lists:
            return
        own = self._store.types[value.value].dtype if isinstance(value, Ref) else value.dtype.name
        if str(own) != declared:
            place = f" at `{proto.name}`" if proto.name else ""
            text = f"the file says that `{name}` is {declared}, and `{proto.op_type}`{place} makes it {own}"
            self._contradicted.append(text)


def _is_new(value: Known, node: Node) -> bool:
    """Whether a constant is made by a node, rather than handed on."""
    has_name = value.name or value.initialiser or value.is_symbolic
    return not has_name and not any(value is each for each in node.inputs)


def _attribute(attribute: Any) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (int, float, str)):
        return value
    if hasattr(value, "__iter__"):
        return [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in value]
    return value


def _initialiser(tensor: Any) -> Known:
    from onnx import numpy_helper

    try:
        array = np.array(numpy_helper.to_array(tensor))
    except ValueError as error:
        text = f"the tensor `{tensor.name}` of the file does not have the data of its shape: {error}"
        raise DiagnosticError(Diagnostic(text)) from error
    return Known(array, array.dtype, tensor.name)


def _constants(graph: Any) -> Iterator[str]:
    """The names of tensors that the file has as nodes."""
    for node in graph.node:
        if node.op_type == "Constant" and any(each.name == "value" for each in node.attribute):
            yield node.output[0]


def _declared(graph: Any) -> dict[str, str]:
    """The element types that a graph gives for the values that nodes make."""
    import onnx

    found: dict[str, str] = {}
    for each in (*graph.value_info, *graph.output):
        kind = each.type.tensor_type.elem_type
        if each.type.HasField("tensor_type") and kind:
            found[each.name] = onnx.helper.tensor_dtype_to_np_dtype(kind).name
    return found


def _contradiction(found: Sequence[str]) -> Diagnostic:
    """What is wrong with the types that a file declares; what follows the first follows from it."""
    others = "" if len(found) == 1 else f", and {len(found) - 1} more, which follow from it"
    help = ("`onnx.checker.check_model(model, full_check=True)` says more",)
    return Diagnostic(found[0] + others, help=help)


def _users(graph: Any) -> Counter[str]:
    """How often each value is read."""
    found: Counter[str] = Counter(each.name for each in graph.output)
    for node in graph.node:
        found.update(node.input)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                found.update(_users(inner))
    return found


def _diagnostics(missing: Sequence[tuple[str, str, str]]) -> list[Diagnostic]:
    """One message for each operator and reason: how often, and at which node first."""
    together: dict[tuple[str, str], list[str]] = {}
    for operator, name, reason in missing:
        together.setdefault((operator, reason), []).append(name)
    found: list[Diagnostic] = []
    for (operator, reason), names in together.items():
        times = "" if len(names) == 1 else f", {len(names)} times"
        place = f" at `{names[0]}`" if names[0] else ""
        what = operator if " " in operator else f"`{operator}`"
        found.append(Diagnostic(f"{what}{place} cannot be imported: {reason}{times}"))
    return found


def load(path: Path) -> Any:
    """A file's model, with external data; raises :class:`DiagnosticError` for what is not one."""
    if importlib.util.find_spec("onnx") is None:
        help = ("pip install 'trtdsl[import]'",)
        raise UsageError(Diagnostic("reading an ONNX file needs onnx, which is not installed", help=help))
    import onnx
    from google.protobuf.message import DecodeError

    try:
        found = onnx.load(str(path))
    except (DecodeError, OSError, onnx.checker.ValidationError) as error:
        raise DiagnosticError(Diagnostic(f"{path} cannot be read as an ONNX model: {error}")) from error
    if not found.graph.output:
        # Whatever bytes may read as a message without any field that is known.
        raise DiagnosticError(Diagnostic(f"{path} is not an ONNX model: it has no outputs"))
    return found

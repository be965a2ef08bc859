"""A ``torch.export.ExportedProgram`` as a :class:`~trtdsl.importers.program.Program`.

In: an exported program, undecomposed, as ``torch.export.export`` gives it.  Out: its operations by their ATen
names, their arguments by the schema's; sizes as the language's dimensions; the values of whatever depends on
neither inputs nor weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.dimensions import Sizes, Unwritable
from trtdsl.importers.double_precision import FLOAT64, OF_MODULE
from trtdsl.importers.known_values import SHAPED_LIKE, KnownValues, WritesThroughViews
from trtdsl.importers.lacking import at_run_time, not_of_sizes, of_complex, picked
from trtdsl.importers.names import unpacked
from trtdsl.importers.output_names import output_names
from trtdsl.importers.program import (
    Argument,
    Call,
    Frame,
    Operation,
    Program,
    Ref,
    frames_of_trace,
    kind_of,
)
from trtdsl.importers.schemas import (
    REQUIRED,
    is_assertion,
    is_view,
    outs_of,
    overload_of,
    parameters_of,
    unwritten,
    unwritten_name,
    writes,
)
from trtdsl.types import Dim, DType, Symbol, TensorType, symbols

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Graph

Node: TypeAlias = Any
"""A ``torch.fx.Node``, whose arguments may be anything."""

_DTYPES = {f"torch.{each.value}": each for each in DType}
_PICKING = frozenset({"index.Tensor", "masked_select", "nonzero", "nonzero_numpy", "where"})
"""Operations that give as many elements as a mask picks."""

_TRUTHS = frozenset(
    {"eq", "ge", "gt", "le", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "ne"}
)
"""Operations that make bools of any type."""


def read_program(
    exported: ExportedProgram, name: str, dims: Mapping[str, Dim], graph: Graph | None = None
) -> Program:
    """The program. ``dims`` says which dimension each of torch's own symbols (``s77``) is; ``graph`` is read
    in the place of the program's own.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError` where it holds what no text can say.
    """
    found = dict.fromkeys(each for dim in dims.values() for each in sorted(symbols(dim), key=str))
    return _Reader(exported, graph or exported.graph, Sizes(dims)).program(name, tuple(found))


class Unknown(msgspec.Struct, frozen=True):
    """A number that depends on a tensor's values, or a size that the language cannot say: an assertion may
    read it, but no operation.
    """

    frames: tuple[Frame, ...]
    size: str = ""


class _Reader:
    def __init__(self, exported: ExportedProgram, graph: Graph, sizes: Sizes) -> None:
        self._exported = exported
        self._graph = graph
        self._sizes = sizes
        self._types: dict[str, TensorType] = {}
        self._lacked: dict[str, str] = {}
        self._inputs: dict[str, TensorType] = {}
        self._weights: dict[str, str] = {}
        self._operations: list[Operation] = []
        self._made: dict[str, Any] = {}
        """what stands for a node that is not an operation of its own: an item, a size"""
        self._known = KnownValues()
        self._origins: dict[str, tuple[str, tuple[Frame, ...]]] = {}
        self._roots: dict[str, str] = {}
        """of a view the node whose memory it shows"""
        self._known_roots: dict[str, str] = {}
        self._written_roots: set[str] = set()
        self._known_operations: list[tuple[int, str, list[str]]] = []
        self._stacks: dict[tuple[Any, ...], tuple[Call, ...]] = {}
        """the calls of each of torch's stacks of modules, which many nodes have"""
        self._numbers = 0
        nodes = list(graph.nodes)
        self._order = {node.name: number for number, node in enumerate(nodes)}
        self._readers = {node.name: [user.name for user in node.users] for node in nodes}

    def program(self, name: str, symbols: tuple[Symbol, ...]) -> Program:
        self._placeholders()
        self._body()
        outputs = tuple(self._outputs())
        return Program(
            name=name,
            symbols=symbols,
            inputs=self._inputs,
            weights=self._weights,
            constants=self._known.arrays(),
            operations=self._without_written(),
            outputs=outputs,
            types=self._types,
            lacked=self._lacked,
            origins=self._origins,
        )

    # --- Inputs and outputs -------------------------------------------------------------------------------

    def _placeholders(self) -> None:
        from torch.export.graph_signature import InputKind

        specs = {spec.arg.name: spec for spec in self._exported.graph_signature.input_specs}
        for node in self._graph.nodes:
            if node.op != "placeholder":
                continue
            spec = specs[node.name]
            if spec.kind is InputKind.USER_INPUT:
                self._input(node)
            elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.persistent is not False:
                self._weights[node.name] = str(spec.target)
                self._note_type(node.name, node.meta["val"])
            else:
                self._constant(node, str(spec.target))
                if spec.kind is InputKind.BUFFER:
                    self._origins[node.name] = (str(spec.target).rpartition(".")[2], ())

    def _constant(self, node: Node, target: str) -> None:
        """A tensor; a generator of random numbers is refused where it is used."""
        value: Any = self._exported.constants[target]
        if _is_tensor(value):
            self._known.give(node.name, value)
            self._note_type(node.name, node.meta["val"])

    def _input(self, node: Node) -> None:
        value = node.meta.get("val")
        if not _is_tensor(value):
            # A number that forward was given: part of the program, as export has it.
            self._made[node.name] = self._scalar(value)
            return
        self._note_type(node.name, value)
        if node.name not in self._types:
            dtype = _dtype_name(value)
            help = (f"{OF_MODULE}: export that",) if dtype == FLOAT64 else ()
            text = f"the input `{node.name}` is {dtype}, which TensorRT lacks"
            raise DiagnosticError(Diagnostic(text, help=help))
        self._inputs[node.name] = self._types[node.name]

    def _outputs(self) -> Iterator[tuple[str, Argument]]:
        from torch.export.graph_signature import OutputKind

        results = next(node for node in self._graph.nodes if node.op == "output").args[0]
        kinds = [spec.kind for spec in self._exported.graph_signature.output_specs]
        values = [each for each, kind in zip(results, kinds, strict=True) if kind is OutputKind.USER_OUTPUT]
        names = output_names(self._exported.call_spec.out_spec, len(values))
        for number, value in enumerate(values):
            if value is None:
                continue
            argument = self._argument(value)
            if isinstance(argument, Ref):
                self._known.read(argument.value)
            yield names[number], argument

    # --- Operations ---------------------------------------------------------------------------------------

    def _body(self) -> None:
        for node in self._graph.nodes:
            if node.op == "call_function":
                try:
                    self._node(node)
                except WritesThroughViews as writes:
                    writes.frames = _frames(node)
                    raise
                except Unwritable as error:
                    if _is_unbacked(error):
                        refuse = picked if overload_of(node.target) in _PICKING else at_run_time
                        raise DiagnosticError(refuse("a size", _frames(node))) from error
                    raise DiagnosticError(not_of_sizes(str(error), _frames(node))) from error
            elif node.op == "get_attr":
                self._attribute(node)

    def _attribute(self, node: Node) -> None:
        value: Any = self._exported.graph_module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        if _is_tensor(value):
            self._known.give(node.name, value)
            self._note_type(node.name, value)

    def _node(self, node: Node) -> None:
        target: Any = node.target
        name = getattr(target, "__name__", str(target))
        if name == "getitem":
            self._made[node.name] = self._item(node.args[0], node.args[1])
            self._is_part(node.name, node.args[0].name)
        elif not hasattr(target, "_schema"):
            self._number(node)
        elif is_assertion(target):
            pass
        elif not _is_tensor(node.meta.get("val")) and not isinstance(node.meta.get("val"), (list, tuple)):
            self._number(node)
        else:
            self._operation(node)

    def _item(self, of: Any, index: Any) -> Argument:
        found = self._made.get(of.name)
        return found[index] if isinstance(found, tuple) else Ref(f"{of.name}_{index}")

    def _is_part(self, name: str, of: str) -> None:
        """Note that a node is one of several views that an operation gives."""
        for roots in (self._roots, self._known_roots):
            if of in roots:
                roots[name] = roots[of]

    def _number(self, node: Node) -> None:
        """A node whose value is a size or a number."""
        value = node.meta.get("val")
        if value is None:
            return
        try:
            self._made[node.name] = self._number_of(node, value)
        except Unwritable as error:
            self._made[node.name] = Unknown(_frames(node), str(error))

    def _number_of(self, node: Node, value: Any) -> Any:
        if type(value).__name__ not in ("SymFloat", "SymBool") and not _is_unbacked(value):
            return self._scalar(value)
        found = self._known.number(node)
        if found is None and type(value).__name__ == "SymFloat" and self._sizes.is_of_sizes(value):
            found = self._sizes.number(value, lambda name, given: self._of_sizes(node, name, given))
        return Unknown(_frames(node)) if found is None else found

    def _of_sizes(self, node: Node, name: str, arguments: Mapping[str, Argument]) -> Ref:
        """An operation on sizes, whose result has no dimensions."""
        self._numbers += 1
        result = f"size_{self._numbers}"
        self._types[result] = TensorType(DType.FLOAT32, ())
        self._operations.append(Operation(name, arguments, (result,), self._calls(node), _frames(node)))
        return Ref(result)

    def _operation(self, node: Node) -> None:
        target: Any = node.target
        if any(isinstance(each, complex) for each in node.args):
            raise DiagnosticError(of_complex(overload_of(target), _frames(node)))
        known = self._known.compute(node, self._made)
        arguments = {name: self._argument(value) for name, value in _bound(node, target)}
        value = node.meta["val"]
        results = (node.name,) if _is_tensor(value) else tuple(f"{node.name}_{i}" for i in range(len(value)))
        if known:
            frames = _frames(node)
            self._origins |= {each: (unpacked(frames, place), frames) for place, each in enumerate(results)}
        for result, each in zip(results, [value] if _is_tensor(value) else value, strict=True):
            if each is not None:
                self._note_type(result, each)
        overload = overload_of(target)
        if known and overload.startswith(SHAPED_LIKE):
            # Of the tensor that it is like only the dtype matters, which the result's type says.
            arguments |= {name: None for name in ("self", "input") if name in arguments}
        if known:
            self._known_operation(node, len(self._operations))
        written = None
        if writes(target):
            overload = unwritten_name(overload)
            if not known:
                self._written(node, node.args[0])
                written = self._of_another_type(node)
        elif outs_of(target):
            self._take_out(node, arguments, is_known=bool(known))
        elif is_view(target):
            self._roots[node.name] = self._root(node.args[0])
        if written is not None:
            made = f"{node.name}_unwritten"
            self._note_type(made, written)
            self._append(node, overload, arguments, (made,))
            overload, arguments = "to.dtype", {"self": Ref(made), "dtype": self._argument(value.dtype)}
        self._append(node, overload, arguments, results)
        if not known:
            for operand in self._operations[-1].operands:
                self._known.read(operand, getattr(value, "dtype", None))

    def _append(
        self, node: Node, overload: str, arguments: Mapping[str, Argument], results: tuple[str, ...]
    ) -> None:
        self._operations.append(Operation(overload, arguments, results, self._calls(node), _frames(node)))

    def _of_another_type(self, node: Node) -> Any:
        """What is cast to the type of the tensor that it is written to; None where that is its own type."""
        import torch

        read = {each.meta["val"].dtype for each in node.all_input_nodes if _is_tensor(each.meta["val"])}
        if len(read) == 1 and unwritten_name(overload_of(node.target)).partition(".")[0] not in _TRUTHS:
            return None
        given: Any = torch.fx.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
        with node.meta["val"].fake_mode:
            made = unwritten(node.target)(*given[0], **given[1])
        return None if made.dtype is node.meta["val"].dtype else made

    def _take_out(self, node: Node, arguments: dict[str, Argument], *, is_known: bool) -> None:
        """Note what is written to an ``out``, and leave it out of the arguments."""
        name, *others = outs_of(node.target)
        read = {each.meta["val"].dtype for each in node.all_input_nodes if _is_tensor(each.meta["val"])}
        if is_known or others or len(read) > 1:
            raise WritesThroughViews(f"{node.target} writes to its `{name}`")
        self._written(node, node.kwargs[name])
        del arguments[name]

    def _known_operation(self, node: Node, number: int) -> None:
        """Note what is written in place among known values: no expression of the language says how."""
        target: Any = node.target
        operands: list[str] = [str(each.name) for each in node.all_input_nodes]
        if writes(target) or is_view(target):
            root: str = operands[0] if operands else node.name
            self._known_roots[node.name] = self._known_roots.get(root, root)
        if writes(target):
            self._written_roots.add(self._known_roots[node.name])
        self._known_operations.append((number, node.name, operands))

    def _without_written(self) -> tuple[Operation, ...]:
        """The operations but for those of known values that are written in place."""
        tainted: set[str] = set()
        numbers: set[int] = set()
        for number, name, operands in self._known_operations:
            roots = {self._known_roots.get(each, each) for each in (name, *operands)}
            if not roots.isdisjoint(self._written_roots) or not tainted.isdisjoint(operands):
                tainted.add(name)
                numbers.add(number)
        return tuple(each for number, each in enumerate(self._operations) if number not in numbers)

    def _written(self, node: Node, target: Any) -> None:
        """What is written in place is from here on what the operation gives; no other view of it may be
        read.
        """
        assert hasattr(target, "name")
        root = self._root(target)
        if node.name not in self._order:
            raise WritesThroughViews(f"{node.target} writes within a context of its own")
        later = self._order[node.name]
        for name, other in [*self._roots.items(), (root, root)]:
            readers = self._readers.get(name, ())
            if (
                other == root
                and name != target.name
                and any(self._order.get(each, 0) > later for each in readers)
            ):
                raise WritesThroughViews(f"{node.target} writes to what `{name}` is a view of")
        self._roots[node.name] = root
        self._made[target.name] = Ref(node.name)

    def _root(self, of: Any) -> str:
        name: str = of.name
        return self._roots.get(name, name)

    # --- Arguments ----------------------------------------------------------------------------------------

    def _argument(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.fx.Node):
            found = self._made.get(value.name, Ref(value.name))
            if isinstance(found, Unknown):
                raise DiagnosticError(
                    not_of_sizes(found.size, found.frames)
                    if found.size
                    else at_run_time("a number", found.frames)
                )
            return found
        if isinstance(value, (list, tuple)):
            return tuple(self._argument(each) for each in value)
        if isinstance(value, torch.dtype):
            name = str(value)
            return _DTYPES.get(name, name.removeprefix("torch."))
        if isinstance(value, (torch.device, torch.layout, torch.memory_format)):
            return None
        return self._scalar(value)

    def _scalar(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        return self._sizes.dim(value)

    def _note_type(self, name: str, value: Any) -> None:
        dtype = _DTYPES.get(str(value.dtype))
        if dtype is None:
            self._lacked[name] = _dtype_name(value)
        else:
            self._types[name] = TensorType(dtype, tuple(map(self._scalar, value.shape)))

    # --- Where a node is from -----------------------------------------------------------------------------

    def _calls(self, node: Node) -> tuple[Call, ...]:
        """The calls of modules that a node ran in; the first of torch's stack is the model itself."""
        stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
        entries = tuple(stack.items())
        if entries not in self._stacks:
            self._stacks[entries] = tuple(_call(key, *module) for key, module in entries[1:])
        return self._stacks[entries]


def _bound(node: Node, target: Any) -> Iterator[tuple[str, Any]]:
    """A node's arguments by the names of the schema, those with defaults too."""
    positional, named = node.args, node.kwargs
    for number, (name, by_name, default) in enumerate(parameters_of(target)):
        if number < len(positional) and not by_name:
            yield name, positional[number]
        elif name in named:
            yield name, named[name]
        elif default is not REQUIRED:
            yield name, default


def _is_unbacked(value: Any) -> bool:
    return re.search(r"\bz?uf?\d+\b", str(value)) is not None


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _dtype_name(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def _call(key: str, path: str, kind: Any) -> Call:
    _, _, number = key.rpartition("@") if "@" in key else (key, "", "0")
    return Call(path, kind_of(kind), int(number))


def _frames(node: Node) -> tuple[Frame, ...]:
    return frames_of_trace(node.meta.get("stack_trace") or "")

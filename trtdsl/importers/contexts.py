"""Regions of ``torch.autocast`` and ``torch.no_grad``, which ``torch.export`` keeps as graphs of their own.

In: an exported program.  Out: one without such regions: their operations stand where the region stood, and
``autocast`` is what it does, a cast in front of each operation that it gives another type::

    with torch.autocast("cpu", dtype=torch.bfloat16):     x2 = x.to(bfloat16); w2 = w.to(bfloat16)
        y = linear(x, w)                              ─▶  y = linear(x2, w2)

Which operations those are is read off torch: each is run as it is in the region, on tensors without values.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.copies import with_own_graph
from trtdsl.importers.lacking import innermost_span
from trtdsl.importers.program import frames_of_trace
from trtdsl.importers.schemas import overload_of, writes

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Node: TypeAlias = Any
"""A ``torch.fx.Node``, whose arguments may be anything."""

_AUTOCAST, _GRADIENTS = "wrap_with_autocast", "wrap_with_set_grad_enabled"
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
"""Operations of which torch casts what is inside, whatever its kernels are."""


@dataclass
class _Region:
    """An ``autocast`` that is on, and the casts that were written for it so far."""

    device: str
    dtype: Any
    casts: dict[tuple[Node, Any], Node] = field(default_factory=dict[tuple[Any, Any], Any])


def has_contexts(exported: ExportedProgram) -> bool:
    """Whether a program has regions."""
    return any(_is_context(node) for node in exported.graph.nodes)


def without_contexts(exported: ExportedProgram) -> tuple[ExportedProgram, list[Diagnostic]]:
    """The program without regions, and notes on those that do nothing here.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError` with the line where torch casts inside an operation.
    """
    if not has_contexts(exported):
        return exported, []
    exported, module = with_own_graph(exported)
    exported._graph_signature = copy.deepcopy(exported.graph_signature)  # pyright: ignore[reportPrivateUsage]
    notes = list(_idle(module))
    before = _output_names(module)
    _flatten(module, None)
    names = dict(zip(before, _output_names(module), strict=True))
    for spec in exported.graph_signature.output_specs:
        if (name := getattr(spec.arg, "name", None)) in names:
            spec.arg.name = names[name]
    module.recompile()
    return exported, notes


def _is_context(node: Node) -> bool:
    return getattr(node.target, "__name__", "") in (_AUTOCAST, _GRADIENTS)


def _output_names(module: Any) -> list[str]:
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    return [getattr(each, "name", "") for each in output.args[0]]


def _idle(module: Any) -> Iterator[Diagnostic]:
    """A note on each line where ``autocast`` is for another device."""
    places: dict[Any, None] = {}
    for node in module.graph.nodes:
        if _is_context(node):
            if node.target.__name__ == _AUTOCAST and node.args[0] != "cpu":
                places |= dict.fromkeys([_place(_first(_body(module, node)))])
            yield from _idle(_body(module, node))
    for place in places:
        yield Diagnostic(
            "this region of `torch.autocast` is for another device than the CPU, on which a module is"
            " imported: its types stay",
            place,
            severity="note",
            help=("`trtdsl compile --precision` sets the types of a whole network",),
        )


def _first(body: Any) -> Node:
    return next((node for node in body.graph.nodes if node.op == "call_function"), None)


def _place(node: Node) -> Any:
    frames = frames_of_trace((node.meta.get("stack_trace") or "") if node is not None else "")
    return innermost_span(frames)


def _body(module: Any, node: Node) -> Any:
    return getattr(module, _body_node(node).target)


def _body_node(node: Node) -> Node:
    return next(each for each in node.args if getattr(each, "op", "") == "get_attr")


# --- Regions as operations --------------------------------------------------------------------------------


def _flatten(module: Any, region: _Region | None) -> None:
    """Put the operations of a graph's regions in their places; ``region`` is what the graph stands in."""
    for node in list(module.graph.nodes):
        if _is_context(node):
            body = _body(module, node)
            _flatten(body, _region_of(node) if node.target.__name__ == _AUTOCAST else region)
            _splice(module, node, body)
        elif region and node.op == "call_function" and hasattr(node.target, "_schema"):
            _cast(module, node, region)


def _region_of(node: Node) -> _Region | None:
    import torch

    device, dtype, enabled = node.args[:3]
    if not enabled or device != "cpu":
        return None
    return _Region(device, dtype or torch.get_autocast_dtype(device))


def _splice(module: Any, call: Node, body: Any) -> None:
    """A copy of a body's operations in the place of its call."""
    given = call.args[call.args.index(_body_node(call)) + 1 :]
    places = [node for node in body.graph.nodes if node.op == "placeholder"]
    copies: dict[Node, Any] = dict(zip(places, given, strict=True))
    with module.graph.inserting_before(call):
        for node in body.graph.nodes:
            if node.op == "call_function":
                copies[node] = module.graph.node_copy(node, lambda each: copies[each])
                copies[node].meta.setdefault("nn_module_stack", call.meta.get("nn_module_stack"))
            elif node.op == "get_attr":
                name = _free_name(module, str(node.target))
                setattr(module, name, getattr(body, str(node.target)))
                copies[node] = module.graph.get_attr(name)
                copies[node].meta = dict(node.meta)
    (output,) = (node for node in body.graph.nodes if node.op == "output")
    for user in list(call.users):
        result = output.args[0][user.args[1]]
        user.replace_all_uses_with(copies.get(result, result))
        module.graph.erase_node(user)
    module.graph.erase_node(call)


def _free_name(module: Any, name: str) -> str:
    while hasattr(module, name):
        name += "_"
    return name


# --- What autocast does -----------------------------------------------------------------------------------


def _cast(module: Any, node: Node, region: _Region) -> None:
    """Cast what an operation reads as torch does in a region."""
    tensors = [each for each in node.all_input_nodes if _is_floating(each.meta.get("val"))]
    if not tensors or writes(node.target):
        return
    wanted = _casts(node, region)
    for each, dtype in wanted.items():
        if (each, dtype) not in region.casts:
            region.casts[each, dtype] = _cast_node(module, node, each, dtype)
        node.replace_input_with(each, region.casts[each, dtype])


def _cast_node(module: Any, reader: Node, source: Node, dtype: Any) -> Node:
    import torch

    with module.graph.inserting_before(reader):
        cast = module.graph.call_function(torch.ops.aten._to_copy.default, (source,), {"dtype": dtype})
    kept = ("stack_trace", "nn_module_stack")
    cast.meta = {key: reader.meta[key] for key in kept if key in reader.meta}
    with source.meta["val"].fake_mode:
        cast.meta["val"] = source.meta["val"].to(dtype)
    return cast


def _casts(node: Node, region: _Region) -> dict[Node, Any]:
    """The dtype that each of a node's tensors is cast to, where it is cast."""
    import torch

    if overload_of(node.target).partition(".")[0] in _RECURRENT:
        raise DiagnosticError(_inside(node))
    values = {each: each.meta["val"] for each in node.all_input_nodes if "val" in each.meta}
    with torch.autocast(region.device, dtype=region.dtype, cache_enabled=False):
        direct, inside = _run(node, values)
    cast = {each: value.to(direct[each]) for each, value in values.items() if each in direct}
    _, own = _run(node, {**values, **cast})
    if inside <= own:
        return direct
    # `einsum` and its kind are made of one product: torch casts what that is given.
    everything = {each: region.dtype for each, value in values.items() if _is_floating(value)}
    types = [value.dtype for value in torch.utils._pytree.tree_leaves(node.meta["val"])]  # pyright: ignore
    if overload_of(node.target) not in ("einsum", "tensordot", "inner") or set(types) != {region.dtype}:
        raise DiagnosticError(_inside(node))
    return everything


def _run(node: Node, values: dict[Node, Any]) -> tuple[dict[Node, Any], int]:
    """What of a node's tensors is cast in front of it, to which dtype; and how many casts are inside it."""
    import torch
    from torch.fx.node import map_arg
    from torch.utils._python_dispatch import TorchDispatchMode

    calls: list[tuple[Any, Sequence[Any], Any]] = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is not torch.ops.prim.device.default:
                calls.append((func, args, kwargs or {}))
            return func(*args, **(kwargs or {}))

    given = map_arg(node.args, lambda each: values.get(each, each.meta.get("val")))
    named = map_arg(node.kwargs, lambda each: values.get(each, each.meta.get("val")))
    mode = next(value for value in values.values() if hasattr(value, "fake_mode")).fake_mode
    with torch.no_grad(), mode, Recorder():
        node.target(*given, **named)
    owners = {id(value): each for each, value in values.items()}
    in_front = list(takewhile(lambda call: _is_cast(call[0], call[2]) and id(call[1][0]) in owners, calls))
    direct = {owners[id(args[0])]: kwargs["dtype"] for _, args, kwargs in in_front}
    return direct, sum(_is_cast(func, kwargs) for func, _, kwargs in calls[len(in_front) :])


def _is_cast(func: Any, kwargs: dict[str, Any]) -> bool:
    return overload_of(func) == "_to_copy" and kwargs.get("dtype") is not None


def _is_floating(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "is_floating_point", False)


def _inside(node: Node) -> Diagnostic:
    name = overload_of(node.target).partition(".")[0]
    return Diagnostic(
        f"`torch.autocast` casts inside `{name}`, which no text can say",
        _place(node),
        help=(f"call it with `torch.autocast(…, enabled=False)` around it, or cast what `{name}` is given",),
    )

"""Whether an ONNX file is sound, as far as what it says of itself goes.

In: a model as it was read.  Out: the same model, each node after those that it reads; or a refusal that
names what is wrong with the file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.checking import WrongText

_DEFAULT = ("", "ai.onnx")
"""ONNX's own domain, and its other name."""
_OPSETS_SINCE = 3
"""The version of the format since which a file says what opset it is of."""


def sound(model: Any, path: Path) -> Any:
    """The model with its nodes in order; raises :class:`~trtdsl.diagnostics.DiagnosticError` where the file
    contradicts itself, with everything that is wrong.
    """
    wrong = [*_opset(model), *_types(model)]
    for function in model.functions:
        wrong += _ordered(function, function.input, ())
    wrong += _graph(model.graph, ())
    if wrong:
        raise _faulty(path, wrong)
    return model


def explained(model: Any, path: Path, error: WrongText) -> DiagnosticError:
    """Why the text of a model is wrong: because the file is, where ONNX's checker says so."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as fault:
        found = "; ".join(line for line in str(fault).splitlines() if line)
        message = f"{path} is not a sound ONNX model, as `onnx.checker` says: {found}"
        return DiagnosticError(Diagnostic(message, help=(f"with it {error.diagnostics[0].message}",)))
    except ValueError:  # a model of more than 2 GB, which the checker does not take
        return error
    return error


def _faulty(path: Path, wrong: Sequence[str]) -> DiagnosticError:
    return DiagnosticError(*(Diagnostic(f"{path} is not a sound ONNX model: {each}") for each in wrong))


def _opset(model: Any) -> Iterator[str]:
    from onnx import defs

    newest = defs.onnx_opset_version()
    versions = [each.version for each in model.opset_import if each.domain in _DEFAULT]
    if any(version > newest for version in versions):
        yield (
            f"it is of opset {max(versions)}, and the installed `onnx` knows them up to {newest};"
            " a newer `onnx` may know it"
        )
    is_used = any(node.domain in _DEFAULT for node in model.graph.node)
    if not versions and is_used and model.ir_version >= _OPSETS_SINCE:
        yield "it does not say of which opset its operators are"


def _types(model: Any) -> Iterator[str]:
    """Attributes that their operator does not have, or has of another type."""
    from onnx import AttributeProto, defs

    opsets = {each.domain: each.version for each in model.opset_import}
    for node in _nodes(model.graph):
        try:
            schema: Any = defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
        except defs.SchemaError:
            continue
        for each in node.attribute:
            known = schema.attributes.get(each.name)
            if known is None:
                yield f"{_called(node)} has an attribute `{each.name}`, which ONNX's operator does not have"
                continue
            # Files of the first versions do not say of which type an attribute is.
            if each.ref_attr_name or not each.type or each.type == known.type.value:
                continue
            found, wanted = (AttributeProto.AttributeType.Name(of) for of in (each.type, known.type.value))
            yield f"{_called(node)} has a value of type {found} for `{each.name}`, which is of type {wanted}"


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the bodies in it."""
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from _nodes(body)


def _bodies(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _graph(graph: Any, outer: Iterable[str]) -> list[str]:
    """What is wrong with a graph, which sees the values of those around it; puts its nodes in order."""
    sparse = (each.values.name for each in graph.sparse_initializer)
    given = [*(each.name for each in graph.input), *(each.name for each in graph.initializer), *sparse]
    wrong = _ordered(graph, given, outer)
    known = {*outer, *given, *(name for node in graph.node for name in node.output)}
    wrong += [
        f"nothing makes its output `{each.name}`"
        for each in graph.output
        if each.name and each.name not in known
    ]
    for node in graph.node:
        for body in _bodies(node):
            wrong += _graph(body, known)
    return wrong


def _ordered(graph: Any, given: Iterable[str], outer: Iterable[str]) -> list[str]:
    """What is wrong with a graph's nodes, or nothing once they are in an order in which they can run."""
    nodes, seen = list(graph.node), {*outer, *given}
    makers: dict[str, int] = {}
    twice: list[str] = []
    own = set(given)
    for number, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in makers:
                twice.append(f"{_called(nodes[makers[name]])} and {_called(node)} both make `{name}`")
            elif name in own:
                twice.append(f"{_called(node)} makes `{name}`, which is there already")
            makers.setdefault(name, number)
    reads = [list(dict.fromkeys(_reads(node))) for node in nodes]
    lacking = [
        f"{_called(node)} reads `{name}`, which nothing makes"
        for node, names in zip(nodes, reads, strict=True)
        for name in names
        if name not in seen and name not in makers
    ]
    if twice or lacking:
        return twice + lacking
    needed = [{makers[name] for name in names if name in makers} for names in reads]
    order = _order(needed)
    if len(order) < len(nodes):
        number = _in_a_circle(needed, set(range(len(nodes))) - set(order))
        return [f"{_called(nodes[number])} reads what is computed of its own result"]
    if order != sorted(order):
        moved = [_copy(nodes[number]) for number in order]
        del graph.node[:]
        graph.node.extend(moved)
    return []


def _copy(node: Any) -> Any:
    found = type(node)()
    found.CopyFrom(node)
    return found


def _reads(node: Any) -> Iterator[str]:
    """The names that a node reads, and the bodies in it from around them."""
    yield from filter(None, node.input)
    for body in _bodies(node):
        own = {each.name for each in (*body.input, *body.initializer)}
        own |= {each.values.name for each in body.sparse_initializer}
        own |= {name for inner in body.node for name in inner.output}
        yield from (name for inner in body.node for name in _reads(inner) if name not in own)
        yield from (each.name for each in body.output if each.name and each.name not in own)


def _order(needed: Sequence[set[int]]) -> list[int]:
    """The numbers of nodes, each after those that it needs and otherwise as they stand; without those in a
    circle, and those that need them.
    """
    users: list[list[int]] = [[] for _ in needed]
    for number, each in enumerate(needed):
        for before in each:
            users[before].append(number)
    left = [len(each) for each in needed]
    ready = [number for number, count in enumerate(left) if not count]
    order: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for user in users[number]:
            left[user] -= 1
            if not left[user]:
                heapq.heappush(ready, user)
    return order


def _in_a_circle(needed: Sequence[set[int]], stuck: set[int]) -> int:
    """One of the nodes in a circle, of those that cannot run."""
    passed: set[int] = set()
    number = min(stuck)
    while number not in passed:
        passed.add(number)
        number = min(needed[number] & stuck)
    return number


def _called(node: Any) -> str:
    return f"`{node.op_type}`" + (f" at `{node.name}`" if node.name else "")

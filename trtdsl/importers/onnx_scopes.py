"""Where in a model an ONNX node ran, and what its weights are called.

In: a node's name and metadata.  Out: the calls of modules around it, and the path that its weights lie at.
The old exporter of PyTorch names nodes ``/layer1/layer1.0/conv1/Conv``; the new one has the calls' paths and
classes in its metadata.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence, Set
from typing import Any

import msgspec

from trtdsl.importers.program import Call, Frame, Operation, frames_of_trace, kind_of

_STACK = "pkg.torch.onnx.stack_trace"
_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_CALL = "pkg.torch.onnx.fx_node"
_NOWHERE = "_empty_nn_module_stack_from_metadata_hook"
_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_CONTAINER = "torch.nn.modules.container.Sequential"


def is_key(name: str) -> bool:
    """Whether a name may be a state-dict key as it stands."""
    return _KEY.fullmatch(name) is not None


def calls_of(proto: Any) -> tuple[Call, ...]:
    """The calls of modules that a node ran in, from the outermost."""
    metadata = {each.key: each.value for each in getattr(proto, "metadata_props", ())}
    if _SCOPES in metadata and _CLASSES in metadata:
        return _of_metadata(metadata[_SCOPES], metadata[_CLASSES])
    return _of_name(proto.name)


def frames_of(proto: Any) -> tuple[Frame, ...]:
    """The lines of the module's source that led to a node, from the outermost."""
    metadata = {each.key: each.value for each in getattr(proto, "metadata_props", ())}
    return frames_of_trace(metadata.get(_STACK, ""))


def _of_metadata(scopes: str, classes: str) -> tuple[Call, ...]:
    try:
        paths, kinds = ast.literal_eval(scopes), ast.literal_eval(classes)
    except (ValueError, SyntaxError):
        return ()
    found: list[Call] = []
    # The last of both is the operation itself.
    for path, kind in list(zip(paths, kinds, strict=False))[:-1]:
        if path and isinstance(path, str) and path != _NOWHERE:
            found.append(Call(path, kind_of(str(kind))))
    return tuple(found)


def call_text(proto: Any) -> str:
    """The call of PyTorch that a node is a part of, as its exporter prints it."""
    return next((each.value for each in getattr(proto, "metadata_props", ()) if each.key == _CALL), "")


def placed_calls(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Operations without a call of a module whose class is not on any of their lines, though it is on those
    of others of that call: an exporter that takes a module apart may say that it ran in the next one.
    """
    inside = {each.calls[-1] for each in operations if each.calls and _is_on_a_line(each)}
    return tuple(
        msgspec.structs.replace(each, calls=each.calls[:-1]) if _is_elsewhere(each, inside) else each
        for each in operations
    )


def _is_elsewhere(operation: Operation, inside: Set[Call]) -> bool:
    is_known = bool(operation.calls and operation.frames) and operation.calls[-1] in inside
    return is_known and not _is_on_a_line(operation)


def _is_on_a_line(operation: Operation) -> bool:
    """Whether a line is in the file that the class of the last call is in, as its module's name says."""
    module, _, _ = operation.calls[-1].kind.rpartition(".")
    path = module.replace(".", "/")
    ends = (f"/{path}.py", f"/{path}/__init__.py")
    return bool(path) and any(each.file.endswith(ends) for each in operation.frames)


def numbered_calls(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Operations whose calls are told apart where a module is called again after others have run."""
    kinds = _kinds(operations)
    counts: dict[tuple[Call, ...], int] = {}
    before: tuple[Call, ...] = ()
    found: list[Operation] = []
    for operation in operations:
        calls: list[Call] = []
        for depth, given in enumerate(operation.calls):
            call = msgspec.structs.replace(given, kind=kinds[given.path])
            above = tuple(calls)
            key = (*above, call)
            again = before[: depth + 1]
            is_running = again[:depth] == above and len(again) > depth and again[depth].path == call.path
            if not is_running:
                counts[key] = counts.get(key, -1) + 1
            calls.append(msgspec.structs.replace(call, number=counts[key]))
        before = tuple(calls)
        found.append(msgspec.structs.replace(operation, calls=before))
    return tuple(found)


def _kinds(operations: Sequence[Operation]) -> dict[str, str]:
    """The class of the module at each path: one that runs more than its items is not a plain container,
    though the items' names look like it.
    """
    found: dict[str, str] = {}
    for call in (call for operation in operations for call in operation.calls):
        if found.get(call.path, _CONTAINER) == _CONTAINER:
            found[call.path] = call.kind
    return found


def _of_name(name: str) -> tuple[Call, ...]:
    """``/layer1/layer1.0/conv1/Conv``: each part is a path below the last, or repeats it."""
    parts = [part for part in name.split("/") if part][:-1]
    if not name.startswith("/") or not all(re.fullmatch(r"[\w.]+", part) for part in parts):
        return ()
    found: list[Call] = []
    path = ""
    before = ""
    for number, part in enumerate(parts):
        if before and part.startswith(f"{before}."):
            # ``block/block.0``: a container's name before its item's.
            path += part.removeprefix(before)
        else:
            path = f"{path}.{part}".lstrip(".")
        before = part
        behind = parts[number + 1] if number + 1 < len(parts) else ""
        is_container = behind.startswith(f"{part}.")
        found.append(Call(path, _CONTAINER if is_container else _kind(path)))
    return tuple(found)


def _kind(path: str) -> str:
    """A class's name for a module of which only the path is known: ``layer1.0`` is a ``Layer``."""
    words = [word for word in path.split(".") if word and not word.isdigit()]
    last = words[-1].rstrip("0123456789_") if words else ""
    if path.rpartition(".")[2].isdigit() and last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    return "".join(each[:1].upper() + each[1:] for each in last.split("_") if each) or "Module"


def scope_of(calls: tuple[Call, ...], name: str, operator: str) -> str:
    """Where the weights lie that a node reads."""
    if calls:
        return _clean(calls[-1].path)
    return path_of(name) or operator.lower()


def path_of(name: str) -> str:
    """A name of another framework as a path: ``model/conv:0`` is ``model.conv``."""
    return _clean(".".join(part for part in re.split(r"[/.:]+", name.removesuffix(":0")) if part))


def _clean(path: str) -> str:
    parts = [re.sub(r"\W", "_", part) for part in path.split(".")]
    parts = [
        part if not part[0].isdigit() or number else f"_{part}" for number, part in enumerate(parts) if part
    ]
    # A later part may be a number, but not begin with one.
    return ".".join(f"_{part}" if part[0].isdigit() and not part.isdigit() else part for part in parts)
